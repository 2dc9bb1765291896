"""One probe on one set: what is corrupted is embedded, then every dose and repeat is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audiogen_metrics.audio.files import AudioFolder
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.probes.base import clip_rng
from audiogen_metrics.probes.corruption import Corruption
from audiogen_metrics.studies.measures import Measure, scale_of
from audiogen_metrics.studies.result import Axis, Finding, Point
from audiogen_metrics.studies.verdicts import judge

if TYPE_CHECKING:
    from audiogen_metrics.studies.study import StudyRun


@dataclass
class Trial:
    """One probe on one set."""

    study: StudyRun
    name: str
    folder: AudioFolder
    clean: FolderSide
    corruption: Corruption

    def __post_init__(self) -> None:
        self.points: list[Point] = []
        self.findings: list[Finding] = []
        self.left_out: dict[str, str] = {}
        self.corrupted: dict[tuple[float, int], FolderSide] = {}

    def run(self) -> None:
        """Embed what is corrupted, then score every dose and repeat."""
        plan = self.study.plan
        doses = ([1.0] if plan.fractions else []) + [severity for severity in plan.severities if severity > 0]
        for severity in dict.fromkeys(doses):
            for repeat in range(plan.repeats if plan.redraw_parameters else 1):
                self.corrupted[severity, repeat] = self._embed(severity, repeat)
        usable = set.intersection(*(common_clips(side, self.study.recipes) for side in self.corrupted.values()))
        self.clip_ids = tuple(sorted(usable & common_clips(self.clean, self.study.recipes)))
        self._note_left_out()
        if len(self.clip_ids) < 2:
            raise InsufficientDataError(f"{len(self.clip_ids)} clips can be corrupted and embedded", where=self.name)
        orders = [self._order(repeat) for repeat in range(plan.repeats)]
        for measure in self.study.measures:
            self._measure(measure, orders)

    def _embed(self, severity: float, repeat: int) -> FolderSide:
        plan = self.study.plan
        corruption = replace(self.corruption, severity=severity, seed=plan.seed + repeat)
        return self.study.extract(f"{self.name} at {severity:g}", self.folder, corruption)

    def _note_left_out(self) -> None:
        for side in (self.clean, *self.corrupted.values()):
            for extraction in side.extractions:
                lists = [extraction.failures, *(found.left_out for found in extraction.sets.values())]
                self.left_out |= {failure.clip_id: failure.reason for failures in lists for failure in failures}

    def _order(self, repeat: int) -> tuple[str, ...]:
        """Return the clips in the order in which this repeat corrupts them."""
        rng = clip_rng(self.study.plan.seed, f"repeat {repeat}", self.name)
        return tuple(self.clip_ids[place] for place in rng.permutation(len(self.clip_ids)))

    def _measure(self, measure: Measure, orders: Sequence[tuple[str, ...]]) -> None:
        plan = self.study.plan
        clean = self.clean.features(measure.recipe).select(self.clip_ids)
        scale = scale_of(measure, clean, plan.seed)
        known: dict[tuple[float, int, frozenset[str]], float] = {}

        def value(severity: float, repeat: int, chosen: frozenset[str]) -> float:
            severity, repeat = (severity, repeat if plan.redraw_parameters else 0) if chosen else (0.0, 0)
            if (severity, repeat, chosen) not in known:
                mixed = clean
                if chosen:
                    mixed = clean.mixed(self.corrupted[severity, repeat].features(measure.recipe), chosen)
                known[severity, repeat, chosen] = measure.value(mixed, clean)
            return known[severity, repeat, chosen]

        axes: dict[Axis, dict[float, list[float]]] = {}
        if plan.fractions:
            axes["fraction"] = {
                dose: [
                    value(1.0, repeat, frozenset(order[: round(dose * len(order))]))
                    for repeat, order in enumerate(orders)
                ]
                for dose in plan.fractions
            }
        if plan.severities:
            everything, repeats = frozenset(self.clip_ids), plan.repeats if plan.redraw_parameters else 1
            axes["severity"] = {
                dose: [value(dose, repeat, everything if dose else frozenset()) for repeat in range(repeats)]
                for dose in plan.severities
            }
        for axis, curve in axes.items():
            self.points += [
                Point(self.name, measure.score_id, axis, dose, repeat, score)
                for dose, scores in curve.items()
                for repeat, score in enumerate(scores)
            ]
            verdict = judge(curve, scale, higher_is_better=measure.higher_is_better)
            self.findings.append(Finding(self.name, measure.score_id, axis, verdict))


def common_clips(side: FolderSide, recipes: Sequence[Recipe]) -> set[str]:
    """Return the clips that every recipe has features of."""
    return set.intersection(*(set(side.features(recipe).clip_ids) for recipe in recipes))
