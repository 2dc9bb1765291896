"""Clips a second on a GPU, beside the authors' own code, and what limits them: ``python -m benchmarks.gpu``.

Each network by itself, in updates of metric objects and over a folder of files; the share of the rate at which the
same card multiplies float32 matrices, without and with TF32; and how many files a core decodes and prepares. Shares
count the operations of the authors' network: Winograd's algorithm does fewer on a CPU, where they may exceed 1. Seeded
random weights cost what trained ones do. The core's dependencies are enough. ``--device cpu`` runs all of it on the
CPU.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import soundfile
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))

from inputs import Inputs

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.files import AudioFolder, scan
from audiogen_metrics.audio.preflight import inspect
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.embedding.extraction import ExtractionOptions, extract
from audiogen_metrics.objects.batch import Batch
from audiogen_metrics.objects.runner import Runner
from audiogen_metrics.precision import full_precision
from benchmarks.cost import published
from tests.checkpoints import yamnet_weights

SECONDS, RATE = 10, 48_000
NETWORKS = ("panns-cnn14-16k", "vggish", "yamnet")
BATCH = 16
HOW = Preprocessing(16_000, "mean")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", metavar="NAME")
    parser.add_argument("--clips", type=int, default=None, metavar="N", help="of each measurement (256; 16 on a CPU)")
    parser.add_argument("--repeats", type=int, default=None, metavar="N", help="of each measurement (5; 2 on a CPU)")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA")
        return
    few = device.type == "cpu"
    clips, repeats = arguments.clips or (16 if few else 256), arguments.repeats or (2 if few else 5)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{device} ({name}), torch {torch.__version__}, {clips} clips of {SECONDS} s")
    rates = {tf32: matmul_rate(device, tf32) for tf32 in ((False, True) if device.type == "cuda" else (False,))}
    for tf32, rate in rates.items():
        print(
            f"product of float32 matrices, TF32 {'on' if tf32 else 'off'}: {rate / 1e12:.3g} · 10¹² operations a second"
        )
    with tempfile.TemporaryDirectory() as folder, yamnet_weights():
        inputs = Inputs(Path(folder), SECONDS)
        noise = 0.1 * torch.randn(clips, SECONDS * RATE, generator=torch.Generator().manual_seed(0))
        files = write(Path(folder) / "clips", noise)
        decoded = decode_rate(files)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        print(
            f"files decoded, prepared and inspected (FLAC, {RATE} Hz): {decoded:.4g} a second and core, {cores} cores"
        )
        for network in NETWORKS:
            try:
                measure(inputs, network, device, noise, files, repeats, rates, decoded, cores)
            except ImportError as error:
                print(f"\n{network}: skipped ({error})")


def measure(
    inputs: Inputs,
    name: str,
    device: torch.device,
    noise: torch.Tensor,
    files: AudioFolder,
    repeats: int,
    rates: dict[bool, float],
    decoded: float,
    cores: int,
) -> None:
    """Print what one network does."""
    print(f"\n{name}: clips a second")
    weights = {} if name == "yamnet" else {"weights": inputs.weights(name)}
    waveforms = noise[:, : SECONDS * 16_000].contiguous()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        published(BACKBONES.get(name)("cpu", **weights))(waveforms[:1])  # type: ignore[arg-type]
    operations = counter.get_total_flops()
    for tf32, rate in rates.items():
        backbone = BACKBONES.get(name)(device, tf32=tf32, **weights)  # type: ignore[arg-type]
        ways = ours(backbone, waveforms, noise, files)
        found = {way: len(noise) / seconds(call, device, repeats) for way, call in ways.items()}
        for way, speed in found.items():
            share = speed * operations / rate
            print(f"  {way}{', TF32' if tf32 else ''}: {speed:.4g} ({share:.0%} of the product's rate)", flush=True)
        limits = {"decoding": decoded * min(8, cores), "the network": found["network"]}
        least = min(limits, key=lambda limit: limits[limit])
        told = ", ".join(f"{limit} {most:.4g}" for limit, most in limits.items())
        print(
            f"  files are limited by {least} (at most: {told}); they reach {found['files'] / limits[least]:.0%} of it"
        )
    try:
        for way, call in authors(inputs, name, device, waveforms):
            print(f"  {way}: {len(noise) / seconds(call, device, repeats):.4g}", flush=True)
    except ImportError as error:
        print(f"  the authors' code: skipped ({error})")


def ours(
    backbone: Backbone, waveforms: torch.Tensor, noise: torch.Tensor, files: AudioFolder
) -> dict[str, Callable[[], object]]:
    """Return the ways to the features of the same clips."""
    device, options = backbone.device, ExtractionOptions(batch_size=BATCH, cache=False)
    there, given = waveforms.to(device), noise.to(device)

    def embed(clips: torch.Tensor) -> None:
        runner = Runner(backbone, BATCH)
        for part in clips.split(4 * BATCH):
            Batch(part, RATE, "gen").features(runner, HOW)

    ways: dict[str, Callable[[], object]] = {
        "network": lambda: [backbone(part) for part in there.split(BATCH)],
        "objects, clips on the CPU": lambda: embed(noise),
        "files": lambda: extract(files, [backbone], HOW, options),
    }
    return ways if device.type == "cpu" else ways | {"objects, clips on the device": lambda: embed(given)}


def authors(
    inputs: Inputs, name: str, device: torch.device, waveforms: torch.Tensor
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what the network's authors published, as it is used: on CUDA, cuDNN then rounds to TF32."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "peers"))
    if name == "panns-cnn14-16k":
        os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # the checkpoint is our own, in their format
        os.environ["HOME"] = str(inputs.home())  # panns_inference looks for its labels there when it is imported
        panns = importlib.import_module("panns_inference")
        models = importlib.import_module("panns_inference.models")
        network = models.Cnn14(
            sample_rate=16_000, window_size=512, hop_size=160, mel_bins=64, fmin=50, fmax=8000, classes_num=527
        )
        tagging: Any = panns.AudioTagging(model=network, checkpoint_path=str(inputs.weights(name)), device=device.type)
        yield "panns_inference, clip by clip", lambda: [tagging.inference(clip[None].numpy()) for clip in waveforms]
        yield (
            f"panns_inference, {BATCH} clips at a time",
            lambda: [tagging.inference(part.numpy()) for part in waveforms.split(BATCH)],
        )
    elif name == "vggish":
        peers: Any = importlib.import_module("run_peers")
        vggish = peers._vggish(inputs.weights(name)).to(device)
        front_end = importlib.import_module("torchvggish.vggish_input").waveform_to_examples
        forward = importlib.import_module("torchvggish.torchvggish").VGG.forward

        def task() -> None:
            with torch.no_grad():
                for clip in waveforms:
                    forward(vggish, front_end(clip.numpy(), 16_000).detach().to(device))

        yield "torchvggish, clip by clip", task
    else:
        raise ImportError("YAMNet's own is in TensorFlow")


def write(folder: Path, noise: torch.Tensor) -> AudioFolder:
    """Write clips as FLAC, of which libsndfile decodes less a second than of WAV."""
    folder.mkdir()
    for index, clip in enumerate(noise):
        soundfile.write(folder / f"{index:04}.flac", clip.numpy(), RATE)
    return scan(folder)


def decode_rate(files: AudioFolder) -> float:
    """Return how many files one thread decodes, prepares and inspects in a second."""

    def task() -> None:
        torch.set_num_threads(1)
        for clip in files.clips[:32]:
            audio = decode(clip.path, clip.path.read_bytes())
            inspect(audio, prepare(audio, HOW), HOW)

    # Torch's number of threads is each thread's own.
    with ThreadPoolExecutor(1) as pool:
        taken = seconds(lambda: pool.submit(task).result(), torch.device("cpu"), 3)
    return len(files.clips[:32]) / taken


def matmul_rate(device: torch.device, tf32: bool) -> float:
    """Return the operations a second of a large product of matrices."""
    size = 8192 if device.type == "cuda" else 1024
    factor = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(device)
    with full_precision(device, tf32=tf32):
        return 2 * size**3 / seconds(lambda: factor @ factor, device, 10)


def seconds(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the median of some runs, after one that does not count."""
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - start)
    return median(found[1:])


if __name__ == "__main__":
    main()
