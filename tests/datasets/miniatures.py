"""Miniature datasets, laid out exactly as the originals, from the committed recordings."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from tests.places import REFERENCE

SOURCES = sorted(path for path in REFERENCE.rglob("*") if path.is_file())


def recording(index: int, seconds: float, sample_rate: int, channels: int = 1) -> np.ndarray:
    """Return a real recording, repeated or cut to a length, its own samples read as if at another rate."""
    samples, _ = soundfile.read(SOURCES[index % len(SOURCES)], dtype="float32", always_2d=True)
    length = int(seconds * sample_rate)
    mono = np.resize(samples[:, 0], length) * 0.9
    return np.stack([mono] * channels, axis=1)


def write(path: Path, samples: np.ndarray, sample_rate: int, subtype: str = "PCM_16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sample_rate, subtype=subtype)


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def esc50(
    root: Path, classes: Sequence[str] = ("dog", "rain", "crying_baby", "clock_tick"), per_class: int = 5
) -> Path:
    """Write ESC-50 in small: five folds, five seconds at 44.1 kHz."""
    rows = []
    for target, category in enumerate(classes):
        for number in range(per_class):
            fold, source = number % 5 + 1, 1000 + target * per_class + number // 2 * 2
            name = f"{fold}-{source}-{'AB'[number % 2]}-{target}.wav"
            write(root / "audio" / name, recording(len(rows), 5.0, 44_100), 44_100)
            rows.append((name, fold, target, category, False, source, "AB"[number % 2]))
    table(root / "meta" / "esc50.csv", ("filename", "fold", "target", "category", "esc10", "src_file", "take"), rows)
    return root


def urbansound8k(root: Path, classes: Sequence[str] = ("siren", "dog_bark", "drilling"), per_class: int = 8) -> Path:
    """Write UrbanSound8K in small: any rate, width and channels; several excerpts of one recording."""
    forms = [
        (8000, 1, "PCM_U8"),
        (96_000, 2, "PCM_24"),
        (44_100, 2, "PCM_16"),
        (48_000, 1, "FLOAT"),
        (22_050, 1, "PCM_16"),
    ]
    rows = []
    for target, category in enumerate(classes):
        for number in range(per_class):
            source, fold = 100 * target + number // 3, number % 10 + 1
            rate, channels, subtype = forms[len(rows) % len(forms)]
            name = f"{source}-{target}-0-{number}.wav"
            write(
                root / "audio" / f"fold{fold}" / name,
                recording(len(rows), 1.0 + number / 4, rate, channels),
                rate,
                subtype,
            )
            rows.append((name, source, number, number + 1.0 + number / 4, 1, fold, target, category))
    header = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
    table(root / "metadata" / "UrbanSound8K.csv", header, rows)
    return root


def audiocaps(root: Path, clips: int = 6) -> Path:
    """Write AudioCaps' test part in small: five captions a clip, audio under all three names."""
    rows = []
    for index in range(clips):
        video, start = f"-id_{index:02}x", 10 * index
        name = (f"Y{video}.wav", f"{video}.wav", f"{video}_{start}.wav")[index % 3]
        write(root / "audio" / name, recording(index, 10.0, 32_000), 32_000)
        rows += [(100 + index * 5 + n, video, start, f"caption {n} of sound {index}") for n in (1, 0, 2, 3, 4)]
    table(root / "test.csv", ("audiocap_id", "youtube_id", "start_time", "caption"), rows)
    return root


def audioset(root: Path, clips: int = 5) -> Path:
    """Write AudioSet's evaluation part in small."""
    names = [("/m/09x0r", "Speech"), ("/m/0bt9lr", "Dog"), ("/m/06_y0by", "Environmental noise, other")]
    table(
        root / "class_labels_indices.csv",
        ("index", "mid", "display_name"),
        [(i, *pair) for i, pair in enumerate(names)],
    )
    lines = [
        "# Segments csv created Sun Mar  5 10:54:25 2017",
        "# num_ytids=5",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    for index in range(clips):
        mids = ",".join(mid for mid, _ in names[: index % 3 + 1])
        lines.append(f'vid{index}_-, {index * 30}.000, {index * 30 + 10}.000, "{mids}"')
        write(root / "eval" / f"Yvid{index}_-.flac", recording(index, 10.0, 44_100), 44_100)
    (root / "eval_segments.csv").write_text("\n".join(lines) + "\n")
    return root
