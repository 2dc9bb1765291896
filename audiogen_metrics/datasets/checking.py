"""What is there of a dataset, and what is wrong with it; prompts and references for other people's generators."""

from __future__ import annotations

import csv
import io
import warnings
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.preflight import SILENCE_PEAK, ClipFacts, inspect
from audiogen_metrics.datasets.base import Dataset, DatasetClip, DatasetInfo, prompt
from audiogen_metrics.errors import NO_MEMORY, AudioFileError, DataError, UsageError, remedies
from audiogen_metrics.file_hashes import digest_of
from audiogen_metrics.options import as_path
from audiogen_metrics.prompts import CaptionChoice, choose
from audiogen_metrics.rendering import Renderable
from audiogen_metrics.text import escaped
from audiogen_metrics.writing import below, link, write_atomically, writing

__all__ = ["Check", "check", "export"]

LISTED = 10
"""Faults of one kind that are named; the rest is counted."""


@dataclass(frozen=True)
class Check(Renderable):
    """What a check of a dataset found.

    Attributes
    ----------
    dataset
        Its name.
    clips, present
        Clips in the metadata, and those whose audio can be used.
    faults
        Clip ids by what is wrong with them; those without sound at all are the first three kinds.
    remarks
        What differs from the dataset as distributed.
    summary
        Counts of classes, rates, channels, and the spread of lengths in seconds.
    errors
        Of the clips that cannot be decoded, by clip id, with what would mend them.
    seconds
        Lengths of the others, by clip id.
    """

    dataset: str
    clips: int
    present: int
    faults: Mapping[str, tuple[str, ...]]
    remarks: tuple[str, ...]
    summary: Mapping[str, Any]
    errors: Mapping[str, AudioFileError] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_usable(self) -> bool:
        """Whether every clip of the metadata can be used."""
        return self.present == self.clips

    def __str__(self) -> str:
        lines = [f"{self.dataset}: {self.present} of {self.clips} clips can be used"]
        lines += [f"  {name}: {value}" for name, value in self.summary.items()]
        for fault, names in self.faults.items():
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            lines.append(f"  {fault} ({len(names)}): {', '.join(names[:LISTED])}{more}")
        lines += [f"  {line}" for line in remedies(error.fix or "" for error in self.errors.values())]
        return "\n".join(map(escaped, lines + [f"  remark: {remark}" for remark in self.remarks]))

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON values, every clip named."""
        return {
            "dataset": self.dataset,
            "clips": self.clips,
            "present": self.present,
            "faults": {name: list(clips) for name, clips in self.faults.items()},
            "remarks": list(self.remarks),
            "summary": dict(self.summary),
            "fixes": {name: error.remedy for name, error in self.errors.items() if error.remedy},
        }


def check(dataset: Dataset, info: DatasetInfo | None = None, *, progress: bool = False) -> Check:
    """Decode every clip and compare what is there with what the metadata, and the dataset's authors, say.

    Parameters
    ----------
    dataset
        All or some clips.
    info
        Adds what is expected of the whole.
    progress
        Show a progress bar on stderr.
    """
    faults: dict[str, list[str]] = {"audio missing": [], "cannot be decoded": []}
    facts: dict[str, ClipFacts] = {}
    digests: dict[str, str] = {}
    errors: dict[str, AudioFileError] = {}
    with ThreadPoolExecutor(8, thread_name_prefix="check") as threads:
        found = threads.map(_look, dataset.clips)
        for clip, result in tqdm(
            zip(dataset.clips, found, strict=True), total=len(dataset.clips), unit="clip", disable=not progress
        ):
            if isinstance(result, AudioFileError):
                faults["cannot be decoded"].append(f"{clip.clip_id} ({result.what})")
                errors[clip.clip_id] = result
            elif result is None:
                faults["audio missing"].append(clip.clip_id)
            else:
                facts[clip.clip_id], digests[clip.clip_id] = result
    longest = (info.checks.get("longest") if info else None) or 0
    faults["silent"] = [name for name, fact in facts.items() if fact.peak < SILENCE_PEAK]
    faults["clipped"] = [name for name, fact in facts.items() if fact.clipped > 1e-3]
    faults["longer than the dataset allows"] = [
        name for name, fact in facts.items() if longest and fact.seconds > longest + 0.1
    ]
    counts = Counter(digests.values())
    faults["same file as another clip"] = [name for name, digest in digests.items() if counts[digest] > 1]
    return Check(
        dataset.name,
        len(dataset.clips),
        len(facts),
        {name: tuple(clips) for name, clips in faults.items() if clips},
        (*dataset.remarks, *_remarks(dataset, info), *filter(None, [dataset.lacking])),
        _summary(dataset, facts),
        errors,
        {name: fact.seconds for name, fact in facts.items()},
    )


def export(
    dataset: Dataset, target: str | Path, template: str = "label", *, caption: CaptionChoice = "first", seed: int = 0
) -> int:
    """Write ``prompts.csv`` (clip_id, prompt, seconds) and ``references/`` for generators that are not ours.

    References are hard links where the file system can; clips without audio are left out, and so are those that cannot
    be decoded, with a warning. Seconds are the length of the recording in steps of 10 ms.

    Parameters
    ----------
    dataset
        All or some clips.
    target
        A new or empty folder.
    template
        For clips with labels only, as in `prompt`.
    caption
        Of several captions of a clip: its first, one at random, or all, in a line each.
    seed
        Of what is drawn, 0 or more.

    Returns
    -------
    int
        Number of clips.

    Raises
    ------
    DataError
        No clip can be decoded.
    UsageError
        A folder that is in use or cannot be written.
    """
    folder = as_path(target)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("is not empty", folder, "Choose a new folder")
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["clip_id", "prompt", "seconds"])
    clips = _audible(dataset)
    with writing(folder):
        for clip, seconds in clips:
            assert clip.path is not None
            link(clip.path, below(folder / "references", clip.clip_id, clip.path.suffix))
            texts = choose(clip.captions, caption, seed, clip.clip_id) or (prompt(clip, template),)
            rows.writerows([clip.clip_id, text, f"{max(0.01, seconds):.2f}"] for text in texts)
        write_atomically(folder / "prompts.csv", table.getvalue().encode())
    return len(clips)


def _audible(dataset: Dataset) -> list[tuple[DatasetClip, float]]:
    """Return the clips that can be decoded, with their lengths in seconds; warn of the others."""
    with ThreadPoolExecutor(8, thread_name_prefix="export") as threads:
        looked = [*zip(dataset.present, threads.map(_look, dataset.present), strict=True)]
    bad = [f"{clip.clip_id} ({found.what})" for clip, found in looked if isinstance(found, AudioFileError)]
    if bad:
        message = f"{len(bad)} clips are left out, as they cannot be decoded: {', '.join(bad[:LISTED])}"
        if len(bad) == len(looked):
            raise DataError(f"none of {len(bad)} clips can be decoded: {bad[0]}", where=dataset.root)
        warnings.warn(f"{message}{', …' * (len(bad) > LISTED)}", stacklevel=3)
    return [(clip, found[0].seconds) for clip, found in looked if isinstance(found, tuple)]


def _look(clip: DatasetClip) -> tuple[ClipFacts, str] | AudioFileError | None:
    if clip.path is None:
        return None
    try:
        content = clip.path.read_bytes()
        return inspect(decode(clip.path, content)), digest_of(content)
    except AudioFileError as error:
        return error
    except OSError as error:
        return AudioFileError(f"cannot be read ({error.strerror})", clip.path)
    except MemoryError:
        return AudioFileError(NO_MEMORY, clip.path)


def _remarks(dataset: Dataset, info: DatasetInfo | None) -> list[str]:
    if info is None:
        return []
    remarks = []
    classes = {label for clip in dataset.clips for label in clip.labels}
    for what, found in (("clips", len(dataset.clips)), ("classes", len(classes))):
        expected = info.checks.get(what)
        if expected and found != expected:
            remarks.append(f"{found} {what} in the metadata, {expected:g} as distributed")
    return remarks


def _summary(dataset: Dataset, facts: Mapping[str, ClipFacts]) -> dict[str, Any]:
    labels = Counter(label for clip in dataset.clips for label in clip.labels)
    summary: dict[str, Any] = {}
    if labels:
        summary["classes"] = f"{len(labels)}, {min(labels.values())} to {max(labels.values())} clips each"
    if facts:
        seconds = sorted(fact.seconds for fact in facts.values())
        middle = seconds[len(seconds) // 2]
        summary["seconds"] = f"{seconds[0]:.2f} to {seconds[-1]:.2f}, half at most {middle:.2f}"
        for what in ("sample_rate", "channels"):
            counts = Counter(getattr(fact, what) for fact in facts.values())
            summary[what.replace("_", " ")] = ", ".join(f"{value} ({n})" for value, n in counts.most_common())
    return summary
