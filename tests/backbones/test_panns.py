"""CNN14 against panns-inference itself, torchlibrosa and librosa, on random weights and real recordings."""

from __future__ import annotations

import copy
import functools
import importlib
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.backbones.panns import Cnn14, Cnn14At16k, Cnn14At32k, Cnn14Network, LogMel, slaney_mel_filterbank
from audiogen_metrics.errors import InsufficientDataError, MissingWeightsError
from tests.checkpoints import LOGIT_SPREAD, write_panns, write_vggish
from tests.conftest import EXAMPLES

REFERENCE = EXAMPLES / "reference"
BOTH = pytest.mark.parametrize("backbone", [Cnn14At16k, Cnn14At32k])


@pytest.fixture(scope="module", autouse=True)
def _one_thread_and_own_cache() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGM_CACHE_DIR", folder)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def checkpoint() -> Iterator[Path]:
    """A random 16 kHz checkpoint; not under tmp_path, whose last three versions of 320 MB pytest would keep."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_panns(Path(folder, "Cnn14_16k.pth"), Cnn14At16k)


@pytest.fixture(scope="module")
def panns(checkpoint: Path) -> Cnn14:
    return Cnn14At16k(weights=checkpoint)


@pytest.fixture(scope="module")
def peer_models() -> Iterator[types.ModuleType]:
    """panns_inference.models without its package, whose import downloads into the home folder."""
    folder = importlib.util.find_spec("panns_inference").submodule_search_locations[0]
    package = types.ModuleType("_peer_panns")
    package.__path__ = [folder]
    with tempfile.TemporaryDirectory() as config, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", config)
        patch.setitem(sys.modules, "_peer_panns", package)
        yield importlib.import_module("_peer_panns.models")


@functools.cache
def recordings(sample_rate: int, seconds: float) -> list[torch.Tensor]:
    """Every third reference recording, ``(1, time)``, each cut or padded to one length."""
    samples = round(seconds * sample_rate)
    preprocessing = Preprocessing(sample_rate, minimum_samples=samples)
    files = sorted(path for path in REFERENCE.rglob("*") if path.is_file())[::3]
    assert len(files) >= 10
    return [prepare(decode(path, path.read_bytes()), preprocessing)[None, :samples] for path in files]


def front_end(backbone: type[Cnn14]) -> LogMel:
    return LogMel(backbone.sample_rate, backbone.fft, backbone.hop, backbone.low_hz, backbone.high_hz)


def relative(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((mine - theirs).norm() / theirs.norm())


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_labels_are_audiosets() -> None:
    labels = Cnn14At16k().labels
    assert len(labels) == len(set(labels)) == 527
    assert (labels[0], labels[390], labels[500], labels[526]) == (
        "Speech",
        "Telephone bell ringing",
        "Silence",
        "Field recording",
    )


@pytest.mark.peers
@BOTH
def test_filterbank_is_librosas(backbone: type[Cnn14]) -> None:
    import librosa

    ours = slaney_mel_filterbank(backbone.fft // 2 + 1, backbone.sample_rate, 64, 50.0, backbone.high_hz)
    theirs = librosa.filters.mel(sr=backbone.sample_rate, n_fft=backbone.fft, n_mels=64, fmin=50, fmax=backbone.high_hz)
    torch.testing.assert_close(ours, torch.from_numpy(theirs.T), rtol=0, atol=1e-8)


@pytest.mark.peers
@BOTH
def test_front_end_is_torchlibrosas(backbone: type[Cnn14], peer_models: types.ModuleType) -> None:
    """Equal but for torchlibrosa's own float32 rounding, which the logarithm shows in bands 60 dB below the peak."""
    peer = peer_models.Cnn14(backbone.sample_rate, backbone.fft, backbone.hop, 64, 50, backbone.high_hz, 527)
    ours = front_end(backbone)
    for clip in recordings(backbone.sample_rate, 1.0)[::2]:
        theirs = peer.logmel_extractor(peer.spectrogram_extractor(clip))[:, 0]
        mine, exact = ours(clip), exact_log_mel(clip, backbone, ours.filterbank)
        assert mine.shape == theirs.shape
        power, peer_power = 10 ** (mine.double() / 10), 10 ** (theirs.double() / 10)
        assert (power - peer_power).abs().max() <= 1e-5 * peer_power.max()
        heard = theirs > theirs.max() - 60
        assert (mine - theirs)[heard].abs().max() <= 1e-5 * theirs.abs().max()
        assert (mine - exact).abs().max() <= 1e-4
        assert rms(mine - exact) <= rms(theirs - exact)


def exact_log_mel(clip: torch.Tensor, backbone: type[Cnn14], filterbank: torch.Tensor) -> torch.Tensor:
    """The definition in float64, frame by frame."""
    half, window = backbone.fft // 2, torch.hann_window(backbone.fft, dtype=torch.float64)
    padded = torch.nn.functional.pad(clip.double(), (half, half), mode="reflect")[0]
    frames = []
    for start in range(0, clip.shape[1] + 1, backbone.hop):
        power = torch.fft.rfft(padded[start : start + backbone.fft] * window).abs() ** 2
        frames.append(10 * torch.log10((power @ filterbank.double()).clamp(min=1e-10)))
    return torch.stack(frames)[None]


def rms(difference: torch.Tensor) -> float:
    return float(difference.double().square().mean().sqrt())


@pytest.mark.peers
@pytest.mark.slow
@BOTH
def test_front_end_is_faster_than_torchlibrosas(backbone: type[Cnn14], peer_models: types.ModuleType) -> None:
    peer = peer_models.Cnn14(backbone.sample_rate, backbone.fft, backbone.hop, 64, 50, backbone.high_hz, 527)
    ours = front_end(backbone)
    clips = 0.1 * torch.randn(8, 10 * backbone.sample_rate, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        times = [
            (timed(lambda: ours(clips)), timed(lambda: peer.logmel_extractor(peer.spectrogram_extractor(clips))))
            for _ in range(5)
        ]
    mine, theirs = zip(*times, strict=True)
    assert min(mine) < min(theirs)


@pytest.mark.peers
def test_embeddings_and_logits_are_panns_inferences(
    panns: Cnn14, checkpoint: Path, peer_models: types.ModuleType
) -> None:
    peer = peer_models.Cnn14(16_000, 512, 160, 64, 50, 8000, 527).eval().requires_grad_(False)
    peer.load_state_dict(torch.load(checkpoint, weights_only=False)["model"])
    compare_with_peer(panns, peer, recordings(16_000, 1.0)[:4])


@pytest.mark.peers
@pytest.mark.slow
def test_32k_network_is_panns_inferences(tmp_path: Path, peer_models: types.ModuleType) -> None:
    """Also reads the format of the published files: torch's of 2020, with numpy 1's integers beside the tensors."""
    file = write_panns(tmp_path / "Cnn14.pth", Cnn14At32k, seed=1, legacy=True)
    assert b"cnumpy.core.multiarray" in file.read_bytes()
    peer = peer_models.Cnn14(32_000, 1024, 320, 64, 50, 14_000, 527).eval().requires_grad_(False)
    peer.load_state_dict(torch.load(file, weights_only=False)["model"])
    compare_with_peer(Cnn14At32k(weights=file), peer, recordings(32_000, 1.5)[3:6])
    file.unlink()


def compare_with_peer(backbone: Cnn14, peer: torch.nn.Module, clips: list[torch.Tensor]) -> None:
    """Compare the networks on torchlibrosa's log-mel, then the whole chains.

    The whole chains differ by torchlibrosa's float32 rounding of quiet bands (2e-5 at worst among the recordings,
    1e-6 in the median): ours agrees with the exact front end.
    """
    for clip in clips:
        with torch.inference_mode():
            theirs = peer(clip)
            logits = peer.fc_audioset(theirs["embedding"])
            log_mel = peer.logmel_extractor(peer.spectrogram_extractor(clip))
            same_input = backbone.network.body(log_mel)["embedding"]
            exact_input = exact_log_mel(clip, type(backbone), backbone.network.log_mel.filterbank).float()
            exact = backbone.network.body(exact_input[:, None])["embedding"]
        mine = backbone(clip)
        assert relative(same_input, theirs["embedding"]) <= 5e-6
        assert relative(mine.embeddings, exact) <= 5e-6
        assert relative(mine.embeddings, theirs["embedding"]) <= 5e-5
        assert relative(mine.logits, logits) <= 1e-4
        torch.testing.assert_close(mine.logits.sigmoid(), theirs["clipwise_output"], rtol=0, atol=5e-4)


def test_random_network_tells_clips_apart(panns: Cnn14) -> None:
    """Else parity on it would prove nothing."""
    features = panns(torch.cat(recordings(16_000, 1.0)[:8]))
    assert features.embeddings.shape == (8, 2048)
    assert features.logits.shape == (8, 527)
    assert features.windows is None
    assert features.embeddings.std(dim=0).mean() > 0.1 * features.embeddings.mean()
    spread = (features.logits - features.logits.mean(dim=0)).std()
    assert LOGIT_SPREAD / 4 < spread < LOGIT_SPREAD * 4


def test_batch_items_equal_single_calls(panns: Cnn14) -> None:
    clips = torch.cat(recordings(16_000, 1.0)[:3])
    together = panns(clips).embeddings
    apart = torch.cat([panns(clip[None]).embeddings for clip in clips])
    assert relative(together, apart) <= 1e-5


@BOTH
def test_minimum_is_the_shortest_length_that_works(backbone: type[Cnn14]) -> None:
    network = Cnn14Network(backbone.sample_rate, backbone.fft, backbone.hop, 50.0, backbone.high_hz).eval().to("meta")
    shortest = backbone.minimum_samples
    assert network(torch.empty(1, shortest, device="meta")).embeddings.shape == (1, 2048)
    with pytest.raises(RuntimeError, match="size"):
        network(torch.empty(1, shortest - 1, device="meta"))


def test_minimum_runs_and_less_is_refused(panns: Cnn14) -> None:
    assert panns(torch.zeros(1, panns.minimum_samples)).embeddings.isfinite().all()
    with pytest.raises(InsufficientDataError, match="4959 samples, fewer than 4960"):
        panns(torch.zeros(1, panns.minimum_samples - 1))


@BOTH
def test_network_and_front_end_run_on_the_meta_device(backbone: type[Cnn14]) -> None:
    network = Cnn14Network(backbone.sample_rate, backbone.fft, backbone.hop, 50.0, backbone.high_hz).eval().to("meta")
    waveforms = torch.empty(3, 10 * backbone.sample_rate, device="meta")
    assert network.log_mel(waveforms).shape == (3, 1001, 64)
    features = network(waveforms)
    assert (features.embeddings.device.type, features.embeddings.shape) == ("meta", (3, 2048))
    assert (features.logits.device.type, features.logits.shape) == ("meta", (3, 527))


@BOTH
def test_silence_is_the_floor(backbone: type[Cnn14]) -> None:
    assert torch.equal(
        front_end(backbone)(torch.zeros(1, 16_000)), torch.full((1, 16_000 // backbone.hop + 1, 64), -100.0)
    )


def test_autocast_leaves_the_front_end_alone() -> None:
    clip = recordings(16_000, 1.0)[0]
    network = front_end(Cnn14At16k)
    expected = network(clip)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(clip), expected)


def test_autocast_reaches_the_network_and_outputs_stay_float32(panns: Cnn14, checkpoint: Path) -> None:
    clip = recordings(16_000, 1.0)[0]
    lower = Cnn14At16k(autocast=torch.bfloat16, weights=checkpoint)
    lower.network = panns.network  # loading takes seconds
    coarse, fine = lower(clip), panns(clip)
    assert coarse.embeddings.dtype == coarse.logits.dtype == torch.float32
    error = (coarse.embeddings - fine.embeddings).abs().max() / fine.embeddings.abs().max()
    assert 1e-5 < error < 0.1


def test_fingerprint_holds_the_files_digest(panns: Cnn14, checkpoint: Path) -> None:
    import hashlib

    assert panns.settings["weights_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert Cnn14At16k(weights=checkpoint).fingerprint == panns.fingerprint


def test_a_pickled_backbone_leaves_its_weights_behind(panns: Cnn14) -> None:
    assert panns.network
    content = pickle.dumps(panns)
    assert len(content) < 10_000
    restored = pickle.loads(content)
    assert (restored.weights_file, restored.fingerprint) == (panns.weights_file, panns.fingerprint)
    assert copy.deepcopy(panns).fingerprint == panns.fingerprint


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: {"model": [content]}, "no state dict under 'model'"),
        (lambda content: [content], "no state dict under 'model'"),
        (lambda content: {"model": without(content, "logmel_extractor.melW")}, "1 missing tensors .logmel_extractor"),
        (lambda content: {"model": scaled(content, "logmel_extractor.melW")}, "melW is not that of panns-cnn14-16k"),
        (lambda _: {"model": Cnn14At32k().build().log_mel.constants()}, r"shape \(513, 1, 1024\) where \(257"),
    ],
)
def test_a_foreign_front_end_is_refused(spoil: Callable[[dict], object], message: str) -> None:
    content = {"model": front_end(Cnn14At16k).constants()}
    with pytest.raises(MissingWeightsError, match=message) as caught:
        Cnn14At16k().unwrap(spoil(content), Path("some.pth"))
    assert caught.value.exit_code == 4
    assert Cnn14At16k().unwrap(content, Path("some.pth")) == {}


def without(content: dict, name: str) -> dict:
    return {key: value for key, value in content["model"].items() if key != name}


def scaled(content: dict, name: str) -> dict:
    return content["model"] | {name: 1.01 * content["model"][name]}


def test_nothing_heavy_nothing_from_the_network_nothing_in_home(checkpoint: Path, tmp_path: Path) -> None:
    """Both adapters, in an empty home, with every socket and every process refused."""
    program = textwrap.dedent("""
        import sys

        REFUSED = ("socket.connect", "socket.getaddrinfo", "socket.bind", "os.system", "os.exec", "os.posix_spawn",
                   "subprocess.Popen")

        def refuse(event, arguments):
            if event in REFUSED:
                raise RuntimeError(f"{event} {arguments}")

        import torch  # looks for its own libraries with ldconfig

        sys.addaudithook(refuse)
        from audiogen_metrics.backbones import panns, vggish, weights
        from audiogen_metrics.cli import weights

        torch.set_num_threads(1)
        embeddings = panns.Cnn14At16k(weights=sys.argv[1])(torch.ones(1, 16000)).embeddings
        windows = vggish.VGGish(weights=sys.argv[2])(torch.ones(1, 16000)).windows
        assert embeddings.isfinite().all() and windows.isfinite().all()
        heavy = {"librosa", "torchlibrosa", "matplotlib", "numba", "panns_inference", "torchvggish", "resampy",
                 "requests", "pooch"}
        print(sorted(heavy & set(sys.modules)), embeddings.shape, windows.shape)
    """)
    home, vggish = tmp_path / "home", tmp_path / "vggish.pth"
    home.mkdir()
    write_vggish(vggish)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL", "NUMBA", "TORCH"))}
    done = subprocess.run(
        [sys.executable, "-c", program, checkpoint, vggish],
        env=kept | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    vggish.unlink()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[]", "torch.Size([1,", "2048])", "torch.Size([1,", "1,", "128])"]
    assert list(home.rglob("*")) == []


def test_a_flat_checkpoint_is_taken_where_its_keys_fit() -> None:
    """As safetensors files are: front end and network side by side."""
    constants = front_end(Cnn14At16k).constants()
    assert Cnn14At16k().unwrap(constants | {"fc1.bias": torch.zeros(1)}, Path("some.safetensors")).keys() == {
        "fc1.bias"
    }
