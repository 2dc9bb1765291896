"""A GPU gives the CPU's numbers, and what training does there reaches no score.

``AGM_TEST_DEVICE=cpu pytest tests/test_gpu.py`` runs the same code where there is no GPU: the CPU against itself.
"""

from __future__ import annotations

import gc
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from audiogen_metrics import FAD, FD, IS, KL, MetricSuite, ScoreReport, score
from audiogen_metrics.audio.preflight import unheard
from audiogen_metrics.audio.preparation import Preprocessing, prepare_clips
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.backbones.laion_clap import Music, Sounds, SoundsFusion
from audiogen_metrics.backbones.panns import Cnn14At16k, Cnn14At32k
from audiogen_metrics.backbones.published import weights_name
from audiogen_metrics.backbones.wavegram import WavegramLogmelCnn14
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.errors import DataError
from audiogen_metrics.functional import (
    GaussianStatistics,
    frechet_distance,
    inception_score,
    kernel_audio_distance,
    kernel_distance,
    kl_divergence,
    manifold,
)
from audiogen_metrics.functional.downdates import frechet_leave_one_out
from audiogen_metrics.functional.extrapolation import extrapolate
from audiogen_metrics.functional.kernel import cubic, discrepancy_leave_one_out, gaussian
from audiogen_metrics.functional.pooled import PooledFrechet, PooledGaussian
from audiogen_metrics.functional.statistics import fold, with_ones
from audiogen_metrics.objects import KAD, KID
from audiogen_metrics.objects.batch import Batch
from audiogen_metrics.objects.runner import Runner
from audiogen_metrics.protocols import PROTOCOLS
from audiogen_metrics.settings import with_index
from tests import hub
from tests.checkpoints import (
    calibration_clips,
    write_audiobox,
    write_laion_clap,
    write_panns,
    write_passt,
    write_tokenizer,
    write_vggish,
    yamnet_weights,
)
from tests.conftest import EXAMPLES, write_tone

CPU = torch.device("cpu")
DEVICE = torch.device(os.environ.get("AGM_TEST_DEVICE", "cuda"))
ON_GPU = DEVICE.type == "cuda"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ON_GPU and not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning",
        "ignore::FutureWarning",
        "ignore:.*random weights",
        "ignore:Please use the new API settings:UserWarning",  # torch's, to hosts that use its older interface
    ),
]

SAME_FUNCTION = 1e-9
SAME_SCORE = 1e-5
WORST_CLIP = 6e-5
"""Relative: of functions in float64, of scores, and of one clip's features, as docs/precision.md has them."""

WRITERS: dict[str, Callable[[Path], object]] = {
    "panns-cnn14-16k": lambda path: write_panns(path, Cnn14At16k),
    "panns-cnn14-32k": lambda path: write_panns(path, Cnn14At32k),
    "panns-wavegram-logmel-cnn14": lambda path: write_panns(path, WavegramLogmelCnn14),
    "vggish": write_vggish,
    "passt": write_passt,
    "clap-laion-630k": lambda path: write_laion_clap(path, Sounds),
    "clap-laion-630k-fusion": lambda path: write_laion_clap(path, SoundsFusion),
    "clap-laion-music": lambda path: write_laion_clap(path, Music),
    "clap-laion-music-speech": lambda path: write_laion_clap(path, Music),
}
"""How random weights are written, by the name of what is published."""

OFTEN = ("panns-cnn14-16k", "panns-cnn14-32k", "vggish", "yamnet")
HUB = ("ast", "wav2vec2", "wavlm", "whisper", "encodec", "dac")
NETWORKS = [*BACKBONES.names(), *(f"hf:{name}" for name in HUB)]
METRICS = [FD, FAD, IS, KL, KID, KAD]

DIFFERENCES = {"kid", "kad"}
"""May be near 0, the difference of larger numbers: a thousandth of their standard error is as good as nothing."""


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    """Beside a GPU, the CPU's side of a comparison takes all cores."""
    threads = torch.get_num_threads()
    if ON_GPU:
        torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", autouse=True)
def _yamnet() -> Iterator[None]:
    """A machine with a GPU may have the repository and the core's dependencies only."""
    with yamnet_weights():
        yield


class Checkpoints(dict[str, Path]):
    """Random checkpoints by backbone, each written when it is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        shared = weights_name(name)
        if name.startswith("hf:"):
            self[name] = hub.write_network(self.folder / name[3:], name[3:])
        elif name == "clap":
            from audiogen_metrics.audioldm.tiny import write_tiny

            self[name] = write_tiny(self.folder / "audioldm", seed=0) / "clap"
        elif name == "audiobox-aesthetics":
            self[name] = write_audiobox(self.folder / "audiobox")
        elif name == "tokenizer":
            (self.folder / "tokenizer").mkdir()
            self[name] = write_tokenizer(self.folder / "tokenizer")
        elif shared != name:
            self[name] = self[shared]
        else:
            self[name] = self.folder / f"{name}.pt"
            WRITERS[name](self[name])
        return self[name]


@pytest.fixture(scope="module")
def weights() -> Iterator[Checkpoints]:
    """Not under tmp_path: they are 5 GB."""
    with tempfile.TemporaryDirectory() as name:
        yield Checkpoints(Path(name))


def make(name: str, weights: Checkpoints, device: torch.device, **options: Any) -> Backbone:
    if name == "yamnet":
        return YAMNet(device=device, **options)
    if name.startswith("hf:"):
        return BACKBONES.get(f"hf:{weights[name]}")(device=device, **options)
    if name.startswith("clap-laion"):
        options["tokenizer"] = weights["tokenizer"]
    return BACKBONES.get(name)(device=device, weights=weights[name], **options)  # type: ignore[call-arg]


# Functions of embeddings and logits


def rows(count: int, width: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scales = torch.linspace(0.3, 2, width, dtype=torch.float64)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) * scales + shift


SPEAKING = (torch.arange(256, dtype=torch.float64, device=CPU) % 4 == 0).double()

SHAPES = {
    "more rows than dimensions": (rows(300, 48, 0, 0.3), rows(240, 48, 1)),
    "fewer rows than dimensions": (rows(90, 256, 0, 0.3), rows(120, 256, 1)),
    "more rows than units that speak": (rows(90, 256, 0, 0.3) * SPEAKING, rows(120, 256, 1) * SPEAKING),
}

Function = Callable[[torch.Tensor, torch.Tensor], object]


def several(gen: torch.Tensor) -> list[int]:
    """Return counts of one, two and three rows a clip."""
    return [1, 2, 3] * (len(gen) // 6)


def frechet(gen: torch.Tensor, ref: torch.Tensor) -> object:
    return frechet_distance(*map(GaussianStatistics.from_embeddings, (gen, ref)))


def pooled(gen: torch.Tensor, ref: torch.Tensor) -> tuple[PooledFrechet, np.ndarray, np.ndarray]:
    every = np.random.default_rng(0).permutation(len(gen) + len(ref))
    return PooledFrechet(torch.cat([gen, ref]), [1] * len(every)), every[: len(gen)], every[len(gen) :]


def pooled_value(gen: torch.Tensor, ref: torch.Tensor) -> object:
    pool, *parts = pooled(gen, ref)
    return pool.value(*parts)


def pooled_influences(gen: torch.Tensor, ref: torch.Tensor) -> object:
    pool, *parts = pooled(gen, ref)
    return pool.influences(*parts)


def pooled_influences_of_several(gen: torch.Tensor, ref: torch.Tensor) -> object:
    counts = several(gen) + several(ref)
    every = np.random.default_rng(0).permutation(len(counts))
    return PooledFrechet(torch.cat([gen, ref]), counts).influences(every[:60], every[60:])


def pooled_kernel(gen: torch.Tensor, ref: torch.Tensor) -> object:
    return PooledGaussian(torch.cat([gen, ref])).value(np.arange(len(gen)), np.arange(len(gen), len(gen) + len(ref)))


def statistics(gen: torch.Tensor, ref: torch.Tensor) -> object:
    return GaussianStatistics.from_embeddings(gen).merge(GaussianStatistics.from_embeddings(ref))


def folded(gen: torch.Tensor, ref: torch.Tensor) -> object:
    parts = torch.cat([fold(with_ones(side)) for side in (gen, ref)])
    return GaussianStatistics.from_folded(parts, len(gen) + len(ref))


def fixed(function: Callable[..., object], **options: object) -> Function:
    return lambda gen, ref: function(gen, GaussianStatistics.from_embeddings(ref), **options)


FUNCTIONS: dict[str, Function] = {
    "frechet_distance": frechet,
    "frechet_leave_one_out": frechet_leave_one_out,
    "frechet_leave_one_out, several": lambda gen, ref: frechet_leave_one_out(gen, ref, several(gen)),
    "frechet_leave_one_out, statistics": fixed(frechet_leave_one_out),
    "merge": statistics,
    "fold": folded,
    "extrapolate": fixed(extrapolate),
    "extrapolate, several": lambda gen, ref: fixed(extrapolate, counts=several(gen))(gen, ref),
    "kernel_distance": kernel_distance,
    "kernel_distance, subsets": lambda gen, ref: kernel_distance(gen, ref, subsets=20, subset_size=40),
    "kernel_audio_distance": kernel_audio_distance,
    "discrepancy_leave_one_out": lambda gen, ref: discrepancy_leave_one_out(gen, ref, cubic, several(gen)),
    "discrepancy_leave_one_out, gaussian": lambda gen, ref: discrepancy_leave_one_out(
        gen, ref, gaussian(ref), [1] * len(gen)
    ),
    "manifold": manifold,
    "inception_score": lambda gen, _: inception_score(gen),
    "kl_divergence": lambda gen, ref: kl_divergence(gen[:80], ref[:80], eps=1e-6),
    "kl_divergence, sigmoid": lambda gen, ref: kl_divergence(gen[:80], ref[:80], activation="sigmoid"),
    "PooledFrechet.value": pooled_value,
    "PooledFrechet.influences": pooled_influences,
    "PooledFrechet.influences, several": pooled_influences_of_several,
    "PooledGaussian.value": pooled_kernel,
}

COARSER = {"PooledFrechet.value": 1e-6, "frechet_leave_one_out, several": 1e-8}
"""What a function's own documentation promises where that is less."""

ONE_SET = {"inception_score"}


def parts(result: object, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield all numbers of a result, part by part; tensors must be on the device."""
    if isinstance(result, torch.Tensor):
        assert result.device.type == device.type
        yield result.detach().cpu().double().flatten()
    elif isinstance(result, GaussianStatistics):
        yield from parts((result.mean, result.covariance), device)
    elif isinstance(result, tuple):
        for part in result:
            yield from parts(part, device)
    elif result is not None:
        yield torch.tensor([float(result)], dtype=torch.float64)  # type: ignore[arg-type]


def furthest(found: object, expected: object, device: torch.device) -> float:
    """Return the largest difference, relative to the largest number of its part."""
    pairs = zip(parts(found, device), parts(expected, CPU), strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-300)) for a, b in pairs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_what_it_gives_on_the_cpu(name: str, shape: str) -> None:
    gen, ref = SHAPES[shape]
    error = furthest(FUNCTIONS[name](gen.to(DEVICE), ref.to(DEVICE)), FUNCTIONS[name](gen, ref), DEVICE)
    print(f"\n{name}, {shape}: {error:.1e}", end="")
    assert error <= COARSER.get(name, SAME_FUNCTION)


MIXED: dict[str, Function] = {
    name: FUNCTIONS[name] for name in FUNCTIONS if not name.startswith(("Pooled", "fold", *ONE_SET))
}


@pytest.mark.parametrize("name", MIXED)
def test_a_reference_may_lie_on_the_cpu(name: str) -> None:
    """Statistics from a file do, beside a generator's embeddings on a GPU."""
    gen, ref = SHAPES["more rows than dimensions"]
    assert furthest(MIXED[name](gen.to(DEVICE), ref), MIXED[name](gen, ref), DEVICE) <= SAME_FUNCTION


# Networks


def precision() -> list[str | bool]:
    """Return what torch's settings say of products of float32, in its newer interface where it has one."""
    b = torch.backends
    if hasattr(b, "fp32_precision"):
        places = (b, b.cudnn, b.cuda.matmul, b.cudnn.conv, b.cudnn.rnn)
        return [b.cudnn.enabled, *(place.fp32_precision for place in places)]
    return [b.cudnn.enabled, b.cuda.matmul.allow_tf32, b.cudnn.allow_tf32]


@pytest.fixture
def _host_allows_tf32() -> Iterator[None]:
    """The host allows TF32 everywhere, by torch's older interface, as most code does."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32 = cudnn
    torch.set_float32_matmul_precision(matmul)


def per_clip(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Return the relative difference of each clip's features."""
    found, expected = found.cpu().double().flatten(1), expected.double().flatten(1)
    return (found - expected).norm(dim=1) / expected.norm(dim=1)


@pytest.mark.usefixtures("_host_allows_tf32")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_what_it_gives_on_the_cpu(name: str, weights: Checkpoints) -> None:
    here, there = make(name, weights, CPU), make(name, weights, DEVICE)
    clips = calibration_clips(here.sample_rate, torch.Generator().manual_seed(1), seconds=4.0)
    before, inside = precision(), []
    there.network.register_forward_hook(lambda *_: inside.append(precision()))
    assert precision() == before
    expected, found = here(clips).named(), there(clips).named()
    assert precision() == before
    assert inside
    assert not {"tf32", True} & set(inside[0][3:])
    assert inside[0][0] != ON_GPU
    errors = {output: per_clip(tensor, expected[output]) for output, tensor in found.items()}
    for output, error in errors.items():
        print(f"\n{name} {output}: median {float(error.median()):.1e}, worst clip {float(error.max()):.1e}", end="")
    assert found.keys() == expected.keys() == here.outputs
    assert all(tensor.device.type == DEVICE.type for tensor in found.values())
    assert max(float(error.max()) for error in errors.values()) <= WORST_CLIP
    if ON_GPU:
        chosen = make(name, weights, DEVICE, tf32=True)(clips).named()
        assert precision() == before
        rounded = {output: float(per_clip(tensor, expected[output]).median()) for output, tensor in chosen.items()}
        print(f"\n{name} with TF32: median {rounded}", end="")
        # Else the comparison above could not see TF32.
        assert name == "vggish-float16" or all(
            value > 5 * float(errors[output].median()) for output, value in rounded.items()
        )


@pytest.mark.usefixtures("_host_allows_tf32")
@pytest.mark.parametrize("name", [name for name in BACKBONES.names() if name.startswith("clap")])
def test_texts_are_read_as_on_the_cpu(name: str, weights: Checkpoints) -> None:
    """The embeddings of texts lie on the CPU wherever they were made, as each is kept."""
    texts = ["a dog in the rain", "rain", "a dog in the rain and another one " * 20]
    expected, found = (make(name, weights, device).embed_text(texts) for device in (CPU, DEVICE))
    error = per_clip(found, expected)
    print(f"\n{name}: texts {float(error.max()):.1e}", end="")
    assert found.device == CPU
    assert float(error.max()) <= WORST_CLIP


# Folders


def numbers(report: ScoreReport) -> dict[str, dict[str, float]]:
    """Return the numbers of each score by name."""
    found = {}
    for score_id, result in report.scores.items():
        low, high = result.ci95 or (None, None)
        every = {"value": result.value, "std": result.std, "low": low, "high": high, **result.details}
        found[score_id] = {name: float(value) for name, value in every.items() if value is not None}
    return found


@pytest.mark.parametrize("protocol", ["audioldm", "yamnet"])
def test_a_folder_scores_as_on_the_cpu(protocol: str, weights: Checkpoints) -> None:
    chosen = PROTOCOLS[protocol]
    given = {} if protocol == "yamnet" else {name: weights[name] for name in ("panns-cnn14-16k", "vggish")}

    def run(device: torch.device, **options: object) -> ScoreReport:
        start = time.perf_counter()
        report = score(
            EXAMPLES / "generated",
            EXAMPLES / "reference",
            protocol=protocol,
            metrics=[*chosen.recipes, *chosen.on_request],
            device=device,
            weights=given,
            limit=24,
            **{"workers": 2, "extrapolate": True, **options},  # type: ignore[arg-type]
        )
        print(f"\n{protocol} on {device}: {time.perf_counter() - start:.1f} s", end="")
        return report

    there, again, here = run(DEVICE), run(DEVICE), run(CPU)
    assert again.scores == there.scores
    assert {settings["device_type"] for settings in there.backbones.values()} == {DEVICE.type}
    assert not there.problems
    found, expected = numbers(there), numbers(here)
    assert found.keys() == expected.keys()
    differing = []
    for score_id, values in expected.items():
        assert found[score_id].keys() == values.keys()
        assert math.isfinite(values["value"])
        slack = 1e-3 * values["standard_error"] if there[score_id].metric in DIFFERENCES else 0.0
        for name, value in values.items():
            # Differences of differences, such as intervals, round more than the score itself.
            tolerance = SAME_SCORE if name == "value" else 10 * SAME_SCORE
            error = abs(found[score_id][name] - value)
            if name == "value":
                print(f"\n{score_id}: {value:.9g}, on {DEVICE} {error / abs(value or 1):.1e} beside it", end="")
            if error > max(tolerance * abs(value), slack):
                differing.append(f"{score_id} {name}: {found[score_id][name]!r}, on the CPU {value!r}")
    assert not differing, "\n".join(differing)


# Metric objects


@pytest.fixture(scope="module")
def batches() -> list[dict[str, object]]:
    """Three batches of eight clips: noise against smoothed noise, each clip at its own level."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 24, 24_000, generator=generator) * torch.rand(2, 24, 1, generator=generator) * 0.3
    smooth = torch.nn.functional.avg_pool1d(noise[1], 9, stride=1, padding=4)
    names = [f"clip-{index:02}" for index in range(24)]
    return [
        {"gen": noise[0, part], "ref": smooth[part], "ids": names[part], "sample_rate": 16_000}
        for part in (slice(start, start + 8) for start in (0, 8, 16))
    ]


def on_device(batch: dict[str, object]) -> dict[str, object]:
    return {name: value.to(DEVICE) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


@contextmanager
def training() -> Iterator[None]:
    """Autocast to bfloat16 on the device, with half as the default type; both must be there at the end, too."""
    ones = torch.ones(8, 8, device=DEVICE, dtype=torch.float32)
    torch.set_default_dtype(torch.float16)
    try:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            yield
            assert (ones @ ones).dtype == torch.bfloat16
        assert torch.get_default_dtype() == torch.float16
    finally:
        torch.set_default_dtype(torch.float32)


def held(metric: object) -> list[torch.Tensor]:
    return [tensor for tensors in metric.metric_state.values() for tensor in tensors]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", METRICS, ids=lambda kind: kind.__name__)
def test_a_metric_in_a_training_loop(kind: type[FD], batches: list[dict[str, object]]) -> None:
    expected = kind(protocol="yamnet")
    for batch in batches:
        expected.update(**batch)
    metric = kind(protocol="yamnet").to(DEVICE)
    with training():
        for batch in batches:
            metric.update(**on_device(batch))
        value = metric.compute()
    assert (value.device.type, value.dtype) == (DEVICE.type, torch.float64)
    assert {tensor.device.type for tensor in held(metric)} == {DEVICE.type}
    # What KID subtracts is above 1.
    assert float(value) == pytest.approx(float(expected.compute()), rel=SAME_SCORE, abs=SAME_SCORE)
    assert metric.compute_score().n_gen == 24


def test_a_suite_moves_to_the_device_and_back(batches: list[dict[str, object]]) -> None:
    suites = [MetricSuite([kind(protocol="yamnet") for kind in METRICS]) for _ in range(2)]
    there = suites[1].to(DEVICE)
    with training():
        for batch in batches:
            there.update(**on_device(batch))
        found = there.compute()
    for batch in batches:
        suites[0].update(**batch)
    expected = {name: float(value) for name, value in suites[0].compute().items()}
    assert {value.device.type for value in found.values()} == {DEVICE.type}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        expected, rel=SAME_SCORE, abs=SAME_SCORE
    )
    back = there.to(CPU)
    assert all(tensor.device == CPU for metric in back.members.values() for tensor in held(metric))
    assert {name: float(value) for name, value in back.compute().items()} == pytest.approx(
        expected, rel=SAME_SCORE, abs=SAME_SCORE
    )


# Batches of objects


PREPARATIONS = sorted(
    {recipe.preprocessing for protocol in PROTOCOLS.values() for recipe in protocol.recipes.values()}, key=str
)


def stereo(rate: int, count: int = 4, seconds: float = 2.0) -> torch.Tensor:
    """Return noise ``(count, 2, time)``, each channel at its own level and offset."""
    generator = torch.Generator().manual_seed(rate)
    noise = torch.randn(count, 2, int(seconds * rate), generator=generator)
    return noise * torch.rand(count, 2, 1, generator=generator) * 0.2 + 0.05


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("how", PREPARATIONS, ids=range(len(PREPARATIONS)))
def test_a_batch_is_prepared_as_on_the_cpu(how: Preprocessing, rate: int) -> None:
    given = stereo(rate)
    found, expected = prepare_clips(given.to(DEVICE), rate, how), prepare_clips(given, rate, how)
    assert found.device.type == DEVICE.type
    difference = (found.cpu() - expected).abs()
    if how.sixteen_bit == "resampled":  # on the other side of a half, now and then
        assert (difference > 0).float().mean() < 1e-2
        assert difference.max() <= 1 / 2**15
    else:
        assert difference.max() <= 1e-6
    assert torch.equal(unheard(given.to(DEVICE), found, rate, how).cpu(), unheard(given, expected, rate, how))


class Crossings(TorchDispatchMode):
    """Collect the bytes of tensors that are copied from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        tensors = [part for part in (made, *args) if isinstance(part, torch.Tensor)]
        if "copy" in str(func) and len({part.device for part in tensors}) > 1:
            self.sizes.append(max(part.nbytes for part in tensors))
        return made


@contextmanager
def no_waiting() -> Iterator[None]:
    """Make an error of every operation that waits for CUDA, but for the one wait that is asked for by an event."""
    if ON_GPU:
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if ON_GPU:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", OFTEN)
@pytest.mark.parametrize("start", ["there", "here"])
def test_a_batch_is_waited_for_once(name: str, start: str, weights: Checkpoints) -> None:
    """Clips that are on the device stay there, and nothing but their features waits."""
    runner = Runner(make(name, weights, DEVICE))
    given = stereo(44_100).to(DEVICE if start == "there" else CPU)
    how = Preprocessing(runner.backbone.sample_rate, "mean", resampler="resampy")
    Batch(given, 44_100, "gen").features(runner, how)  # the network and the kernels are there from now on
    crossings = Crossings()
    with crossings, no_waiting():
        features = Batch(given, 44_100, "gen").features(runner, how)
    crossed = [size for size in crossings.sizes if size >= given[0].nbytes]
    assert crossed == ([given.nbytes] if start == "here" and ON_GPU else [])
    assert all(tensor.device == CPU and tensor.dtype == torch.float64 for clip in features for tensor in clip.values())


def test_clips_of_unequal_length_and_with_nan(weights: Checkpoints) -> None:
    here, there = (Runner(make("vggish", weights, device)) for device in (CPU, DEVICE))
    how = Preprocessing(16_000, "mean", resampler="resampy", minimum_samples=15_600)
    given = [*stereo(44_100, 3), *stereo(44_100, 2, 0.7), *stereo(44_100, 2, 3.1)[:, :1]]
    given[1] = torch.full_like(given[1], float("nan"))
    batches = [Batch([clip.to(device) for clip in given], 44_100, "gen") for device in (CPU, DEVICE)]
    expected, found = (batch.features(runner, how) for batch, runner in zip(batches, (here, there), strict=True))
    assert batches[1].kept == batches[0].kept == (0, 2, 3, 4, 5, 6)
    assert isinstance(found[1], DataError)
    for place in batches[0].kept:
        assert float(per_clip(found[place]["windows"], expected[place]["windows"]).max()) <= WORST_CLIP


# Memory and speed


MEMORY = 1.5 * 2**30
"""Bytes of the device that a process may take in the test below."""


@pytest.mark.skipif(not ON_GPU, reason="the memory of a CPU cannot be limited from here")
def test_a_batch_that_does_not_fit_is_halved(tmp_path: Path, weights: Checkpoints) -> None:
    """The first convolution of 48 clips makes 2.2 GiB at once, of eight 0.4."""
    for index in range(48):
        write_tone(tmp_path / f"{index:02}.wav", seconds=10)

    def run(batch_size: int) -> ScoreReport:
        return score(
            tmp_path,
            metrics=["is"],
            device=DEVICE,
            weights={"panns-cnn14-16k": weights["panns-cnn14-16k"]},
            batch_size=batch_size,
            ci=False,
            cache=False,
        )

    def release() -> None:
        gc.collect()
        torch.cuda.empty_cache()

    release()
    torch.cuda.set_per_process_memory_fraction(MEMORY / torch.cuda.get_device_properties(DEVICE).total_memory)
    try:
        expected = run(8)
        found = run(48)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        release()
    print(f"\n{found.problems}", end="")
    assert not expected.problems
    assert f"48 clips of 10 s did not fit into the memory of {with_index(DEVICE)}; went on with " in found.problems[0]
    assert found["is_panns"].n_gen == 48
    assert found["is_panns"].value == pytest.approx(expected["is_panns"].value, rel=SAME_SCORE)


@pytest.mark.skipif(not ON_GPU, reason="the memory of a CPU cannot be limited from here")
@pytest.mark.parametrize("start", [CPU, DEVICE], ids=str)
def test_an_update_that_does_not_fit_is_halved(start: torch.device, weights: Checkpoints) -> None:
    runner, how = Runner(make("panns-cnn14-16k", weights, DEVICE)), Preprocessing(16_000)
    given = torch.randn(48, 160_000, generator=torch.Generator().manual_seed(0)) * 0.1
    expected = Batch(given, 16_000, "gen").features(Runner(runner.backbone, 8), how)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(MEMORY / torch.cuda.get_device_properties(DEVICE).total_memory)
    try:
        with pytest.warns(UserWarning, match="48 clips of 10 s did not fit"):
            found = Batch(given.to(start), 16_000, "gen").features(runner, how)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        gc.collect()
        torch.cuda.empty_cache()
    one, other = (torch.stack([clip["embeddings"] for clip in clips]) for clips in (found, expected))
    assert float(per_clip(one, other).max()) <= WORST_CLIP


def seconds(call: Callable[[], object], times: int) -> float:
    """Return the shortest of some runs, after one that does not count."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        if ON_GPU:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)


def test_how_fast(weights: Checkpoints) -> None:
    """Prints only."""
    if ON_GPU:
        print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}", end="")
    sizes, count, width = ((16, 64), 3000, 2048) if ON_GPU else ((2,), 300, 128)
    for tf32 in (False, True):
        network = make("panns-cnn14-16k", weights, DEVICE, tf32=tf32)
        for size in sizes:
            clips = torch.randn(size, 160_000, generator=torch.Generator().manual_seed(0)) * 0.1
            taken = seconds(lambda network=network, clips=clips: network(clips).logits.cpu(), 5 if ON_GPU else 1)
            print(f"\nCNN14 16k, {size} clips of 10 s, TF32 {tf32}: {size / taken:.1f} clips/s", end="")
    gen, ref = rows(count, width, 0, 0.1), rows(count, width, 1)
    for device in (CPU, DEVICE):
        sides = gen.to(device), ref.to(device)
        taken = seconds(lambda sides=sides: frechet(*sides), 1)
        print(f"\nFD at n = {count}, d = {width} on {device}: {taken:.2f} s", end="")
