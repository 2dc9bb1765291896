"""Compute the known answers whose networks are on this machine, and say what the others need."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from audiogen_metrics.audio.files import scan
from audiogen_metrics.backbones.published import WEIGHTS, beside, weights_name, with_what_is_beside
from audiogen_metrics.backbones.weights import candidates, examine
from audiogen_metrics.declaring import takes
from audiogen_metrics.errors import MissingDependencyError, MissingWeightsError, NumericsError, UsageError, option
from audiogen_metrics.evaluation import create_backbones, evaluate
from audiogen_metrics.evaluation.evaluation import Asked
from audiogen_metrics.evaluation.networks import check_weights_names
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.options import as_path
from audiogen_metrics.prompts import captions_of
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.rendering import Renderable
from audiogen_metrics.run_options import SelftestOptions
from audiogen_metrics.selftest.answers import ANSWERS, PROMPT, Answer
from audiogen_metrics.selftest.clips import ClipCheck, check_clips, make_clips, write_clips
from audiogen_metrics.selftest.fma_pop import distance_to_fma_pop, open_fma_pop
from audiogen_metrics.selftest.resamplers import ResamplerCheck, check_resamplers
from audiogen_metrics.settings import resolve_device
from audiogen_metrics.text import byte_size, escaped

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.evaluation import Evaluation
    from audiogen_metrics.functional import GaussianStatistics
    from audiogen_metrics.metrics.recipe import Recipe

TOLERANCE = 3e-4
"""Relative difference up to which an answer holds; between a CPU and a GPU the published ones differ by up to 2e-4."""


@dataclass(frozen=True)
class Found:
    """A known answer, and the value that is computed here."""

    answer: Answer
    value: float

    @property
    def relative(self) -> float:
        """Difference from the known value, relative to it."""
        return abs(self.value - self.answer.value) / abs(self.answer.value)

    @property
    def holds(self) -> bool:
        """Whether the difference is within `TOLERANCE`."""
        return self.relative <= TOLERANCE

    def __str__(self) -> str:
        verdict = "ok       " if self.holds else "DIFFERENT"
        known = f"{self.answer.origin}, relative difference {self.relative:.1e}"
        return f"{verdict}  {self.answer.title} {self.value:.5g}, {known}"


@dataclass(frozen=True)
class NotRun:
    """A known answer that cannot be computed here, and what it needs."""

    answer: Answer
    needs: str


@dataclass(frozen=True)
class Selftest(Renderable):
    """Result of a self-test.

    Parameters
    ----------
    clips
        Whether the seeded clips are the published ones.
    found
        Answers that were computed.
    not_run
        Answers that were not computed, and what they need.
    notes
        Remarks, such as a weights file that is not the published one.
    resamplers
        Comparison of the resamplers with the packages whose definitions they keep; None if it was not asked for.
    device
        Device on which the networks ran.
    versions
        Versions of everything that shapes a number.
    """

    clips: ClipCheck
    found: tuple[Found, ...]
    not_run: tuple[NotRun, ...]
    notes: tuple[str, ...]
    resamplers: ResamplerCheck | None
    device: str
    versions: Mapping[str, str]

    @property
    def differences(self) -> tuple[str, ...]:
        """A text for each difference; empty if everything that could be checked is right."""
        clips = ["the seeded clips"] * (self.clips.verdict == "different")
        answers = [found.answer.title for found in self.found if not found.holds]
        rows = () if self.resamplers is None else self.resamplers.rows
        return (*clips, *answers, *(row.title for row in rows if not row.holds))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data, ready for strict JSON."""
        return {
            "equal": not self.differences,
            "differences": list(self.differences),
            "tolerance": TOLERANCE,
            "clips": {"verdict": self.clips.verdict, **asdict(self.clips)},
            "answers": [
                {**_described(each.answer), "found": each.value, "relative_difference": each.relative, "ok": each.holds}
                for each in self.found
            ],
            "not_run": [{**_described(each.answer), "needs": each.needs} for each in self.not_run],
            "notes": list(self.notes),
            "resamplers": None if self.resamplers is None else self.resamplers.to_dict(),
            "device": self.device,
            "versions": dict(self.versions),
        }

    def __str__(self) -> str:
        lines = [str(self.clips), "", *map(str, self.found)]
        for needs in dict.fromkeys(each.needs for each in self.not_run):
            lines += ["", f"not run: {needs}"]
            lines += [f"  {each.answer.title}, {each.answer.origin}" for each in self.not_run if each.needs == needs]
        lines += ["", *(f"note: {note}" for note in self.notes)] if self.notes else []
        if self.resamplers is not None:
            lines += ["", *str(self.resamplers).splitlines()]
        verdict = f"{sum(each.holds for each in self.found)} of {len(self.found)} known answers hold on {self.device}"
        verdict += f", {len(self.not_run)} not run" * bool(self.not_run)
        return "\n".join(map(escaped, [*lines, "", verdict]))


@takes(SelftestOptions)
def selftest(
    *, fma_pop: str | Path | None = None, audio: str | Path | None = None, **options: Unpack[SelftestOptions]
) -> Selftest:
    """Make the seeded clips of musegauge's published values and compute each value whose network is on this machine.

    Nothing is downloaded or taken from the cache. The answers for YAMNet were recorded with this library, so that an
    installation without other weights can be checked too. All other answers were published by others.

    Parameters
    ----------
    fma_pop
        fadtk's ``fma_pop.npz``; None takes the file of an installed fadtk.
    audio
        Folder of files that this library, torchaudio and resampy resample, to compare every sample.

    Returns
    -------
    Selftest
        Its ``differences`` are empty if this installation is right.

    Raises
    ------
    UsageError
        Weights that no answer needs, or a device that is not here.
    DataError
        ``fma_pop`` is not fadtk's file, or the folder has no usable audio.

    Examples
    --------
    >>> from audiogen_metrics.selftest import selftest
    >>> selftest(device="cpu").differences  # doctest: +SKIP
    ()
    """
    asked = SelftestOptions(**options)
    given, chosen = dict(asked["weights"] or {}), resolve_device(asked["device"])
    computable = [answer.recipe for answer in ANSWERS if answer.recipe is not None]
    check_weights_names(computable, given)
    folder = None if audio is None else scan(audio)
    statistics = open_fma_pop(fma_pop)
    clips = dict(make_clips())
    found: list[Found] = []
    not_run = [NotRun(each, "this library has no recipe for it") for each in ANSWERS if each.recipe is None]
    with _temporary() as root:
        folders = write_clips(clips, Path(root))
        for group in _by_backbone():
            computed, lacking = _compute(group, folders, statistics, chosen, given, asked["workers"], asked["progress"])
            found += computed
            not_run += lacking
    order = {answer: place for place, answer in enumerate(ANSWERS)}
    return Selftest(
        clips=check_clips(clips),
        found=tuple(sorted(found, key=lambda each: order[each.answer])),
        not_run=tuple(sorted(not_run, key=lambda each: order[each.answer])),
        notes=tuple(_foreign(given)),
        resamplers=None if folder is None else check_resamplers(folder),
        device=str(chosen),
        versions=tool_versions(),
    )


def _temporary() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="agm-selftest-")
    except OSError as error:
        fix = "Set TMPDIR to a folder with 16 MB of room"
        raise UsageError(f"there is no temporary folder for the clips ({error.strerror})", fix=fix) from error


def _by_backbone() -> list[list[Answer]]:
    """Return the answers for which this library has recipes, grouped by network, so that each is loaded once."""
    groups: dict[str, list[Answer]] = {}
    for answer in ANSWERS:
        if answer.recipe is not None:
            groups.setdefault(answer.recipe.backbone, []).append(answer)
    return [*groups.values()]


def _compute(
    group: Sequence[Answer],
    folders: Mapping[str, Path],
    fma_pop: GaussianStatistics | None,
    device: torch.device,
    weights: Mapping[str, str | Path],
    workers: int | None,
    progress: bool,
) -> tuple[list[Found], list[NotRun]]:
    """Return the answers on one network, or what they need."""
    recipes = [*dict.fromkeys(answer.recipe for answer in group if answer.recipe is not None)]
    needs = _files_needed(recipes, weights)
    backbones: dict[str, Backbone] = {}
    if not needs:
        try:
            backbones = create_backbones(recipes, device, weights)
        except (MissingWeightsError, MissingDependencyError) as error:
            needs = str(error)
    if needs:
        return [], [NotRun(answer, needs) for answer in group]
    able = [answer for answer in group if fma_pop is not None or not answer.fma_pop]
    evaluation = _evaluate(group, recipes, backbones, folders, workers, progress)
    found = [Found(answer, _value(answer, evaluation, fma_pop)) for answer in able]
    needs = (
        "needs stats/fma_pop.npz of fadtk 1.1.0 (82 MB): pip download --no-deps fadtk==1.1.0, "
        f"take the file out of the wheel, a ZIP file, and give it: {option('fma_pop', 'FILE')}"
    )
    return found, [NotRun(answer, needs) for answer in group if answer not in able]


def _evaluate(
    group: Sequence[Answer],
    recipes: Sequence[Recipe],
    backbones: Mapping[str, Backbone],
    folders: Mapping[str, Path],
    workers: int | None,
    progress: bool,
) -> Evaluation:
    """Embed the seeded clips for recipes on one network; clips of both sets pair by their number."""
    from audiogen_metrics.embedding.extraction import ExtractionOptions

    gen, ref = (scan(folder) for folder in folders.values())
    prompts = {clip_id: PROMPT.format(clip_id) for clip_id in gen.clip_ids}
    prompted = any(recipe.definition.prompted for recipe in recipes)
    compared = any("ref" in recipe.definition.sides for recipe in recipes)
    asked = Asked(
        by_name=True,
        prompts=dict(zip(gen.clip_ids, ref.clip_ids, strict=True)),
        captions=captions_of(prompts, gen.clip_ids) if prompted else None,
        cache=False,
    )
    options = ExtractionOptions(workers=workers, cache=False, progress=progress)
    protocol = get_protocol(group[0].protocol)
    return evaluate(gen, ref if compared else None, recipes, backbones, protocol, options, asked)


def _value(answer: Answer, evaluation: Evaluation, fma_pop: GaussianStatistics | None) -> float:
    recipe = answer.recipe
    assert recipe is not None
    if answer.fma_pop:
        assert fma_pop is not None
        return distance_to_fma_pop(evaluation.gen.features(recipe), recipe, fma_pop)
    value = evaluation.scores[recipe.score_id].value
    if answer.clip:
        value = (evaluation.measured(recipe).measurement.by_clip or {}).get(answer.clip)
    if value is None or not math.isfinite(value):
        raise NumericsError(f"{answer.title} is {value} on the seeded clips", where=answer.score_id)
    return value


def _files_needed(recipes: Sequence[Recipe], given: Mapping[str, str | Path]) -> str:
    """Return which published files are not here, how large they are, and how to get them; empty if all are here."""
    names = with_what_is_beside({weights_name(recipe.backbone) for recipe in recipes} - given.keys())
    names |= {
        each for recipe in recipes if recipe.definition.prompted for each in beside(weights_name(recipe.backbone))
    }
    lacking, others = [], []
    for entry in (WEIGHTS.get(name) for name in sorted((names - given.keys()) & {*WEIGHTS.names()})):
        problems = {path: examine(entry, path) for path in candidates(entry)}
        if None not in problems.values():
            lacking.append(entry)
            others += [f"{path} {problem}" for path, problem in problems.items() if problem]
    if not lacking:
        return ""
    files = ", ".join(f"{each.file_name} ({byte_size(each.size)})" if each.size else each.file_name for each in lacking)
    rejected = "".join(f"; {other}" for other in others)
    return f"needs {files}: agm weights fetch {' '.join(each.name for each in lacking)}{rejected}"


def _foreign(given: Mapping[str, str | Path]) -> Iterator[str]:
    """Yield a note on each given file that is not the published one, since its answers will differ."""
    for name, file in given.items():
        known = WEIGHTS.get(name).sha256 if name in WEIGHTS.names() else None
        path = as_path(file)
        if known is not None and path.is_file() and (digest := sha256_of(path)) != known:
            yield f"{file} is not the published file of {name}: its SHA-256 is {digest[:16]}…, not {known[:16]}…"


def _described(answer: Answer) -> dict[str, Any]:
    return {**asdict(answer), "published": answer.published}
