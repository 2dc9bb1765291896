"""AudioCaps: ten-second clips of AudioSet with captions by people."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from audiogen_metrics.datasets.base import AudioByName, Clip, Dataset, DatasetInfo, number, read_table

PARTS = ("train", "val", "test")


def read(root: Path) -> Dataset:
    """Read ``test.csv``, and ``train.csv`` and ``val.csv`` where they are; of several captions the first in order.

    Audio is looked for as ``Y{id}``, ``{id}`` or ``{id}_{start}`` in the root, ``audio`` and ``{part}``.
    """
    parts = [part for part in PARTS if (root / f"{part}.csv").is_file()] or ["test"]
    clips = [clip for part in parts for clip in _read_part(root, part)]
    return Dataset("audiocaps", root, tuple(clips))


def _read_part(root: Path, part: str) -> list[Clip]:
    columns = ("audiocap_id", "youtube_id", "start_time", "caption")
    captions: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    table = root / f"{part}.csv"
    for row in read_table(table, columns):
        order = number(row["audiocap_id"], "audiocap_id", table)
        captions[row["youtube_id"], row["start_time"]].append((order, row["caption"]))
    audio = AudioByName(root / "audio", root / part, root / "audio" / part, root)
    return [
        Clip(
            clip_id=f"Y{video}",
            path=audio(f"Y{video}", video, f"{video}_{start}"),
            caption=min(rows)[1],
            start=number(start, f"{video}: start_time", table),
            duration=10.0,
            group=video,
            split=part,
        )
        for (video, start), rows in captions.items()
    ]


INFO = DatasetInfo(
    name="audiocaps",
    title="AudioCaps",
    url="https://github.com/cdjkim/audiocaps",
    licence="captions: MIT; audio: as on YouTube",
    citation='C. D. Kim et al., "AudioCaps: Generating Captions for Audios in The Wild", NAACL-HLT, 2019',
    layout="train.csv, val.csv, test.csv; audio/Y{id}.wav, {id}.wav or {id}_{start}.wav",
    read=read,
    folds=PARTS,
    checks={"longest": 10.0},
)
