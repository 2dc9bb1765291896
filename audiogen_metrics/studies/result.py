"""What a study finds: a verdict on each score under each probe, the points behind it, and what was scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from audiogen_metrics.rendering import Renderable, records_to_csv
from audiogen_metrics.results import InputSummary
from audiogen_metrics.studies.verdicts import Verdict
from audiogen_metrics.writing import written

__all__ = ["Finding", "Point", "ProbeRun", "Study"]

STUDY_VERSION = 2

Axis = Literal["fraction", "severity"]


@dataclass(frozen=True)
class Point:
    """One score: of the set with this share corrupted, or all of it at this severity."""

    probe: str
    score: str
    axis: Axis
    dose: float
    repeat: int
    value: float


@dataclass(frozen=True)
class Finding:
    """A verdict with its probe, score and axis."""

    probe: str
    score: str
    axis: Axis
    verdict: Verdict


@dataclass(frozen=True)
class ProbeRun:
    """What one probe was, on which clips.

    Parameters
    ----------
    clips
        Clips, or sequences of clips for a probe that orders events.
    left_out
        Clip ids that could not be corrupted or embedded, and why.
    """

    version: int
    settings: Mapping[str, Any]
    clips: int
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Study(Renderable):
    """Curves and verdicts for every metric and probe.

    Each metric's ``scale`` is how far it moves on this very set when nothing is left to recognise, and does not depend
    on how many clips there are: for a Fréchet distance the total variance of the set's rows, for KL the value between
    clips paired at random, for IS, precision and their like the distance from the value of a generator that gets
    everything wrong. All others take the value between the set and copies of one clip, as a mean over ten clips.

    Parameters
    ----------
    points
        All scores.
    findings
        All verdicts.
    probes
        What was run.
    not_run
        Probes that this set is not fit for, and why.
    """

    protocol: str
    caveat: str
    ref: InputSummary
    backbones: Mapping[str, Mapping[str, str | int]]
    fractions: tuple[float, ...]
    severities: tuple[float, ...]
    repeats: int
    seed: int
    redraw_parameters: bool
    probes: Mapping[str, ProbeRun]
    points: tuple[Point, ...]
    findings: tuple[Finding, ...]
    not_run: Mapping[str, str]
    warnings: tuple[str, ...]
    versions: Mapping[str, str]
    study_version: int = STUDY_VERSION

    def __str__(self) -> str:
        from audiogen_metrics.studies.files import summary

        return summary(self)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return a line per verdict, behind a header; numbers in full."""
        return written(records_to_csv(self.records()), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return the verdicts with their numbers, as GitHub's Markdown."""
        from audiogen_metrics.studies.files import to_markdown

        return written(to_markdown(self), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the page of the study, and write it to ``path`` if one is given."""
        from audiogen_metrics.studies.page import study_page

        return written(study_page(self), path)

    def finding(self, probe: str, score: str, axis: Axis = "fraction") -> Verdict:
        """Return one verdict; KeyError if that was not studied."""
        return {(f.probe, f.score, f.axis): f.verdict for f in self.findings}[probe, score, axis]

    def curve(self, probe: str, score: str, axis: Axis = "fraction") -> dict[float, list[float]]:
        """Return the scores of every dose, one per repeat."""
        found: dict[float, list[float]] = {}
        for point in self.points:
            if (point.probe, point.score, point.axis) == (probe, score, axis):
                found.setdefault(point.dose, []).append(point.value)
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return one flat record per verdict."""
        return [
            {
                "probe": finding.probe,
                "score": finding.score,
                "axis": finding.axis,
                "answer": finding.verdict.answer,
                "clips": self.probes[finding.probe].clips,
                "spearman": finding.verdict.spearman,
                "ci95_low": finding.verdict.ci95[0] if finding.verdict.ci95 else None,
                "ci95_high": finding.verdict.ci95[1] if finding.verdict.ci95 else None,
                "change": finding.verdict.change,
                "relative_change": finding.verdict.relative_change,
                "effect_size": finding.verdict.effect_size,
            }
            for finding in self.findings
        ]
