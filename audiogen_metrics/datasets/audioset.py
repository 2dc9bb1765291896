"""AudioSet's evaluation part: ten-second clips with labels of an ontology of 527 classes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from audiogen_metrics.datasets.base import Dataset, DatasetClip, DatasetInfo, number, read_table
from audiogen_metrics.datasets.finding import SEGMENT_NAMES, AudioByName, names_of_segment, sought
from audiogen_metrics.errors import DataError
from audiogen_metrics.tabular import read_text

SEGMENTS = "eval_segments.csv"
LABELS = "class_labels_indices.csv"


def read(root: Path) -> Dataset:
    """Read ``eval_segments.csv`` with the names in ``class_labels_indices.csv``; audio as in AudioCaps."""
    names = {row["mid"]: row["display_name"] for row in read_table(root / LABELS, ("index", "mid", "display_name"))}
    # Some copies have lost the # of their header.
    plain = (line for line in io.StringIO(read_text(root / SEGMENTS)) if line.strip() and not _is_head(line))
    audio = AudioByName(root / "audio", root / "eval", root)
    clips = []
    for row in _rows(plain, root / SEGMENTS):
        if len(row) != 4:
            raise DataError(f"{row[:1]}: expected id, start, end and labels", where=root / SEGMENTS)
        video, mids = row[0], row[3].split(",")
        start, end = (number(text, f"{video}: time", root / SEGMENTS) for text in row[1:3])
        unknown = [mid for mid in mids if mid not in names]
        if unknown:
            raise DataError(f"{video}: label {unknown[0]} is not in {LABELS}", where=root / SEGMENTS)
        labels = tuple(names[mid] for mid in mids)
        clips.append(
            DatasetClip(
                clip_id=f"Y{video}",
                path=audio(*names_of_segment(video, start, end)),
                caption=", ".join(labels),
                labels=labels,
                group=video,
                split="eval",
            )
        )
    return Dataset("audioset", root, tuple(clips), looked_for=sought(SEGMENT_NAMES, audio.folders))


def _is_head(line: str) -> bool:
    return line.startswith(("#", "YTID,"))


def _rows(lines: Iterator[str], path: Path) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, skipinitialspace=True, strict=True)
    except csv.Error as error:
        raise DataError(f"cannot be read as csv ({error})", where=path) from error


INFO = DatasetInfo(
    name="audioset",
    title="AudioSet, evaluation part",
    url="https://research.google.com/audioset/",
    licence="labels: CC BY 4.0; audio: as on YouTube",
    citation='J. F. Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events", ICASSP, 2017',
    layout="eval_segments.csv, class_labels_indices.csv; audio/Y{id}.wav, {id}.wav, {id}_{start}_{end}.wav, …",
    read=read,
    checks={"clips": 20_371, "longest": 10.0},
)
