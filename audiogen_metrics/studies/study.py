"""The metric sanity study: corrupt a growing share of a set, and see which metrics notice."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from audiogen_metrics.audio.decoding import decoded
from audiogen_metrics.audio.files import AudioFolder, scan
from audiogen_metrics.declaring import takes
from audiogen_metrics.embedding.extraction import EmbeddingSet, ExtractionOptions
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.evaluation.evaluation import backbone_settings
from audiogen_metrics.evaluation.networks import added, find_networks
from audiogen_metrics.evaluation.opening import computable
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.file_hashes import hashing_as_asked
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.probes import PROBES
from audiogen_metrics.probes.base import Clip, clip_rng
from audiogen_metrics.probes.configuration import configure, refuse_unused
from audiogen_metrics.probes.copying import write_clip
from audiogen_metrics.probes.corruption import Corruption
from audiogen_metrics.probes.pool import Pool, folder_labels, read_labels
from audiogen_metrics.probes.sequences import event_sequences
from audiogen_metrics.prompts import Captions, captions_of
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.run_options import StudyOptions
from audiogen_metrics.studies.result import Axis, Finding, Point, ProbeRun, Study
from audiogen_metrics.studies.verdicts import judge

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone

__all__ = ["Effort", "sanity"]

COPIED_CLIPS = 10
"""Clips whose copies give the scale of a metric without a bound, at most."""

PAPER_PROBES = ("noise", "masking", "interference", "reordering")
"""The corruptions of arXiv 2303.03857, section IV-A."""

CONTROL = "resynthesis"
"""Run beside the paper's probes: what the way through the mel-spectrogram does by itself."""

FRACTIONS = tuple(step / 10 for step in range(11))

EventFolder = tuple[AudioFolder, dict[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Measure:
    """One metric as a study asks it.

    Parameters
    ----------
    score_id
        Its name in the results.
    recipe
        Backbone and preprocessing.
    higher_is_better
        Direction.
    value
        Score of ``(gen, ref)``, two sets of features with the same clip ids where the metric needs pairs.
    """

    score_id: str
    recipe: Recipe
    higher_is_better: bool
    value: Callable[[EmbeddingSet, EmbeddingSet], float]

    @classmethod
    def of(cls, recipe: Recipe) -> Measure:
        """Return the metric of a recipe; IS with one split, since it compares sets here."""
        metric = recipe.definition.whole()

        def value(gen: EmbeddingSet, ref: EmbeddingSet) -> float:
            try:
                return metric.compute(gen, ref).value
            except InsufficientDataError as error:
                raise InsufficientDataError(str(error), where=recipe.score_id) from error

        return cls(recipe.score_id, replace(recipe, definition=metric), metric.higher_is_better, value)


@dataclass
class Effort:
    """What a run cost; not part of the result, because it depends on the cache."""

    embedded: dict[str, int] = field(default_factory=dict)
    recalled: dict[str, int] = field(default_factory=dict)

    def add(self, side: FolderSide, backbones: Sequence[str]) -> None:
        """Count the clips of one extraction."""
        for extraction in side.extractions:
            for name in backbones:
                if name in extraction.sets:
                    fresh = len(extraction.digests) - extraction.from_cache
                    self.embedded[name] = self.embedded.get(name, 0) + fresh
                    self.recalled[name] = self.recalled.get(name, 0) + extraction.from_cache


@takes(StudyOptions)
@hashing_as_asked
def sanity(
    ref: str | Path,
    *,
    probes: Sequence[str] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    severities: Sequence[float] = (),
    settings: Mapping[str, Mapping[str, str]] | None = None,
    labels: str | Path | None = None,
    events: int | None = None,
    effort: Effort | None = None,
    **options: Unpack[StudyOptions],
) -> Study:
    """Find out which damage the metrics of a protocol can hear on a set of recordings.

    A growing share of the set is corrupted and scored against the set itself, as in Figure 1 of arXiv 2303.03857.
    Which clips are corrupted is a seeded permutation per repeat, nested: each clip is embedded twice, clean and
    corrupted, however many shares and repeats there are. Whatever was embedded is in the cache if the run is
    interrupted; run it again to go on.

    Parameters
    ----------
    ref
        Folder of real recordings. Classes are its first sub-folders, unless ``labels`` says otherwise.
    probes
        Names from ``agm list probes``. None takes the paper's four and the control `CONTROL`, without those that
        the set is not fit for; one asked for by name raises instead.
    fractions
        Shares of the set to corrupt at severity 1, in [0, 1]; 0 is added. Empty leaves this axis out.
    severities
        Severities at which to corrupt the whole set, in [0, 1]; each costs one extraction. Empty leaves it out.
    settings
        Settings by probe, as text by name: ``{"noise": {"variance_ratio": "0.1"}}``.
    labels
        CSV file with the columns ``clip_id`` and ``label``.
    events
        Events a sequence, for probes that need sequences; None takes 4.
    effort
        Filled with the number of clips embedded and recalled.

    Raises
    ------
    DataError, InsufficientDataError, MissingWeightsError, MissingDependencyError, UsageError
        As in `audiogen_metrics.score`; a probe asked for by name that cannot run on this set.

    Examples
    --------
    >>> from audiogen_metrics.studies import sanity
    >>> study = sanity("examples/reference", protocol="yamnet", probes=["noise"])  # doctest: +SKIP
    >>> study.finding("noise", "fd_yamnet").answer  # doctest: +SKIP
    'responds'
    """
    given = StudyOptions(**options)
    metrics, prompts = given["metrics"], given["prompts"]
    chosen = get_protocol(given["protocol"])
    recipes = computable(chosen, metrics, ref=True, prompts=prompts is not None, backbone=given["backbone"])
    optional = added(recipes) if metrics is None else ()
    networks = find_networks(recipes, given["device"], given["weights"], optional)
    folder = scan(ref, given["suffixes"])
    study = run_study(
        replace(folder, clips=folder.clips[: given["limit"]]),
        [Measure.of(recipe) for recipe in recipes if recipe.backbone in networks.backbones],
        networks.backbones,
        StudyPlan(
            probes=tuple(probes) if probes is not None else (*PAPER_PROBES, CONTROL),
            by_name=probes is not None,
            fractions=_doses(fractions, "fractions"),
            severities=_doses(severities, "severities"),
            repeats=given["repeats"],
            seed=given["seed"],
            redraw_parameters=given["redraw_parameters"],
            settings=settings or {},
            labels=labels,
            events=events,
            captions=None if prompts is None else captions_of(prompts, folder.clip_ids, name="ref"),
        ),
        ExtractionOptions.of(given),
        protocol=chosen.name,
        caveat=chosen.caveat,
        effort=effort,
    )
    gone = [recipe for recipe in recipes if recipe.backbone in networks.missing]
    warnings = [f"{recipe.score_id} is not studied: {networks.missing[recipe.backbone]}" for recipe in gone]
    return replace(study, warnings=(*study.warnings, *warnings))


@dataclass(frozen=True)
class StudyPlan:
    """What a study does; the fields are those of `sanity`. ``by_name``: a probe that cannot run is an error.

    ``captions`` are the prompts, joined to the clips.
    """

    probes: tuple[str, ...]
    by_name: bool = False
    fractions: tuple[float, ...] = FRACTIONS
    severities: tuple[float, ...] = ()
    repeats: int = 5
    seed: int = 0
    redraw_parameters: bool = False
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    labels: str | Path | None = None
    events: int | None = None
    captions: Captions | None = None

    def __post_init__(self) -> None:
        for name in self.probes:
            configure(name, self.settings.get(name))
        for name in self.settings:
            if name not in self.probes:
                raise UsageError(
                    f"settings of {name!r}, which is not studied", fix=f"Studied: {', '.join(self.probes)}"
                )
        refuse_unused(self.probes, self.labels, self.events)
        if self.repeats < 1:
            raise UsageError(f"repeats={self.repeats}", fix="Use at least 1")
        if not self.fractions and not self.severities:
            raise UsageError("neither fractions nor severities", fix="Give at least one dose above 0")


def run_study(
    folder: AudioFolder,
    measures: Sequence[Measure],
    backbones: Mapping[str, Backbone],
    plan: StudyPlan,
    options: ExtractionOptions,
    *,
    protocol: str,
    caveat: str = "",
    effort: Effort | None = None,
) -> Study:
    """Run a study with metrics and backbones of one's own; `sanity` takes them from a protocol."""
    run = _StudyRun(measures, backbones, plan, options, effort or Effort())
    clean = run.extract("ref", folder)
    usable = _common(clean, run.recipes)
    whole = replace(folder, clips=tuple(clip for clip in folder.clips if clip.clip_id in usable))
    labels = folder_labels(usable) if plan.labels is None else read_labels(plan.labels)
    pool = Pool(tuple(sorted(usable)), _Loader(whole), labels, plan.seed)
    company = _company(clean, pool)
    not_run: dict[str, str] = {}
    for name in plan.probes:
        try:
            run.probe(name, whole, clean, pool, company)
        except (InsufficientDataError, DataError) as error:
            if plan.by_name:
                raise
            not_run[name] = str(error)
    if not run.done:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in not_run.items())
        raise InsufficientDataError(f"no probe can be studied on this set ({reasons})", where=folder.root)
    return Study(
        protocol=protocol,
        caveat=caveat,
        ref=clean.summary(),
        backbones=backbone_settings(run.recipes, backbones),
        fractions=plan.fractions,
        severities=plan.severities,
        repeats=plan.repeats,
        seed=plan.seed,
        redraw_parameters=plan.redraw_parameters,
        probes=run.done,
        points=tuple(run.points),
        findings=tuple(run.findings),
        not_run=not_run,
        warnings=tuple(clean.warnings()),
        versions=tool_versions(),
    )


class _StudyRun:
    """State of one study."""

    def __init__(
        self,
        measures: Sequence[Measure],
        backbones: Mapping[str, Backbone],
        plan: StudyPlan,
        options: ExtractionOptions,
        effort: Effort,
    ) -> None:
        self.measures, self.backbones, self.plan, self.options, self.effort = measures, backbones, plan, options, effort
        self.recipes = [measure.recipe for measure in measures]
        self.done: dict[str, ProbeRun] = {}
        self.points: list[Point] = []
        self.findings: list[Finding] = []

    def extract(self, name: str, folder: AudioFolder, corruption: Corruption | None = None) -> FolderSide:
        """Embed a folder, corrupted or as it is."""
        captions = self.plan.captions
        side = FolderSide.extract(name, folder, self.recipes, self.backbones, self.options, corruption, captions)
        self.effort.add(side, [*self.backbones])
        return side

    def probe(self, name: str, folder: AudioFolder, clean: FolderSide, pool: Pool, company: str) -> None:
        """Study one probe."""
        kind = PROBES.get(name)
        opened: AbstractContextManager[EventFolder] = nullcontext((folder, {}))
        if kind.needs_events:
            opened = _sequences(pool, self.plan.events)
        with opened as (audio, events):
            if kind.needs_events:
                clean = self.extract("sequences", audio)
            probe = configure(name, self.plan.settings.get(name), pool)
            corruption = Corruption(probe, 1.0, self.plan.seed, company if probe.needs_pool else "", events)
            trial = _Trial(self, name, audio, clean, corruption)
            trial.run()
        self.done[name] = ProbeRun(probe.version, probe.settings, len(trial.clip_ids), trial.left_out)
        self.points += trial.points
        self.findings += trial.findings


@dataclass
class _Trial:
    """One probe on one set."""

    study: _StudyRun
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
        usable = set.intersection(*(_common(side, self.study.recipes) for side in self.corrupted.values()))
        self.clip_ids = tuple(sorted(usable & _common(self.clean, self.study.recipes)))
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
        scale = _scale(measure, clean, plan.seed)
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


def _scale(measure: Measure, clean: EmbeddingSet, seed: int) -> float:
    """Return how far a metric moves on this set when nothing is left to recognise; see `Study`."""
    order = [clean.clip_ids[place] for place in clip_rng(seed, "", "scale").permutation(len(clean))]
    kind = measure.recipe.definition
    if kind.worst is not None or "ref" not in kind.sides:
        scale = abs(measure.value(clean, clean) - (kind.worst or 0.0))
    elif kind.needs == "pairs":
        # Each clip against the next one in a random order: no clip meets itself.
        strangers = dict(zip(order, order[1:] + order[:1], strict=True))
        scale = measure.value(clean.renamed({clip_id: strangers[clip_id] for clip_id in clean.clip_ids}), clean)
    elif kind.needs == "moments":
        scale = float(clean.statistics(kind.output).factor.square().sum())
    else:
        copies = [clean.renamed(dict.fromkeys(clean.clip_ids, clip)) for clip in order[:COPIED_CLIPS]]
        scale = math.fsum(measure.value(copied, clean) for copied in copies) / len(copies)
    if not scale > 0:
        raise InsufficientDataError(
            f"{measure.score_id} has no scale on this set: with nothing left to recognise it would be {scale:.3g} off",
            fix="Take a set with more clips and more kinds of sound",
        )
    return scale


def _common(side: FolderSide, recipes: Sequence[Recipe]) -> set[str]:
    """Return the clips that every recipe has features of."""
    return set.intersection(*(set(side.features(recipe).clip_ids) for recipe in recipes))


@dataclass(frozen=True)
class _Loader:
    """Decodes a clip of a folder by id."""

    folder: AudioFolder

    def __call__(self, clip_id: str) -> Clip:
        file = next(clip for clip in self.folder.clips if clip.clip_id == clip_id)
        return Clip.from_audio(clip_id, decoded(file))


def _company(clean: FolderSide, pool: Pool) -> str:
    """Return a hash of everything that a probe with a pool may draw on."""
    digests = clean.extractions[0].digests
    listing = "\n".join(f"{digests[clip_id]} {pool.labels.get(clip_id, '')} {clip_id}" for clip_id in pool.clip_ids)
    return hashlib.sha256(f"{pool.seed}\n{listing}".encode()).hexdigest()


@contextmanager
def _sequences(pool: Pool, events: int | None) -> Iterator[EventFolder]:
    """Yield a temporary folder of event sequences, and the first samples of their events by clip id."""
    sequences = event_sequences(pool, events)
    with tempfile.TemporaryDirectory(prefix="agm-sequences-") as folder:
        starts = {}
        for sequence in sequences:
            clip = sequence.load(pool)
            write_clip(Path(folder), clip)
            starts[clip.clip_id] = clip.events
        yield scan(folder), starts


def _doses(doses: Sequence[float], name: str) -> tuple[float, ...]:
    """Return the doses in order, with 0."""
    for dose in doses:
        if not 0 <= dose <= 1:
            raise UsageError(f"{dose:g} is out of range", where=name, fix="Pass numbers from 0 to 1")
    if not doses:
        return ()
    if max(doses) == 0:
        raise UsageError("nothing above 0", where=name, fix="Pass at least one dose above 0")
    return tuple(sorted({0.0, *map(float, doses)}))
