"""UrbanSound8K: 8732 excerpts of field recordings, at most four seconds, in ten classes."""

from __future__ import annotations

from pathlib import Path

from audiogen_metrics.datasets.base import Dataset, DatasetClip, DatasetInfo, number, read_table
from audiogen_metrics.datasets.finding import AudioByPath

METADATA = "metadata/UrbanSound8K.csv"


def read(root: Path) -> Dataset:
    """Read ``metadata/UrbanSound8K.csv``."""
    columns = ("slice_file_name", "fsID", "start", "end", "fold", "class")
    audio, clips = AudioByPath(), []
    for row in read_table(root / METADATA, columns):
        name, fold = row["slice_file_name"], row["fold"]
        for time in ("start", "end"):  # which tell a row whose columns have shifted
            number(row[time], f"{name}: {time}", root / METADATA)
        clips.append(
            DatasetClip(
                clip_id=Path(name).stem,
                path=audio(root / "audio" / f"fold{fold}", name),
                caption=row["class"],
                labels=(row["class"],),
                group=row["fsID"],
                split=fold,
            )
        )
    looked_for = f"the files of the column slice_file_name in {root / 'audio' / 'fold1'}, …"
    return Dataset("urbansound8k", root, tuple(clips), looked_for=looked_for)


INFO = DatasetInfo(
    name="urbansound8k",
    title="UrbanSound8K",
    url="https://urbansounddataset.weebly.com/urbansound8k.html",
    licence="CC BY-NC 3.0",
    citation='J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound Research", ACM MM, 2014',
    layout="audio/fold1 … fold10/*.wav; metadata/UrbanSound8K.csv",
    read=read,
    evaluation_size=870,
    checks={"clips": 8732, "classes": 10, "longest": 4.0},
)
