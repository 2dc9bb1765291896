"""AudioLDM beside diffusers' own pipeline, and clips that do not depend on their company."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audioldm.conditioning import CLAP_SAMPLES, condition_waveform
from audiogen_metrics.audioldm.generation import AudioLDM, AudioLDMGenerator
from audiogen_metrics.audioldm.sampling import Sampling
from audiogen_metrics.audioldm.snapshots import original_heads
from audiogen_metrics.audioldm.tiny import TINY, write_tiny
from audiogen_metrics.errors import NumericsError, UsageError
from audiogen_metrics.generation.base import Request
from tests.places import REFERENCE

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*random weights"
)

PROMPTS = ["a dog barks", "rain on a tin roof", "water 水 drops"]


def quietly(model: str | Path, **options: Any) -> AudioLDM:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AudioLDM.from_pretrained(model, device="cpu", **options)


def waveforms(clips: Any) -> np.ndarray[Any, Any]:
    return np.stack([clip.waveform for clip in clips])


@pytest.mark.slow
@pytest.mark.parametrize(("eta", "guidance"), [(0.0, 1.0), (0.0, 2.5), (1.0, 1.0), (1.0, 2.5)])
def test_equals_the_pipeline_of_diffusers(tmp_path: Path, eta: float, guidance: float) -> None:
    from diffusers import AudioLDMPipeline

    # Wide enough that heads matter: one and two as trained, eight each as published.
    folder = write_tiny(tmp_path / "model", channels=(32, 64))
    ours = quietly(folder, heads="as_published")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = AudioLDMPipeline.from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    streams = [torch.Generator().manual_seed(Request(str(i), p).stream()) for i, p in enumerate(PROMPTS)]
    theirs = pipeline(
        PROMPTS, num_inference_steps=5, audio_length_in_s=1.0, guidance_scale=guidance, eta=eta, generator=streams
    ).audios
    mine = waveforms(ours.generate(PROMPTS, seconds=1.0, steps=5, eta=eta, guidance=guidance))
    assert mine.shape == theirs.shape == (3, 16_000)
    assert np.abs(theirs).max() > 0.05
    np.testing.assert_allclose(mine, theirs, atol=1e-5)

    original = waveforms(quietly(folder).generate(PROMPTS, seconds=1.0, steps=5, eta=eta, guidance=guidance))
    assert np.abs(original - theirs).max() > 1e-4


def test_heads_as_trained(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "model", channels=(32, 64, 96))
    assert list(quietly(folder).settings["attention_head_dim"]) == [1, 2, 3]
    assert quietly(folder, heads="as_published").settings["attention_head_dim"] == 8
    assert original_heads([192, 384, 576, 960]) == [6, 12, 18, 30]
    with pytest.raises(UsageError, match="unknown heads"):
        quietly(folder, heads="mine")


@pytest.mark.slow
def test_a_clip_does_not_depend_on_its_company(model: AudioLDM) -> None:
    requests = [Request(f"clip{i}", prompt, seconds=1.0, seed=3) for i, prompt in enumerate(PROMPTS)]
    together = waveforms(model.sample(requests, Sampling(steps=5)))
    alone = waveforms([model.sample([request], Sampling(steps=5, batch_size=1))[0] for request in reversed(requests)])[
        ::-1
    ]
    np.testing.assert_allclose(together, alone, atol=5e-6)
    candidates = waveforms(model.sample(requests, Sampling(steps=5, candidates=1, batch_size=2)))
    np.testing.assert_allclose(together, candidates, atol=5e-6)
    other = waveforms(model.sample([Request("clip0", PROMPTS[0], seconds=1.0, seed=4)], Sampling(steps=5)))
    assert np.abs(other - together[0]).max() > 1e-3
    # Twice is to the bit.
    assert np.array_equal(together, waveforms(model.sample(requests, Sampling(steps=5))))


def test_the_best_candidate_is_kept(model: AudioLDM) -> None:
    request = Request("clip0", PROMPTS[0], seconds=1.0)
    (best,) = model.sample([request], Sampling(steps=3, candidates=4))
    likeness = best.notes["clap_similarity"]
    assert len(set(likeness)) == 4
    assert best.notes["candidate"] == int(np.argmax(likeness))
    alone = Request("clip0", PROMPTS[0], seconds=1.0)
    (first,) = model.sample([alone], Sampling(steps=3))
    if best.notes["candidate"] == 0:
        np.testing.assert_allclose(best.waveform, first.waveform, atol=5e-6)
    else:
        assert np.abs(best.waveform - first.waveform).max() > 1e-4


def test_recordings_as_conditions(model: AudioLDM) -> None:
    files = [*map(str, [REFERENCE / "bd" / "haus.wav", *sorted(REFERENCE.rglob("*.flac"))[:2]])]
    files = [file for file in files if Path(file).exists()]
    assert len(files) >= 2
    made = waveforms(model.generate(audio=files, seconds=1.0, steps=3, ids=["same"] * 1 + [f"x{i}" for i in files[1:]]))
    assert np.isfinite(made).all()
    rows = model.clap.embed_files([Path(file) for file in files])
    assert torch.allclose(rows.norm(dim=-1), torch.ones(len(files)), atol=1e-5)
    assert not torch.allclose(rows[0], rows[1])
    # The second time from the cache, to the bit.
    assert torch.equal(rows, model.clap.embed_files([Path(file) for file in files]))


def test_what_clap_hears() -> None:
    """Zero-padded, not repeated; mean removed; peak 0.5; cut to ten seconds."""
    seconds = np.arange(16_000) / 16_000
    tone = (0.1 + 0.2 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)
    heard = condition_waveform(Audio(np.stack([tone, 0 * tone], 1), 16_000))
    assert heard.shape == (CLAP_SAMPLES,)
    assert float(heard[1000:47_000].abs().max()) == pytest.approx(0.5, abs=2e-3)
    assert abs(float(heard[:48_000].mean())) < 1e-3
    assert float(heard[48_100:].abs().max()) == 0.0
    long = condition_waveform(Audio(np.tile(tone, 30)[:, None], 16_000))
    assert long.shape == (CLAP_SAMPLES,)
    silent = condition_waveform(Audio(np.zeros((100, 1), np.float32), 16_000))
    assert float(silent.abs().max()) == 0.0


def test_prompts_empty_and_endless(model: AudioLDM) -> None:
    with pytest.warns(UserWarning, match="prompt of .* tokens is cut to 512"):
        rows = model.text.embed(["", "word " * 1000, "word " * 2000])
    assert torch.isfinite(rows).all()
    assert torch.equal(rows[1], rows[2])
    # The unconditional embedding: no guidance changes nothing.
    free = waveforms(model.generate([""], seconds=1.0, steps=3, guidance=7.0))
    plain = waveforms(model.generate([""], seconds=1.0, steps=3, guidance=1.0))
    np.testing.assert_allclose(free, plain, atol=1e-5)


def test_lengths(model: AudioLDM) -> None:
    assert [len(clip.waveform) for clip in model.generate(["a"], seconds=0.5, steps=1)] == [8000]
    with pytest.warns(UserWarning, match=r"more than the 10\.24 s"):
        assert len(model.generate(["a"], seconds=11.0, steps=1)[0].waveform) == 176_000
    with pytest.raises(UsageError, match="less than one latent frame"):
        model.generate(["a"], seconds=0.01, steps=1)


def test_memory_running_out_halves_the_batch(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = quietly(tiny)
    expected = waveforms(model.generate(PROMPTS, seconds=1.0, steps=2))
    sizes = []
    plain = AudioLDM._waveforms

    def limited(self: AudioLDM, jobs: Any, *rest: Any) -> Any:
        sizes.append(len(jobs))
        if len(jobs) > 1:
            raise torch.OutOfMemoryError("injected")
        return plain(self, jobs, *rest)

    monkeypatch.setattr(AudioLDM, "_waveforms", limited)
    with pytest.warns(UserWarning, match="out of memory with 3 clips at a time; now 1"):
        made = waveforms(model.generate(PROMPTS, seconds=1.0, steps=2))
    assert sizes == [3, 1, 1, 1]
    np.testing.assert_allclose(made, expected, atol=5e-6)


def test_values_that_are_not_finite_stop_the_run(tiny: Path) -> None:
    broken = quietly(tiny)
    with torch.no_grad():
        broken.unet.conv_out.bias.fill_(float("nan"))
    with pytest.raises(NumericsError, match=r"clip0 .*NaN or infinite"):
        broken.sample([Request("clip0", "rain", seconds=1.0)], Sampling(steps=1))


def test_lower_precision_by_choice(tiny: Path, model: AudioLDM) -> None:
    half = quietly(tiny, dtype="bfloat16")
    assert half.settings["dtype"] == "bfloat16"
    made = waveforms(half.generate(PROMPTS[:1], seconds=1.0, steps=2))
    plain = waveforms(model.generate(PROMPTS[:1], seconds=1.0, steps=2))
    assert 0 < np.abs(made - plain).max() < 0.1
    with pytest.raises(UsageError, match="unknown dtype 'int8'"):
        quietly(tiny, dtype="int8")


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 1001}, {"eta": 1.5}, {"guidance": -1.0}, {"candidates": 0}])
def test_impossible_sampling(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Sampling(**wrong)


def test_settings_tell_what_shaped_the_sound(model: AudioLDM) -> None:
    settings = AudioLDMGenerator(model, Sampling(candidates=2)).settings
    assert {"model", "weights_sha256", "heads", "clap_sha256", "steps", "guidance", "eta", "candidates"} <= set(
        settings
    )
    assert settings["random_weights"] is True
    assert "batch_size" not in settings


def test_tiny_is_seeded_and_leaves_the_global_state_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    first, second = (write_tiny(tmp_path / name, clap=False) for name in ("a", "b"))
    other = write_tiny(tmp_path / "c", seed=1, clap=False)
    assert torch.equal(before, torch.get_rng_state())
    file = "unet/diffusion_pytorch_model.safetensors"
    assert (first / file).read_bytes() == (second / file).read_bytes() != (other / file).read_bytes()
    assert TINY == "tiny-random"
