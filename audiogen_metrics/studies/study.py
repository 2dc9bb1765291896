"""The metric sanity study: corrupt a growing share of a set, and see which metrics notice."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from audiogen_metrics.audio.decoding import decoded
from audiogen_metrics.audio.files import AudioFolder, scan
from audiogen_metrics.declaring import takes
from audiogen_metrics.embedding.extraction import ExtractionOptions
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.evaluation.evaluation import backbone_settings
from audiogen_metrics.evaluation.networks import added, find_networks
from audiogen_metrics.evaluation.opening import computable
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.file_hashes import hashing_as_asked
from audiogen_metrics.probes import PROBES
from audiogen_metrics.probes.base import Clip
from audiogen_metrics.probes.configuration import configure, refuse_unused
from audiogen_metrics.probes.copying import write_clip
from audiogen_metrics.probes.corruption import Corruption
from audiogen_metrics.probes.pool import Pool, folder_labels, read_labels
from audiogen_metrics.probes.sequences import event_sequences
from audiogen_metrics.prompts import Captions, captions_of
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.run_options import StudyOptions
from audiogen_metrics.studies.measures import Measure
from audiogen_metrics.studies.result import Finding, Point, ProbeRun, Study
from audiogen_metrics.studies.trial import Trial, common_clips

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone

__all__ = ["Effort", "sanity"]

PAPER_PROBES = ("noise", "masking", "interference", "reordering")
"""The corruptions of arXiv 2303.03857, section IV-A."""

CONTROL = "resynthesis"
"""Run beside the paper's probes: what the way through the mel-spectrogram does by itself."""

FRACTIONS = tuple(step / 10 for step in range(11))

EventFolder = tuple[AudioFolder, dict[str, tuple[int, ...]]]


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
        caveat=chosen.caveat_of(recipes),
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
    run = StudyRun(measures, backbones, plan, options, effort or Effort())
    clean = run.extract("ref", folder)
    usable = common_clips(clean, run.recipes)
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


class StudyRun:
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
            trial = Trial(self, name, audio, clean, corruption)
            trial.run()
        self.done[name] = ProbeRun(probe.version, probe.settings, len(trial.clip_ids), trial.left_out)
        self.points += trial.points
        self.findings += trial.findings


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
