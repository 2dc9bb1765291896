"""What docs/copies.md states of ``agm copies``, measured on real recordings.

``python benchmarks/copies.py alarms FOLDER`` prints how often real clips that were not trained on are called copies,
over seeded splits of the population that ``benchmarks/population.py FOLDER`` has built; ``… detection FOLDER WORK``
how many planted copies are found after which damage; ``… cost FOLDER WORK [CLIPS]`` what a search costs.
"""

from __future__ import annotations

import io
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from scipy.signal import butter, fftconvolve, resample_poly, sosfiltfilt

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.files import AudioFile, scan
from audiogen_metrics.backbones.logmel import PREPROCESSING, LogMel
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.copies import find_copies
from audiogen_metrics.copies.alignment import align, comparable
from audiogen_metrics.copies.calibration import calibrate
from audiogen_metrics.embedding.extraction import ExtractionOptions, extract_each
from audiogen_metrics.file_hashes import digest_of
from audiogen_metrics.protocols import get_protocol

Sound: TypeAlias = npt.NDArray[np.float64]
Matrix: TypeAlias = npt.NDArray[np.float64]

SPLITS, TRAIN, TESTED = 200, 1000, 200
RATES = ((99, 0.01), (500, 0.01), (500, 0.05))
"""Held-out clips and asked-for rates of false alarms."""

ONE_SOUND = "klettres-da-alpha"
"""Letters that YAMNet takes for one sound, to 0.9995: with them, no other embedding is alike enough to be a copy."""

PLANTED = 60
"""Of each class of length."""


def alarms(folder: Path) -> None:
    """Measure the rate of false alarms, on clips that neither set the threshold nor are in the training set."""
    found, usable = _matrices(folder)
    print("| clips | held-out clips | from | asked for | measured |\n|---|---|---|---|---|")
    for name, tested, held_out in (
        ("mel, whole", "mel", "mel"),
        ("mel, halves", "halves", "halves"),
        ("mel, halves; held-out clips whole", "halves", "mel"),
        ("embedding, whole", "embedding", "embedding"),
    ):
        for number, rate in RATES:
            for drawn in (False, True):
                shares = [
                    _share(found[tested], found[held_out], usable, number, rate, drawn=drawn, seed=seed)
                    for seed in range(SPLITS)
                ]
                place = "TRAIN itself" if drawn else "other clips"
                print(
                    f"| {name} | {number} | {place} | {rate:.0%} | {np.mean(shares):.2%} "
                    f"± {np.std(shares) / SPLITS**0.5:.2%} |",
                    flush=True,
                )


def _share(
    of_tested: Matrix,
    of_held_out: Matrix,
    usable: npt.NDArray[np.int64],
    number: int,
    rate: float,
    *,
    drawn: bool,
    seed: int,
) -> float:
    """Return the share of real clips that are called copies in one split of the population."""
    order = np.random.default_rng(seed).permutation(usable)
    train, tested = order[:TRAIN], order[TRAIN : TRAIN + TESTED]
    held_out = train[:number] if drawn else order[TRAIN + TESTED : TRAIN + TESTED + number]
    pairs = [("", "", value) for value in _nearest(of_held_out, held_out, train)]
    threshold = calibrate(pairs, _nearest(of_tested, tested, train), rate)
    return threshold.flagged / threshold.clips


def _nearest(similarity: Matrix, rows: npt.NDArray[np.int64], train: npt.NDArray[np.int64]) -> list[float]:
    return [float(value) for value in similarity[np.ix_(rows, train)].max(axis=1)]


def _matrices(folder: Path) -> tuple[dict[str, Matrix], npt.NDArray[np.int64]]:
    """Return all similarities, of whole clips and of halves, and which clips can be compared and are no twins."""
    clips, kept = scan(folder / "clips"), folder / "copies.npz"
    if not kept.exists():
        recipe = get_protocol("yamnet").recipes["fd"]
        groups = {PREPROCESSING: [LogMel()], recipe.preprocessing: [YAMNet()]}
        mel, embedded = extract_each(clips, groups, ExtractionOptions(cache=False))
        contours = [features["windows"] for features in mel.sets["log-mel"].features.values()]
        rng = np.random.default_rng(0)
        halves = [_cut(clip, (len(clip) + 1) // 2, rng) for clip in contours]
        rows = torch.nn.functional.normalize(embedded.sets["yamnet"].rows("embeddings").double(), dim=1)
        arrays = {"mel": _similarities(contours, contours), "halves": _similarities(halves, contours)}
        np.savez(kept, **arrays, embedding=(rows @ rows.T).numpy())  # type: ignore[arg-type]
    with np.load(kept) as arrays:
        found = {name: arrays[name].astype(np.float64) for name in ("mel", "halves", "embedding")}
    for each in found.values():
        np.fill_diagonal(each, -np.inf)
    digests = [digest_of(clip.path.read_bytes()) for clip in clips.clips]
    compared = [np.isfinite(found[name]).any(axis=1) for name in ("mel", "halves")]
    usable = np.flatnonzero(compared[0] & compared[1] & [digests.count(digest) == 1 for digest in digests])
    print(f"{len(usable)} of {len(digests)} clips")
    return found, usable


def _similarities(gen: list[torch.Tensor], train: list[torch.Tensor]) -> Matrix:
    rows, columns = ([place for place, clip in enumerate(each) if not comparable(clip)] for each in (gen, train))
    found = np.full((len(gen), len(train)), -np.inf)
    similarity = align([gen[row] for row in rows], [train[column] for column in columns])[0]
    found[np.ix_(rows, columns)] = similarity.numpy()
    return found


def _cut(clip: torch.Tensor, length: int, rng: np.random.Generator) -> torch.Tensor:
    start = int(rng.integers(len(clip) - length + 1))
    return clip[start : start + length]


def _noise(sound: Sound, snr_db: float, rng: np.random.Generator) -> Sound:
    noise = rng.standard_normal(len(sound))
    return sound + noise * np.sqrt(np.mean(sound**2) / np.mean(noise**2) / 10 ** (snr_db / 10))


def _excerpt(sound: Sound, share: float, rng: np.random.Generator) -> Sound:
    length = int(share * len(sound))
    start = int(rng.integers(len(sound) - length + 1))
    return sound[start : start + length]


def _reverberated(sound: Sound, rate: int, rng: np.random.Generator) -> Sound:
    seconds = np.arange(int(0.6 * rate)) / rate
    room = rng.standard_normal(len(seconds)) * np.exp(-6.9 * seconds / 0.6)
    room *= 0.5 / np.sqrt(np.sum(room**2))
    return sound + fftconvolve(sound, room)[: len(sound)]


Damage: TypeAlias = Callable[[Sound, int, np.random.Generator], Sound]

DAMAGE: dict[str, Damage] = {
    "none, 24-bit copy of the mono mix": lambda x, _r, _g: x,
    "gain −12 dB": lambda x, _r, _g: x * 10 ** (-12 / 20),
    "noise, SNR 20 dB": lambda x, _r, g: _noise(x, 20, g),
    "noise, SNR 10 dB": lambda x, _r, g: _noise(x, 10, g),
    "noise, SNR 0 dB": lambda x, _r, g: _noise(x, 0, g),
    "MP3, 64 kbit/s": lambda x, _r, _g: x,
    "low-pass 4 kHz": lambda x, r, _g: sosfiltfilt(butter(4, 4000 / (r / 2), output="sos"), x) if r > 8000 else x,
    "low-pass 2 kHz": lambda x, r, _g: sosfiltfilt(butter(4, 2000 / (r / 2), output="sos"), x),
    "reverberation, 0.6 s, 6 dB below": _reverberated,
    "half of it": lambda x, _r, g: _excerpt(x, 0.5, g),
    "0.3 s of silence before it": lambda x, r, _g: np.concatenate([np.zeros(int(0.3 * r)), x]),
    "2 % faster, pitch with it": lambda x, _r, _g: resample_poly(x, 50, 51),
    "5 % faster, pitch with it": lambda x, _r, _g: resample_poly(x, 20, 21),
    "12 % faster, pitch with it": lambda x, _r, _g: resample_poly(x, 25, 28),
    "played backwards": lambda x, _r, _g: x[::-1],
    "70 % of it, −12 dB, SNR 20 dB, MP3": lambda x, _r, g: _noise(_excerpt(x, 0.7, g) * 0.25, 20, g),
}


def detection(folder: Path, work: Path) -> None:
    """Measure how many planted copies are found, each with its source, at 1 % of false alarms."""
    clips = [clip for clip in scan(folder / "clips").clips if ONE_SOUND not in clip.clip_id]
    order = [clips[place] for place in np.random.default_rng(0).permutation(len(clips))]
    train, held_out = order[:TRAIN], order[TRAIN : TRAIN + 500]
    shutil.rmtree(work, ignore_errors=True)
    for name, part in (("train", train), ("held-out", held_out)):
        for number, clip in enumerate(part):
            _place(clip, work / name / f"{number:04}{clip.path.suffix}")
    classes: dict[str, list[int]] = {"short": [], "long": []}
    for number, clip in enumerate(train):
        seconds = soundfile.info(clip.path).duration
        if seconds >= 1:
            classes["long" if seconds >= 2 else "short"].append(number)
    planted = {number: name for name, numbers in classes.items() for number in numbers[:PLANTED]}
    for number in planted:
        _damage(train[number], number, work / "gen")
    found = find_copies(work / "gen", work / "train", heldout=work / "held-out", protocol="yamnet", false_alarms=0.01)
    print({kind: each.similarity for kind, each in found.thresholds.items()})
    print("| damage | mel, 1–2 s | mel, 2–10 s | embedding, 1–2 s | embedding, 2–10 s |\n|---|---|---|---|---|")
    for place, damage in enumerate(DAMAGE):
        cells = []
        for kind in ("mel", "embedding"):
            for name in classes:
                hits = [
                    match is not None and match.is_copy and match.clip_id == clip.clip_id.partition("/")[2]
                    for clip in found.clips
                    if clip.clip_id.startswith(f"{place:02}/") and planted[int(clip.clip_id.partition("/")[2])] == name
                    for match in (getattr(clip, kind),)
                ]
                cells.append(f"{np.mean(hits):.0%}")
        print(f"| {damage} | {' | '.join(cells)} |")


def _place(clip: AudioFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(clip.path, target)


def _damage(clip: AudioFile, number: int, folder: Path) -> None:
    audio = decode(clip.path, clip.path.read_bytes())
    sound, rng = audio.samples.mean(axis=1).astype(np.float64), np.random.default_rng(number)
    for place, (name, change) in enumerate(DAMAGE.items()):
        changed = change(sound, audio.sample_rate, rng)
        changed = changed / max(1.0, np.abs(changed).max())
        target = folder / f"{place:02}" / f"{number:04}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if "MP3" in name:
            _write_mp3(target.with_suffix(".mp3"), changed, audio.sample_rate)
        else:
            soundfile.write(target.with_suffix(".wav"), changed, audio.sample_rate, subtype="PCM_24")


def _write_mp3(target: Path, sound: Sound, rate: int) -> None:
    """Write MP3 at 64 kbit/s and 44.1 kHz."""
    sound = resample_poly(sound, 44_100, rate)
    file = io.BytesIO()
    level = (320 - 64) / (320 - 32)
    soundfile.write(
        file, sound, 44_100, format="MP3", subtype="MPEG_LAYER_III", compression_level=level, bitrate_mode="CONSTANT"
    )
    target.write_bytes(file.getvalue())


def cost(folder: Path, work: Path, clips: int) -> None:
    """Measure seconds and memory of a search of 200 clips of 10 s among many, cut from the population in a row."""
    if not work.is_dir():
        sounds = [_mono(clip.path) for clip in scan(folder / "clips").clips]
        rng, rate = np.random.default_rng(0), 16_000
        for name, count in (("gen", 200), ("train", clips)):
            (work / name).mkdir(parents=True)
            for number in range(count):
                parts: list[Sound] = []
                while sum(map(len, parts)) < 10 * rate:
                    parts.append(sounds[rng.integers(len(sounds))])
                soundfile.write(work / name / f"{number:05}.wav", np.concatenate(parts)[: 10 * rate], rate)
    for run in ("cold", "cached"):
        started = time.perf_counter()
        command = [sys.executable, "-m", "audiogen_metrics", "copies", work / "gen", work / "train", "--no-embedding"]
        subprocess.run([*command, "--workers", "0"], check=True, stdout=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{run}: {time.perf_counter() - started:.0f} s, CPU {used.ru_utime:.0f} s so far, ", end="")
        print(f"{used.ru_maxrss / 1024:.0f} MB at most", flush=True)


def _mono(path: Path) -> Sound:
    audio = decode(path, path.read_bytes())
    return resample_poly(audio.samples.mean(axis=1).astype(np.float64), 16_000, audio.sample_rate) * 0.5


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["alarms", folder]:
            alarms(Path(folder))
        case ["detection", folder, work]:
            detection(Path(folder), Path(work))
        case ["cost", folder, work, *number]:
            cost(Path(folder), Path(work), int(number[0]) if number else 10_000)
        case _:
            sys.exit(__doc__)
