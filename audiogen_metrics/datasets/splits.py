"""Which clips train and which evaluate."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiogen_metrics.audio.files import AUDIO, canonical_id
from audiogen_metrics.datasets import DATASETS
from audiogen_metrics.datasets.base import Dataset, DatasetClip
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.options import whole
from audiogen_metrics.tabular import read_text

__all__ = ["Split", "fold_split", "list_split", "paper_split", "split_by"]


@dataclass(frozen=True)
class Split:
    """Which clips train (None: none are left) and which evaluate, and how that was decided, for the record."""

    train: Dataset | None
    evaluation: Dataset
    rule: str
    warnings: tuple[str, ...] = ()


def paper_split(dataset: Dataset, size: int, seed: int = 0, *, stratified: bool = True) -> Split:
    """Draw the evaluation set at random, as the paper did; it does not say how.

    Parameters
    ----------
    dataset
        All clips.
    size
        Number of evaluation clips: 400 of ESC-50, 870 of UrbanSound8K.
    seed
        0 or more.
    stratified
        Draw the same share of every class.

    Raises
    ------
    DataError
        Not more than ``size`` clips.
    """
    if not 0 < size < len(dataset.clips):
        raise DataError(f"cannot draw {size} of {len(dataset.clips)} clips", where=dataset.root)
    chosen = _drawn(dataset.clips, size, seed, stratified)
    kind = "stratified by class" if stratified else "plain"
    return _split(dataset, {clip.clip_id for clip in chosen}, f"paper: {size} at random, {kind}, seed {seed}")


def draw(clips: Sequence[DatasetClip], size: int, seed: int = 0, *, stratified: bool = True) -> list[DatasetClip]:
    """Return some clips in their order, drawn at random, the same share of every class; all if there are no more.

    Parameters
    ----------
    clips
        Where to draw from.
    size
        Number of clips at most, 1 or more.
    seed
        0 or more.
    stratified
        False draws without regard to classes.

    Examples
    --------
    >>> clips = [DatasetClip(f"{label}/{n}", None, label, (label,)) for label in ("dog", "rain") for n in range(10)]
    >>> [clip.labels[0] for clip in draw(clips, 4)]
    ['dog', 'dog', 'rain', 'rain']
    """
    if whole("size", size, 1) >= len(clips):
        return list(clips)
    names = {clip.clip_id for clip in _drawn(clips, size, seed, stratified, fair=True)}
    return [clip for clip in clips if clip.clip_id in names]


def _drawn(
    clips: Sequence[DatasetClip], size: int, seed: int, stratified: bool, fair: bool = False
) -> list[DatasetClip]:
    rng = random.Random(whole("seed", seed, 0))
    groups: dict[str, list[DatasetClip]] = defaultdict(list)
    for clip in clips:
        groups[clip.labels[0] if stratified and clip.labels else ""].append(clip)
    # Largest remainders: every class gives its share, rounded so that the sum is exact.
    shares = {name: size * len(group) / len(clips) for name, group in groups.items()}
    counts = {name: int(share) for name, share in shares.items()}
    names = sorted(groups)
    if fair:  # among equal remainders; the paper's splits, which must stay what they are, take them by name
        rng.shuffle(names)
    by_remainder = sorted(names, key=lambda name: counts[name] - shares[name])
    for name in by_remainder[: size - sum(counts.values())]:
        counts[name] += 1
    return [clip for name in sorted(groups) for clip in rng.sample(groups[name], counts[name])]


def fold_split(dataset: Dataset, fold: str) -> Split:
    """Evaluate on one of the dataset's own folds or parts, train on the others.

    Raises
    ------
    UsageError
        No such fold.
    """
    known = sorted({clip.split for clip in dataset.clips if clip.split})
    if fold not in known:
        raise UsageError(f"has no fold {fold!r}", dataset.name, f"Known: {', '.join(known) or 'none'}")
    return _split(dataset, {clip.clip_id for clip in dataset.clips if clip.split == fold}, f"fold {fold}")


def list_split(dataset: Dataset, path: str | Path) -> Split:
    """Evaluate on the clips named in a file, one id a line; an audio suffix is dropped.

    Raises
    ------
    DataError
        Unreadable, or with ids that the dataset does not have.
    """
    known = {clip.clip_id for clip in dataset.clips}
    lines = [line.rstrip("\r") for line in read_text(path).split("\n") if line.strip()]
    # A name may begin with a space; a space beside it may also be a slip.
    names = {_stem(line) if _stem(line) in known else _stem(line.strip()) for line in lines}
    unknown = sorted(names - known)
    if unknown:
        raise DataError(f"{len(unknown)} ids are not in {dataset.name}, {unknown[0]!r} first", where=path)
    return _split(dataset, names, f"list {Path(path).name}, {len(names)} clips")


def _split(dataset: Dataset, names: set[str], rule: str) -> Split:
    evaluation = [clip for clip in dataset.clips if clip.clip_id in names]
    train = [clip for clip in dataset.clips if clip.clip_id not in names]
    shared = {clip.group for clip in train if clip.group} & {clip.group for clip in evaluation if clip.group}
    warnings: tuple[str, ...] = ()
    if shared:
        leaking = sum(clip.group in shared for clip in evaluation)
        warnings = (
            f"{leaking} of {len(evaluation)} evaluation clips share their source recording with a training clip: "
            "scores are optimistic; a fold split does not leak",
        )
    # A part without a rest is a split too: AudioCaps' test set is evaluated as it is.
    return Split(dataset.only(train) if train else None, dataset.only(evaluation), rule, warnings)


def split_by(dataset: Dataset, rule: str, seed: int = 0) -> Split:
    """Split by a rule in words: ``paper``, ``paper:400``, ``paper-plain:400``, ``fold:5``, ``list:FILE``.

    Parameters
    ----------
    dataset
        All clips.
    rule
        ``paper`` draws what the paper drew, at random and stratified by class; ``paper-plain`` without regard to
        classes; a number says how many.
    seed
        Of what is drawn.

    Raises
    ------
    UsageError
        No such rule, or a number missing.
    """
    kind, _, value = rule.partition(":")
    if kind in {"paper", "paper-plain"}:
        size = DATASETS.get(dataset.name).evaluation_size if dataset.name in DATASETS.names() else None
        size = int(value) if value.isdigit() else size
        if size is None:
            raise UsageError("give the number of evaluation clips", where="split", fix="Write paper:400")
        return paper_split(dataset, size, seed, stratified=kind == "paper")
    if kind == "fold" and value:
        return fold_split(dataset, value)
    if kind == "list" and value:
        return list_split(dataset, value)
    raise UsageError(f"{rule!r} is not a split", where="split", fix="Use paper, paper:400, fold:5 or list:FILE")


def _stem(name: str) -> str:
    path = Path(name)
    return canonical_id(path.with_suffix("").as_posix() if path.suffix.lower() in AUDIO else name)
