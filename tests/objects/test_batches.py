"""One batch, whichever way its clips came: prepared as files are, converted once, halved where memory is short."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from audiogen_metrics.audio import preparation, resampling
from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audio.preflight import inspect, unheard
from audiogen_metrics.audio.preparation import Preprocessing, prepare, prepare_clips
from audiogen_metrics.audio.resampling import resample
from audiogen_metrics.backbones.base import Backbone, Features
from audiogen_metrics.backbones.laion_clap import MusicSeconds, MusicTens, Sounds, SoundsFusion
from audiogen_metrics.backbones.panns import Cnn14At16k, Cnn14At32k, Cnn14Network
from audiogen_metrics.backbones.vggish import VGGish, VGGishNetwork
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.errors import DataError
from audiogen_metrics.keeping import ByteBoundedCache
from audiogen_metrics.objects import batch as batch_module
from audiogen_metrics.objects.batch import Batch
from audiogen_metrics.objects.runner import Runner, on_device, shared_runner
from audiogen_metrics.precision import full_precision
from audiogen_metrics.protocols import PROTOCOLS
from audiogen_metrics.settings import with_index

CPU = torch.device("cpu")
RATES = (16_000, 22_050, 44_100, 48_000)
PREPARATIONS = sorted(
    {recipe.preprocessing for protocol in PROTOCOLS.values() for recipe in protocol.recipes.values()}, key=str
)


def clips(rate: int, channels: int = 2, count: int = 3, seconds: float = 1.2) -> torch.Tensor:
    """Return noise ``(count, channels, time)``, each channel at its own level and offset."""
    generator = torch.Generator().manual_seed(rate)
    noise = torch.randn(count, channels, int(seconds * rate), generator=generator)
    return noise * torch.rand(count, channels, 1, generator=generator) * 0.2 + 0.05


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("how", PREPARATIONS, ids=range(len(PREPARATIONS)))
def test_a_batch_on_the_cpu_is_prepared_as_files_are(how: Preprocessing, rate: int) -> None:
    """To the bit, with two threads as well, which sum the rows of a batch otherwise than one clip."""
    given = clips(rate)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = prepare_clips(given, rate, how)
        for clip, waveform in zip(given, found, strict=True):
            assert torch.equal(waveform, prepare(Audio(clip.numpy().T, rate), how))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("how", PREPARATIONS, ids=range(len(PREPARATIONS)))
def test_a_batch_at_once_is_prepared_as_files_are(
    how: Preprocessing, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU does: all clips together, and resampy's products in float32."""
    given = clips(rate)
    expected = prepare_clips(given, rate, how)
    monkeypatch.setattr(resampling, "_kept_on", resampling._moved)
    monkeypatch.setattr(resampling, "_interpolating", lambda _: torch.float32)
    difference = (preparation._prepared(given, rate, how) - expected).abs()
    if how.sixteen_bit in (None, "file"):
        assert difference.max() <= 1e-6
    else:  # rounded after resampling: on the other side of a step, now and then
        assert (difference > 1e-6).float().mean() < 1e-2
        assert difference.max() <= 1 / 32_767 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("resampler", ["torchaudio", "resampy"])
@pytest.mark.parametrize("rate", [44_100, 44_101, 999_983])
def test_rows_are_resampled_as_single_clips(resampler: resampling.Resampler, rate: int) -> None:
    """The last rate shares no factor with the target: its kernels, or weights, are made a few at a time."""
    rows = 0.1 * torch.randn(2, 2, rate // 4, generator=torch.Generator().manual_seed(0))
    found = resample(rows, rate, 16_000, resampler)
    assert found.shape[:2] == (2, 2)
    for row, single in zip(rows.flatten(0, 1), found.flatten(0, 1), strict=True):
        assert (resample(row, rate, 16_000, resampler) - single).abs().max() <= 1e-7


@pytest.mark.parametrize("how", PREPARATIONS, ids=range(len(PREPARATIONS)))
def test_what_is_unheard_in_a_batch_is_unheard_in_files(how: Preprocessing) -> None:
    rate = 48_000
    sound = clips(rate, 1, 1)[0, 0]
    tone = 0.3 * torch.sin(torch.arange(len(sound), dtype=torch.float32, device="cpu") * 2 * torch.pi * 20_000 / rate)
    silence = torch.zeros_like(sound)
    pairs = [(sound, sound), (sound, -sound), (silence, sound), (sound, silence), (silence, silence), (tone, tone)]
    given = torch.stack([torch.stack(pair) for pair in [*pairs, (silence + 0.4, silence + 0.4)]])
    found = unheard(given, prepare_clips(given, rate, how), rate, how).tolist()
    audios = [Audio(clip.numpy().T, rate) for clip in given]
    assert found == [inspect(audio, prepare(audio, how), how).unheard for audio in audios]
    assert any(found)
    assert not all(found)


# Without values: meta and FakeTensor


def without_values() -> Iterator[tuple[str, torch.nn.Module, int]]:
    """Yield networks as a GPU runs them, by name, and how many samples they take."""
    for kind in (Cnn14At16k, Cnn14At32k):
        yield kind.name, Cnn14Network(kind.sample_rate, kind.fft, kind.hop, 50.0, kind.high_hz), kind.sample_rate
    yield "vggish", VGGishNetwork(), VGGish.sample_rate
    for laion in (Sounds, SoundsFusion, MusicSeconds, MusicTens):
        network = laion().build()
        network.fuse_attention()
        yield laion.name, network, 6 * laion.sample_rate
    yield "yamnet", YAMNet(device="meta").load(), YAMNet.sample_rate


NETWORKS = [name for name, _, _ in without_values()]


def imitates_cuda() -> bool:
    """Return whether torch can index a tensor that is on CUDA by name only: before 2.7 it asks the driver."""
    with FakeTensorMode():
        try:
            torch.empty(1, device="cuda")[:]
        except RuntimeError:
            return False
    return True


WITHOUT = ["meta", pytest.param("cuda", marks=pytest.mark.skipif(not imitates_cuda(), reason="needs a CUDA driver"))]


@pytest.fixture
def _own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels without values must not be kept for other tests; those on the CPU, which have some, are made first."""
    monkeypatch.setattr(resampling, "_KEPT", ByteBoundedCache(resampling.KEPT_BYTES))


@pytest.mark.filterwarnings("ignore:.*CUDA is not available", "ignore:.*random weights")
@pytest.mark.usefixtures("_own_kernels")
@pytest.mark.parametrize("device", WITHOUT)
class TestWithoutValues:
    """A tensor on another device than the rest, or one whose value is asked for, is an error here."""

    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("how", PREPARATIONS, ids=range(len(PREPARATIONS)))
    def test_preparation(self, device: str, how: Preprocessing, rate: int) -> None:
        given = clips(rate)
        expected = prepare_clips(given, rate, how)
        with FakeTensorMode(allow_non_fake_inputs=True) if device == "cuda" else nullcontext():
            there = torch.empty(given.shape, dtype=torch.float32, device=device)
            found = prepare_clips(there, rate, how)
            lost = unheard(there, found, rate, how)
        assert (found.shape, found.dtype, found.device.type) == (expected.shape, torch.float32, device)
        assert (lost.shape, lost.device.type) == ((len(given),), device)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", NETWORKS)
    def test_networks(self, device: str, name: str) -> None:
        network, samples = next((network, samples) for known, network, samples in without_values() if known == name)
        with FakeTensorMode(allow_non_fake_inputs=True) if device == "cuda" else nullcontext(), torch.no_grad():
            parts = [*network.named_parameters(), *network.named_buffers()]
            held = {name: torch.empty_like(part, device=device) for name, part in parts}
            waveforms = torch.empty(3, 2 * samples, dtype=torch.float32, device=device)
            with full_precision(waveforms.device):
                outputs = torch.func.functional_call(network.eval(), held, (waveforms,)).named()
        assert outputs
        for tensor in outputs.values():
            assert (len(tensor), tensor.dtype, tensor.device.type) == (3, torch.float32, device)


# Batches and runners


class Meter(Backbone):
    """Gives level and peak of each clip, and counts what it is given."""

    name, sample_rate, weights_sha256 = "meter", 16_000, ""
    outputs = frozenset({"embeddings"})
    room = 10**9

    def __init__(self) -> None:
        super().__init__()
        self._batches: list[tuple[int, ...]] = []

    def load(self) -> torch.nn.Module:
        return torch.nn.Identity()

    def __call__(self, waveforms: torch.Tensor) -> Features:
        if waveforms.numel() > self.room:
            raise torch.OutOfMemoryError
        self._batches.append(tuple(waveforms.shape))
        return Features(embeddings=torch.stack([waveforms.square().mean(1).sqrt(), waveforms.abs().amax(1)], dim=1))


PLAIN = Preprocessing(16_000, "mean", remove_dc=False)


def mixed() -> list[torch.Tensor]:
    """Return clips of three lengths, one of them stereo."""
    return [clips(16_000, channels, 1, seconds)[0] for channels, seconds in ((1, 1), (2, 1), (1, 2), (1, 0.5), (1, 1))]


def rows(batch: Batch, runner: Runner) -> torch.Tensor:
    return torch.stack([clip["embeddings"] for clip in batch.features(runner, PLAIN)])


def test_clips_of_unequal_length_go_in_buckets_of_equal_length() -> None:
    runner = Runner(Meter())
    found = rows(Batch(mixed(), 16_000, "gen"), runner)
    assert runner.backbone._batches == [(1, 8_000), (3, 16_000), (1, 32_000)]
    alone = [rows(Batch([clip], 16_000, "gen"), runner)[0] for clip in mixed()]
    assert torch.equal(found, torch.stack(alone))


def test_the_batch_size_is_an_argument() -> None:
    runner = Runner(Meter(), batch_size=2)
    rows(Batch(torch.rand(5, 16_000), 16_000, "gen"), runner)
    assert runner.backbone._batches == [(2, 16_000), (2, 16_000), (1, 16_000)]


def test_runners_of_two_batch_sizes_share_the_network() -> None:
    meter = Meter()
    one, two = shared_runner(meter, CPU), shared_runner(meter, CPU, 2)
    assert one is not two
    assert one.backbone is two.backbone
    assert shared_runner(meter, CPU, 2) is two
    first, second = shared_runner("yamnet", CPU, 3), shared_runner("yamnet", CPU)
    assert first is not second
    assert first.backbone is second.backbone


def test_a_batch_that_does_not_fit_is_halved_in_an_update() -> None:
    runner = Runner(Meter())
    runner.backbone.room = 3 * 16_000
    given = clips(16_000, 1, 7, 1.0)
    with pytest.warns(UserWarning, match="7 clips of 1 s did not fit into the memory of cpu; went on with 3 at a time"):
        found = rows(Batch(given, 16_000, "gen"), runner)
    assert [count for count, _ in runner.backbone._batches] == [3, 3, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        again = rows(Batch(given, 16_000, "gen"), runner)
    assert torch.equal(found, again)
    runner.backbone.room = 10_000
    with pytest.warns(UserWarning, match="3 clips of 1 s did not fit"):
        found = Batch(given, 16_000, "gen").features(runner, PLAIN)
    assert [clip.what for clip in found] == [
        f"gen[{place}] is too long for the memory of cpu: cut it into clips" for place in range(7)
    ]


def test_a_runner_looks_at_a_batch_once() -> None:
    batch, runner, other = Batch(mixed(), 16_000, "gen"), Runner(Meter()), Runner(Meter())
    first = batch.features(runner, PLAIN)
    assert batch.features(runner, PLAIN) is first
    assert len(runner.backbone._batches) == 3
    prepared = batch.prepared(PLAIN, CPU)
    batch.features(other, PLAIN)
    assert batch.prepared(PLAIN, CPU) is prepared
    assert "content" not in vars(batch)  # no hash


def test_batches_that_are_remembered_share_features_by_content() -> None:
    given, runner = clips(16_000), Runner(Meter())
    first = Batch(given, 16_000, "gen", remembered=True).features(runner, PLAIN)
    assert Batch([*given.clone()], 16_000, "ref", remembered=True).features(runner, PLAIN)[2] is first[2]
    assert Batch(given, 16_000, "gen", remembered=True).features(runner, Preprocessing(16_000))[2] is not first[2]
    given[0, 0, 0] += 0.1  # the buffer is refilled
    assert Batch(given, 16_000, "gen", remembered=True).features(runner, PLAIN)[2] is not first[2]


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("remembered", [False, True])
def test_clips_with_nan_have_an_error_for_features(
    monkeypatch: pytest.MonkeyPatch, far: bool, remembered: bool
) -> None:
    """Also where it is not known before the features are there, as on a GPU."""
    monkeypatch.setattr(batch_module, "_is_far", lambda _: far)
    given, runner = torch.stack([clip[:1, :8_000] for clip in mixed()]), Runner(Meter())
    expected = rows(Batch(given[[0, 2, 4]], 16_000, "gen"), runner)
    given[1, 0, 5], given[3, 0, 6] = float("nan"), -float("inf")
    for form in (given, [*given]):
        batch = Batch(form, 16_000, "gen", remembered=remembered)
        found = batch.features(runner, PLAIN)
        assert (len(batch), batch.kept) == (5, (0, 2, 4))
        assert torch.equal(torch.stack([found[place]["embeddings"] for place in batch.kept]), expected)
        assert [found[place].what for place in (1, 3)] == [
            "gen[1] has NaN or infinite samples",
            "gen[3] has NaN or infinite samples",
        ]
    nothing = Batch(given[[1, 3]], 16_000, "gen", remembered=remembered)
    assert all(isinstance(clip, DataError) for clip in nothing.features(runner, PLAIN))
    assert nothing.kept == ()


def test_a_batch_warns_once() -> None:
    given = clips(16_000)
    given[0] *= 1e4
    given[1, 1] = -given[1, 0]
    batch = Batch(given, 16_000, "gen")
    with pytest.warns(UserWarning, match="clips") as caught:
        batch.features(Runner(Meter()), PLAIN)
    assert [str(warning.message).split(",")[0] for warning in caught] == [
        "1 of 3 clips beyond full scale",
        "1 of 3 clips silent to the network",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch.features(Runner(Meter()), PLAIN)


def test_cuda_is_the_current_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    named, numbered, other = (YAMNet(device=device) for device in ("cuda", "cuda:1", "cuda:0"))
    assert named.device == numbered.device == torch.device("cuda:1") != other.device
    assert on_device(named, torch.device("cuda:1")) is on_device(named, torch.device("cuda")) is named
    assert shared_runner("yamnet", torch.device("cuda")) is shared_runner("yamnet", torch.device("cuda:1"))
    assert with_index("cpu") == CPU


def test_the_forms_of_a_batch_give_the_same() -> None:
    given = clips(16_000, 1, 4)
    runner = Runner(Meter())
    expected = rows(Batch(given, 16_000, "gen"), runner)
    for form in (given[:, 0], given.numpy(), [*given], [clip[0].numpy() for clip in given], given.double()):
        assert torch.equal(rows(Batch(form, 16_000, "gen"), runner), expected)
