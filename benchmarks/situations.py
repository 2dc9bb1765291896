"""Situations that people have, in which a number once was wrong in silence: what is said now, beside the true value.

``python -m benchmarks.situations`` from the repository's root, with the extra ``test``; about three minutes on two
cores. Each situation runs in a process and a cache of its own. docs/reliability.md keeps its table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch import nn

GEN, REF = Path("examples/generated"), Path("examples/reference")
RATE = 16_000
Samples = npt.NDArray[np.float32]


def tone(index: int, shift: float = 0.0, seconds: float = 1.2) -> Samples:
    """Return a tone with noise, different for each index."""
    rng, time = np.random.default_rng(index), np.arange(int(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * 150 * (index + 1) * (1 + shift) * time) * (
        1 + 0.5 * np.sin(2 * np.pi * (index + 1) * time)
    )
    samples: Samples = (0.25 * wave + 0.02 * rng.normal(size=len(time))).astype(np.float32)
    return samples


def folder(name: str, change: Callable[[Samples], Samples] = lambda x: x, shift: float = 0.0) -> Path:
    """Write twelve clips and return their folder."""
    target = Path(tempfile.mkdtemp()) / name
    target.mkdir()
    for index in range(12):
        soundfile.write(target / f"clip{index:02d}.wav", change(tone(index, shift)), RATE, subtype="FLOAT")
    return target


def fd(gen: Path, ref: Path, protocol: str = "yamnet", metric: str = "fd", **options: Any) -> str:
    """Return a score, and the warnings that are about levels, silence, content or names."""
    from audiogen_metrics import score

    report = score(gen, ref, protocol=protocol, metrics=[metric], ci=False, device="cpu", **options)
    about = ("silent", "scale", "the same set", "in ref", "Unicode", "case", "average", "TF32")
    said = [warning for warning in report.warnings if any(word in warning for word in about)]
    value = next(iter(report.scores.values())).value
    return f"{value:.4g}" + "".join(f" | {warning[:150]}" for warning in said)


class Tower(nn.Module):
    """Modules whose weights and repr are equal, whatever the layer."""

    def __init__(self, layer: int, pool: str = "mean") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.pool = layer, pool
        self.front = nn.Conv1d(1, 16, 400, 160)
        self.rest = nn.ModuleList(nn.Conv1d(16, 16, 3, padding=1) for _ in range(4))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, 16)``."""
        maps = self.front(waveforms[:, None]).relu()
        for index in range(self.layer):
            maps = self.rest[index](maps).relu()
        return 100 * (maps.mean(2) if self.pool == "mean" else maps.amax(2))


def towers(*chosen: tuple[int, str]) -> str:
    from audiogen_metrics import FD
    from audiogen_metrics.backbones import from_callable

    found = []
    for layer, pool in chosen:
        network = from_callable("tower", Tower(layer, pool), sample_rate=RATE, minimum_samples=400)
        found.append(f"{FD(backbone=network).score(GEN, REF).value:.4g}")
    return ", ".join(found)


def vggish() -> dict[str, Path]:
    from tests.checkpoints import write_vggish

    return {"vggish": write_vggish(Path(tempfile.mkdtemp()) / "vggish.pth")}


def in_default_type(dtype: torch.dtype) -> str:
    weights = vggish()
    torch.set_default_dtype(dtype)
    return fd(GEN, REF, "fadtk", "fad", weights=weights)


def in_autocast() -> str:
    with torch.autocast("cpu", torch.bfloat16):
        return fd(GEN, REF, workers=0)


def kl_lost(ids: bool, lost: bool = True) -> str:
    from audiogen_metrics import KL

    logits = 3 * torch.randn(12, 50, generator=torch.Generator().manual_seed(0))
    gen = logits + 0.3 * torch.randn(12, 50, generator=torch.Generator().manual_seed(1))
    metric, names = KL(protocol="yamnet"), [str(index) for index in range(12)]
    kept = [index for index in range(12) if not (lost and index == 2)]
    metric.update(gen_logits=gen, ids=names if ids else None)
    metric.update(ref_logits=logits[kept], ids=[names[index] for index in kept] if ids else None)
    return f"{float(metric.compute()):.4g}"


def swapped(turned: bool) -> str:
    from audiogen_metrics import FD

    metric = FD(protocol="yamnet")
    stereo = np.stack([tone(0), tone(1)])[:, :1200]
    metric.update(gen=np.ascontiguousarray(stereo.T) if turned else stereo, sample_rate=RATE)
    metric.update(ref=[tone(index, 0.03) for index in range(12)], sample_rate=RATE)
    found = metric.compute_score()
    return f"{found.value:.4g}, n {found.n_gen}"


def forms(mixed: bool) -> str:
    sets = [folder("gen"), folder("ref", shift=0.03)]
    for place, form in zip(sets, ("NFC", "NFD" if mixed else "NFC"), strict=True):
        for index in range(6):
            name = unicodedata.normalize(form, f"caf\u00e9 {index}")  # type: ignore[arg-type]
            (place / f"clip{index:02d}.wav").rename(place / f"{name}.wav")
    return fd(*sets, metric="kl")


def joined(suffix: str, both: bool) -> str:
    place = Path(tempfile.mkdtemp()) / f"a{suffix}"
    soundfile.write(
        place, tone(1, seconds=2.0), RATE, **({"subtype": "OPUS", "format": "OGG"} if suffix == ".opus" else {})
    )
    content = place.read_bytes()
    place.write_bytes(content * (2 if both else 1))
    from audiogen_metrics.audio.decoding import decode

    return f"{len(decode(place, place.read_bytes()).samples) / RATE:.3f} s"


def through_statistics(file: bool) -> str:
    from audiogen_metrics import score
    from audiogen_metrics.evaluation import reference_statistics

    ref = REF
    if file:
        ref = Path(tempfile.mkdtemp()) / "ref.stats"
        reference_statistics(REF, protocol="yamnet").save(ref)
    report = score(GEN, ref, protocol="yamnet", metrics=["fd"], device="cpu")
    return next(line for line in str(report).splitlines() if line.startswith("fd_"))


def links(second: bool) -> str:
    root = Path(tempfile.mkdtemp())
    for name in ("gen", "ref"):
        (root / name).mkdir()
    store = {"gen": folder("x"), "ref": folder("y", shift=0.03)}
    for name, place in store.items():
        for system in ("a", "b") if second else ("a",):
            (root / name / system).symlink_to(place)
    from audiogen_metrics import score

    report = score(root / "gen", root / "ref", protocol="yamnet", metrics=["fd"], ci=False)
    return f"{report.gen.scored} clips"


def lossy(ours: bool) -> str:
    """FAD of audioldm-0.0.3 on Vorbis: of the protocol, or of files that hold what soundfile reads as 16 bits."""
    gen = Path(tempfile.mkdtemp())
    for clip in sorted(REF.rglob("*.*")):
        samples, rate = soundfile.read(clip, dtype="float32")
        soundfile.write(gen / f"{clip.stem}.ogg", 0.9 * samples / np.abs(samples).max(), rate, subtype="VORBIS")
    if not ours:
        for clip in gen.glob("*.ogg"):
            integers, rate = soundfile.read(clip, dtype="int16")
            soundfile.write(clip.with_suffix(".wav"), integers, rate, subtype="PCM_16")
            clip.unlink()
    from audiogen_metrics import score

    report = score(gen, REF, protocol="audioldm-0.0.3", metrics=["fad"], ci=False, weights=vggish(), device="cpu")
    return f"{report['fad_vggish'].value:.7g}"


SITUATIONS: dict[str, tuple[Callable[[], str], Callable[[], str]]] = {
    "two modules that differ in an attribute": (
        lambda: towers((1, "mean"), (4, "mean"), (4, "max")),
        lambda: "; ".join(
            run_alone(f"towers(({layer}, '{pool}'),)") for layer, pool in ((1, "mean"), (4, "mean"), (4, "max"))
        ),
    ),
    "CPU autocast, workers=0": (in_autocast, lambda: fd(GEN, REF)),
    "default type bfloat16": (lambda: in_default_type(torch.bfloat16), lambda: in_default_type(torch.float32)),
    "default type float16": (lambda: in_default_type(torch.float16), lambda: in_default_type(torch.float32)),
    "opposite phases in stereo": (
        lambda: fd(folder("gen", lambda x: np.stack([x, -x], 1)), folder("ref", shift=0.03)),
        lambda: fd(folder("gen"), folder("ref", shift=0.03)),
    ),
    "a constant in place of sound": (
        lambda: fd(folder("gen", lambda x: 0 * x + 0.5), folder("ref", shift=0.03)),
        lambda: "",
    ),
    "16-bit integers saved as floats": (
        lambda: fd(folder("gen", lambda x: np.round(32_767 * x)), folder("ref", shift=0.03)),
        lambda: fd(folder("gen"), folder("ref", shift=0.03)),
    ),
    "KL without ids, one reference lost": (lambda: kl_lost(ids=False), lambda: kl_lost(ids=True)),
    "(time, channels) in update()": (lambda: swapped(True), lambda: swapped(False)),
    "two Ogg files joined": (lambda: joined(".ogg", True), lambda: "4.000 s"),
    "two Opus files joined": (lambda: joined(".opus", True), lambda: "4.000 s"),
    "two MP3 files joined": (lambda: joined(".mp3", True), lambda: f"2 × {joined('.mp3', False)}"),
    "audioldm-0.0.3 on Vorbis": (lambda: lossy(True), lambda: lossy(False)),
    "statistics file as reference": (lambda: through_statistics(True), lambda: through_statistics(False)),
    "names in NFC and NFD": (lambda: forms(True), lambda: forms(False)),
    "a second link to one folder": (lambda: links(True), lambda: "24 clips"),
    "gen is ref": (lambda: fd(REF, REF), lambda: ""),
}


def run_alone(code: str) -> str:
    """Return what an expression gives in a process and a cache of its own; of an error, its message."""
    cache = tempfile.mkdtemp()
    environment = {**os.environ, "AGM_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", f"from benchmarks.situations import *\nprint({code})"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    shutil.rmtree(cache)
    return (done.stdout or f"error: {done.stderr.strip().splitlines()[-1].partition(': ')[2]}").strip()


def main() -> None:
    """Print each situation, what is said of it, and the truth."""
    warnings.simplefilter("ignore")
    for name in SITUATIONS:
        said, true = (run_alone(f"SITUATIONS[{name!r}][{place}]()") for place in (0, 1))
        print(f"{name}\n    now   {said}\n    true  {true}", flush=True)


if __name__ == "__main__":
    main()
