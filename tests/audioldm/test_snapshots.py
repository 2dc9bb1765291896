"""Checkpoints as the hub lays them out: old and new files, and what does not fit."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.snapshots import locate
from audiogen_metrics.audioldm.tiny import write_tiny
from audiogen_metrics.errors import MissingWeightsError, UsageError

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*random weights"
)


def load(folder: Path | str, **options: Any) -> AudioLDM:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AudioLDM.from_pretrained(folder, device="cpu", **options)


def sound(model: AudioLDM) -> np.ndarray[Any, Any]:
    return np.stack([clip.waveform for clip in model.generate(["rain"], seconds=1.0, steps=2)])


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def edit(file: Path, change: Any) -> None:
    state = load_file(file)
    change(state)
    save_file(state, file, metadata={"format": "pt"})


def test_pickled_weights_load_as_safetensors_do(tmp_path: Path, tiny: Path) -> None:
    pickled = write_tiny(tmp_path / "bin", safetensors=False)
    assert not list(pickled.rglob("*.safetensors"))
    np.testing.assert_array_equal(sound(load(pickled)), sound(load(tiny)))
    assert set(load(pickled).settings["weights_sha256"]) == {
        "text_encoder/pytorch_model.bin",
        "unet/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.bin",
        "vocoder/pytorch_model.bin",
    }


def test_attention_of_the_vae_under_its_old_names(copy: Path, tiny: Path) -> None:
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def rename(state: dict[str, torch.Tensor]) -> None:
        for name in list(state):
            for now, then in old.items():
                if now in name:
                    state[name.replace(now, then)] = state.pop(name)

    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    edit(file, rename)
    assert any(".proj_attn." in name for name in load_file(file))
    np.testing.assert_array_equal(sound(load(copy)), sound(load(tiny)))


def test_code_in_a_pickled_checkpoint_never_runs(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "ran").touch, ())

    folder = write_tiny(tmp_path / "bin", safetensors=False)
    torch.save({"weight": Attack()}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(MissingWeightsError, match="cannot be loaded as UNet2DConditionModel"):
        load(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "vocoder"])
def test_a_partly_random_network_is_never_used(copy: Path, part: str) -> None:
    (file,) = (copy / part).glob("*.safetensors")
    edit(file, lambda state: state.pop(sorted(state)[3]))
    with pytest.raises(MissingWeightsError, match=r"1 missing weights|cannot be loaded"):
        load(copy)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "vocoder"])
def test_weights_that_the_configuration_does_not_know(copy: Path, part: str) -> None:
    (file,) = (copy / part).glob("*.safetensors")
    edit(file, lambda state: state.update(stranger=torch.zeros(1)))
    with pytest.raises(MissingWeightsError, match=r"1 unexpected weights, stranger first"):
        load(copy)


def test_a_configuration_of_another_size(copy: Path) -> None:
    config = copy / "unet" / "config.json"
    config.write_text(config.read_text().replace('"layers_per_block": 2', '"layers_per_block": 1'))
    with pytest.raises(MissingWeightsError, match=r"unet: (does not fit|cannot be loaded)"):
        load(copy)


def test_truncated_or_missing_files(copy: Path) -> None:
    (file,) = (copy / "vae").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(MissingWeightsError, match="vae: cannot be loaded as AutoencoderKL"):
        load(copy)
    file.unlink()
    with pytest.raises(MissingWeightsError, match="vae: has no weights file"):
        load(copy)
    shutil.rmtree(copy / "vocoder")
    with pytest.raises(MissingWeightsError, match="not an AudioLDM checkpoint: it has no vocoder"):
        load(copy)


def test_a_foreign_clap_is_refused(tiny: Path, tmp_path: Path) -> None:
    other = write_tiny(tmp_path / "other", seed=5)
    model = load(tiny, clap=other / "clap")
    with pytest.raises(MissingWeightsError, match=r"not the CLAP of .*text towers differ by .*s-full-v2"):
        _ = model.clap
    assert load(tiny, clap=tiny / "clap").clap.digests


def test_a_checkpoint_without_a_known_clap(tmp_path: Path) -> None:
    model = load(write_tiny(tmp_path / "alone", clap=False))
    with pytest.raises(MissingWeightsError, match="no CLAP with an audio tower is known"):
        _ = model.clap


def test_offline_says_what_to_get_and_where_it_looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AGM_OFFLINE", "1")
    with pytest.raises(
        MissingWeightsError, match=r"downloads are switched off.*hf download cvssp/audioldm-s-full-v2.*Looked in"
    ):
        locate("cvssp/audioldm-s-full-v2")
    with pytest.raises(UsageError, match="neither a folder nor a name on the hub"):
        locate(tmp_path / "none")


def test_the_marker_of_random_weights(tiny: Path) -> None:
    with pytest.warns(UserWarning, match="random weights: its sound means nothing"):
        AudioLDM.from_pretrained(tiny, device="cpu")
    assert json.loads((tiny / "model_index.json").read_text())["_class_name"] == "AudioLDMPipeline"
