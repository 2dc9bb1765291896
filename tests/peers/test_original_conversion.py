"""Conversion of AudioLDM's own checkpoints beside diffusers' script: the same seeded file, equal tensor by tensor.

What the script does with a file is recorded as the place of each of its tensors, which the first test asks of ours. The
second runs the script, where ``AGM_CONVERSION_SCRIPT`` is ``convert_original_audioldm_to_diffusers.py`` of diffusers'
repository and ``AGM_CONVERSION_PYTHON`` a Python with diffusers 0.16.1, the last that it works with, transformers
4.30.2 and huggingface_hub 0.25.2 (``AGM_CONVERSION_PACKAGES``: their folder, where they stand apart); with
``AGM_WRITE_GOLDEN=1`` it writes the record anew. The third runs AudioLDM's own networks, where ``AGM_AUDIOLDM_SOURCE``
is a copy of haoheliu/AudioLDM and ``AGM_AUDIOLDM_PYTHON`` a Python with torch, torchaudio, librosa, einops and
torchlibrosa (``AGM_AUDIOLDM_PACKAGES`` likewise).
"""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.original import convert_checkpoint
from tests.checkpoints import write_tokenizer
from tests.original_checkpoint import JOINT, write_original

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "original_conversion.json"
SCRIPT, PYTHON = os.environ.get("AGM_CONVERSION_SCRIPT"), os.environ.get("AGM_CONVERSION_PYTHON")
SOURCE, SOURCE_PYTHON = os.environ.get("AGM_AUDIOLDM_SOURCE"), os.environ.get("AGM_AUDIOLDM_PYTHON")
PARTS = ("unet", "vae", "text_encoder", "vocoder")
WEIGHTS = ("ema", "trained")

RENAMED = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Names of the autoencoder's attention in diffusers 0.16 and today, which both load."""

OURS_ONLY = {"_diffusers_version", "transformers_version", "attention_head_dim", "model_type", "dtype", "torch_dtype"}
"""In a configuration, what may differ: versions, and the heads, which the script leaves at 8."""

CONFIG: dict[str, Any] = {
    "linear_start": 0.0015,
    "linear_end": 0.0195,
    "timesteps": 1000,
    "channels": 8,
    "scale_by_std": True,
    "unet_config": {
        "params": {
            "extra_film_condition_dim": JOINT,
            "extra_film_use_concat": True,
            "in_channels": 8,
            "out_channels": 8,
            "model_channels": 32,
            "attention_resolutions": [2],
            "num_res_blocks": 2,
            "channel_mult": [1, 2],
            "num_head_channels": 32,
        }
    },
    "first_stage_config": {
        "params": {
            "embed_dim": 8,
            "ddconfig": {
                "z_channels": 8,
                "resolution": 256,
                "in_channels": 1,
                "out_ch": 1,
                "ch": 32,
                "ch_mult": [1, 1, 2],
                "num_res_blocks": 2,
            },
        }
    },
    "vocoder_config": {
        "params": {
            "upsample_rates": [5, 4, 2, 2, 2],
            "upsample_kernel_sizes": [16, 16, 8, 4, 4],
            "upsample_initial_channel": 64,
            "resblock_kernel_sizes": [3, 7, 11],
            "resblock_dilation_sizes": [[1, 3, 5]] * 3,
            "num_mels": 64,
            "sampling_rate": 16_000,
        }
    },
}
"""What the script is told; ours reads it from the shapes."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_tokenizer(folder)
    return write_original(folder / "tiny.ckpt")


@pytest.fixture(scope="module")
def ours(checkpoint: Path) -> Mapping[str, Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            weights: convert_checkpoint(checkpoint, checkpoint.parent / weights, ema=weights == "ema")
            for weights in WEIGHTS
        }


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("part", PARTS)
def test_every_tensor_is_where_the_script_puts_it(
    ours: Mapping[str, Path], checkpoint: Path, weights: str, part: str
) -> None:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    places = golden[weights].get(part) or golden["trained"][part]
    found = tensors(ours[weights] / part)
    assert found.keys() == places.keys()
    for name, place in places.items():
        expected = state[place] if place in state else torch.full_like(found[name], float(place))
        assert torch.equal(found[name], expected.reshape(found[name].shape)), name


@pytest.mark.peers
@pytest.mark.skipif(not (SCRIPT and PYTHON), reason="needs the script and an old diffusers: see the module's docstring")
@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_script_itself(ours: Mapping[str, Path], checkpoint: Path, tmp_path: Path, weights: str) -> None:
    config, out = tmp_path / "config.yaml", tmp_path / "theirs"
    config.write_text(json.dumps({"model": {"params": CONFIG}}))  # YAML, too
    text = ours[weights] / "text_encoder" / "config.json"
    command = [PYTHON, HERE / "run_original_conversion.py", SCRIPT, checkpoint, config, text, out, weights]
    _run(command, "AGM_CONVERSION_PACKAGES")
    places = {}
    for part in PARTS:
        theirs = {_today(name) if part == "vae" else name: value for name, value in tensors(out / part).items()}
        found = tensors(ours[weights] / part)
        assert found.keys() == theirs.keys()
        assert [name for name in found if not torch.equal(found[name], theirs[name])] == []
        told, read = (_config(folder / part) for folder in (out, ours[weights]))
        assert {name: told[name] for name in told.keys() & read.keys()} == {
            name: read[name] for name in told.keys() & read.keys()
        }
        if part == "unet" or weights == "trained":
            places[part] = _places(theirs, torch.load(checkpoint, weights_only=True)["state_dict"])
    told, read = (_config(folder / "scheduler", "scheduler_config.json") for folder in (out, ours[weights]))
    assert {name: read[name] for name in told} == told
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    if os.environ.get("AGM_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(golden | {weights: places}, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    else:
        assert golden[weights] == places


@pytest.mark.peers
@pytest.mark.skipif(not (SOURCE and SOURCE_PYTHON), reason="needs AudioLDM's code: see the module's docstring")
def test_audioldms_own_networks(ours: Mapping[str, Path], checkpoint: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "latents": torch.randn(2, 8, 64, 16, generator=generator),
        "times": torch.tensor([3, 900]),
        "labels": torch.nn.functional.normalize(torch.randn(2, JOINT, generator=generator), dim=-1),
        "mel": torch.randn(2, 1, 256, 64, generator=generator),
    }
    torch.save(inputs, tmp_path / "in.pt")
    command = [SOURCE_PYTHON, HERE / "run_audioldm_networks.py", SOURCE, checkpoint]
    _run([*command, tmp_path / "in.pt", tmp_path / "out.pt"], "AGM_AUDIOLDM_PACKAGES")
    theirs = torch.load(tmp_path / "out.pt", weights_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AudioLDM.from_pretrained(ours["ema"], device="cpu")
    with torch.no_grad():
        decoded = model.vae.decode(inputs["latents"]).sample
        made = {
            "noise": model.unet(
                inputs["latents"], inputs["times"], encoder_hidden_states=None, class_labels=inputs["labels"]
            ).sample,
            "decoded": decoded,
            "mean": model.vae.encode(inputs["mel"]).latent_dist.mean,
            "waveform": model.vocoder(theirs["decoded"].squeeze(1)),
        }
    for name, expected in theirs.items():
        assert float((made[name] - expected).abs().max() / expected.abs().max()) <= 5e-6, name


def _run(command: list[Any], packages: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": os.environ.get(packages, ""), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(each) for each in command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _today(name: str) -> str:
    for then, now in RENAMED.items():
        name = name.replace(then, now)
    return name


def _config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    return {name: value for name, value in content.items() if name not in OURS_ONLY}


def _places(theirs: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Return where in the file each tensor is from, told by its values; of a constant, the number."""
    known = {value.numpy().tobytes(): name for name, value in state.items()}
    constant = {name: str(float(value.flatten()[0])) for name, value in theirs.items() if value.unique().numel() == 1}
    return {name: known.get(value.numpy().tobytes()) or constant[name] for name, value in theirs.items()}
