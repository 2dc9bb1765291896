"""Rebuild ``examples/reference`` and ``examples/generated`` from CC0 samples.

The recordings come from the Debian package ``sonic-pi-samples``, version
3.2.2~repack-8::

    apt-get download sonic-pi-samples
    dpkg -x sonic-pi-samples_*.deb unpacked
    python examples/build.py unpacked/usr/share/sonic-pi/samples

``clips.csv`` says which sample becomes which clip, and in which format. The
same decoded samples come out of every run. The bytes of Ogg files and of float
WAV files differ, because libsndfile puts a new stream serial number or the time
of writing in them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf
from scipy import signal

Audio = npt.NDArray[np.float64]

HERE = Path(__file__).resolve().parent
SETS = ("reference", "generated")
PACKAGE = "sonic-pi-samples 3.2.2~repack-8"

MAX_SECONDS = 4.0
FADE_SECONDS = 0.1
# Resampling and lossy decoding overshoot, so leave some headroom.
CEILING = 0.95

# name in clips.csv: (suffix, container, encoding)
FORMATS = {
    "wav8": (".wav", "WAV", "PCM_U8"),
    "wav16": (".wav", "WAV", "PCM_16"),
    "wav24": (".wav", "WAV", "PCM_24"),
    "wav32": (".wav", "WAV", "PCM_32"),
    "wavf32": (".wav", "WAV", "FLOAT"),
    "flac": (".flac", "FLAC", "PCM_16"),
    "vorbis": (".ogg", "OGG", "VORBIS"),
    "opus": (".opus", "OGG", "OPUS"),
    "mp3": (".mp3", "MP3", "MPEG_LAYER_III"),
}


@dataclass(frozen=True)
class Recipe:
    """How a category's stand-ins for generated audio are degraded."""

    bandwidth: int
    noise_db: float
    drive: float = 0.0


TONAL = Recipe(bandwidth=8000, noise_db=-42.0)
DRUMS = Recipe(bandwidth=8000, noise_db=-38.0, drive=1.5)
TEXTURE = Recipe(bandwidth=11025, noise_db=-40.0, drive=1.0)

RECIPES = {
    "ambi": TEXTURE,
    "bass": TONAL,
    "bd": DRUMS,
    "drum": DRUMS,
    "elec": TONAL,
    "guit": TONAL,
    "loop": TEXTURE,
    "misc": TEXTURE,
    "perc": DRUMS,
    "sn": DRUMS,
    "tabla": TONAL,
    "vinyl": TEXTURE,
}


@dataclass(frozen=True)
class Item:
    """One file to write."""

    set_name: str
    clip_id: str
    source: str
    format: str
    rate: int
    channels: int

    @property
    def path(self) -> Path:
        """Path relative to the output folder."""
        return Path(self.set_name, self.clip_id + FORMATS[self.format][0])

    @property
    def category(self) -> str:
        """First part of the clip id."""
        return self.clip_id.split("/")[0]


@dataclass(frozen=True)
class Credit:
    """Who made a sample, and where it was published."""

    author: str
    link: str
    link_is_dead: bool


def read_items(table: Path) -> list[Item]:
    """Read the clip table, one item per set and row."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Item(
            name,
            row["clip_id"],
            row[f"{name}_source"],
            row[f"{name}_format"],
            int(row[f"{name}_rate"]),
            int(row[f"{name}_channels"]),
        )
        for name in SETS
        for row in rows
    ]


def read_credits(samples_dir: Path) -> dict[str, Credit]:
    """Find the samples that both licence documents mark as CC0.

    Parameters
    ----------
    samples_dir
        Folder ``usr/share/sonic-pi/samples`` of the unpacked package.

    Returns
    -------
    dict
        Credit per sample name. Samples that only the README lists are left
        out, since Debian's copyright file puts them under its default stanza.
    """
    readme = (samples_dir / "README.md").read_text(encoding="utf-8")
    if "Creative Commons 0 License" not in readme:
        raise SystemExit("the samples' README.md no longer states CC0")
    doc = samples_dir.resolve().parents[1] / "doc" / "sonic-pi-samples" / "copyright"
    stanzas = re.findall(
        r"^Files: etc/samples/(\w+)\.flac\nCopyright: \d+ ([^<\n]+).*\n.*\nLicense: CC0$",
        doc.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    authors = {name: author.strip() for name, author in stanzas}
    entries = re.findall(r"^\* `:(\w+)`\s*- (\S+)(.*)$", readme, re.MULTILINE)
    return {name: Credit(authors[name], link, "deprecated" in rest) for name, link, rest in entries if name in authors}


def clip_rng(clip_id: str) -> np.random.Generator:
    """Give the random generator that belongs to a clip id."""
    digest = hashlib.sha256(clip_id.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def resample(audio: Audio, new: int, old: int) -> Audio:
    """Resample along time by the ratio ``new / old``."""
    factor = gcd(new, old)
    if new == old:
        return audio
    return np.asarray(signal.resample_poly(audio, new // factor, old // factor), np.float64)


def mix(audio: Audio, channels: int) -> Audio:
    """Average down to mono, or keep the channels as they are."""
    if channels == 1:
        return np.asarray(audio.mean(axis=1, keepdims=True), np.float64)
    if audio.shape[1] != channels:
        raise ValueError(f"cannot make {channels} channels from {audio.shape[1]}")
    return audio


def cut(audio: Audio, rate: int) -> Audio:
    """Keep at most ``MAX_SECONDS``, with a fade out if something was cut."""
    frames = round(MAX_SECONDS * rate)
    if len(audio) <= frames:
        return audio
    fade = np.ones((frames, 1))
    length = round(FADE_SECONDS * rate)
    fade[-length:, 0] = np.cos(np.linspace(0.0, np.pi / 2, length))
    return np.asarray(audio[:frames] * fade, np.float64)


def limit(audio: Audio) -> Audio:
    """Scale down, never up, so that the peak is at most ``CEILING``."""
    peak = float(np.abs(audio).max())
    return audio * (CEILING / peak) if peak > CEILING else audio


def choose_speed(clip_id: str) -> int:
    """Choose a clip's change of speed in percent: 2 to 5, faster or slower."""
    return int(clip_rng(clip_id + "/speed").choice([-5, -4, -3, -2, 2, 3, 4, 5]))


def band_limit(audio: Audio, rate: int, bandwidth: int) -> Audio:
    """Remove what lies above ``bandwidth`` Hz, as a low-rate vocoder would."""
    low = resample(audio, 2 * bandwidth, rate)
    return resample(low, rate, 2 * bandwidth)[: len(audio)]


def soft_clip(audio: Audio, drive: float) -> Audio:
    """Saturate with a tanh curve that keeps full scale at full scale."""
    return np.asarray(np.tanh(drive * audio) / np.tanh(drive), np.float64)


def add_noise(audio: Audio, level_db: float, rng: np.random.Generator) -> Audio:
    """Add white noise at ``level_db`` relative to the RMS level."""
    rms = float(np.sqrt(np.mean(audio**2)))
    return audio + rng.standard_normal(audio.shape) * rms * 10 ** (level_db / 20)


def degrade(audio: Audio, rate: int, item: Item) -> Audio:
    """Turn a recording into a stand-in for a generator's output."""
    recipe = RECIPES[item.category]
    audio = resample(audio, 100, 100 + choose_speed(item.clip_id))
    if recipe.drive:
        audio = soft_clip(audio, recipe.drive)
    # The noise goes through the band limit too: a generator's own noise
    # floor does not reach beyond its bandwidth either.
    audio = add_noise(audio, recipe.noise_db, clip_rng(item.clip_id))
    return band_limit(audio, rate, recipe.bandwidth)


def render(item: Item, samples_dir: Path) -> Audio:
    """Read an item's sample and bring it to its final form."""
    data, rate = sf.read(samples_dir / f"{item.source}.flac", always_2d=True)
    audio = mix(np.asarray(data, np.float64), item.channels)
    if item.set_name == "generated":
        audio = degrade(audio, rate, item)
    return limit(cut(resample(audio, item.rate, rate), item.rate))


def write(item: Item, audio: Audio, out_dir: Path) -> None:
    """Write an item, replacing any older file of the same clip id."""
    path = out_dir / item.path
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f"{path.stem}.*"):
        old.unlink()
    _, container, encoding = FORMATS[item.format]
    sf.write(path, audio, item.rate, format=container, subtype=encoding)


def describe(item: Item, samples_dir: Path) -> str:
    """Say in words what was done to an item's sample."""
    info: Any = sf.info(samples_dir / f"{item.source}.flac")
    steps = []
    seconds = info.duration
    if item.channels < info.channels:
        steps.append("mono")
    if item.set_name == "generated":
        recipe, speed = RECIPES[item.category], choose_speed(item.clip_id)
        seconds /= 1 + speed / 100
        steps.append(f"speed {speed:+d} %")
        if recipe.drive:
            steps.append("soft clip")
        steps.append(f"noise {recipe.noise_db:.0f} dB")
        steps.append(f"band {recipe.bandwidth} Hz")
    if item.rate != info.samplerate:
        steps.append(f"resampled to {item.rate} Hz")
    if seconds > MAX_SECONDS:
        steps.append(f"cut to {MAX_SECONDS:g} s")
    return ", ".join([*steps, item.format])


def provenance(items: list[Item], authors: dict[str, Credit], samples_dir: Path) -> str:
    """Compose ``PROVENANCE.md``."""
    lines = [
        "# Provenance of the example recordings",
        "",
        "Written by `build.py`; do not edit by hand.",
        "",
        f"All recordings come from the Debian package `{PACKAGE}` and were first",
        "published on Freesound under the",
        "[CC0 1.0 dedication](https://creativecommons.org/publicdomain/zero/1.0/).",
        "The build refuses a sample unless both documents of the package say so: its",
        "`README.md`, which puts the whole folder under CC0 and links each sample's origin,",
        "and Debian's `copyright` file, with a `License: CC0` stanza for that very file.",
        "A link marked with † is noted in that `README.md` as no longer working.",
        "",
        "| File | Sample | Author | Origin | Licence | What was done |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for item in items:
        credit = authors[item.source]
        dagger = " †" if credit.link_is_dead else ""
        number = credit.link.rstrip("/").split("/")[-1]
        lines.append(
            f"| `{item.path.as_posix()}` | `{item.source}` | {credit.author} "
            f"| [{number}]({credit.link}){dagger} | CC0 1.0 | {describe(item, samples_dir)} |"
        )
    return "\n".join(lines) + "\n"


def build(samples_dir: Path, out_dir: Path) -> None:
    """Write both sets and ``PROVENANCE.md`` to ``out_dir``."""
    items = read_items(HERE / "clips.csv")
    authors = read_credits(samples_dir)
    refused = sorted({item.source for item in items} - authors.keys())
    if refused:
        raise SystemExit(f"not marked as CC0 by both documents: {', '.join(refused)}")
    for item in items:
        write(item, render(item, samples_dir), out_dir)
    text = provenance(items, authors, samples_dir)
    (out_dir / "PROVENANCE.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Rebuild the example recordings.")
    parser.add_argument("samples_dir", type=Path, metavar="SAMPLES_DIR")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", nargs="?", default=HERE)
    arguments = parser.parse_args()
    build(arguments.samples_dir, arguments.out_dir)


if __name__ == "__main__":
    main()
