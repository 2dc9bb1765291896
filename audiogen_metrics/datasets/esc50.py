"""ESC-50: 2000 environmental sounds of five seconds in fifty classes."""

from __future__ import annotations

from pathlib import Path

from audiogen_metrics.datasets.base import Dataset, DatasetClip, DatasetInfo, read_table
from audiogen_metrics.datasets.finding import AudioByPath


def read(root: Path) -> Dataset:
    """Read ``meta/esc50.csv``."""
    columns = ("filename", "fold", "category", "src_file")
    audio = AudioByPath()
    clips = [
        DatasetClip(
            clip_id=Path(row["filename"]).stem,
            path=audio(root / "audio", row["filename"]),
            caption=row["category"],
            labels=(row["category"],),
            group=row["src_file"],
            split=row["fold"],
        )
        for row in read_table(root / "meta" / "esc50.csv", columns)
    ]
    return Dataset("esc50", root, tuple(clips), looked_for=f"the files of the column filename in {root / 'audio'}")


INFO = DatasetInfo(
    name="esc50",
    title="ESC-50: Dataset for Environmental Sound Classification",
    url="https://github.com/karolpiczak/ESC-50",
    licence="CC BY-NC 3.0",
    citation='K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia, 2015',
    layout="audio/{fold}-{clip}-{take}-{target}.wav; meta/esc50.csv",
    read=read,
    evaluation_size=400,
    checks={"clips": 2000, "classes": 50, "longest": 5.0},
)
