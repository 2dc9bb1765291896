"""Run the cells of a plan: made, scored, noted; what is done and still whole is never done again."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.benchmark.checking import check_clips
from audiogen_metrics.benchmark.identity import identified, system_folder
from audiogen_metrics.benchmark.plans import Cell, Plan
from audiogen_metrics.benchmark.settings import training_config
from audiogen_metrics.datasets.base import DatasetClip, prompt
from audiogen_metrics.distributed import launched, place, require_others
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.generation.base import Generator, Request
from audiogen_metrics.generation.folder import generate_folder, read_manifest
from audiogen_metrics.options import as_path
from audiogen_metrics.rendering import records_to_csv
from audiogen_metrics.writing import below, encoded, json_text, link, write_atomically

if TYPE_CHECKING:
    from audiogen_metrics.audioldm.generation import AudioLDM

RESULT = "result.json"


@dataclass(frozen=True)
class Result:
    """A cell with its numbers.

    Attributes
    ----------
    cell
        What was run.
    scores
        By score id: value, std, n_gen, n_ref and what else the report says.
    step
        Step of the best checkpoint, of a fine-tuning.
    details
        What else there is: of a fine-tuning its history, last step and the best of each score; of a study all of it.
    warnings
        What to know before believing it.
    versions
        Of what made it.
    """

    cell: Cell
    scores: Mapping[str, Mapping[str, Any]]
    step: int | None
    details: Mapping[str, Any]
    warnings: tuple[str, ...]
    versions: Mapping[str, str] = field(default_factory=dict)


class Benchmark:
    """A plan and the folder of its results.

    Parameters
    ----------
    plan
        What to run. `run` adds the digests of models and clips to it.
    folder
        For everything; each cell has a folder of its own, named after its settings and these digests.
    weights
        Files of backbones, as in `score`.
    systems
        Other systems by name: a folder of clips for each dataset, or a `Generator`.
    progress
        Say on stderr what is being done.
    """

    def __init__(
        self,
        plan: Plan,
        folder: str | Path,
        *,
        weights: Mapping[str, str | Path] | None = None,
        systems: Mapping[str, str | Path | Generator] | None = None,
        progress: bool = False,
    ) -> None:
        self.plan: Plan = plan
        self.folder: Path = as_path(folder)
        self._weights, self._systems = dict(weights or {}), dict(systems or {})
        self.is_main: bool = place()[0] == 0
        self._progress = progress and self.is_main
        self._model: AudioLDM | None = None

    def run(self) -> list[Result]:
        """Run every cell that is not done, and return the results of all.

        The first cell that fails ends the run; what is done by then is what `done` returns, and is not done again.
        Under ``torchrun`` the processes share the generation; the first one scores and has the results, the others
        return those that are done when they come to the end.
        """
        self.plan = identified(self.plan, self._weights, self._systems)
        self._check()
        for number, cell in enumerate(self.plan.cells, 1):
            require_others()
            if self.read(cell) is None:
                self._say(f"[{number}/{len(self.plan.cells)}] {cell.name}")
                begin = time.perf_counter()
                self._run(cell)
                self._say(f"[{number}/{len(self.plan.cells)}] done in {time.perf_counter() - begin:.0f} s")
        return self.done()

    def done(self) -> list[Result]:
        """Return the results of the cells that are done, in the order of the plan."""
        return [result for cell in self.plan.cells if (result := self.read(cell)) is not None]

    def read(self, cell: Cell) -> Result | None:
        """Return a cell's result if it is there, whole and of these settings; else None."""
        path = below(self.folder / "cells", cell.name) / RESULT
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            body = content["result"]
            if content["sha256"] != _checksum(body) or body["cell"] != _plain(cell):
                return None
            told = tuple(body["warnings"])
            return Result(cell, body["scores"], body["step"], body["details"], told, body["versions"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _check(self) -> None:
        """Raise what would stop a cell that is not done after hours of work.

        Raises
        ------
        DataError
            A recording that clips are to be compared with, or that is to train, cannot be used.
        MissingDependencyError
            The package of a tracker is not installed.
        """
        waiting = [cell for cell in self.plan.cells if self.read(cell) is None]
        for dataset in dict.fromkeys(cell.dataset for cell in waiting if cell.kind != "study"):
            trains = any(cell.kind == "finetune" and cell.dataset == dataset for cell in waiting)
            check_clips(self.plan, dataset, trains=trains, progress=self._progress and sys.stderr.isatty())
        if any(cell.kind == "finetune" for cell in waiting):
            from audiogen_metrics.audioldm.tracking import check_trackers

            check_trackers(training_config(self.plan.settings))

    def _run(self, cell: Cell) -> None:
        """Run a cell and note its result."""
        folder = below(self.folder / "cells", cell.name)
        match cell.kind:
            case "study":
                result = self._study(cell, folder) if self.is_main else None
            case "finetune":
                result = self._finetune(cell, folder)
            case _:
                result = self._generate_and_score(cell, folder)
        if result is None or not self.is_main:
            return
        body = {
            "cell": _plain(cell),
            "scores": result.scores,
            "step": result.step,
            "details": result.details,
            "warnings": list(result.warnings),
            "versions": tool_versions(),
        }
        body = json.loads(json.dumps(body, allow_nan=False))
        content = {"sha256": _checksum(body), "result": body}
        write_atomically(folder / RESULT, encoded(json_text(content)))

    def _generate_and_score(self, cell: Cell, folder: Path) -> Result | None:
        clips = self.plan.evaluation(cell.dataset)
        if cell.kind == "folder":
            samples = system_folder(self._systems[cell.system], cell)
        else:
            samples = folder / "samples"
            requests = self._requests(cell, clips)
            generate_folder(
                self._generator(cell), requests, samples, resume=True, progress=self._progress, distributed=True
            )
            self._wait(samples, requests)
        if not self.is_main:
            return None
        references = self._references(cell, clips)
        settings = self.plan.settings
        report = score(
            samples,
            references,
            protocol=settings.protocol,
            weights=self._weights,
            device=settings.device,
            pairing="auto" if cell.kind == "folder" else "id",
            progress=self._progress and sys.stderr.isatty(),
        ).to_dict()
        told = [
            f"{name}: {text}"
            for name, each in report["scores"].items()
            for text in filter(None, (each["reason"], *each["remarks"]))
        ]
        return Result(cell, report["scores"], None, {}, (*report["warnings"], *told))

    def _requests(self, cell: Cell, clips: Sequence[DatasetClip]) -> list[Request]:
        settings, seconds = self.plan.settings, self.plan.seconds(cell.dataset)
        requests = []
        for clip in clips:
            text = None if cell.condition == "audio" else prompt(clip, settings.template)
            audio = clip.path if cell.condition == "audio" else None
            requests.append(Request(clip.clip_id, text, audio, seconds[clip.clip_id], settings.seed))
        return requests

    def _generator(self, cell: Cell) -> Generator:
        if cell.system != "audioldm":
            system = self._systems[cell.system]
            assert not isinstance(system, (str, Path))
            return system
        from audiogen_metrics.audioldm.generation import AudioLDM, AudioLDMGenerator
        from audiogen_metrics.audioldm.sampling import Sampling

        settings = self.plan.settings
        if self._model is None:
            self._model = AudioLDM.from_pretrained(
                settings.model,
                device=settings.device,
                dtype=settings.dtype,
                heads=settings.heads,
                clap=settings.clap,
            )
        sampling = Sampling(
            settings.steps, settings.guidance, settings.eta, settings.candidates, batch_size=settings.batch_size
        )
        return AudioLDMGenerator(self._model, sampling, needs_clap=cell.condition == "audio")

    def _finetune(self, cell: Cell, folder: Path) -> Result | None:
        from audiogen_metrics.audioldm.finetuning import FineTune

        settings = self.plan.settings
        config = training_config(
            settings,
            cell.dataset,
            data=_listed(folder / "train.jsonl", self.plan.training(cell.dataset), settings.template),
            evaluation=_listed(folder / "evaluation.jsonl", self.plan.evaluation(cell.dataset), settings.template),
            output=str(folder / "run"),
            condition=cell.condition,
            pretrained=bool(cell.pretrained),
        )
        done = FineTune(config, weights=self._weights).fit(resume=True, progress=self._progress)
        return _of_training(cell, done.folder) if self.is_main else None

    def _study(self, cell: Cell, folder: Path) -> Result:
        from audiogen_metrics.studies.files import write_study
        from audiogen_metrics.studies.study import sanity

        clips, settings = self.plan.recordings(cell.dataset), self.plan.settings
        references = self._references(cell, clips)
        rows = [{"clip_id": clip.clip_id, "label": clip.labels[0] if clip.labels else ""} for clip in clips]
        write_atomically(folder / "labels.csv", records_to_csv(rows).encode())
        study = sanity(
            references,
            probes=cell.settings["probes"],
            protocol=settings.protocol,
            fractions=settings.fractions,
            repeats=settings.repeats,
            seed=settings.seed,
            labels=folder / "labels.csv",
            device=settings.device,
            weights=self._weights,
            progress=self._progress and sys.stderr.isatty(),
        )
        write_study(study, folder / "study")
        return Result(cell, {}, None, {"study": asdict(study)}, tuple(study.warnings))

    def _references(self, cell: Cell, clips: Sequence[DatasetClip]) -> Path:
        """Return a folder with the recordings of a cell, named after their contents."""
        folder = self.folder / "references" / f"{cell.dataset}-{cell.settings['clips'][:10]}"
        for clip in clips:
            assert clip.path is not None
            target = below(folder, clip.clip_id, clip.path.suffix)
            if target.exists() and sha256_of(target) != sha256_of(clip.path):
                target.unlink()  # changed since: a link to a recording changes with it
            if not target.exists():
                link(clip.path, target)
        return folder

    def _wait(self, samples: Path, requests: Sequence[Request]) -> None:
        """Let the first process wait for the clips of the others; if one of them dies, torchrun ends all."""
        while self.is_main and launched() > 1:
            require_others()
            if len(read_manifest(samples)) >= len(requests):
                return
            time.sleep(1.0)

    def _say(self, text: str) -> None:
        if self._progress:
            print(text, file=sys.stderr)


def describe_systems(systems: Mapping[str, str | Path | Generator]) -> dict[str, str]:
    """Return what tells the systems of a run apart, for its plan.

    Raises
    ------
    UsageError
        The name of our own system.
    DataError
        A folder that is not there.
    """
    described = {}
    for name, system in systems.items():
        if name == "audioldm":
            raise UsageError("is the name of our own system", "system", "Choose another name")
        if isinstance(system, (str, Path)):
            if not as_path(system).is_dir():
                raise DataError("is not a folder", where=system, fix="Pass a folder with a sub-folder for each dataset")
            described[name] = "folder"
        else:
            described[name] = json.dumps(dict(system.settings), sort_keys=True)
    return described


def _of_training(cell: Cell, folder: Path) -> Result:
    """Return the scores of the best checkpoint of a training, with what was said of them."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    outcome = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    judged = [entry for entry in history if entry["step"] == outcome["step"] and "error" not in entry]
    by_choice = outcome["chosen_on"] == "validation"
    report = outcome["report_on_evaluation"] if by_choice and judged else next(iter(judged), None)
    if report is None:
        problems = [failure["error"] for failure in outcome["failed_evaluations"]] or ["it has none"]
        raise DataError(f"no evaluation of the training has succeeded: {problems[-1]}", where=folder)
    warnings = list(report["warnings"])
    if failed := outcome["failed_evaluations"]:
        steps = ", ".join(str(failure["step"]) for failure in failed)
        warnings.append(
            f"evaluations have failed, at step {steps} ({failed[-1]['error']}): the best step is that of the others; "
            f"without cells/{cell.name} the cell is made again"
        )
    if outcome["chosen_on"] == "evaluation":
        warnings.append("the best checkpoint is chosen on the evaluation clips, as in the paper: optimistic")
    details = {"history": history, "last_step": outcome["last_step"], "chosen_on": outcome["chosen_on"]}
    if by_choice:
        warnings.append(
            f"the best checkpoint is chosen on {judged[0]['n']} validation clips, taken out of the training clips; "
            "each score's own best would be known of these only, and is left out"
        )
    else:
        details["each_best"] = outcome["each_score_at_its_own_best_step"]
    scores = {
        name: {"value": value, "std": report.get("std", {}).get(name), "n_gen": report["n"], "n_ref": report["n"]}
        for name, value in report["scores"].items()
    }
    return Result(cell, scores, outcome["step"], details, tuple(warnings))


def _listed(path: Path, clips: Sequence[DatasetClip], template: str) -> str:
    """Write clips as a table that `FineTune` reads, and return its path."""
    lines = [
        json.dumps(
            {
                "clip_id": clip.clip_id,
                "file": str(clip.path.absolute()),
                "caption": prompt(clip, template),
                "group": clip.group,
            },
            ensure_ascii=False,
        )
        for clip in clips
        if clip.path is not None
    ]
    write_atomically(path, "\n".join(lines).encode())
    return str(path)


def _plain(cell: Cell) -> dict[str, Any]:
    content = asdict(cell)
    content.pop("artefacts")  # another command may show the same cell elsewhere
    plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return plain


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
