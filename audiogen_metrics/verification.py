"""Compute a report's scores again from what it says it was made of, and say what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from audiogen_metrics.errors import UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.results import InputSummary, Score, ScoreReport

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-5
"""Relative difference up to which scores count as equal: what batch shape and device may change."""

ROUNDING = 1e-9
"""Absolute difference that counts as none: the distance of a set to itself has no digits to compare."""

NAMED = 5
"""Clips that a difference names."""

Kind = Literal["files", "backbone", "recipe", "score", "version"]


@dataclass(frozen=True)
class Difference:
    """One thing in which a report and its repetition differ.

    Parameters
    ----------
    kind
        ``files``, ``backbone`` (weights, precision, device), ``recipe``, ``score``, or ``version`` of a tool.
    what
        Which set, backbone, score or tool.
    text
        In what, recorded before found.
    """

    kind: Kind
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.what}: {self.text}"


@dataclass(frozen=True)
class Verification:
    """A report, its repetition, and how they differ."""

    recorded: ScoreReport
    found: ScoreReport
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether files, weights, recipes and scores are the same; other versions of tools alone do not count."""
        return all(difference.kind == "version" for difference in self.differences)


def verify(
    path: str | Path,
    *,
    gen: str | Path | None = None,
    ref: str | Path | None = None,
    weights: Mapping[str, str | Path] | None = None,
    device: str | torch.device = "auto",
    workers: int | None = None,
    cache: bool = False,
    tolerance: float = TOLERANCE,
    progress: bool = False,
) -> Verification:
    """Repeat the run behind a report and compare.

    Parameters
    ----------
    path
        A report as JSON.
    gen, ref, weights
        Where the sets and given weights are now, if not where the report says.
    device, workers, progress
        As in `audiogen_metrics.score`.
    cache
        Trust cached embeddings instead of computing all again.
    tolerance
        Relative difference up to which scores count as equal.

    Raises
    ------
    DataError
        No report, or a set that is not there any more.
    UsageError
        A report that does not say what it was made from, or a protocol that does not exist here.

    Examples
    --------
    >>> from audiogen_metrics.verification import verify
    >>> verify("report.json").equal  # doctest: +SKIP
    True
    """
    recorded = ScoreReport.load(path)
    manifest = recorded.manifest
    if manifest is None:
        raise UsageError(
            "the report does not say which folders it was made from", where=path, fix="Only agm score's reports do"
        )
    if not 0 <= tolerance < 1:
        raise UsageError(f"tolerance={tolerance}", fix="Use 0 or more, less than 1")
    found = score(
        manifest.gen if gen is None else gen,
        manifest.ref if ref is None else ref,
        # By name, a score that the report has as null would be an error.
        metrics=None if _has_gaps(recorded) else manifest.metrics,
        protocol=recorded.protocol,
        device=device,
        weights={**manifest.weights, **(weights or {})},
        batch_size=manifest.batch_size,
        workers=workers,
        pairing=recorded.pairing.get("mode", "auto"),
        limit=manifest.limit,
        suffixes=manifest.suffixes,
        ci=False,
        cache=cache,
        verify=True,
        progress=progress,
    )
    return Verification(recorded, found, tuple(differences(recorded, found, tolerance)))


def _has_gaps(report: ScoreReport) -> bool:
    return any(score.value is None for score in report.scores.values())


def differences(recorded: ScoreReport, found: ScoreReport, tolerance: float = TOLERANCE) -> Iterator[Difference]:
    """Yield in what a repetition differs from the report, causes before scores."""
    for name, old, new in (("gen", recorded.gen, found.gen), ("ref", recorded.ref, found.ref)):
        yield from _files(name, old, new)
    for name, settings in recorded.backbones.items():
        yield from _settings("backbone", name, settings, found.backbones.get(name, {}))
    old_recipes = {} if recorded.manifest is None else recorded.manifest.recipes
    new_recipes = {} if found.manifest is None else found.manifest.recipes
    for score_id, options in old_recipes.items():
        yield from _settings("recipe", score_id, options, new_recipes.get(score_id, {}))
    for score_id, old_score in recorded.scores.items():
        yield from _score(score_id, old_score, found.scores.get(score_id), tolerance)
    yield from _settings("version", "version of", recorded.versions, found.versions)


def _files(name: str, old: InputSummary, new: InputSummary) -> Iterator[Difference]:
    if old.digest == new.digest and old.files == new.files:
        return
    groups = {
        "changed": [clip for clip, digest in old.files.items() if new.files.get(clip, digest) != digest],
        "missing or no longer usable": sorted(old.files.keys() - new.files.keys()),
        "added": sorted(new.files.keys() - old.files.keys()),
    }
    for what, clips in groups.items():
        if clips:
            named = ", ".join(clips[:NAMED]) + ", …" * (len(clips) > NAMED)
            yield Difference("files", name, f"{len(clips)} files {what}: {named}")
    if not any(groups.values()):
        yield Difference("files", name, f"list hash {old.digest[:12]}…, now {new.digest[:12]}…")


def _settings(kind: Kind, what: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Difference]:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield Difference(kind, f"{what} {key}", f"{old.get(key, 'not there')}, now {new.get(key, 'not there')}")


def _score(score_id: str, old: Score, new: Score | None, tolerance: float) -> Iterator[Difference]:
    if new is None or new.value is None or old.value is None:
        if new is None or new.value != old.value:
            reason = None if new is None else new.reason
            now = f"null ({reason})" if new is None or new.value is None else f"{new.value:.9g}"
            was = "null" if old.value is None else f"{old.value:.9g}"
            yield Difference("score", score_id, f"{was}, now {now}")
        return
    change = new.value - old.value
    if abs(change) > tolerance * max(abs(old.value), abs(new.value)) + ROUNDING:
        yield Difference("score", score_id, f"{old.value:.9g}, now {new.value:.9g} ({change:+.3g})")
