"""AudioSet's evaluation part: ten-second clips with labels of an ontology of 527 classes."""

from __future__ import annotations

import csv
from pathlib import Path

from audiogen_metrics.datasets.base import AudioByName, Clip, Dataset, DatasetInfo, number, read_table
from audiogen_metrics.errors import DataError

SEGMENTS = "eval_segments.csv"
LABELS = "class_labels_indices.csv"


def read(root: Path) -> Dataset:
    """Read ``eval_segments.csv`` with the names in ``class_labels_indices.csv``; audio as in AudioCaps."""
    names = {row["mid"]: row["display_name"] for row in read_table(root / LABELS, ("index", "mid", "display_name"))}
    try:
        lines = (root / SEGMENTS).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("cannot be read", where=root / SEGMENTS, fix="Pass the folder with AudioSet's files") from error
    # Some copies have lost the # of their header.
    plain = (line for line in lines if line.strip() and not line.startswith(("#", "YTID,")))
    rows = csv.reader(plain, skipinitialspace=True)
    audio = AudioByName(root / "audio", root / "eval", root)
    clips = []
    for row in rows:
        if len(row) != 4:
            raise DataError(f"{row[:1]}: expected id, start, end and labels", where=root / SEGMENTS)
        video, mids = row[0], row[3].split(",")
        start, end = (number(text, f"{video}: time", root / SEGMENTS) for text in row[1:3])
        unknown = [mid for mid in mids if mid not in names]
        if unknown:
            raise DataError(f"{video}: label {unknown[0]} is not in {LABELS}", where=root / SEGMENTS)
        labels = tuple(names[mid] for mid in mids)
        clips.append(
            Clip(
                clip_id=f"Y{video}",
                path=audio(f"Y{video}", video, f"{video}_{int(start)}"),
                caption=", ".join(labels),
                labels=labels,
                start=start,
                duration=end - start,
                group=video,
                split="eval",
            )
        )
    return Dataset("audioset", root, tuple(clips))


INFO = DatasetInfo(
    name="audioset",
    title="AudioSet, evaluation part",
    url="https://research.google.com/audioset/",
    licence="labels: CC BY 4.0; audio: as on YouTube",
    citation='J. F. Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events", ICASSP, 2017',
    layout="eval_segments.csv, class_labels_indices.csv; audio/Y{id}.wav, {id}.wav or {id}_{start}.wav",
    read=read,
    folds=("eval",),
    checks={"clips": 20_371, "longest": 10.0},
)
