"""AudioCaps: ten-second clips of AudioSet with captions by people."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from audiogen_metrics.datasets.base import Dataset, DatasetClip, DatasetInfo, number, read_table
from audiogen_metrics.datasets.finding import SEGMENT_NAMES, AudioByName, Listings, names_of_segment, sought

PARTS = ("train", "val", "test")
SECONDS = 10.0


def read(root: Path) -> Dataset:
    """Read ``test.csv``, and ``train.csv`` and ``val.csv`` where they are; a clip's captions in order.

    Audio is looked for in the root, ``audio`` and ``{part}``, under the names of `names_of_segment` and, last, those
    of its captions: ``{audiocap_id}``.
    """
    parts = [part for part in PARTS if (root / f"{part}.csv").is_file()] or ["test"]
    clips: list[DatasetClip] = []
    folders: list[Path] = []
    listings = Listings()
    for part in parts:
        audio = AudioByName(root / "audio", root / part, root / "audio" / part, root, listings=listings)
        clips += _read_part(root / f"{part}.csv", part, audio)
        folders += audio.folders
    names = f"{SEGMENT_NAMES}, or {{audiocap_id}}"
    return Dataset("audiocaps", root, tuple(clips), looked_for=sought(names, folders))


def _read_part(table: Path, part: str, audio: AudioByName) -> list[DatasetClip]:
    columns = ("audiocap_id", "youtube_id", "start_time", "caption")
    captions: dict[tuple[str, str], list[tuple[float, str, str]]] = defaultdict(list)
    for row in read_table(table, columns):
        order = number(row["audiocap_id"], "audiocap_id", table)
        captions[row["youtube_id"], row["start_time"]].append((order, row["caption"], row["audiocap_id"]))
    clips = []
    for (video, written), rows in captions.items():
        start = number(written, f"{video}: start_time", table)
        texts = tuple(caption for _, caption, _ in sorted(rows))
        own = [name for _, _, name in sorted(rows)]
        clips.append(
            DatasetClip(
                clip_id=f"Y{video}",
                path=audio(*names_of_segment(video, start, start + SECONDS), *own),
                caption=texts[0],
                group=video,
                split=part,
                captions=texts,
            )
        )
    return clips


INFO = DatasetInfo(
    name="audiocaps",
    title="AudioCaps",
    url="https://github.com/cdjkim/audiocaps",
    licence="captions: MIT; audio: as on YouTube",
    citation='C. D. Kim et al., "AudioCaps: Generating Captions for Audios in The Wild", NAACL-HLT, 2019',
    layout="train.csv, val.csv, test.csv; audio/Y{id}.wav, {id}.wav, {id}_{start}.wav, {id}_{start}_{end}.wav, …",
    read=read,
    checks={"longest": 10.0},
)
