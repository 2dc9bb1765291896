"""Score one folder against another: audio to embeddings to numbers to a report."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.audio.files import AudioFile, AudioFolder, scan
from audiogen_metrics.audio.pairing import Pairing, PairingMode, pair
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.protocols import METRICS, MetricName, Recipe, get_protocol
from audiogen_metrics.results import InputSummary, Score, ScoreReport
from audiogen_metrics.settings import resolve_device

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.audio.preparation import Preprocessing
    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.embedding.extraction import ClipFailure, EmbeddingSet, Extraction, ExtractionOptions


def score(
    gen: str | Path,
    ref: str | Path,
    *,
    metrics: Sequence[str] | None = None,
    protocol: str = "audioldm",
    device: str | torch.device = "auto",
    batch_size: int = 16,
    workers: int | None = None,
    pairing: PairingMode = "auto",
    limit: int | None = None,
    strict: bool = False,
    cache: bool = True,
    verify: bool = False,
    progress: bool = False,
) -> ScoreReport:
    """Score a folder of generated audio against a folder of references.

    Parameters
    ----------
    gen, ref
        Folders of audio files, searched recursively. Clips pair by clip id: the path below the folder without
        its suffix.
    metrics
        Names such as ``["fd", "kl"]``. None computes all of the protocol; one that cannot be computed is then
        None with its reason, where a metric asked for by name raises.
    protocol
        Named recipe; see ``agm list protocols``.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, …
    batch_size
        Clips per forward pass, at most.
    workers
        Decoding threads; None chooses, 0 decodes in the calling thread.
    pairing
        ``"auto"`` pairs what matches, ``"id"`` requires that every clip matches, ``"none"`` does not pair.
    limit
        Score the first ``limit`` clips of each set only, paired ones first.
    strict
        Raise if any file must be skipped.
    cache
        Keep embeddings in the cache folder and reuse them.
    verify
        Read every file again to make sure that it is the one that was cached.
    progress
        Show progress bars on stderr.

    Returns
    -------
    ScoreReport
        Scores with n, protocol and backbone, skipped files and warnings.

    Raises
    ------
    DataError
        A folder without usable audio; skipped files with ``strict``; unmatched clips with ``pairing="id"``.
    InsufficientDataError
        Too few clips or pairs for a metric asked for by name.
    MissingWeightsError, MissingDependencyError
        A backbone of the protocol is not on this machine.
    UsageError
        An unknown name.

    Examples
    --------
    >>> from audiogen_metrics import score
    >>> report = score("examples/generated", "examples/reference", protocol="yamnet")  # doctest: +SKIP
    >>> report["kl_yamnet"].n_gen  # doctest: +SKIP
    40
    """
    chosen = get_protocol(protocol)
    recipes = chosen.select(metrics)
    _check_options(batch_size=batch_size, workers=workers, limit=limit, pairing=pairing)
    gen_folder, ref_folder = _limited(scan(gen), scan(ref), limit)

    from audiogen_metrics.embedding.extraction import ExtractionOptions

    options = ExtractionOptions(batch_size, workers, cache, verify, progress)
    backbones = create_backbones(recipes, resolve_device(device))
    gen_side = _Side.extract("gen", gen_folder, recipes, backbones, options)
    ref_side = _Side.extract("ref", ref_folder, recipes, backbones, options)
    if strict:
        gen_side.require_all()
        ref_side.require_all()
    pairs = pair(gen_side.digests, ref_side.digests)
    if pairing == "id":
        _require_pairs(pairs)
    scores = {}
    for recipe in recipes:
        computed = compute(recipe, gen_side.sets[recipe], ref_side.sets[recipe], paired=pairing != "none")
        if computed.reason is not None and metrics is not None:
            raise InsufficientDataError(computed.reason, where=recipe.score_id)
        scores[recipe.score_id] = computed
    return ScoreReport(
        scores=scores,
        protocol=chosen.name,
        gen=gen_side.summary(),
        ref=ref_side.summary(),
        caveat=chosen.caveat,
        pairing={
            "mode": pairing,
            "paired": len(pairs.paired),
            "gen_only": list(pairs.gen_only),
            "ref_only": list(pairs.ref_only),
        },
        backbones={name: backbone.settings for name, backbone in backbones.items()},
        device=str(resolve_device(device)),
        warnings=tuple(_warnings(gen_side, ref_side, pairs, pairing, scores)),
        versions=tool_versions(),
    )


def create_backbones(recipes: Sequence[Recipe], device: torch.device) -> dict[str, Backbone]:
    """Return one instance of each backbone that the recipes need; weights are found, not yet loaded."""
    from audiogen_metrics.backbones import BACKBONES

    backbones = {}
    for recipe in recipes:
        if recipe.backbone not in backbones:
            backbone = BACKBONES.get(recipe.backbone)(device)
            output = METRICS[recipe.metric].output
            if output not in backbone.outputs:
                raise UsageError(
                    f"{recipe.metric} needs {output}, which {recipe.backbone} does not give",
                    where=recipe.score_id,
                    fix=f"It gives {', '.join(sorted(backbone.outputs))}",
                )
            _ = backbone.weights_sha256
            backbones[recipe.backbone] = backbone
    return backbones


def compute(recipe: Recipe, gen: EmbeddingSet, ref: EmbeddingSet, paired: bool = True) -> Score:
    """Return one score of two sets of features; without a value but with a reason where there is too little data."""
    metric = METRICS[recipe.metric]
    blank = Score(
        id=recipe.score_id,
        metric=recipe.metric,
        backbone=recipe.backbone,
        value=None,
        higher_is_better=metric.higher_is_better,
        n_gen=len(gen.clip_ids),
        n_ref=None if recipe.metric == "is" else len(ref.clip_ids),
    )
    try:
        return _COMPUTE[recipe.metric](recipe, blank, gen, ref, paired)
    except InsufficientDataError as error:
        return replace(blank, reason=str(error))


def _frechet(recipe: Recipe, blank: Score, gen: EmbeddingSet, ref: EmbeddingSet, _paired: bool) -> Score:
    from audiogen_metrics.functional import GaussianStatistics, frechet_distance

    output = METRICS[recipe.metric].output
    gen_statistics = GaussianStatistics.from_embeddings(gen.rows(output))
    ref_statistics = GaussianStatistics.from_embeddings(ref.rows(output))
    distance = frechet_distance(gen_statistics, ref_statistics)
    details = {
        "rows_gen": gen_statistics.count,
        "rows_ref": ref_statistics.count,
        "dimension": gen_statistics.dimension,
        "mean_term": distance.mean_term,
        "covariance_term": distance.covariance_term,
    }
    return replace(blank, value=distance.value, details=details)


def _inception(recipe: Recipe, blank: Score, gen: EmbeddingSet, _ref: EmbeddingSet, _paired: bool) -> Score:
    from audiogen_metrics.functional import inception_score

    result = inception_score(gen.rows("logits"), splits=recipe.splits, seed=recipe.seed)
    return replace(blank, value=result.mean, std=result.std, details={"splits": recipe.splits, "seed": recipe.seed})


def _divergence(recipe: Recipe, blank: Score, gen: EmbeddingSet, ref: EmbeddingSet, paired: bool) -> Score:
    from audiogen_metrics.functional import kl_divergence

    if not paired:
        raise InsufficientDataError("KL compares pairs, and pairing is off", fix="Use pairing auto or id")
    common = pair(gen.clip_ids, ref.clip_ids).paired
    if not common:
        raise InsufficientDataError(
            f"no clip id is in both sets (gen has {gen.clip_ids[0]!r}, ref has {ref.clip_ids[0]!r})",
            fix="Give each generated file the name of its reference",
        )
    result = kl_divergence(gen.select(common).rows("logits"), ref.select(common).rows("logits"), eps=recipe.eps)
    return replace(blank, value=result.mean, details={"pairs": len(common), "eps": recipe.eps})


_COMPUTE: Mapping[MetricName, Callable[[Recipe, Score, EmbeddingSet, EmbeddingSet, bool], Score]] = {
    "fd": _frechet,
    "fad": _frechet,
    "is": _inception,
    "kl": _divergence,
}


@dataclass(frozen=True)
class _Side:
    """One of the two sets with its features, by recipe."""

    name: str
    folder: AudioFolder
    sets: dict[Recipe, EmbeddingSet]
    extractions: tuple[Extraction, ...]
    window_seconds: float

    @classmethod
    def extract(
        cls,
        name: str,
        folder: AudioFolder,
        recipes: Sequence[Recipe],
        backbones: Mapping[str, Backbone],
        options: ExtractionOptions,
    ) -> _Side:
        """Run each backbone once per preprocessing; backbones of one preprocessing share the decoded audio."""
        from audiogen_metrics.embedding.extraction import extract

        groups: dict[Preprocessing, list[Recipe]] = defaultdict(list)
        for recipe in recipes:
            groups[recipe.preprocessing].append(recipe)
        sets: dict[Recipe, EmbeddingSet] = {}
        extractions = []
        for preprocessing, members in groups.items():
            needed = {recipe.backbone: backbones[recipe.backbone] for recipe in members}
            extraction = extract(folder, [*needed.values()], preprocessing, options)
            sets |= {recipe: extraction.sets[recipe.backbone] for recipe in members}
            extractions.append(extraction)
        window = max(
            max(recipe.preprocessing.minimum_samples, backbones[recipe.backbone].minimum_samples)
            / recipe.preprocessing.sample_rate
            for recipe in recipes
        )
        return cls(name, folder, sets, tuple(extractions), window)

    @property
    def digests(self) -> dict[str, str]:
        return self.extractions[0].digests

    @property
    def failures(self) -> tuple[ClipFailure, ...]:
        return self.extractions[0].failures

    def require_all(self) -> None:
        """Raise unless every file was scored."""
        if self.failures:
            named = "; ".join(f"{failure.clip_id}: {failure.reason}" for failure in self.failures[:5])
            raise DataError(
                f"{len(self.failures)} of {len(self.folder.clips)} files cannot be scored ({named})",
                where=self.folder.root,
                fix="Repair or remove them, or run without strict",
            )

    def summary(self) -> InputSummary:
        listing = "\n".join(f"{digest} {clip_id}" for clip_id, digest in self.digests.items())
        return InputSummary(
            path=str(self.folder.root),
            found=len(self.folder.clips),
            scored=len(self.digests),
            ignored=self.folder.ignored,
            seconds=sum(fact.seconds for fact in self.extractions[0].facts.values()),
            digest=hashlib.sha256(listing.encode()).hexdigest(),
            skipped=tuple(_describe(failure) for failure in self.failures),
            left_out={
                recipe.backbone: tuple(_describe(failure) for failure in embedded.left_out)
                for recipe, embedded in self.sets.items()
                if embedded.left_out
            },
        )


def _describe(failure: ClipFailure) -> dict[str, str]:
    return {"clip": failure.clip_id, "path": str(failure.path), "reason": failure.reason}


def _limited(gen: AudioFolder, ref: AudioFolder, limit: int | None) -> tuple[AudioFolder, AudioFolder]:
    """Cut both sets to ``limit`` clips, paired ones first, so that every metric sees the same files."""
    if limit is None:
        return gen, ref
    paired = set(pair((clip.clip_id for clip in gen.clips), (clip.clip_id for clip in ref.clips)).paired)

    def first(clips: tuple[AudioFile, ...]) -> tuple[AudioFile, ...]:
        return tuple(sorted(sorted(clips, key=lambda clip: clip.clip_id not in paired)[:limit]))

    return replace(gen, clips=first(gen.clips)), replace(ref, clips=first(ref.clips))


def _check_options(batch_size: int, workers: int | None, limit: int | None, pairing: str) -> None:
    if batch_size < 1:
        raise UsageError(f"batch_size={batch_size}", fix="Use at least 1")
    if workers is not None and workers < 0:
        raise UsageError(f"workers={workers}", fix="Use 0 or more")
    if limit is not None and limit < 1:
        raise UsageError(f"limit={limit}", fix="Use at least 1")
    if pairing not in ("auto", "id", "none"):
        raise UsageError(f"unknown pairing {pairing!r}", fix="Use auto, id or none")


def _require_pairs(pairs: Pairing) -> None:
    unmatched = [f"gen {clip!r}" for clip in pairs.gen_only] + [f"ref {clip!r}" for clip in pairs.ref_only]
    if unmatched:
        raise DataError(
            f"{len(unmatched)} clips have no partner: {', '.join(unmatched[:6])}{', …' if len(unmatched) > 6 else ''}",
            fix="Give both files of a pair one name, or use pairing auto",
        )


def _warnings(gen: _Side, ref: _Side, pairs: Pairing, pairing: PairingMode, scores: Mapping[str, Score]) -> list[str]:
    """Return what to know before the scores are believed: about the files, the sets, the numbers."""
    from audiogen_metrics.audio.preflight import set_warnings

    found: list[str] = []
    for side in (gen, ref):
        found += [f"{side.name}: skipped {failure.path}: {failure.reason}" for failure in side.failures]
        found += set_warnings(side.name, side.extractions[0].facts, side.digests, side.window_seconds)
        for backbone, left_out in side.summary().left_out.items():
            found.append(f"{side.name}: {backbone} left out {len(left_out)} clips: {left_out[0]['reason']}")
        found += [problem for extraction in side.extractions for problem in extraction.problems]
    n_gen, n_ref = len(gen.digests), len(ref.digests)
    if n_gen != n_ref:
        found.append(f"gen has {n_gen} clips and ref {n_ref}: Fréchet distances depend on both")
    unmatched = len(pairs.gen_only) + len(pairs.ref_only)
    if pairing == "auto" and unmatched and pairs.paired:
        found.append(f"{unmatched} clips have no partner and are not in KL (the report names them)")
    return found + [warning for score in scores.values() for warning in _score_warnings(score)]


def _score_warnings(score: Score) -> list[str]:
    details = score.details
    rows = min(details.get("rows_gen", 0), details.get("rows_ref", 0))
    if score.value is not None and rows < details.get("dimension", 0):
        return [
            f"{score.id}: {rows} rows for {details['dimension']} dimensions: the distance is biased upwards; "
            "compare it at equal n only"
        ]
    if score.metric == "is" and score.value is not None and score.n_gen // details["splits"] < 100:
        return [
            f"{score.id}: splits of {score.n_gen // details['splits']} clips: the score grows with their size; "
            "compare it at equal n and splits only"
        ]
    return []


def tool_versions() -> dict[str, str]:
    """Return the versions of everything that takes part in a number."""
    import platform
    from importlib.metadata import version

    from audiogen_metrics.audio.decoding import DECODER_VERSION

    packages = ("audiogen-metrics", "torch", "torchaudio", "numpy", "soundfile")
    return {name: version(name) for name in packages} | {
        "decoder": DECODER_VERSION,
        "python": platform.python_version(),
    }
