"""Settings of a run, wrong ones above all; and the front end."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiogen_metrics.audioldm.configuration import FineTuneConfig, make_config, read_config
from audiogen_metrics.audioldm.material import _validation
from audiogen_metrics.audioldm.mel import log_mel
from audiogen_metrics.datasets.base import DatasetClip
from audiogen_metrics.errors import InsufficientDataError, UsageError

BASE = {"data": "sounds", "output": "out"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepz": 1}, "unknown setting 'stepz'. Did you mean 'steps'"),
        ({"steps": 0}, "steps: 0 is out of range. Use a whole number, at least 1"),
        ({"steps": "many"}, "steps: 'many' is not of type int"),
        ({"steps": True}, "steps: True is not of type int"),
        ({"learning_rate": "1e-4"}, "learning_rate: '1e-4' is not of type float. Write 0.0001"),
        ({"condition": "image"}, "'image' is not one of text, audio"),
        ({"lora": 4, "pretrained": False}, "adapters on a random denoiser"),
        ({"validation": 0.1}, "needs evaluation clips for the end"),
        ({"split": "paper", "evaluation": "x"}, "not from both"),
        ({"protocol": "audioldmm"}, "unknown protocol"),
        ({"monitor": "fd_yamnet"}, "unknown score of protocol audioldm 'fd_yamnet'"),
        ({"data": None}, "data: is missing"),
        ({"eval_seconds": 60}, "eval_seconds: 60 is out of range. Use a number, from 0.1 to 10.24"),
    ],
)
def test_what_is_wrong_is_said_before_anything_loads(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_config({**BASE, **changes})
    assert message in str(caught.value)


def test_yaml_and_what_overrides_it(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: sounds\noutput: out\nsteps: 7\nlearning_rate: 0.001\nlora: null\n")
    config = read_config(path, steps=9, seed=None)
    assert (config.steps, config.learning_rate, config.lora, config.seed) == (9, 0.001, None, 0)
    assert config.monitored() == ("fd_panns", False)
    assert FineTuneConfig("a", "b", monitor="is_panns").monitored() == ("is_panns", True)
    path.write_text("- data\n")
    with pytest.raises(UsageError, match="not a mapping"):
        read_config(path)
    path.write_text("data: [")
    with pytest.raises(UsageError, match="cannot be read as YAML"):
        read_config(path)
    with pytest.raises(UsageError, match="output is missing"):
        make_config({"data": "x"})


@pytest.mark.slow
def test_log_mel_equals_the_recipe_in_librosa() -> None:
    import librosa

    waveform = 0.3 * np.random.default_rng(0).standard_normal(163_840).astype(np.float32)
    padded = np.pad(waveform, 432, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024)[::160]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    magnitude = np.abs(np.fft.rfft(frames * window))
    filters = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=64, fmin=0, fmax=8000)
    expected = np.log(np.maximum(magnitude @ filters.T, 1e-5))
    ours = log_mel(torch.from_numpy(waveform)[None])
    assert ours.shape == (1, 1, 1024, 64)
    np.testing.assert_allclose(ours[0, 0].numpy(), expected, atol=1e-4)
    assert log_mel(torch.zeros(1, 163_840)).unique().tolist() == pytest.approx([np.log(1e-5)])


class TestValidation:
    """The clips that choose a checkpoint share no recording with those that train."""

    @staticmethod
    def drawn(groups: list[str], **changes: Any) -> tuple[list[str], list[str]]:
        clips = [DatasetClip(f"{index:03}", None, "rain", group=group) for index, group in enumerate(groups)]
        config = FineTuneConfig(data="sounds", output="out", evaluation="others", **changes)
        train, chosen = _validation(clips, config)
        assert sorted([*train, *chosen], key=lambda clip: clip.clip_id) == clips
        return [clip.group or clip.clip_id for clip in train], [clip.group or clip.clip_id for clip in chosen]

    @pytest.mark.parametrize("seed", range(20))
    def test_recordings_stay_together(self, seed: int) -> None:
        train, chosen = self.drawn([f"r{index // 4}" for index in range(100)], validation=0.1, seed=seed)
        assert not {*train} & {*chosen}
        assert len(chosen) == 12  # three recordings of four clips

    def test_without_recordings_clips_are_drawn_one_by_one(self) -> None:
        _, chosen = self.drawn([""] * 50, validation=0.1, seed=3)
        assert chosen == sorted(f"{index:03}" for index in random.Random(3).sample(range(50), 5))

    def test_one_recording_leaves_none(self) -> None:
        with pytest.raises(
            InsufficientDataError, match="2 of 8 clips, with all others of their recordings, leave none"
        ):
            self.drawn(["one"] * 8, validation=0.1)
