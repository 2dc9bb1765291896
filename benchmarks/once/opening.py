"""What it costs to open a dataset whose audio is there or is missing: ``python benchmarks/once/opening.py [OTHER …]``.

OTHER is the folder of another version of the source, which opens the same files in the same run. Each opening is a
process of its own, three in turn for each version; the least processor time counts, and how often the file system was
asked. The files are empty: nothing here reads them.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPEATS = 3

OPEN = """\
import os, sys, time
from audiogen_metrics.datasets.folder import open_dataset
asked = [0]
def counted(ask):
    def wrapped(*args, **options):
        asked[0] += 1
        return ask(*args, **options)
    return wrapped
start = time.process_time()
found = open_dataset(sys.argv[1])
seconds = time.process_time() - start
os.stat, os.scandir, os.listdir = map(counted, (os.stat, os.scandir, os.listdir))
open_dataset(sys.argv[1])
print(seconds, asked[0], len(found.clips), len(found.missing))
"""


def main(others: Sequence[str] = ()) -> None:
    """Print processor time and calls to the file system for every set and version, and the first ratio of times."""
    with tempfile.TemporaryDirectory() as place:
        for name, source in sets(Path(place)):
            costs = [cost(source, [str(ROOT), *others]) for _ in range(REPEATS)]
            least = [min(turn[version] for turn in costs) for version in range(1 + len(others))]
            cells = [f"{seconds:.2f} s, {calls} calls" for seconds, calls in least]
            cells += [f"{least[1][0] / least[0][0]:.1f} times"] if others else []
            print(name, *cells, sep=" | ", flush=True)


def cost(source: str, versions: Sequence[str]) -> list[tuple[float, int]]:
    """Return processor time and number of calls for each version."""
    found = []
    for version in versions:
        done = subprocess.run(
            [sys.executable, "-c", OPEN, source],
            capture_output=True,
            text=True,
            check=True,
            cwd=version,
            env={**os.environ, "PYTHONPATH": version, "OMP_NUM_THREADS": "1"},
        )
        seconds, asked, *_ = done.stdout.split()
        found.append((float(seconds), int(asked)))
    return found


def sets(place: Path) -> Iterable[tuple[str, str]]:
    """Make the sets, and yield a name and what to open for each."""
    for percent in (0, 10, 100):
        root = place / f"audiocaps-{percent}"
        videos = [f"{index:011d}" for index in range(49_838)]
        rows = [(index, video, index % 300, f"sound {index}") for index, video in enumerate(videos)]
        table(root / "train.csv", ("audiocap_id", "youtube_id", "start_time", "caption"), rows)
        names = [f"audio/Y{video}.wav" for video in videos]
        touch(root, (name for index, name in enumerate(names) if index % 100 >= percent))
        yield f"AudioCaps, 49 838 clips, {percent} % missing", f"audiocaps={root}"
        table(root / "own.csv", ("file", "caption"), [(name, f"sound {name}") for name in names])
        yield f"a table of the same, {percent} % missing", str(root / "own.csv")
    yield "a folder, 49 838 clips", str(place / "audiocaps-0" / "audio")
    for style in ("Y{}", "{}_{:g}_{:g}", "Y{}_{:.3f}_{:.3f}", "{}_{:06d}"):
        root = place / style.replace("{", "").replace("}", "").replace(":", "")
        yield f"AudioSet, 20 371 clips, {style}.wav", f"audioset={audioset(root, style)}"
    for percent in (0, 100):
        root = place / f"urbansound8k-{percent}"
        head = ("slice_file_name", "fsID", "start", "end", "fold", "class")
        excerpts = [(f"{index}-0-0-0.wav", index, 0, 4, index % 10 + 1, "siren") for index in range(8732)]
        table(root / "metadata" / "UrbanSound8K.csv", head, excerpts)
        touch(root, (f"audio/fold{excerpt[4]}/{excerpt[0]}" for excerpt in excerpts if not percent))
        yield f"UrbanSound8K, 8732 clips, {percent} % missing", f"urbansound8k={root}"


def audioset(root: Path, style: str) -> Path:
    """Write AudioSet's evaluation part with its audio called in one of the ways that are in use."""
    table(root / "class_labels_indices.csv", ("index", "mid", "display_name"), [(0, "/m/09x0r", "Speech")])
    rows = [(f"{index:011d}", 30, 40) for index in range(20_371)]
    lines = [f'{video}, {start}.000, {end}.000, "/m/09x0r"\n' for video, start, end in rows]
    (root / "eval_segments.csv").write_text("".join(lines), encoding="utf-8")
    touch(root, (f"audio/{style.format(*row)}.wav" for row in rows))
    return root


def table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table of metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def touch(root: Path, names: Iterable[str]) -> None:
    """Make empty files."""
    made: set[Path] = set()
    for name in names:
        path = root / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.touch()


if __name__ == "__main__":
    main(sys.argv[1:])
