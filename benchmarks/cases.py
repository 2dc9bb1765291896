"""The comparisons: what runs on either side, on which input, and how much faster ours should be."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from inputs import Inputs
from sides import Process, Side, Worker

HERE = Path(__file__).parent
ROOT = HERE.parent

SCORE = """\
import json, sys
from pathlib import Path
from audiogen_metrics.cli.main import main
code = main([*sys.argv[1:], "--format", "json", "-o", "report.json"])
scores = json.loads(Path("report.json").read_text(encoding="utf-8"))["scores"]
print(json.dumps({name: score["value"] for name, score in scores.items()}))
sys.exit(code)
"""
"""``agm score`` with one line of values on stdout."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    Parameters
    ----------
    name
        Of its file of results.
    what, size, peer
        Of its rows in the table.
    sides
        ``theirs`` and one or more of ours, in the order in which they run; made when the comparison begins.
    targets
        By side of ours: how many times as fast as theirs it should be.
    pairs
        How often all sides run, if time allows.
    """

    name: str
    what: str
    size: str
    peer: str
    sides: Mapping[str, Callable[[], Side]]
    targets: Mapping[str, float] = field(default_factory=dict)
    pairs: int = 5


@dataclass(frozen=True)
class Bench:
    """The two interpreters and the inputs."""

    peers_python: Path
    inputs: Inputs

    def ours(self, task: str, *arguments: str | Path) -> Callable[[], Side]:
        """Return a worker of ours.py."""
        command = [sys.executable, HERE / "ours.py", task, *arguments]
        return lambda: Worker(command, self.inputs.folder, **self._variables)

    def theirs(self, task: str, *arguments: str | Path, stays: bool = True, alone: bool = True) -> Callable[[], Side]:
        """Return a worker of theirs.py, or a process each time; in the peers' environment, or in ours."""
        command = [self.peers_python if alone else sys.executable, HERE / "theirs.py", task, *arguments]
        home = self.inputs.home()
        variables = {"HOME": str(home), "MPLCONFIGDIR": str(home / "mpl"), "NUMBA_CACHE_DIR": str(home / "numba")}
        variables |= {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "PYTHONWARNINGS": "ignore"}
        return lambda: (Worker if stays else Process)(command, self.inputs.folder, **variables)

    def score(self, gen: Path, ref: Path, *options: str | Path, cold: bool) -> Callable[[], Side]:
        """Return ``agm score`` as a process each time; a cold one finds converted weights, but no embeddings."""
        command = [sys.executable, "-c", SCORE, "score", gen, ref, "--protocol", "audioldm-0.0.3", "--no-ci", *options]

        def forget() -> None:
            for kept in ("embeddings", "memo"):
                shutil.rmtree(self.inputs.folder / "cache" / kept, ignore_errors=True)

        before = forget if cold else bool
        return lambda: Process(command, self.inputs.folder, before, **self._variables)

    @property
    def _variables(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT), "AGM_CACHE_DIR": str(self.inputs.folder / "cache")}


def every(bench: Bench, quick: bool) -> Iterator[Case]:
    """Yield all comparisons, those of a quick run smaller and fewer."""
    small, large = (4, 6) if quick else (24, 100)
    yield importing(bench)
    yield from networks(bench, small)
    for dimension in (128,) if quick else (128, 1024, 2048):
        for count in (24, 100) if quick else (24, 100, 1000, 3000):
            yield from frechet(bench, count, dimension)
    yield inception(bench, 100 if quick else 1000)
    yield kernel(bench, 1100 if quick else 3000, 128 if quick else 2048)
    yield from whole(bench, small, target=4, pairs=3)
    yield from whole(bench, large, target=2.5, pairs=1)


def importing(bench: Bench) -> Case:
    """Compare ``import audiogen_metrics`` with an interpreter that does nothing."""
    commands = {"ours": "import audiogen_metrics", "theirs": "pass"}

    def side(code: str) -> Callable[[], Side]:
        return lambda: Process([sys.executable, "-c", code], bench.inputs.folder, PYTHONPATH=str(ROOT))

    sides = {name: side(code) for name, code in commands.items()}
    return Case("import", "`import audiogen_metrics`", "", "bare interpreter", sides, {"ours": 0.5}, pairs=21)


def networks(bench: Bench, count: int) -> Iterator[Case]:
    """Compare the networks on waveforms, YAMNet on spectrograms, that are in memory."""
    clips, patches = bench.inputs.waveforms(count), bench.inputs.patches(count)
    panns, vggish = bench.inputs.weights("panns-cnn14-16k"), bench.inputs.weights("vggish")
    size = f"{count} clips of {bench.inputs.seconds:g} s"
    yield Case(
        "cnn14",
        "CNN14",
        size,
        "panns-inference",
        {
            "ours": bench.ours("embed", "panns-cnn14-16k", "embeddings", clips, panns),
            "theirs": bench.theirs("panns_inference", clips, panns),
        },
        {"ours": 1.5},
    )
    yield Case(
        "vggish",
        "VGGish",
        size,
        "torchvggish",
        {
            "ours": bench.ours("embed", "vggish", "windows", clips, vggish),
            "theirs": bench.theirs("torchvggish", clips, vggish),
        },
        {"ours": 3},
    )
    yield Case(
        "yamnet",
        "YAMNet without front end",
        size,
        "onnxruntime",
        {
            "ours": bench.ours("yamnet_on_patches", patches),
            "theirs": bench.theirs("onnxruntime", patches, alone=False),
        },
        {"ours": 1},
        pairs=15,
    )


def frechet(bench: Bench, count: int, dimension: int) -> Iterator[Case]:
    """Compare the Fréchet distance of ready features with each peer's."""
    features = bench.inputs.features(count, dimension)
    target = 100 if count <= dimension / 2 else 20 if count <= dimension else 5
    for peer, task in (
        ("scipy sqrtm", "scipy_sqrtm"), ("torchmetrics", "torchmetrics"), ("torch-fidelity", "torch_fidelity"),
    ):  # fmt: skip
        sides = {"ours": bench.ours("frechet", features), "theirs": bench.theirs(task, features)}
        size = f"n = {count}, d = {dimension}"
        targets = {"ours": target} if task == "scipy_sqrtm" else {}
        yield Case(f"frechet-{count}x{dimension}-{task}", "Fréchet distance", size, peer, sides, targets)


def inception(bench: Bench, count: int) -> Case:
    """Compare the inception score of ready logits."""
    logits = bench.inputs.logits(count)
    sides = {"ours": bench.ours("inception", logits), "theirs": bench.theirs("torch_fidelity_isc", logits)}
    return Case("inception", "inception score", f"n = {count}", "torch-fidelity", sides)


def kernel(bench: Bench, count: int, dimension: int) -> Case:
    """Compare the kernel distance of ready features."""
    features = bench.inputs.features(count, dimension)
    sides = {"ours": bench.ours("kernel", features), "theirs": bench.theirs("torch_fidelity_kid", features)}
    return Case(
        "kid", "kernel distance", f"n = {count}, d = {dimension}, 100 subsets", "torch-fidelity", sides, pairs=3
    )


def whole(bench: Bench, count: int, target: float, pairs: int) -> Iterator[Case]:
    """Compare whole evaluations of two folders, from the start of a process to its end."""
    gen, ref = bench.inputs.clips(count)
    panns, vggish = bench.inputs.weights("panns-cnn14-16k"), bench.inputs.weights("vggish")
    given = [f"--weights=panns-cnn14-16k={panns}", f"--weights=vggish={vggish}"]
    size = f"{count} + {count} clips of {bench.inputs.seconds:g} s"
    yield Case(
        f"fad-{count}",
        "FAD of two folders",
        size,
        "frechet-audio-distance",
        {
            "cold": bench.score(gen, ref, "-m", "fad", given[1], cold=True),
            "theirs": bench.theirs("frechet_audio_distance", gen, ref, vggish, stays=False),
        },
        pairs=pairs,
    )
    yield Case(
        f"score-{count}",
        "whole evaluation",
        size,
        "audioldm-eval",
        {
            "cold": bench.score(gen, ref, *given, cold=True),
            "warm": bench.score(gen, ref, *given, cold=False),
            "theirs": bench.theirs("audioldm_eval", gen, ref, panns, vggish, stays=False),
        },
        {"cold": target, "warm": 100},
        pairs,
    )
