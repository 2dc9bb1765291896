"""Fine-tuning: what trains, what does not, and that a stop changes nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from audiogen_metrics import protocols
from audiogen_metrics.audioldm import claiming, evaluating, training
from audiogen_metrics.audioldm.claiming import CONFIG, INPUTS, STATE
from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.finetuning import FineTune
from audiogen_metrics.audioldm.generation import AudioLDM, AudioLDMGenerator
from audiogen_metrics.audioldm.latents import TrainingClips
from audiogen_metrics.audioldm.sampling import Sampling
from audiogen_metrics.audioldm.tracking import STEPS
from audiogen_metrics.audioldm.training import Draws, diffusion_loss, read_state, weights_digest
from audiogen_metrics.datasets.folder import read_folder
from audiogen_metrics.errors import DataError, InsufficientDataError, MissingWeightsError, NumericsError, UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.generation.base import Request
from audiogen_metrics.generation.folder import generate_folder
from audiogen_metrics.generation.history import History
from audiogen_metrics.metrics.prdc import Coverage
from tests.conftest import Start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "cache"))


def settings(tiny: Path, sounds: Path, output: Path, **changes: Any) -> FineTuneConfig:
    quick: dict[str, Any] = {
        "model": str(tiny),
        "seconds": 1.28,
        "steps": 6,
        "warmup": 2,
        "learning_rate": 1e-3,
        "ema": 0.9,
        "eval_every": 3,
        "eval_seconds": 1.0,
        "sampling_steps": 2,
        "protocol": "yamnet",
        "device": "cpu",
    }
    return FineTuneConfig(**{**quick, "data": str(sounds), "output": str(output), **changes})


def state(folder: Path) -> dict[str, Any]:
    found = read_state(folder / STATE)
    assert found is not None
    return found


def tensors(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return {key: tensor for part, inner in items for key, tensor in tensors(inner, f"{name}/{part}").items()}


def assert_same_to_the_bit(one: Path, other: Path) -> None:
    first, second = tensors(state(one)), tensors(state(other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    losses = [[(line["step"], line["loss"]) for line in steps(folder)] for folder in (one, other)]
    assert losses[0] == losses[1]


def steps(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / STEPS).read_text().splitlines()]


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("condition", ["text", "audio"])
def test_the_four_cells(tiny: Path, sounds: Path, tmp_path: Path, pretrained: bool, condition: Any) -> None:
    frozen = {part: sorted((tiny / part).glob("*.safetensors"))[0].read_bytes() for part in ("vae", "vocoder", "clap")}
    config = settings(
        tiny, sounds, tmp_path / "out", condition=condition, pretrained=pretrained, evaluation=str(sounds), eval_clips=4
    )
    done = FineTune(config).fit()
    assert done.last_step == 6
    history = [json.loads(line) for line in (tmp_path / "out" / "history.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in history] == [0, 3, 6]
    best = min(history, key=lambda entry: entry["scores"]["fd_yamnet"])
    # All four scores come from the one best step; bests of each score are a column of their own.
    assert (done.step, done.scores) == (best["step"], best["scores"])
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["chosen_on"] == "evaluation"
    assert set(result["each_score_at_its_own_best_step"]) >= {"fd_yamnet", "kl_yamnet"}
    for part, content in frozen.items():
        assert sorted((done.model / part).glob("*.safetensors"))[0].read_bytes() == content
    trained = load_file(done.model / "unet" / "diffusion_pytorch_model.safetensors")
    before = load_file(tiny / "unet" / "diffusion_pytorch_model.safetensors")
    assert trained.keys() == before.keys()
    assert not all(torch.equal(trained[name], before[name]) for name in before)
    assert (tmp_path / "out" / "curves.png").stat().st_size > 5000


def test_the_result_opens_here_and_in_diffusers(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    from diffusers import AudioLDMPipeline

    done = FineTune(settings(tiny, sounds, tmp_path / "out")).fit()
    assert done.model == tmp_path / "out" / "last"
    pipeline = AudioLDMPipeline.from_pretrained(str(done.model))
    pipeline.set_progress_bar_config(disable=True)
    ours = AudioLDM.from_pretrained(done.model, device="cpu")
    assert ours.settings["random_weights"] is True
    noise = torch.randn(1, 8, 32, 16, generator=torch.Generator().manual_seed(0))
    time_step, label = torch.tensor([500]), ours.text.embed(["rain"])
    with torch.no_grad():
        theirs = pipeline.unet(noise, time_step, None, class_labels=label).sample
        mine = ours.unet(noise, time_step, None, class_labels=label).sample
    assert torch.equal(mine, theirs)


def test_loss_falls_on_a_small_set(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    config = settings(tiny, sounds, tmp_path / "out", steps=150, learning_rate=3e-3, batch_size=4, save_every=150)
    FineTune(config).fit()
    losses = [line["loss"] for line in steps(tmp_path / "out")]
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:10])


@pytest.mark.parametrize("changes", [{}, {"accumulation": 2, "condition": "audio"}, {"lora": 4}, {"min_snr": 5.0}])
def test_stopped_and_resumed_to_the_bit(tiny: Path, sounds: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Four steps of two clips are less than one epoch of ten: the stop is in the middle of it."""
    FineTune(settings(tiny, sounds, tmp_path / "straight", **changes)).fit()
    FineTune(settings(tiny, sounds, tmp_path / "out", steps=4, **changes)).fit()
    FineTune(settings(tiny, sounds, tmp_path / "out", **changes)).fit(resume=True)
    assert_same_to_the_bit(tmp_path / "straight", tmp_path / "out")
    unet = "last/unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "straight" / unet).read_bytes() == (tmp_path / "out" / unet).read_bytes()


@pytest.fixture
def launch(start_agm: Start) -> Start:
    """Begin a fine-tuning in a process of its own, or by torchrun in several."""

    def begin(config: FineTuneConfig, folder: Path, *options: str, processes: int = 1) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.yaml"
        values = {name: value for name, value in vars(config).items() if value is not None}
        path.write_text(json.dumps(values))  # JSON is YAML
        if processes == 1:
            return start_agm("finetune", path, *options)
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, "-m", *torchrun, "-m", "audiogen_metrics", "finetune", str(path), *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return begin


def finish(process: Any) -> str:
    texts = process.communicate(timeout=300)
    assert process.returncode == 0, texts
    return "".join(texts)


def test_killed_before_its_first_state_it_begins_again(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    """With evaluations already noted, which come again and count once."""
    config = settings(tiny, sounds, tmp_path / "out", evaluation=str(sounds), eval_clips=4)
    FineTune(config).fit()
    history = (tmp_path / "out" / "history.jsonl").read_text()
    for name in ("state.pt", "result.json"):
        (tmp_path / "out" / name).unlink(missing_ok=True)
    FineTune(config).fit(resume=True)
    assert (tmp_path / "out" / "history.jsonl").read_text() == history


@pytest.mark.parametrize("at", [0, 4])
def test_killed_and_resumed_to_the_bit(launch: Start, tiny: Path, sounds: Path, tmp_path: Path, at: int) -> None:
    """In the evaluation before the training, and in the training."""
    changes = {"steps": 40, "save_every": 4, "evaluation": str(sounds), "eval_every": 20, "eval_clips": 3}
    straight = settings(tiny, sounds, tmp_path / "straight", **changes)
    FineTune(straight).fit()
    config = settings(tiny, sounds, tmp_path / "out", **changes)
    process = launch(config, tmp_path / "yaml")
    while process.poll() is None and not (
        (tmp_path / "out" / STATE).exists() and state(tmp_path / "out")["step"] >= at
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert at <= state(tmp_path / "out")["step"] < 40
    finish(launch(config, tmp_path / "yaml", "--resume"))
    assert_same_to_the_bit(tmp_path / "straight", tmp_path / "out")
    ours, theirs = ((tmp_path / name / "history.jsonl").read_text() for name in ("out", "straight"))
    assert ours == theirs


def test_two_processes_equal_one_that_accumulates(launch: Start, tiny: Path, sounds: Path, tmp_path: Path) -> None:
    one = settings(tiny, sounds, tmp_path / "one", accumulation=2)
    FineTune(one).fit()
    said = finish(launch(settings(tiny, sounds, tmp_path / "two"), tmp_path / "yaml", processes=2))
    assert said.count('"last_step": 6') == 1
    losses = [np.array([line["loss"] for line in steps(tmp_path / name)]) for name in ("one", "two")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    # And stopped in between, to the bit.
    finish(launch(settings(tiny, sounds, tmp_path / "cut", steps=3), tmp_path / "yaml", processes=2))
    finish(launch(settings(tiny, sounds, tmp_path / "cut"), tmp_path / "yaml", "--resume", processes=2))
    assert_same_to_the_bit(tmp_path / "two", tmp_path / "cut")


def test_adapters_round_trip(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    done = FineTune(settings(tiny, sounds, tmp_path / "out", lora=4, learning_rate=1e-2)).fit()
    base, merged = (AudioLDM.from_pretrained(path, device="cpu") for path in (tiny, done.model))
    adapted = AudioLDM.from_pretrained(tiny, device="cpu")
    adapted.unet.load_lora_adapter(
        str(done.model / "lora"), prefix=None, weight_name="pytorch_lora_weights.safetensors"
    )
    noise = torch.randn(1, 8, 32, 16, generator=torch.Generator().manual_seed(0))
    label = base.text.embed(["rain"])
    with torch.no_grad():
        plain, fused, loaded = (
            model.unet(noise, torch.tensor([500]), None, class_labels=label).sample for model in (base, merged, adapted)
        )
    torch.testing.assert_close(fused, loaded, atol=1e-5, rtol=1e-5)
    assert (fused - plain).abs().max() > 1e-4
    names = set(state(tmp_path / "out")["weights"])
    assert names
    assert all("lora" in name for name in names)
    assert any("class_embedding" in name for name in names)


def test_validation_keeps_the_evaluation_clips_for_the_end(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    config = settings(tiny, sounds, tmp_path / "out", evaluation=str(sounds), validation=0.3)
    done = FineTune(config).fit()
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["chosen_on"] == "validation"
    assert done.scores == result["scores_on_evaluation"] != result["scores"]
    references = list((tmp_path / "out" / "evaluation" / "references").rglob("*.*"))
    assert len(references) == 3


def test_split_takes_the_evaluation_clips_out(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    FineTune(settings(tiny, sounds, tmp_path / "out", split="paper:4")).fit()
    assert len([p for p in (tmp_path / "out" / "evaluation" / "references").rglob("*") if p.is_file()]) == 4
    with pytest.raises(UsageError, match="is not a split"):
        FineTune(settings(tiny, sounds, tmp_path / "other", split="half")).fit()


def test_a_loss_that_is_not_finite_stops_with_the_last_good_state(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audiogen_metrics.audioldm import trainer

    calls = []

    def poisoned(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return diffusion_loss(*arguments) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(trainer, "diffusion_loss", poisoned)
    with pytest.raises(NumericsError, match=r"the loss is nan.* at step 4"):
        FineTune(settings(tiny, sounds, tmp_path / "out")).fit()
    assert state(tmp_path / "out")["step"] == 3
    assert all(torch.isfinite(value).all() for value in tensors(state(tmp_path / "out")).values())
    monkeypatch.setattr(trainer, "diffusion_loss", diffusion_loss)
    FineTune(settings(tiny, sounds, tmp_path / "out")).fit(resume=True)
    FineTune(settings(tiny, sounds, tmp_path / "straight")).fit()
    assert_same_to_the_bit(tmp_path / "straight", tmp_path / "out")


def test_a_full_disk_keeps_the_state_before(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FineTune(settings(tiny, sounds, tmp_path / "out", steps=2)).fit()
    before = (tmp_path / "out" / STATE).read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training, "write_atomically", full)
    with pytest.raises(UsageError, match=r"cannot be written \(No space left on device\); the one before it is kept"):
        FineTune(settings(tiny, sounds, tmp_path / "out")).fit(resume=True)
    assert (tmp_path / "out" / STATE).read_bytes() == before


def test_an_output_folder_is_of_one_run(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    FineTune(settings(tiny, sounds, tmp_path / "out", steps=2)).fit()
    with pytest.raises(UsageError, match="has a run in it"):
        FineTune(settings(tiny, sounds, tmp_path / "out")).fit()
    with pytest.raises(UsageError, match=r"the run had learning_rate = 0\.001, not 0\.01"):
        FineTune(settings(tiny, sounds, tmp_path / "out", learning_rate=0.01)).fit(resume=True)
    (tmp_path / "out" / STATE).write_bytes(b"nonsense")
    with pytest.raises(DataError, match="not a state of a run, or damaged"):
        FineTune(settings(tiny, sounds, tmp_path / "out")).fit(resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match="is not empty"):
        FineTune(settings(tiny, sounds, tmp_path / "full")).fit()
    assert not (tmp_path / "full" / CONFIG).exists()


def test_training_sets_that_cannot_be_used(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    import soundfile

    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no audio files"):
        FineTune(settings(tiny, tmp_path / "empty", tmp_path / "a")).fit()

    short = Path(shutil.copytree(sounds, tmp_path / "short"))
    soundfile.write(short / "blip.wav", np.zeros(100), 16_000)
    (short / "text.wav").write_text("no audio")
    with pytest.raises(DataError, match=r"2 of 12 clips cannot be used: blip \(lasts less than 0\.1 s\), text"):
        FineTune(settings(tiny, short, tmp_path / "b")).fit()

    table = tmp_path / "table.csv"
    file = next(path for path in sounds.rglob("*") if path.is_file())
    table.write_text(f"file,caption\n{file},a\nnone.wav,b\n")
    with pytest.raises(DataError, match="the audio of 1 of 2 training clips is missing: none"):
        FineTune(settings(tiny, table, tmp_path / "c", strict=True)).fit()
    table.write_text(f"file,words\n{file},a\n")
    with pytest.raises(DataError, match="has no prompt among file, words"):
        FineTune(settings(tiny, table, tmp_path / "d")).fit()

    one = tmp_path / "one.csv"
    one.write_text(f"file,caption\n{file},a\n")
    with pytest.raises(InsufficientDataError, match="one evaluation clip"):
        FineTune(settings(tiny, sounds, tmp_path / "e", evaluation=str(one))).fit()


@pytest.mark.filterwarnings("default::UserWarning")
def test_one_class_is_said(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    label = sorted(path for path in sounds.iterdir())[0]
    single = tmp_path / "single"
    shutil.copytree(label, single / label.name)
    with pytest.warns(UserWarning, match="all training clips have one caption"):
        FineTune(settings(tiny, single, tmp_path / "out", steps=1)).fit()


def test_draws_cover_every_epoch_and_do_not_depend_on_how_they_are_taken(model: AudioLDM, sounds: Path) -> None:
    clips = TrainingClips(model, read_folder(sounds).clips, "text", seconds=1.28)
    assert clips.cropped > 0
    draws = Draws(clips, seed=1)
    order = [draws.position(position)[0] for position in range(3 * len(clips))]
    assert [sorted(order[start : start + len(clips)]) for start in (0, 10, 20)] == [list(range(len(clips)))] * 3
    assert order[:10] != order[10:20]
    none = torch.zeros(32)
    together = draws.batch(7, 6, none, 0.5, 0.9)
    apart = [Draws(clips, seed=1).batch(position, 1, none, 0.5, 0.9) for position in range(7, 13)]
    for name in ("latents", "noise", "times", "labels"):
        assert torch.equal(getattr(together, name), torch.cat([getattr(part, name) for part in apart]))
    dropped = Draws(clips, seed=1).batch(0, 200, none, 0.1, 0.9).labels.eq(0).all(1).float().mean()
    assert 0.03 < float(dropped) < 0.2
    # From the cache on the disk, to the bit; a damaged entry is encoded again.
    again = TrainingClips(model, read_folder(sounds).clips, "text", seconds=1.28)
    assert torch.equal(Draws(again, seed=1).batch(7, 6, none, 0.5, 0.9).latents, together.latents)
    for file in clips.folder.glob("*.safetensors"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    healed = TrainingClips(model, read_folder(sounds).clips, "text", seconds=1.28)
    assert torch.equal(Draws(healed, seed=1).batch(7, 6, none, 0.5, 0.9).latents, together.latents)


def test_digests_see_one_changed_weight() -> None:
    layer = torch.nn.Linear(3, 3)
    before = weights_digest(layer)
    assert before == weights_digest(layer)
    with torch.no_grad():
        layer.bias[1] += 1e-7
    assert before != weights_digest(layer)


def test_history_keeps_the_best_and_knows_when_to_stop(tmp_path: Path) -> None:
    history = History(tmp_path, "fd_yamnet", higher_is_better=False)
    values = [5.0, 3.0, 4.0, 3.0]
    better = []
    for step, value in enumerate(values, 1):
        entry = {"step": step, "protocol": "yamnet", "n": 4, "scores": {"fd_yamnet": value, "is_yamnet": step}}
        better.append(history.is_better(entry))
        history.note(entry)
    assert better == [True, True, False, False]
    best = history.best()
    assert best is not None
    assert best["step"] == 2
    assert history.each_best() == {"fd_yamnet": {"value": 3.0, "step": 2}, "is_yamnet": {"value": 4, "step": 4}}
    assert not history.is_over(3)
    assert history.is_over(2)
    history.cut(1)
    history.read()
    assert [entry["step"] for entry in history.entries] == [1]
    history.note({"step": 9, "protocol": "yamnet", "n": 4, "scores": {"fd_yamnet": None}})
    assert not history.has(9)
    with pytest.warns(UserWarning, match="step 10 has failed, the training goes on: no room"):
        history.note_failure({"step": 10}, "no room")
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 11, "sco')  # a full disk
    history.note({"step": 12, "protocol": "yamnet", "n": 4, "scores": {"fd_yamnet": 1.0}})
    history.read()
    assert [entry["step"] for entry in history.entries] == [1, 12]
    assert history.failures == [{"step": 10, "error": "no room"}]


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused(tiny: Path, sounds: Path, tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match=rf"unknown device '{device}'|device '{device}' is not on this machine"):
        FineTune(settings(tiny, sounds, tmp_path / "out", device=device)).fit()
    assert not (tmp_path / "out").exists()


def test_what_accelerate_has_chosen_before_is_not_overruled_in_silence() -> None:
    """In a process of its own: what accelerate knows lasts as long as the process."""
    code = (
        "from audiogen_metrics.audioldm.devices import make_accelerator\n"
        "assert make_accelerator('auto', 'no').device.type == make_accelerator('cpu', 'no').device.type\n"
        "make_accelerator('cpu', 'bf16')"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_TORCH_DEVICE": "meta"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert "UsageError: device: accelerate cannot begin (AcceleratorState has already" in done.stderr


def history_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def evaluated(tiny: Path, sounds: Path, output: Path, **changes: Any) -> FineTuneConfig:
    return settings(tiny, sounds, output, **{"evaluation": str(sounds), "eval_clips": 4, **changes})


def test_an_evaluation_that_fails_is_noted_and_nothing_is_lost(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A denoiser that gives NaN in the evaluation at step 3 only; then with ``strict``, and resumed."""
    whole = AudioLDM.sample
    calls = []

    def poisoned(self: AudioLDM, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise NumericsError("the latents are not finite")
        return whole(self, *arguments, **options)

    monkeypatch.setattr(AudioLDM, "sample", poisoned)
    with pytest.warns(UserWarning, match="the evaluation at step 3 has failed, the training goes on: NumericsError"):
        done = FineTune(evaluated(tiny, sounds, tmp_path / "out")).fit()
    assert (done.last_step, done.step in (0, 6), done.model.name) == (6, True, "best")
    noted = [("error" in entry, entry["step"]) for entry in history_of(tmp_path / "out")]
    assert noted == [(False, 0), (True, 3), (False, 6)]
    assert json.loads((tmp_path / "out" / "result.json").read_text())["failed_evaluations"][0]["step"] == 3

    calls.clear()
    with pytest.raises(NumericsError, match="not finite"):
        FineTune(evaluated(tiny, sounds, tmp_path / "strict", strict=True)).fit()
    assert state(tmp_path / "strict")["step"] == 3
    FineTune(evaluated(tiny, sounds, tmp_path / "strict", strict=True)).fit(resume=True)
    assert_same_to_the_bit(tmp_path / "strict", tmp_path / "out")
    assert [entry["step"] for entry in history_of(tmp_path / "strict")] == [0, 3, 6]


def test_a_disk_that_is_full_for_checkpoints_does_not_stop_the_training(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audiogen_metrics.audioldm import checkpoints

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "link", full)
    with (
        pytest.warns(UserWarning, match=r"the checkpoint cannot be written \(No space left on device\)"),
        pytest.raises(UsageError, match="last-0000006: the checkpoint cannot be written"),
    ):
        FineTune(evaluated(tiny, sounds, tmp_path / "out")).fit()
    assert state(tmp_path / "out")["step"] == 6
    assert not list((tmp_path / "out").glob(".*.new"))
    monkeypatch.undo()
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "cache"))
    done = FineTune(evaluated(tiny, sounds, tmp_path / "out")).fit(resume=True)
    assert (done.step, done.model.name) == (6, "best")
    noted = [("error" in entry, entry["step"]) for entry in history_of(tmp_path / "out")]
    assert noted == [(True, 0), (True, 3), (False, 6)]


def test_what_would_stop_a_run_later_is_said_before_it_begins(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import soundfile

    monkeypatch.setenv("AGM_OFFLINE", "1")
    monkeypatch.setenv("AGM_WEIGHTS_DIR", str(tmp_path / "none"))
    out = tmp_path / "out"
    with pytest.raises(MissingWeightsError, match="vggish"):
        FineTune(evaluated(tiny, sounds, out, protocol="audioldm")).fit()
    with pytest.raises(DataError, match="nowhere: folder does not exist"):
        FineTune(evaluated(tiny, tmp_path / "nowhere", out)).fit()
    assert not out.exists()
    monkeypatch.delenv("AGM_WEIGHTS_DIR")

    damaged = Path(shutil.copytree(sounds, tmp_path / "damaged"))
    soundfile.write(damaged / "nan.wav", np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    (damaged / "text.wav").write_text("no audio")
    with pytest.raises(DataError, match="2 of 12 recordings cannot be used: nan"):
        FineTune(evaluated(tiny, sounds, out, evaluation=str(damaged), eval_clips=None)).fit()
    with pytest.raises(DataError, match=r"nan\.wav: the file has NaN or infinite samples"):
        FineTune(evaluated(tiny, sounds, out, evaluation=str(damaged), eval_clips=None, eval_seconds=None)).fit()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1000))  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"the disk has 0\.00 GB free"):
        FineTune(evaluated(tiny, sounds, out)).fit()
    monkeypatch.undo()
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "cache"))
    # Nothing of all this keeps the folder from a run with other settings.
    assert FineTune(settings(tiny, sounds, out, steps=1)).fit().last_step == 1


def test_resume_refuses_other_inputs(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    data, model = Path(shutil.copytree(sounds, tmp_path / "data")), Path(shutil.copytree(tiny, tmp_path / "model"))
    out = tmp_path / "out"

    def run(steps: int) -> Any:
        return FineTune(settings(model, data, out, split="paper:4", steps=steps, eval_every=2)).fit(resume=True)

    run(2)
    first = next(path for path in sorted(data.rglob("*")) if path.is_file())
    content = first.read_bytes()
    first.write_bytes(next(path for path in sorted(data.rglob("*"))[::-1] if path.is_file()).read_bytes())
    with pytest.raises(DataError, match=r"begun with other inputs\. (training|evaluation) clips: 1 changed \("):
        run(4)
    first.write_bytes(content)
    shutil.copytree(first.parent, data / "a")
    with pytest.raises(DataError, match=r"training clips: .*\d new \(.*evaluation clips: "):
        run(4)
    shutil.rmtree(data / "a")
    weights = next((model / "unet").glob("*.safetensors"))
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-4] + b"\0\0\0\0")
    with pytest.raises(
        DataError, match=r"networks of the model: 1 changed \(unet/diffusion_pytorch_model\.safetensors"
    ):
        run(4)
    weights.write_bytes(kept)
    schedule = model / "scheduler" / "scheduler_config.json"
    before = schedule.read_text()
    schedule.write_text(before.replace("0.0195", "0.05"))
    with pytest.raises(DataError, match=r"networks of the model: 1 changed \(scheduler/scheduler_config\.json\)"):
        run(4)
    schedule.write_text(before)
    assert [entry["step"] for entry in history_of(out)] == [0, 2]
    # A run of an older version has no digests, but its recordings.
    (out / INPUTS).unlink()
    with pytest.warns(UserWarning, match="kept no digests"):
        assert run(4).last_step == 4
    (out / INPUTS).unlink()
    shutil.copytree(first.parent, data / "a")
    with pytest.raises(DataError, match="begun with other evaluation clips"):
        run(6)


def test_the_configuration_of_clap_is_an_input(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    model, out = Path(shutil.copytree(tiny, tmp_path / "model")), tmp_path / "out"

    def run(steps: int) -> Any:
        return FineTune(settings(model, sounds, out, condition="audio", steps=steps)).fit(resume=True)

    run(1)
    configuration = model / "clap" / "config.json"
    before = configuration.read_text()
    configuration.write_text(json.dumps({**json.loads(before), "note": "another file"}))
    with pytest.raises(DataError, match=r"configurations beside the model: 1 changed \(clap/config\.json\)"):
        run(2)
    # A run of an older version did not note it.
    inputs = json.loads((out / INPUTS).read_text())
    del inputs["configurations beside the model"]
    (out / INPUTS).write_text(json.dumps(inputs))
    assert run(2).last_step == 2


def test_inputs_may_lie_elsewhere_when_a_run_goes_on(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is their content: of the model, the clips, and of the run's own folder."""
    monkeypatch.chdir(tmp_path)
    FineTune(settings(Path(shutil.copytree(tiny, "m")), Path(shutil.copytree(sounds, "d")), Path("out"), steps=1)).fit()
    for name in ("m", "d", "out"):
        Path(name).rename(f"{name}-moved")
    moved = settings(Path("m-moved"), tmp_path / "d-moved", tmp_path / "out-moved", steps=2)
    assert FineTune(moved).fit(resume=True).last_step == 2
    with pytest.raises(UsageError, match="the run had seed = 0, not 1"):
        FineTune(replace(moved, seed=1)).fit(resume=True)


def test_stopped_while_it_claims_its_folder_it_begins_again(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first file is whole, before the second, and among the recordings."""
    config, whole = evaluated(tiny, sounds, tmp_path / "out", steps=1), claiming.write_atomically

    def stopping(path: Path, content: bytes) -> None:
        if path.name == stop:
            (path.parent / f".{path.name}.0.tmp").write_bytes(content[:3])
            raise KeyboardInterrupt
        whole(path, content)

    def never(*_: object) -> None:
        raise KeyboardInterrupt

    for place, name, function in ((claiming, "write_atomically", stopping), (evaluating, "link", never)):
        for stop in (CONFIG, INPUTS):
            with monkeypatch.context() as patch:
                patch.setattr(place, name, function)
                with pytest.raises(KeyboardInterrupt):
                    FineTune(config).fit(resume=stop == INPUTS)
    assert FineTune(config).fit().last_step == 1


def test_a_best_checkpoint_that_is_gone_is_said(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    config = evaluated(tiny, sounds, tmp_path / "out", steps=1)
    shutil.rmtree(FineTune(config).fit().model.resolve())
    with pytest.raises(DataError, match="best: is gone"):
        FineTune(config).fit(resume=True)


def test_missing_clips_are_left_out_and_named(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    files = sorted(path for path in sounds.rglob("*") if path.is_file())
    table.write_text("file,caption\n" + "".join(f"{file},{file.stem}\n" for file in files) + "gone.wav,b\n")
    with pytest.warns(UserWarning, match="the audio of 1 of 11 training clips is missing: gone; they are left out"):
        FineTune(settings(tiny, table, tmp_path / "out", steps=1)).fit()
    assert json.loads((tmp_path / "out" / "result.json").read_text())["left_out"] == {"training": ["gone"]}
    table.write_text("file,caption\ngone.wav,b\n")
    with pytest.raises(DataError, match="the audio of 1 of 1 training clips is missing"):
        FineTune(settings(tiny, table, tmp_path / "none")).fit()


def test_a_checkpoint_remembers_where_it_comes_from(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a published checkpoint lies in the hub's cache: without its CLAP, which is a repository of its own."""
    hub = tmp_path / "hub"
    for name in ("cvssp/audioldm-s-full-v2", "sanchit-gandhi/clap-htsat-unfused-s-full-v2"):
        commit = hub / f"models--{name.replace('/', '--')}" / "snapshots" / "0123"
        shutil.copytree(tiny / "clap" if "clap" in name else tiny, commit)
        (commit.parents[1] / "refs").mkdir()
        (commit.parents[1] / "refs" / "main").write_text("0123")
        shutil.rmtree(commit / "clap", ignore_errors=True)
    from huggingface_hub import constants

    monkeypatch.setenv("AGM_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    done = FineTune(settings(Path("cvssp/audioldm-s-full-v2"), sounds, tmp_path / "one", steps=1)).fit()
    again = FineTune(settings(done.model, sounds, tmp_path / "two", steps=1)).fit()
    with pytest.warns(UserWarning, match=r"two/last come from cvssp/audioldm-s-full-v2 and are licensed CC BY-NC-SA"):
        model = AudioLDM.from_pretrained(again.model, device="cpu")
    assert model.clap.folder.parents[1].name == "models--sanchit-gandhi--clap-htsat-unfused-s-full-v2"


def test_a_monitor_that_so_few_clips_do_not_have(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A protocol of one's own, whose first score looks at the five nearest neighbours."""
    few = replace(protocols.PROTOCOLS["yamnet"], name="few")
    plain = next(iter(few.recipes.values()))
    recipe = replace(plain, score_id="coverage_yamnet", definition=Coverage())
    few = replace(few, recipes={recipe.score_id: recipe})
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, "few": few})
    assert evaluated(tiny, sounds, tmp_path, protocol="few").monitored() == ("coverage_yamnet", True)
    with pytest.raises(InsufficientDataError, match=r"monitor: coverage_yamnet cannot be computed on 4 clips \(.*\d"):
        FineTune(evaluated(tiny, sounds, tmp_path / "out", protocol="few")).fit()
    assert not (tmp_path / "out" / CONFIG).exists()
    assert FineTune(evaluated(tiny, sounds, tmp_path / "out", protocol="few", eval_clips=10)).fit().step in (0, 3, 6)


def unet_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("changes", [{}, {"pretrained": False}, {"lora": 4}])
def test_what_there_is_before_the_training_is_scored_and_may_be_the_best(
    tiny: Path, sounds: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Nothing is learned at a rate of 0, and of equals the first one is the best."""
    config = evaluated(tiny, sounds, tmp_path / "out", learning_rate=0.0, **changes)
    done = FineTune(config).fit()
    first, *later = history_of(tmp_path / "out")
    assert first["step"] == done.step == 0
    assert [(entry["step"], entry["scores"]) for entry in later] == [(3, first["scores"]), (6, first["scores"])]
    base = unet_of(tiny)
    same = all(torch.allclose(base[name], weight) for name, weight in unet_of(done.model).items())
    assert same is config.pretrained
    # The very scores of the clips that the checkpoint makes, whatever else a run does.
    model = AudioLDM.from_pretrained(done.model, device="cpu")
    recordings = sorted((tmp_path / "out" / "evaluation" / "references").rglob("*.*"))
    requests = [
        Request(
            path.relative_to(tmp_path / "out" / "evaluation" / "references").with_suffix("").as_posix(),
            path.parent.name.replace("_", " "),
            seconds=1.0,
        )
        for path in recordings
    ]
    generate_folder(AudioLDMGenerator(model, Sampling(2)), requests, tmp_path / "clips")
    again = score(tmp_path / "clips", tmp_path / "out" / "evaluation" / "references", protocol="yamnet", ci=False)
    assert again["fd_yamnet"].value == pytest.approx(first["scores"]["fd_yamnet"], rel=1e-4)


def test_the_evaluation_before_the_training_may_fail_and_counts_for_patience(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = AudioLDM.sample, []

    def poisoned(self: AudioLDM, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise NumericsError("the latents are not finite")
        return whole(self, *arguments, **options)

    monkeypatch.setattr(AudioLDM, "sample", poisoned)
    with pytest.raises(NumericsError, match="not finite"):
        FineTune(evaluated(tiny, sounds, tmp_path / "out", strict=True)).fit()
    assert state(tmp_path / "out")["step"] == 0
    FineTune(evaluated(tiny, sounds, tmp_path / "out", strict=True)).fit(resume=True)
    assert [entry["step"] for entry in history_of(tmp_path / "out")] == [0, 3, 6]
    still = evaluated(tiny, sounds, tmp_path / "still", learning_rate=0.0, patience=1)
    assert FineTune(still).fit().last_step == 3


def test_a_run_of_an_older_version_goes_on(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    """It knows neither trackers nor a batch of evaluation clips, and has no evaluation before the training."""
    out = tmp_path / "out"
    FineTune(evaluated(tiny, sounds, out, steps=3)).fit()
    assert not {"tracker", "eval_batch_size"} & json.loads((out / CONFIG).read_text()).keys()
    lines = (out / "history.jsonl").read_text().splitlines()
    (out / "history.jsonl").write_text(f"{lines[1]}\n")
    known = json.loads((out / CONFIG).read_text())
    (out / CONFIG).write_text(json.dumps({name: value for name, value in known.items() if name != "candidates"}))
    with pytest.raises(UsageError, match="the run had candidates = 1, not 2"):
        FineTune(evaluated(tiny, sounds, out, candidates=2)).fit(resume=True)
    changed = evaluated(tiny, sounds, out, eval_batch_size=1, tracker="none", gradient_checkpointing=True)
    assert FineTune(changed).fit(resume=True).last_step == 6
    assert [entry["step"] for entry in history_of(out)] == [3, 6]
    FineTune(evaluated(tiny, sounds, tmp_path / "straight")).fit()
    assert_same_to_the_bit(tmp_path / "straight", out)


def test_clips_do_not_depend_on_how_many_are_made_at_a_time(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    made = AudioLDM._waveforms

    def counted(self: AudioLDM, jobs: Any, *rest: Any) -> Any:
        sizes.append(len(jobs))
        return made(self, jobs, *rest)

    monkeypatch.setattr(AudioLDM, "_waveforms", counted)
    scores = []
    for size in (1, 3):
        out = tmp_path / str(size)
        done = FineTune(evaluated(tiny, sounds, out, steps=1, candidates=1, eval_batch_size=size)).fit()
        scores.append(done.scores["fd_yamnet"])
        assert (max(sizes), len(sizes)) == (size, 2 * -(-4 // size))
        sizes.clear()
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
