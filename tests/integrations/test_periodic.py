"""Evaluations every so many steps: what they leave alone, what they keep, and what they do when they fail."""

from __future__ import annotations

import importlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from audiogen_metrics import score
from audiogen_metrics.errors import (
    DataError,
    InsufficientDataError,
    MissingDependencyError,
    MissingWeightsError,
    UsageError,
)
from audiogen_metrics.generation.base import FunctionGenerator, Request
from audiogen_metrics.generation.history import History
from audiogen_metrics.integrations.periodic import Outcome, PeriodicEvaluation, undisturbed
from tests.integrations.training import RATE, Noise, evaluation, folders, history, references


@pytest.fixture
def ref(tmp_path: Path) -> Path:
    return references(tmp_path / "ref")


def draws() -> list[float]:
    return [float(torch.rand(())), float(np.random.rand()), random.random()]  # noqa: NPY002


def seed_all() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)


class TestUndisturbed:
    def test_random_numbers_go_on(self) -> None:
        seed_all()
        expected = [draws(), draws()]
        seed_all()
        found = [draws()]
        with undisturbed(None):
            seed_all()
            draws()
        assert [*found, draws()] == expected

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_random_numbers_of_a_gpu_go_on(self) -> None:
        torch.manual_seed(1)
        expected = torch.rand(2, device="cuda")
        torch.manual_seed(1)
        first = torch.rand(1, device="cuda")
        with undisturbed(None):
            torch.manual_seed(5)
            torch.rand(3, device="cuda")
        assert torch.equal(torch.cat([first, torch.rand(1, device="cuda")]), expected)

    def test_modes_gradients_and_errors(self) -> None:
        model = Noise().train()
        model.frozen.eval()

        def fail() -> None:
            with undisturbed(model):
                assert not any(module.training for module in model.modules())
                assert not torch.is_grad_enabled()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert torch.is_grad_enabled()
        assert [module.training for module in (model, model.dropout, model.frozen)] == [True, True, False]

    def test_a_model_that_did_not_train(self) -> None:
        model = Noise().eval()
        model.dropout.train()
        with undisturbed(model):
            pass
        assert [module.training for module in (model, model.dropout)] == [False, True]

    def test_layers_that_change_on_their_way_are_changed_back(self) -> None:
        class Merging(nn.Linear):
            """Like LoRA's first layers: adds a matrix to its weight when it evaluates."""

            merged = False

            def train(self, mode: bool = True) -> Merging:
                if self.merged == mode:
                    self.weight.data += -1 if mode else 1
                    self.merged = not mode
                return super().train(mode)

        model = nn.Sequential(Merging(2, 2), nn.Dropout())
        before = model[0].weight.detach().clone()
        with undisturbed(model):
            assert torch.equal(model[0].weight, before + 1)
        assert torch.allclose(model[0].weight, before)


class TestRuns:
    @pytest.mark.slow
    def test_reports_are_those_of_score(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()
        runs = evaluation(model, ref, tmp_path / "scores")
        runs.start()
        assert runs.at(1, model) is None
        outcome = runs.at(2, model)
        assert outcome is not None
        assert outcome.is_best
        assert outcome.problem == ""
        assert outcome.folder == tmp_path / "scores" / "0000002"
        assert len(list((outcome.folder / "clips").glob("*.wav"))) == 12
        again = score(outcome.folder / "clips", ref, protocol="yamnet", metrics="fd,kl", device="cpu")
        assert outcome.scalars() == again.scalars()
        assert outcome.report is not None
        assert outcome.report["kl"].details["pairs"] == 12
        page = (outcome.folder / "page.html").read_text()
        assert "<audio" in page
        assert "the sound of" in page
        assert history(tmp_path / "scores")[0]["scores"]["fd_yamnet"] == outcome.scalars()["fd_yamnet"]

    @pytest.mark.slow
    def test_the_same_noise_each_time_whatever_the_training_draws(self, ref: Path, tmp_path: Path) -> None:
        model, found = Noise(), []
        runs = evaluation(model, ref, tmp_path / "scores", keep="all", page=False)
        for step in (2, 4):
            torch.rand(step)
            found.append(runs.run(step, model).scalars())
        assert found[0] == found[1]
        other = evaluation(model, ref, tmp_path / "other", seed=1, page=False).run(2, model)
        assert other.scalars()["fd_yamnet"] != found[0]["fd_yamnet"]

    @pytest.mark.slow
    def test_the_best_and_the_newest_are_kept(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()
        runs = evaluation(model, ref, tmp_path, page=False, monitor="kl_yamnet")

        def save(folder: Path) -> None:
            torch.save(model.state_dict(), folder / "model.pt")

        values, better = [], []
        for step, gain in enumerate((1e-4, 1.0, 1e-3, 0.1), 1):
            model.gain.data.fill_(gain)
            outcome = runs.run(step, model, save)
            values.append(outcome.scalars()["kl_yamnet"])
            better.append(outcome.is_best)
            best = int(np.argmin(values)) + 1
            assert folders(tmp_path, "clips") == sorted({best, step})
            assert folders(tmp_path, "checkpoint") == [best]
        assert better == [value == min(values[: place + 1]) for place, value in enumerate(values)]
        assert len(list(tmp_path.glob("*/report.json"))) == 4
        assert [entry["best"] for entry in history(tmp_path)] == better

    @pytest.mark.slow
    def test_higher_may_be_better(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()
        runs = evaluation(model, ref, tmp_path, page=False, options={"metrics": "is"}, keep="all")
        values = {}
        for step, gain in enumerate((0.3, 1e-6, 1.0), 1):
            model.gain.data.fill_(gain)
            values[step] = runs.run(step, model).scalars()["is_yamnet"]
        best = runs.history.best()
        assert best is not None
        assert values[best["step"]] == max(values.values())
        assert folders(tmp_path, "clips") == [1, 2, 3]

    def test_steps_that_pass_over_a_multiple(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()
        runs = evaluation(model, ref, tmp_path, every=4, page=False)
        runs.start(2)
        assert [step for step in (3, 3, 5, 5, 7, 9) if runs.at(step, model)] == [5, 9]

    def test_going_on_forgets_what_comes_again(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()
        first = evaluation(model, ref, tmp_path, page=False, options={"metrics": "fd", "ci": False})
        for step in (2, 4, 6):
            first.run(step, model)
        with (tmp_path / "history.jsonl").open("a") as file:
            file.write('{"step": 8, "sco')  # cut by a kill
        second = evaluation(model, ref, tmp_path, page=False, options={"metrics": "fd", "ci": False})
        with pytest.warns(UserWarning, match="2 evaluations after step 2 are forgotten"):
            second.start(2)
        assert second.run(4, model).is_best is False  # equal to that of step 2, which is remembered
        assert [entry["step"] for entry in history(tmp_path)] == [2, 4]

    def test_a_folder_has_one_training_and_its_best_step_stays(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()
        values = iter([3.0, 2.0, 1.0, 2.5])
        options = {"metrics": "fd", "ci": False}

        def run(runs: PeriodicEvaluation, step: int) -> Outcome:
            def better(entry: dict[str, Any]) -> bool:
                entry["scores"] = {"fd_yamnet": next(values)}
                return History.is_better(runs.history, entry)

            runs.history.is_better = better  # type: ignore[method-assign]
            return runs.run(step, model, lambda folder: (folder / "state").touch())

        first = evaluation(model, ref, tmp_path, page=False, options=options)
        first.start()
        assert [run(first, step).is_best for step in (2, 4, 6)] == [True, True, True]
        with pytest.raises(UsageError, match="the evaluations of an earlier training"):
            evaluation(model, ref, tmp_path, page=False, options=options).start()
        second = evaluation(model, ref, tmp_path, page=False, options=options)
        with pytest.warns(UserWarning, match="are forgotten"):
            second.start(3)
        assert run(second, 4).is_best  # what was better has gone
        assert [path.parent.parent.name for path in tmp_path.glob("*/checkpoint/state")] == ["0000004"]

    def test_half_a_checkpoint_is_removed(self, ref: Path, tmp_path: Path) -> None:
        def save(folder: Path) -> None:
            (folder / "model.pt").write_bytes(b"half")
            raise OSError(28, "No space left on device")

        model = Noise()
        runs = evaluation(model, ref, tmp_path, page=False, options={"metrics": "fd", "ci": False})
        with pytest.warns(UserWarning, match="No space left"):
            outcome = runs.run(2, model, save)
        assert outcome.problem
        assert not (outcome.folder / "checkpoint").exists()
        assert (outcome.folder / "report.json").exists()

    def test_without_a_reference_and_from_a_file(self, tmp_path: Path) -> None:
        prompts = tmp_path / "prompts.txt"
        prompts.write_text("\n".join(f"sound {number}" for number in range(10)))
        model = Noise()
        generator = FunctionGenerator(model.sample, RATE, {})
        options = {"protocol": "yamnet", "device": "cpu"}
        runs = PeriodicEvaluation(generator, prompts, None, tmp_path / "s", every=1, seconds=0.5, options=options)
        assert [*runs.run(1, model).scalars()] == ["is_yamnet", "is_yamnet_std"]

    def test_prompts_that_ask_for_nothing(self, tmp_path: Path) -> None:
        model = Noise()
        options = {"protocol": "yamnet", "device": "cpu", "metrics": "is"}
        prompts = {f"{number:04d}": "" for number in range(10)}
        generator = FunctionGenerator(model.sample, RATE, {})
        runs = PeriodicEvaluation(generator, prompts, None, tmp_path, every=1, seconds=0.5, options=options)
        assert runs.run(1, model).problem == ""


class TestFailures:
    def test_a_failing_generator(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()

        def sample(request: Request) -> torch.Tensor:
            if float(model.gain) > 1:
                raise RuntimeError("CUDA out of memory")
            return model.sample(request)

        runs = evaluation(model, ref, tmp_path, page=False, generator=FunctionGenerator(sample, RATE, {}))
        assert runs.run(2, model).is_best
        model.gain.data.fill_(2)
        seed_all()
        with pytest.warns(UserWarning, match="step 4 has failed, the training goes on: RuntimeError: CUDA out of mem"):
            outcome = runs.run(4, model)
        after = draws()
        seed_all()
        assert after == draws()
        assert model.training
        assert (outcome.report, outcome.scalars(), outcome.is_best) == (None, {}, False)
        assert history(tmp_path)[1] == {"step": 4, "best": False, "error": "RuntimeError: CUDA out of memory"}
        model.gain.data.fill_(0.01)
        assert not runs.run(6, model).is_best  # equal to step 2
        assert evaluation(model, ref, tmp_path).history.best() is None  # not read before the start
        strict = evaluation(model, ref, tmp_path / "s", strict=True, generator=FunctionGenerator(sample, RATE, {}))
        model.gain.data.fill_(2)
        with pytest.raises(RuntimeError, match="CUDA out of memory"):
            strict.run(2, model)

    @pytest.mark.parametrize(
        "value", ["sound", torch.zeros(2, 8000), np.zeros(0), None, torch.full((8000,), float("inf"))]
    )
    def test_what_is_no_waveform(self, value: object, ref: Path, tmp_path: Path) -> None:
        runs = evaluation(Noise(), ref, tmp_path, generator=FunctionGenerator(lambda _: value, RATE, {}))
        with pytest.warns(UserWarning, match="DataError: 808: the generator returned.*Return a waveform"):
            assert runs.run(2, None).problem

    def test_bfloat16(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()
        half = FunctionGenerator(lambda request: model.sample(request).bfloat16(), RATE, {})
        assert evaluation(model, ref, tmp_path, generator=half, page=False).run(2, model).is_best

    def test_not_finite(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()
        model.gain.data.fill_(float("nan"))
        with pytest.warns(UserWarning, match="step 2 has failed.*not finite"):
            assert "not finite" in evaluation(model, ref, tmp_path).run(2, model).problem

    def test_a_checkpoint_that_cannot_be_written_loses_no_scores(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()
        runs = evaluation(model, ref, tmp_path, page=False)

        def save(folder: Path) -> None:
            raise OSError(28, "No space left on device", str(folder))

        with pytest.warns(UserWarning, match="No space left"):
            outcome = runs.run(2, model, save)
        assert "fd_yamnet" in outcome.scalars()
        assert not outcome.is_best
        assert history(tmp_path)[0]["scores"]["fd_yamnet"] == outcome.scalars()["fd_yamnet"]
        assert runs.run(4, model, lambda _: None).is_best  # the first of which there is a checkpoint

    def test_a_folder_that_cannot_be_written(self, ref: Path, tmp_path: Path) -> None:
        model = Noise()
        (tmp_path / "scores").write_text("a file")
        runs = evaluation(model, ref, tmp_path / "scores", page=False)
        with (
            pytest.warns(UserWarning, match="step 2 has failed, the training goes on"),
            pytest.warns(UserWarning, match=r"history\.jsonl cannot be written"),
        ):
            assert runs.run(2, model).problem
        with pytest.raises(UsageError, match=r"scores: cannot be made.*Name a folder that can be written"):
            runs.start()

    def test_scores_without_a_value_are_said(self, tmp_path: Path) -> None:
        model = Noise()
        few = references(tmp_path / "few", 4)
        runs = evaluation(model, few, tmp_path / "s", page=False, options={"metrics": None}, monitor="is_yamnet")
        with pytest.warns(UserWarning, match="is_yamnet has no value and is not logged: .*at least 10 clips, got 4"):
            outcome = runs.run(2, model)
        assert "is_yamnet" not in outcome.scalars()
        assert "fd_yamnet" in outcome.scalars()
        assert not outcome.is_best

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"every": 0}, UsageError, "every=0. Use a whole number, at least 1"),
            ({"every": 1.5}, UsageError, "every=1.5"),
            ({"seed": -1}, UsageError, "seed=-1"),
            ({"seconds": 0}, UsageError, "cannot last 0 seconds"),
            ({"keep": "none"}, UsageError, "Use best or all"),
            ({"monitor": "is_yamnet"}, UsageError, "unknown score to monitor 'is_yamnet'.*Known: fd_yamnet, kl_yamnet"),
            ({"options": {"protcol": "yamnet"}}, UsageError, "unknown option 'protcol'. Did you mean 'protocol'"),
            ({"options": {"prompts": {}}}, UsageError, "prompts: the evaluation decides this itself"),
            ({"options": {"distributed": True}}, UsageError, "distributed: the evaluation decides this itself"),
            ({"options": {"protocol": "audioldm"}}, MissingWeightsError, "panns"),
            ({"generator": lambda request: request}, UsageError, "Wrap a function: FunctionGenerator"),
        ],
    )
    def test_mistakes_show_before_the_training(
        self, changes: dict[str, object], error: type[Exception], message: str, ref: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(error, match=message):
            evaluation(Noise(), ref, tmp_path / "scores", **changes)
        assert not (tmp_path / "scores").exists()

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            (
                {"metrics": "fd,kl"},
                InsufficientDataError,
                r"kl_yamnet: no clip id is in both sets \(gen has '0001-rain', ref has '808'\)\. Give each "
                r"generated file the name of its reference, or pass pairs=",
            ),
            ({}, InsufficientDataError, "kl_yamnet: no clip id is in both sets"),
            ({"metrics": "kl", "pairing": "none"}, InsufficientDataError, "kl_yamnet: KL compares pairs, and pairing"),
            ({"pairing": "id"}, DataError, "14 clips have no partner: gen '0001-rain', gen '0002-wind', ref"),
            ({"pairs": "{ref}_{sample}"}, DataError, "no pair is in both sets: no generated clip fits it"),
            ({"pairs": "{ref}_{sample}", "pairing": "none"}, UsageError, "pairing is off"),
            ({"draws": -1}, UsageError, "draws=-1"),
        ],
    )
    def test_prompts_that_do_not_fit_the_reference(
        self, options: dict[str, Any], error: type[Exception], message: str, ref: Path, tmp_path: Path
    ) -> None:
        """What `score` would say after every evaluation is said before the training."""
        given: dict[str, Any] = {"every": 1, "monitor": "kl_yamnet", "options": {"protocol": "yamnet", **options}}
        generator = FunctionGenerator(Noise().sample, RATE, {})
        with pytest.raises(error, match=message):
            PeriodicEvaluation(generator, ["rain", "wind"], ref, tmp_path / "scores", **given)
        assert not (tmp_path / "scores").exists()

    def test_prompts_that_fit_in_part(self, ref: Path, tmp_path: Path) -> None:
        generator = FunctionGenerator(Noise().sample, RATE, {})
        given: dict[str, Any] = {"every": 1, "options": {"protocol": "yamnet"}}
        names = [path.stem for path in sorted(ref.iterdir())][1:]
        prompts = {name: name for name in [names[0].upper(), *names[1:4], "rain"]}
        said = "2 of 5 prompts have no recording of their clip id in ref and will not be in KL: "
        more = f"'{names[0].upper()}', 'rain'; 1 differs only in case \\(prompt '{names[0].upper()}', ref"
        with pytest.warns(UserWarning, match=said + more):
            PeriodicEvaluation(generator, prompts, ref, tmp_path, **given)
        # No metric that was asked for compares pairs, or a part of the recordings is meant: nothing is wrong.
        only_fd = {"protocol": "yamnet", "metrics": "fd"}
        PeriodicEvaluation(generator, {"rain": "rain"}, ref, tmp_path, every=1, options=only_fd)
        PeriodicEvaluation(generator, {names[0]: "a"}, ref, tmp_path, **given)
        PeriodicEvaluation(generator, ["rain"], ref, tmp_path, **given, monitor="fd_yamnet")
        several = {"protocol": "yamnet", "metrics": "kl", "pairs": "{ref}_{sample}"}
        PeriodicEvaluation(generator, {f"{names[0]}_1": "a"}, ref, tmp_path, every=1, options=several)

    def test_no_reference_no_prompts(self, tmp_path: Path) -> None:
        generator = FunctionGenerator(Noise().sample, RATE, {})
        options = {"protocol": "yamnet"}
        with pytest.raises(DataError, match="nowhere: folder does not exist"):
            PeriodicEvaluation(generator, ["rain"], tmp_path / "nowhere", tmp_path, every=1, options=options)
        for prompts, message in (
            ([], "no prompts are given"),
            ({}, "no prompts are given"),
            (tmp_path / "no.csv", "no.csv"),
            (["rain", 2], "prompts: 2 is not text"),
            ({"a": None}, "prompts: None is not text"),
            ({"a": "rain", "A": "wind"}, "1 clip ids occur twice"),
            ({"../a": "rain"}, "is not a path below a folder"),
        ):
            with pytest.raises((UsageError, DataError), match=message):
                PeriodicEvaluation(generator, prompts, None, tmp_path, every=1, options=options)


def test_history_is_json(ref: Path, tmp_path: Path) -> None:
    model = Noise()
    evaluation(model, ref, tmp_path, page=False).run(2, model)
    entry = json.loads((tmp_path / "history.jsonl").read_text())
    assert entry.keys() == {"step", "protocol", "n", "scores", "std", "warnings", "seconds", "best"}
    assert entry["n"] == 12


@pytest.mark.parametrize(
    ("integration", "packages"),
    [("lightning", ["lightning", "lightning.pytorch", "pytorch_lightning"]), ("transformers", ["transformers"])],
)
def test_without_the_package(integration: str, packages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("transformers.")] if integration in packages else []:
        monkeypatch.delitem(sys.modules, name)
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"audiogen_metrics.integrations.{integration}", raising=False)
    with pytest.raises(MissingDependencyError, match=f"cannot be imported.*Install it: pip install '{integration}>="):
        importlib.import_module(f"audiogen_metrics.integrations.{integration}")
