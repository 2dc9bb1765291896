"""Audiobox Aesthetics: its file, its windows, and its WavLM against transformers'."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch._subclasses.fake_tensor import FakeTensorMode

from audiogen_metrics.backbones.audiobox import FRAMES, HOP, WINDOW, AestheticsNetwork, AudioboxAesthetics, Head
from audiogen_metrics.backbones.published import WEIGHTS
from audiogen_metrics.backbones.ratings import AESTHETICS
from audiogen_metrics.errors import MissingWeightsError, UsageError
from audiogen_metrics.evaluation import create_backbones
from audiogen_metrics.evaluation.networks import require_weights
from audiogen_metrics.metrics import PQ
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.testing import check_backbone
from tests.checkpoints import calibration_clips, write_audiobox

HEAD = Head((5.0,) * 4, (1.5,) * 4, layers=5, norm=True)


@pytest.fixture(scope="module", autouse=True)
def _own_module_cache() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGM_CACHE_DIR", folder)
        yield


@pytest.fixture(scope="module")
def checkpoint() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield write_audiobox(Path(folder))


@pytest.fixture(scope="module")
def audiobox(checkpoint: Path) -> AudioboxAesthetics:
    return AudioboxAesthetics(weights=checkpoint)


def noise(clips: int, samples: int) -> torch.Tensor:
    found = calibration_clips(16_000, torch.Generator().manual_seed(1), max(1.0, samples / 16_000))
    return found[:clips, :samples]


def test_the_file_has_the_published_bytes_and_parameters(checkpoint: Path) -> None:
    state = load_file(checkpoint)
    assert checkpoint.stat().st_size == WEIGHTS.get("audiobox-aesthetics").size == 415_472_992
    assert sum(tensor.numel() for tensor in state.values()) == 103_859_112
    assert {name.split(".")[0] for name in state} == {"wavlm_model", "proj_layer", "layer_weights"}


def test_it_is_a_backbone(audiobox: AudioboxAesthetics) -> None:
    check_backbone(audiobox)


@pytest.mark.parametrize("mode", ["meta", "fake"])
def test_shapes_without_numbers(mode: str) -> None:
    if mode == "meta":
        ratings = AestheticsNetwork(HEAD).eval().to("meta")(torch.empty(2, 23 * 16_000, device="meta")).ratings
    else:
        network = AestheticsNetwork(HEAD).eval()
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        with FakeTensorMode():
            fake = {name: torch.empty(tensor.shape, device="cpu") for name, tensor in tensors.items()}
            ratings = torch.func.functional_call(network, fake, (torch.empty(2, 23 * 16_000),)).ratings
    assert ratings is not None
    assert (ratings.shape, ratings.dtype) == ((2, len(AESTHETICS)), torch.float32)
    assert AudioboxAesthetics.axes == AESTHETICS == ("CE", "CU", "PC", "PQ")


@pytest.mark.filterwarnings("ignore:Support for mismatched:UserWarning")
@pytest.mark.parametrize("samples", [1, 320, 321, 8_000, 159_680, 159_681, WINDOW])
def test_wavlm_is_transformers_with_zeros_masked(audiobox: AudioboxAesthetics, samples: int) -> None:
    """The oracle computes the whole padded window, and leaves frames of zeros alone out of attention and of means."""
    clip = noise(1, samples)
    frames = min(-(-samples // HOP), FRAMES)
    padded = torch.nn.functional.pad(clip, (0, WINDOW - samples))
    kept = torch.arange(FRAMES)[None] < frames
    with torch.inference_mode():
        peer = transformers_wavlm(audiobox)
        features = peer.feature_projection(peer.feature_extractor(padded).transpose(1, 2))[0]
        layers = hidden(peer, torch.where(kept[..., None], features, 0.0), kept)
        expected = torch.stack([layer[:, :frames].mean(dim=1) for layer in layers], dim=1)
        used = WINDOW if frames == FRAMES else (frames - 1) * HOP + 400
        mine = audiobox.network.body.wavlm_model(padded[:, :used])
    assert mine.shape == expected.shape == (1, 13, 768)
    torch.testing.assert_close(mine, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


def hidden(peer: torch.nn.Module, features: torch.Tensor, kept: torch.Tensor) -> list[torch.Tensor]:
    """Return what enters the first layer of transformers' encoder, and what leaves each."""
    encoder = peer.encoder
    rows, bias = encoder.layer_norm(features + encoder.pos_conv_embed(features)), None
    found = [rows]
    for layer in encoder.layers:
        rows, bias = layer(rows, attention_mask=kept, position_bias=bias)[:2]
        found.append(rows)
    return found


def transformers_wavlm(audiobox: AudioboxAesthetics) -> torch.nn.Module:
    """Return transformers' network with the same weights."""
    from transformers import WavLMConfig, WavLMModel

    peer = WavLMModel(WavLMConfig(mask_time_prob=0.0)).eval()
    state = {_renamed(name): tensor for name, tensor in audiobox.network.body.wavlm_model.state_dict().items()}
    torch.nn.utils.parametrize.remove_parametrizations(peer.encoder.pos_conv_embed.conv, "weight")
    peer.load_state_dict(state)
    return peer


def _renamed(name: str) -> str:
    """Return transformers' name of a tensor of WavLM."""
    if name.startswith("feature_extractor"):
        number, place, kind = name.split(".")[2:]
        return f"feature_extractor.conv_layers.{number}.{'conv' if place == '0' else 'layer_norm'}.{kind}"
    if name.startswith("layer_norm."):
        return f"feature_projection.{name}"
    for old, new in (
        ("post_extract_proj", "feature_projection.projection"),
        ("pos_conv.0", "pos_conv_embed.conv"),
        ("self_attn_layer_norm", "layer_norm"),
        ("self_attn.grep_linear", "attention.gru_rel_pos_linear"),
        ("self_attn.grep_a", "attention.gru_rel_pos_const"),
        ("self_attn.relative_attention_bias", "attention.rel_attn_embed"),
        ("self_attn.", "attention."),
        ("fc1", "feed_forward.intermediate_dense"),
        ("fc2", "feed_forward.output_dense"),
    ):
        name = name.replace(old, new)
    return name


def test_windows_count_by_their_length(audiobox: AudioboxAesthetics) -> None:
    clips = noise(2, 2 * WINDOW + 40_000)
    parts = [
        audiobox(part).ratings for part in (clips[:, :WINDOW], clips[:, WINDOW : 2 * WINDOW], clips[:, 2 * WINDOW :])
    ]
    expected = (parts[0] + parts[1] + 0.25 * parts[2]) / 2.25
    torch.testing.assert_close(audiobox(clips).ratings, expected, rtol=0, atol=1e-5)


def test_a_rating_is_in_the_units_of_the_config(audiobox: AudioboxAesthetics, checkpoint: Path, tmp_path: Path) -> None:
    config = json.loads(checkpoint.with_name("config.json").read_text())
    for place, axis in enumerate(AESTHETICS):
        config["target_transform"][axis] = {"mean": float(place), "std": 2.0}
    (tmp_path / "model.safetensors").symlink_to(checkpoint)
    (tmp_path / "config.json").write_text(json.dumps(config))
    other = AudioboxAesthetics(weights=tmp_path / "model.safetensors")
    assert other.weights_sha256 == audiobox.weights_sha256
    assert other.fingerprint != audiobox.fingerprint, "another config, other numbers"
    clips = noise(2, 16_000)
    plain = (audiobox(clips).ratings - audiobox.network.mean) / audiobox.network.std
    torch.testing.assert_close(other(clips).ratings, 2 * plain + torch.arange(4.0), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (None, "config.json: cannot be read"),
        ("{", "is not Audiobox Aesthetics' config"),
        ({"target_transform": None}, "is not Audiobox Aesthetics' config"),
        ({"nth_layer": 12}, "nth_layer 12"),
        ({"use_weighted_layer_sum": False}, "use_weighted_layer_sum False"),
        ({"proj_num_layer": 4}, "the checkpoint is of another network: .*4 missing|unexpected tensors"),
        ({"proj_dropout": 0.1}, "the checkpoint is of another network"),
    ],
)
def test_a_config_that_does_not_fit(checkpoint: Path, tmp_path: Path, change: object, reason: str) -> None:
    (tmp_path / "model.safetensors").symlink_to(checkpoint)
    if change is not None:
        config = json.loads(checkpoint.with_name("config.json").read_text())
        content = change if isinstance(change, str) else json.dumps(config | change)  # type: ignore[operator]
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(MissingWeightsError, match=reason):
        _ = AudioboxAesthetics(weights=tmp_path / "model.safetensors").network


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wavlm_model.mask_emb", "1 missing tensors \\(wavlm_model.mask_emb"),
        ("wavlm_model.encoder.pos_conv.0.weight_g", "1 missing tensors \\(wavlm_model.encoder.pos_conv.0.weight_g"),
        ("layer_weights.PC", "1 missing tensors \\(layer_weights.PC"),
        ("more", "1 unexpected tensors \\(more"),
    ],
)
def test_a_checkpoint_that_does_not_fit(checkpoint: Path, tmp_path: Path, name: str, reason: str) -> None:
    shutil.copy(checkpoint.with_name("config.json"), tmp_path)
    state = load_file(checkpoint)
    if name in state:
        del state[name]
    else:
        state[name] = torch.zeros(1)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(MissingWeightsError, match=reason):
        _ = AudioboxAesthetics(weights=tmp_path / "model.safetensors").network
    (tmp_path / "model.safetensors").unlink()


def test_without_its_config_nothing_is_embedded(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(checkpoint)
    with pytest.raises(MissingWeightsError, match=r"config\.json: cannot be read"):
        _ = AudioboxAesthetics(weights=tmp_path / "model.safetensors").fingerprint


def test_both_published_files_are_asked_for() -> None:
    recipes = get_protocol("audiobox-aesthetics").select(None)
    with pytest.raises(MissingWeightsError, match="fetch audiobox-aesthetics audiobox-aesthetics-config; or") as caught:
        require_weights(recipes, {})
    assert "yamnet" not in str(caught.value), "YAMNet has no ratings"
    require_weights(recipes, {"audiobox-aesthetics": "given"})


def test_its_config_may_be_given_alone(checkpoint: Path, tmp_path: Path) -> None:
    recipes = get_protocol("audiobox-aesthetics").select(None)
    config = tmp_path / "own.json"
    content = json.loads((checkpoint.parent / "config.json").read_text())
    content["target_transform"]["PQ"]["mean"] += 1
    config.write_text(json.dumps(content))
    with pytest.raises(MissingWeightsError, match="fetch audiobox-aesthetics; or"):
        require_weights(recipes, {"audiobox-aesthetics-config": config})
    files = {"audiobox-aesthetics": checkpoint, "audiobox-aesthetics-config": config}
    require_weights(recipes, files)
    (own,) = create_backbones(recipes, torch.device("cpu"), files).values()
    (beside,) = create_backbones(recipes, torch.device("cpu"), {"audiobox-aesthetics": checkpoint}).values()
    assert own.settings["config_sha256"] != beside.settings["config_sha256"]
    waves = 0.1 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    moved = own(waves).ratings - beside(waves).ratings
    assert moved[0, AESTHETICS.index("PQ")] == pytest.approx(1, abs=1e-5)
    config.unlink()
    with pytest.raises(MissingWeightsError, match="no such file"):
        own.beside("audiobox-aesthetics-config")
    with pytest.raises(UsageError, match="cannot be given to an object"):
        PQ(weights=files)
