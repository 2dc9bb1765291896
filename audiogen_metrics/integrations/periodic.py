"""What the integrations share: clips from fixed prompts every so many steps, their scores, a page, the best kept."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from audiogen_metrics import distributed
from audiogen_metrics.audio.files import AudioFile, AudioFolder, canonical_id
from audiogen_metrics.audio.pairing import pair
from audiogen_metrics.declaring import part_of
from audiogen_metrics.errors import UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.evaluation.networks import added, find_networks
from audiogen_metrics.evaluation.opening import computable, fitted, found_ids, open_ref, require_agreement
from audiogen_metrics.evaluation.run import check_names
from audiogen_metrics.generation.base import Generated, Generator, Request
from audiogen_metrics.generation.folder import generate_folder
from audiogen_metrics.generation.history import History, noted
from audiogen_metrics.generation.prompts import requests_from_file, requests_from_prompts
from audiogen_metrics.generation.seeding import random_state_kept, seeded
from audiogen_metrics.options import as_path, whole
from audiogen_metrics.protocols import Protocol, get_protocol
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.results import ScoreReport
from audiogen_metrics.run_options import RunOptions, SystemOptions

if TYPE_CHECKING:
    from audiogen_metrics.evaluation import Evaluation
    from audiogen_metrics.metrics.recipe import Recipe

__all__ = ["Outcome", "PeriodicEvaluation", "undisturbed"]

CLIPS, CHECKPOINT, REPORT, PAGE = "clips", "checkpoint", "report.json", "page.html"
"""What the folder of one step holds."""

Keep = Literal["best", "all"]


@dataclass(frozen=True)
class Outcome:
    """What one evaluation came to.

    Parameters
    ----------
    step
        Of the training.
    folder
        Its clips, report.json and page.html; and the checkpoint, if it was the best so far and still is.
    report
        The scores; None if it has failed.
    is_best
        Whether no earlier evaluation is as good.
    problem
        Why it has failed, or its checkpoint could not be kept; empty otherwise.
    """

    step: int
    folder: Path
    report: ScoreReport | None = None
    is_best: bool = False
    problem: str = ""

    def scalars(self, prefix: str = "") -> dict[str, float]:
        """Return the numbers to log, as `ScoreReport.scalars` does; none if it has failed."""
        return {} if self.report is None else self.report.scalars(prefix)


class PeriodicEvaluation:
    """Scores every so many steps of a training; the same prompts and the same noise each time.

    Each process of a process group makes its share of the clips and embeds its share; all get the outcome. The training
    goes on as if nothing had been: the random numbers of torch, NumPy and Python, the modes of all modules and
    gradients are what they were. An evaluation that fails is noted and warned of, and the training goes on too.

    Parameters
    ----------
    generator
        What makes the clips with the model that trains: a `Generator`, or a
        `audiogen_metrics.generation.base.FunctionGenerator` around a function.
    prompts
        A file as `audiogen_metrics.generation.prompts.requests_from_file` takes it, prompts by clip id, or prompts
        alone. Clips pair with the recordings of the reference by clip id.
    ref
        Reference, as in `score`.
    folder
        Of the run, and of nothing else: a folder for each evaluation, and history.jsonl.
    every
        Steps between two evaluations.
    seconds
        Length of a clip, where the prompts do not say it.
    seed
        Of the clips. Before each batch of requests the random numbers of torch, NumPy and Python are set from it too.
    monitor
        Id of the score that says which step is the best; the first of the protocol if None.
    keep
        ``"best"`` removes clips and checkpoint of all steps but the best and the newest; ``"all"`` none.
    page
        Whether to write page.html.
    strict
        Raise if an evaluation fails.
    options
        Of `score`, such as ``{"protocol": "yamnet", "ci": False}``; all but ``prompts`` and ``distributed``.

    Raises
    ------
    UsageError, DataError
        An option that there is not, a monitored score that is not computed, prompts or a reference that cannot be read.
    InsufficientDataError
        A metric that compares pairs is named or monitored, and no prompt has the clip id of a recording.
    MissingWeightsError, MissingDependencyError
        A network is not on this machine.
    """

    def __init__(
        self,
        generator: Generator,
        prompts: str | Path | Mapping[str, str] | Sequence[str],
        ref: str | Path | None,
        folder: str | Path,
        *,
        every: int,
        seconds: float = 10.0,
        seed: int = 0,
        monitor: str | None = None,
        keep: Keep = "best",
        page: bool = True,
        strict: bool = False,
        options: SystemOptions | None = None,
    ) -> None:
        options = options or {}
        check_names(options, SystemOptions)
        for name in {"prompts", "distributed"} & options.keys():
            raise UsageError("the evaluation decides this itself", where=name, fix="Leave it out")
        if keep not in get_args(Keep):
            raise UsageError(f"{keep!r}", where="keep", fix=f"Use {' or '.join(get_args(Keep))}")
        if not hasattr(generator, "generate"):
            fix = "Wrap a function: FunctionGenerator(function, SAMPLE_RATE, SETTINGS)"
            raise UsageError(f"{type(generator).__name__} does not generate clips", where="generator", fix=fix)
        self.folder: Path = as_path(folder, "folder")
        self.every: int = whole("every", every, 1)
        self._generator, self._ref, self._options = generator, ref, options
        self._keep, self._page, self._strict = keep, page, strict
        self._requests = requests_of(prompts, seconds, seed)
        texts = {request.clip_id: request.prompt for request in self._requests if request.prompt}
        self._prompts: dict[str, str] | None = texts or None
        self.history: History = History(self.folder, *self._monitored(monitor))
        self._last = 0

    def start(self, step: int = 0) -> None:
        """Begin at a step of the training, 0 or where it goes on: what was noted after it will come again."""
        self._last = step
        distributed.from_first(lambda: self._open(step))

    def at(
        self, step: int, model: torch.nn.Module | None, save: Callable[[Path], object] | None = None
    ) -> Outcome | None:
        """Evaluate if a multiple of `every` was reached since the last call, else return None.

        All processes call this after each step of the optimizer.

        Parameters
        ----------
        step
            Steps that are done.
        model
            What trains, whose modules evaluate meanwhile.
        save
            Called by all processes with a new folder for the checkpoint if this is the best evaluation so far.
        """
        before, self._last = self._last, step
        return self.run(step, model, save) if step // self.every > before // self.every else None

    def run(self, step: int, model: torch.nn.Module | None, save: Callable[[Path], object] | None = None) -> Outcome:
        """Evaluate now; parameters are those of `at`."""
        folder, begin = self._folder_of(step), time.monotonic()
        entry: dict[str, Any] = {"step": step}
        report = None
        try:
            with undisturbed(model):
                report, seen = self._scored(folder)
            entry |= {**noted(report), "seconds": round(time.monotonic() - begin, 3)}
            entry["best"] = distributed.from_first(lambda: self.history.is_better(entry))
            distributed.from_first(lambda: self._write(folder, report, seen))
            if entry["best"] and save is not None:
                distributed.from_first(lambda: (folder / CHECKPOINT).mkdir())
                with distributed.together():
                    save(folder / CHECKPOINT)
            distributed.from_first(lambda: self._note(folder, entry, report))
            return Outcome(step, folder, report, entry["best"])
        except Exception as error:
            if self._strict:
                raise
            problem = f"{type(error).__name__}: {error}"
            if distributed.rank() == 0:
                shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)  # half of one is none
                self.history.note_failure({**entry, "best": False}, problem)
            return Outcome(step, folder, report, problem=problem)

    def _open(self, step: int) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fix = "Name a folder that can be written"
            raise UsageError(f"cannot be made ({error.strerror})", where=self.folder, fix=fix) from error
        self.history.read()
        if step == 0 and self.history.entries:
            raise UsageError(
                "has the evaluations of an earlier training, which begins anew",
                where=self.folder,
                fix="Name another folder, or resume that training from its checkpoint",
            )
        if forgotten := self.history.cut(step):
            warnings.warn(
                f"{self.folder}: {forgotten} evaluations after step {step} are forgotten: they come again", stacklevel=2
            )
        self.history.read()
        # What a forgotten evaluation was better than has been removed: the next best one must be kept again.
        self.history.entries = [
            entry for entry in self.history.entries if (self._folder_of(entry["step"]) / CLIPS).is_dir()
        ]

    def _folder_of(self, step: int) -> Path:
        return self.folder / f"{step:07d}"

    def _scored(self, folder: Path) -> tuple[ScoreReport, list[Evaluation]]:
        distributed.from_first(lambda: _clear(folder))
        place = (distributed.rank(), distributed.count()) if distributed.is_joined() else (0, 1)
        with distributed.together():
            generate_folder(_Seeded(self._generator), self._requests, folder / CLIPS, processes=place)
        seen: list[Evaluation] = []
        known: SystemOptions = {"prompts": self._prompts, "distributed": distributed.is_joined()}
        options: SystemOptions = {**self._options, **known}
        return score(folder / CLIPS, self._ref, observe=seen.append, **options), seen

    def _write(self, folder: Path, report: ScoreReport, seen: Sequence[Evaluation]) -> None:
        from audiogen_metrics.report.html import write_page

        report.to_json(folder / REPORT)
        if self._page:
            write_page(report, seen[0], folder / PAGE)

    def _note(self, folder: Path, entry: Mapping[str, Any], report: ScoreReport) -> None:
        """Note the evaluation, remove what is neither the best nor the newest."""
        self.history.note(entry)
        for missing in [each for each in report.scores.values() if each.value is None]:
            warnings.warn(f"{missing.id} has no value and is not logged: {missing.reason}", stacklevel=2)
        best = self.history.best()
        kept = {folder, *([self._folder_of(best["step"])] if best else [])}
        for other in self.folder.glob("[0-9]" * 7 + "*") if self._keep == "best" else ():
            if other not in kept and other.name.isdigit():
                for name in (CLIPS, CHECKPOINT):
                    shutil.rmtree(other / name, ignore_errors=True)

    def _monitored(self, monitor: str | None) -> tuple[str, bool]:
        """Return the monitored score and whether higher is better; raise what would keep every evaluation from it."""
        options = SystemOptions(**{**self._options, "prompts": self._prompts})
        protocol, metrics = get_protocol(options["protocol"]), options["metrics"]
        given = {"ref": self._ref is not None, "prompts": self._prompts is not None}
        recipes = computable(protocol, metrics, **given, backbone=options["backbone"])
        known = {recipe.score_id: recipe for recipe in recipes}
        chosen = next(iter(known)) if monitor is None else monitor
        if chosen not in known:
            raise unknown_name("score to monitor", chosen, [*known])
        required = [known[chosen]] if metrics is None else recipes
        self._require_fit(recipes, required, protocol, part_of(RunOptions, options))
        find_networks(recipes, options["device"], options["weights"], added(recipes) if metrics is None else ())
        return chosen, known[chosen].definition.higher_is_better

    def _require_fit(
        self, recipes: Sequence[Recipe], required: Sequence[Recipe], protocol: Protocol, options: RunOptions
    ) -> None:
        """Raise what `score` would raise of the clips that will be made and the reference; warn of prompts left out."""
        require_agreement(options, ref=self._ref is not None)
        clips = self.folder / CLIPS
        files = [AudioFile(canonical_id(each.clip_id), clips / each.clip_id) for each in self._requests]
        made, ref = AudioFolder(clips, tuple(sorted(files)), 0), open_ref(self._ref, options)
        fit = fitted(made, ref, required, protocol, options, by_name=True)
        if fit.ref is None or not any(recipe.definition.needs == "pairs" for recipe in recipes):
            return
        pairs = pair(fit.gen.clip_ids, found_ids(fit.ref), fit.partners)
        if pairs.paired and pairs.gen_only:
            shown = ", ".join(map(repr, pairs.gen_only[:3])) + ", …" * (len(pairs.gen_only) > 3)
            near = f"; {nearly}" if (nearly := pairs.near_misses("prompt", "ref")) else ""
            warnings.warn(
                f"{len(pairs.gen_only)} of {len(fit.gen.clips)} prompts have no recording of their clip id in ref and "
                f"will not be in KL: {shown}{near}",
                stacklevel=4,
            )


def requests_of(
    prompts: str | Path | Mapping[str, str] | Sequence[str], seconds: float = 10.0, seed: int = 0
) -> list[Request]:
    """Return what to make for prompts: a file of them, prompts by clip id, or prompts alone."""
    if isinstance(prompts, (str, Path)):
        return requests_from_file(prompts, seconds, seed)
    if not prompts:
        raise UsageError(
            "no prompts are given", where="prompts", fix="Pass a file, prompts by clip id, or a list of them"
        )
    texts = [*prompts.values()] if isinstance(prompts, Mapping) else [*prompts]
    if odd := [text for text in texts if not isinstance(text, str)]:
        raise UsageError(f"{odd[0]!r} is not text", where="prompts", fix="Pass a file, or texts")
    if isinstance(prompts, Mapping):
        return requests_from_prompts(texts, seconds, seed, names=[*prompts])
    return requests_from_prompts(texts, seconds, seed)


@contextmanager
def undisturbed(model: torch.nn.Module | None) -> Iterator[None]:
    """Let a model evaluate inside the block, without gradients, and leave no trace in what trains.

    Afterwards the random numbers of torch, on all devices that are in use, of NumPy and of Python go on where they
    were, and each module is in the mode in which it was, also where some of them do not train.
    """
    modes = [] if model is None else [(module, module.training) for module in model.modules()]
    try:
        with random_state_kept(), torch.no_grad():
            if model is not None:
                model.eval()
            yield
    finally:
        if model is not None:
            model.train(modes[0][1])  # some layers, such as those of LoRA, change weights on their way back
        for module, training in modes:
            module.training = training


class _Seeded:
    """A generator whose global random numbers do not depend on the training, nor on what was made before."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.sample_rate, self.batch_size = generator.sample_rate, generator.batch_size

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._generator.settings

    def generate(self, requests: Sequence[Request]) -> Sequence[Generated]:
        with seeded(requests[0].stream()):
            return self._generator.generate(requests)


def _clear(folder: Path) -> None:
    """Remove what an earlier run has made for this step, and nothing else."""
    for name in (CLIPS, CHECKPOINT):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    for name in (REPORT, PAGE):
        (folder / name).unlink(missing_ok=True)
