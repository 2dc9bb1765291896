"""Trackers of a training: who is told what, and that one which fails stops nothing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from accelerate import tracking
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audiogen_metrics.audioldm.configuration import TRACKERS, FineTuneConfig
from audiogen_metrics.audioldm.finetuning import FineTune
from audiogen_metrics.audioldm.tracking import IDENTITY
from audiogen_metrics.errors import MissingDependencyError, UsageError
from tests.audioldm.test_finetuning import evaluated, launch, settings, steps

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "cache"))


def shown(folder: Path, name: str) -> list[int]:
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return [event.step for event in board.Scalars(name)]


def test_tensorboard_has_every_step_once_after_a_stop(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    FineTune(evaluated(tiny, sounds, tmp_path / "out", steps=3)).fit()
    FineTune(evaluated(tiny, sounds, tmp_path / "out")).fit(resume=True)
    assert shown(tmp_path / "out", "loss") == [1, 2, 3, 4, 5, 6]
    assert shown(tmp_path / "out", "fd_yamnet") == [0, 3, 6]
    FineTune(settings(tiny, sounds, tmp_path / "none", steps=1, tracker="none")).fit()
    assert not (tmp_path / "none" / "tensorboard").exists()
    assert len(steps(tmp_path / "none")) == 1


def test_a_tracker_that_fails_is_left_out(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fragile(tracking.TensorBoardTracker):
        def log(self, values: dict[str, Any], step: int | None = None, **options: Any) -> None:
            if step == 3:
                raise OSError("No space left on device")
            super().log(values, step, **options)

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Fragile)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert FineTune(settings(tiny, sounds, tmp_path / "out")).fit().last_step == 6
    said = [str(each.message) for each in caught if "tracker" in str(each.message)]
    assert said == [
        "the tracker tensorboard has failed, the training goes on without it: OSError: No space left on device"
    ]
    assert len(steps(tmp_path / "out")) == 6
    # One that cannot even begin.
    monkeypatch.undo()
    (tmp_path / "file").mkdir()
    FineTune(settings(tiny, sounds, tmp_path / "file", steps=1, tracker="none")).fit()
    (tmp_path / "file" / "tensorboard").write_text("a file")
    with pytest.warns(UserWarning, match="the tracker tensorboard has failed, the training goes on without it: File"):
        assert FineTune(settings(tiny, sounds, tmp_path / "file")).fit(resume=True).last_step == 6


def test_what_is_wrong_with_a_tracker_is_said_before_anything_begins(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {*TRACKERS} - {"none"} <= {*tracking.LOGGER_TYPE_TO_CLASS}
    for wrong, message in (
        ("tensorbord", "unknown tracker 'tensorbord'. Did you mean 'tensorboard'"),
        ("tensorboard,none", "'tensorboard,none' names trackers beside none"),
        ("", "unknown tracker ''"),
    ):
        with pytest.raises(UsageError, match=message):
            FineTuneConfig("sounds", "out", tracker=wrong)
    assert FineTuneConfig("sounds", "out", tracker="wandb, tensorboard,wandb").trackers() == ("wandb", "tensorboard")
    monkeypatch.setattr(tracking, "_available_trackers", ["tensorboard"])
    with pytest.raises(MissingDependencyError, match="tracker: the package of wandb is not installed"):
        FineTune(settings(tiny, sounds, tmp_path / "out", tracker="tensorboard,wandb")).fit()
    assert not (tmp_path / "out").exists()


def test_wandb_is_told_beside_tensorboard(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    out = tmp_path / "out"
    FineTune(evaluated(tiny, sounds, out, steps=3, tracker="tensorboard,wandb")).fit()
    done = FineTune(evaluated(tiny, sounds, out, tracker="tensorboard,wandb")).fit(resume=True)
    assert shown(out, "loss") == [1, 2, 3, 4, 5, 6]
    files = sorted((out / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    assert {file.stem.removeprefix("run-") for file in files} == {(out / IDENTITY).read_text().split('"')[3]}
    told = b"".join(file.read_bytes() for file in files)
    assert b"fd_yamnet" in told
    assert repr(done.scores["fd_yamnet"]).encode() in told
    assert all(repr(line["loss"]).encode() in told for line in steps(out))


def test_wandb_without_an_account_stops_nothing(
    tiny: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own: wandb remembers how it was set up."""
    pytest.importorskip("wandb", reason="wandb is not installed")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = settings(tiny, sounds, tmp_path / "out", steps=1)
    process = launch(config, tmp_path / "yaml", "--tracker", "wandb", "--tracker", "tensorboard")
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert "warning: the tracker wandb has failed, the training goes on without it" in output
    assert shown(tmp_path / "out", "loss") == [1]
