"""AudioLDM on a GPU: the CPU's clips and losses up to rounding, and stops that change nothing.

``AGM_TEST_DEVICE=cpu pytest tests/audioldm/test_on_gpu.py`` runs the same code where there is no GPU.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.finetuning import FineTune
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.sampling import Sampling
from audiogen_metrics.audioldm.tracking import STEPS
from audiogen_metrics.generation.base import Request
from tests.audioldm.test_finetuning import settings as quick
from tests.places import REFERENCE

DEVICE = os.environ.get("AGM_TEST_DEVICE", "cuda")
ON_GPU = DEVICE == "cuda"
PROMPTS = ["a dog barks", "rain on a tin roof", "water 水 drops"]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ON_GPU and not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def _accelerate_chooses_again() -> Iterator[None]:
    """It allows one device and one precision for each process."""
    from accelerate.state import AcceleratorState

    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module", autouse=True)
def _without_tf32() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGM_TF32", "0")
        yield


@pytest.fixture(scope="module")
def there(tiny: Path) -> AudioLDM:
    return AudioLDM.from_pretrained(tiny, device=DEVICE)


def sounds_of(model: AudioLDM, requests: list[Request], **options: Any) -> np.ndarray[Any, Any]:
    return np.stack([clip.waveform for clip in model.sample(requests, Sampling(steps=5, **options))])


def requests(**options: Any) -> list[Request]:
    return [Request(f"clip{index}", prompt, seconds=1.0, seed=3, **options) for index, prompt in enumerate(PROMPTS)]


def furthest(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    """Return the largest difference of two samples, relative to the loudest one."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_clips_are_the_cpus(model: AudioLDM, there: AudioLDM, eta: float) -> None:
    expected, found = (sounds_of(one, requests(), eta=eta) for one in (model, there))
    print(f"\neta {eta}: {furthest(found, expected):.1e}", end="")
    assert there.settings["device"] == DEVICE
    assert furthest(found, expected) <= 1e-3
    np.testing.assert_array_equal(found, sounds_of(there, requests(), eta=eta))
    alone = np.concatenate([sounds_of(there, [request], eta=eta, batch_size=1) for request in requests()])
    print(f", each by itself {furthest(alone, found):.1e}", end="")
    assert furthest(alone, found) <= 1e-3


@pytest.mark.skipif(not ON_GPU, reason="a CPU has no TF32")
def test_tf32_unless_it_is_ruled_out(
    tiny: Path, model: AudioLDM, there: AudioLDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AGM_TF32")
    rounded = AudioLDM.from_pretrained(tiny, device=DEVICE)
    assert (rounded.settings["tf32"], there.settings["tf32"]) == (1, 0)
    assert "tf32" not in model.settings
    expected, found = (sounds_of(one, requests()) for one in (model, rounded))
    print(f"\nTF32: {furthest(found, expected):.1e}", end="")
    assert 3 * furthest(sounds_of(there, requests()), expected) < furthest(found, expected) < 0.1


def test_what_the_host_sets_reaches_no_clip(there: AudioLDM) -> None:
    expected = sounds_of(there, requests())
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        with torch.autocast(DEVICE, torch.bfloat16):
            found = sounds_of(there, requests())
    finally:
        torch.backends.cudnn.allow_tf32 = cudnn
        torch.set_float32_matmul_precision(matmul)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_shorter_type(tiny: Path, there: AudioLDM, dtype: Any) -> None:
    if not ON_GPU and dtype == "float16":
        pytest.skip("of a GPU")
    shorter = AudioLDM.from_pretrained(tiny, device=DEVICE, dtype=dtype)
    expected, found = (sounds_of(one, requests()) for one in (there, shorter))
    print(f"\n{dtype}: {furthest(found, expected):.1e}", end="")
    assert 0 < furthest(found, expected) < 0.3


def test_recordings_as_conditions_and_the_best_candidate(model: AudioLDM, there: AudioLDM) -> None:
    files = sorted(REFERENCE.rglob("*.flac"))[:2] or sorted(REFERENCE.rglob("*.wav"))[:2]
    asked = [Request(f"clip{index}", audio=file, seconds=1.0) for index, file in enumerate(files)]
    expected, found = (sounds_of(one, asked) for one in (model, there))
    assert furthest(found, expected) <= 1e-3
    chosen = [one.sample(requests(), Sampling(steps=3, candidates=3)) for one in (model, there)]
    for here, away in zip(*chosen, strict=True):
        np.testing.assert_allclose(away.notes["clap_similarity"], here.notes["clap_similarity"], atol=1e-4)


def settings(*places: Path, **changes: Any) -> FineTuneConfig:
    return quick(*places, **{"device": DEVICE, **changes})


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / STEPS).read_text().splitlines()]


def test_training_is_the_cpus(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    from accelerate.state import AcceleratorState

    FineTune(settings(tiny, sounds, tmp_path / "here", device="cpu")).fit()
    AcceleratorState._reset_state(reset_partial_state=True)
    done = FineTune(settings(tiny, sounds, tmp_path / "there", evaluation=str(sounds), eval_clips=4)).fit()
    found, expected = losses(tmp_path / "there"), losses(tmp_path / "here")
    print(f"\nlosses {expected} on the CPU, {found} on {DEVICE}", end="")
    np.testing.assert_allclose(found, expected, rtol=5e-3)
    assert done.scores["fd_yamnet"] > 0


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_stopped_and_resumed(tiny: Path, sounds: Path, tmp_path: Path, precision: str) -> None:
    """Up to rounding: cuDNN adds gradients in an order of its own."""
    if not ON_GPU and precision == "fp16":
        pytest.skip("of a GPU")
    FineTune(settings(tiny, sounds, tmp_path / "straight", precision=precision)).fit()
    FineTune(settings(tiny, sounds, tmp_path / "cut", precision=precision, steps=4)).fit()
    FineTune(settings(tiny, sounds, tmp_path / "cut", precision=precision)).fit(resume=True)
    found, expected = losses(tmp_path / "cut"), losses(tmp_path / "straight")
    print(f"\n{precision}: {'equal to the bit' if found == expected else (found, expected)}", end="")
    np.testing.assert_allclose(found, expected, rtol=1e-4 if precision == "no" else 1e-2)
