"""Ten real ``kill -9`` in each long-running job: ``python -m benchmarks.kills [KILLS]``, from the project's folder.

Each job is killed at a random moment, started again, killed again, and so on. After each kill nothing on the disk may
be broken; in the end the result must be that of a run that nobody touched. Writes benchmarks/results/kills.json and the
table in docs/reliability.md.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save

from audiogen_metrics.audioldm.tiny import write_tiny
from audiogen_metrics.audioldm.training import read_state
from audiogen_metrics.embedding.cache import shards
from audiogen_metrics.embedding.housekeeping import damaged_shards
from audiogen_metrics.embedding.index import read_shard_digests
from audiogen_metrics.generation.folder import read_manifest
from benchmarks.page import put_table

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "kills.json"
EXAMPLES = ROOT / "examples"
PAGE = ROOT / "docs" / "reliability.md"

AGM = "import sys; from audiogen_metrics.cli.main import main; sys.exit(main(sys.argv[1:]))"
# Jobs here take seconds. A shard each second is what one each half minute is to jobs of hours.
EAGER = f"from audiogen_metrics.embedding import cache; cache.SHARD_SECONDS = 1.0; {AGM}"
"""What runs ``agm``."""


@dataclass(frozen=True)
class Job:
    """Something that takes long.

    Parameters
    ----------
    name
        For the table.
    command
        What to run in a folder, by itself and after a kill.
    sound
        Raises AssertionError if what is in the folder is broken; returns how many units of work are kept there.
    result
        What must be the same after kills as without.
    unit
        What is lost at most.
    """

    name: str
    command: Callable[[Path], Sequence[str]]
    sound: Callable[[Path], int]
    result: Callable[[Path], Any]
    unit: str


@dataclass(frozen=True)
class Row:
    """What became of a job."""

    job: str
    unit: str
    seconds: float
    kills: int
    runs: int
    kept: list[int]
    equal: bool


def main(kills: int) -> int:
    """Kill all jobs, write the table; 1 if any result differs."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, serving() as address:
        for job in jobs(Path(folder), address):
            rows.append(torment(job, Path(folder) / job.name.replace(" ", "-"), kills))
            print(rows[-1], flush=True)
    RESULT.write_text(json.dumps({"kills": [asdict(row) for row in rows]}, indent=2) + "\n")
    head = ["job", "kills", "alone", "what a kill can cost", "result as without kills"]
    cells = [
        [row.job, str(row.kills), f"{row.seconds:.0f} s", row.unit, "yes, to the byte" if row.equal else "**no**"]
        for row in rows
    ]
    put_table("kills", head, cells, PAGE)
    return 0 if all(row.equal for row in rows) else 1


def torment(job: Job, folder: Path, kills: int) -> Row:
    """Run a job alone, then kill it ``kills`` times; begin anew whenever it has finished before."""
    rng = random.Random(job.name)
    alone = folder / "alone"
    alone.mkdir(parents=True)
    started = time.perf_counter()
    subprocess.run(job.command(alone), check=True, env=environment(alone), capture_output=True)
    seconds = time.perf_counter() - started
    expected = job.result(alone)
    done, runs, equal, kept = 0, 0, True, []
    work = folder / "0"
    work.mkdir()
    while True:
        process = subprocess.Popen(
            job.command(work), env=environment(work), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        runs += 1
        try:
            process.wait(timeout=None if done == kills else rng.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
            kept.append(job.sound(work))
            continue
        equal &= process.returncode == 0 and job.result(work) == expected
        if done == kills:
            return Row(job.name, job.unit, seconds, done, runs, kept, equal)
        work = folder / str(runs)
        work.mkdir()


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which everything is kept below ``folder``."""
    own = {"AGM_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1", "NO_PROXY": "*"}
    return {**os.environ, **own}


def jobs(folder: Path, address: str) -> list[Job]:
    """Return the jobs: extraction, a download, a study, generation, training."""
    tiny, sounds = write_tiny(folder / "tiny"), folder / "sounds"
    for file in sorted(path for path in (EXAMPLES / "reference").rglob("*") if path.is_file())[::5]:
        copy = sounds / file.relative_to(EXAMPLES / "reference")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"sound {place}\n" for place in range(24)))

    def agm(*arguments: str | Path, code: str = EAGER) -> list[str]:
        return [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]

    def study(out: Path) -> list[str]:
        options = ["--probes", "noise,masking", "-m", "fd,is", "--fractions", "0:1:0.25", "--repeats", "2"]
        return agm("study", EXAMPLES / "reference", *options, "--protocol", "yamnet", "-o", out / "study")

    def train(out: Path) -> list[str]:
        options = ["--model", tiny, "--data", sounds, "--output", out / "run", "--seconds", "1.28", "--steps", "120"]
        options += ["--save-every", "5", "--device", "cpu"]
        return agm("finetune", *options, *resuming(out / "run" / "state.pt"))

    def generate(out: Path) -> list[str]:
        options = ["--model", tiny, "-o", out / "clips", "--steps", "10", "--seconds", "1", "--batch-size", "2"]
        return agm("generate", "--prompts", prompts, *options, "--device", "cpu", *resuming(out / "clips"))

    def resuming(begun: Path) -> list[str]:
        return ["--resume"] if begun.exists() else []

    score = ["--protocol", "yamnet", "--format", "json", "--batch-size", "1", "--workers", "0"]
    pair = EXAMPLES / "generated", EXAMPLES / "reference"
    fetching = f"{REGISTER.format(url=address, digest=hashlib.sha256(CONTENT).hexdigest())}{AGM}"
    return [
        Job(
            "extraction",
            lambda out: agm("score", *pair, *score, "-o", out / "report.json"),
            embedded,
            lambda out: json.loads((out / "report.json").read_text()),
            "the clips since the last file of the cache (64 MB or 30 s of work)",
        ),
        Job(
            "download of weights",
            lambda _out: agm("weights", "fetch", "toy", code=fetching),
            lambda out: len(list(installed(out))),
            lambda out: [*installed(out)],
            "the download",
        ),
        Job("study", study, embedded, studied, "as extraction"),
        Job("generation", generate, generated, audio, "the batch"),
        Job("training", train, trained, trace, "the steps since the last state (`--save-every`)"),
    ]


def embedded(out: Path) -> int:
    """Return how many clips the cache holds; none of its files may be damaged, and no report half-written."""
    folder = out / "cache" / "embeddings"
    assert damaged_shards(folder) == {}
    report = out / "report.json"
    assert not report.exists() or json.loads(report.read_text())
    return sum(len(read_shard_digests(shard)) for shard in shards(folder))


def installed(out: Path) -> Sequence[str]:
    """Return the digests of installed weights: the right one or none."""
    found = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / "cache").rglob("toy*.pth")]
    assert set(found) <= {hashlib.sha256(CONTENT).hexdigest()}
    return found


def studied(out: Path) -> str:
    """Return the table of a study."""
    table = out / "study" / "points.csv"
    return table.read_text()


def generated(out: Path) -> int:
    """Return how many clips a folder has; all that its manifest names are whole."""
    clips = out / "clips"
    found = read_manifest(clips) if clips.exists() else {}
    return len(found)


def audio(out: Path) -> dict[str, str]:
    """Return the digests of the clips."""
    clips = sorted((out / "clips").glob("*.wav"))
    assert clips
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in clips}


def trained(out: Path) -> int:
    """Return the last step whose state is kept; it can be read."""
    path = out / "run" / "state.pt"
    state = read_state(path) if path.exists() else None
    return state["step"] if state else 0


def trace(out: Path) -> tuple[str, list[Any]]:
    """Return a digest of the weights, and the loss of every step."""
    state = read_state(out / "run" / "state.pt")
    assert state is not None
    losses = [json.loads(line) for line in (out / "run" / "steps.jsonl").read_text().splitlines()]
    return hashlib.sha256(save(state["weights"])).hexdigest(), [(line["step"], line["loss"]) for line in losses]


CONTENT = random.Random(0).randbytes(8_000_000)

REGISTER = """
from audiogen_metrics.backbones.published import WEIGHTS, WeightsEntry
WEIGHTS.add("toy", WeightsEntry("toy", "toy.pth", ({url!r},), {digest!r}, "CC0", "nobody", None))
"""


class Slow(http.server.BaseHTTPRequestHandler):
    """Sends `CONTENT` within four seconds."""

    def do_GET(self) -> None:
        """Send it piece by piece, as long as somebody listens."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        try:
            for start in range(0, len(CONTENT), 100_000):
                self.wfile.write(CONTENT[start : start + 100_000])
                time.sleep(0.05)
        except ConnectionError:
            return

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[str]:
    """Serve the weights on this machine; yield their address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/toy.pth"
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
