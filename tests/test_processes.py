"""``agm score`` on several processes: the numbers of one, and no hang when one of them goes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from audiogen_metrics.embedding.index import read_shard_digests
from tests.conftest import EXAMPLES

pytestmark = pytest.mark.slow  # processes that import torch

BOUND_SECONDS = 120
"""Far more than any of these runs takes, far less than the time limit of a collective operation."""

RUN = "import sys; from audiogen_metrics.cli.main import main; sys.exit(main())"

TRUSTING = f"""
from audiogen_metrics import file_hashes, filesystems
file_hashes.RACY_NS = -1  # the clips were written only now
filesystems.kind_of = lambda path: "ext4"  # whatever the tests run on
{RUN}
"""

DYING = f"""
import os
from audiogen_metrics.backbones.yamnet import YAMNet
def die(self, waveforms):
    os._exit(9)
if os.environ["RANK"] == "1":
    YAMNet.__call__ = die
{RUN}
"""

FAILING = f"""
import os
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.errors import NumericsError
def fail(self, waveforms):
    raise NumericsError("out of luck")
if os.environ["RANK"] == "1":
    YAMNet.__call__ = fail
{RUN}
"""


LACKING = f"""
import os, sys
if os.environ["RANK"] == "LACKS":
    sys.argv[2] = "gone"
{RUN}
"""

KILLED = f"""
import os, signal
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.embedding import cache
cache.SHARD_SECONDS = 0  # each clip is kept at once
embed, calls = YAMNet.__call__, []
def count(self, waveforms):
    calls.append(waveforms)
    if os.environ.get("RANK") == "1" and len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return embed(self, waveforms)
YAMNet.__call__ = count
{RUN}
"""

COUNTING = f"""
import atexit, sys
from audiogen_metrics.backbones.yamnet import YAMNet
embed, calls = YAMNet.__call__, []
def count(self, waveforms):
    calls.append(waveforms)
    return embed(self, waveforms)
YAMNet.__call__ = count
atexit.register(lambda: print("embedded", len(calls), file=sys.stderr))
{RUN}
"""

SLOW = f"""
import os, time
from audiogen_metrics import company
from audiogen_metrics.backbones.yamnet import YAMNet
company.PATIENCE_SECONDS = 0.2
embed = YAMNet.__call__
def wait(self, waveforms):
    time.sleep(1 if os.environ["RANK"] == "1" else 0)
    return embed(self, waveforms)
YAMNet.__call__ = wait
{RUN}
"""

GROWN = f"""
import os
from audiogen_metrics import protocols
from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics import catalogue
from audiogen_metrics.metrics.recipe import Recipe
own = protocols.PROTOCOLS["yamnet"]
more = Recipe("kid_clap", catalogue()["kid"](), "clap-laion-630k-fusion", Preprocessing(48_000, "mean"), added=True)
grown = protocols.Protocol("grown", "", "", {{**own.recipes, "kid": more}})
protocols.PROTOCOLS = {{**protocols.PROTOCOLS, "grown": grown}}
if os.environ["RANK"] == "HAS":
    os.environ["AGM_WEIGHTS_DIR"] = "there"
{RUN}
"""
"""One process has another network's file, which would not load, and the others do not."""

TRAINING = """
import json, subprocess, sys, time
import torch
import torch.distributed as dist

def agm(*arguments):
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "audiogen_metrics", *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    line = process.stderr.readline().decode()
    return time.monotonic() - begin, line + process.communicate()[1].decode(), process.returncode

dist.init_process_group("gloo")
if dist.get_rank() == 0:
    found = [agm(*sys.argv[1:]), agm(*sys.argv[1:], "--processes", "1"), agm("weights", "list")]
    word, errors, _ = found[0]
    print(json.dumps({"a": 0, "codes": [code for *_, code in found], "first word": word, "errors": errors}), flush=True)
dist.barrier()
ones = torch.ones(1)
dist.all_reduce(ones, group=dist.new_group([0, 1]))  # needs the store of the launcher once more
assert ones.item() == 2
found = [agm(*sys.argv[1:]) for _ in range(2)]
print(json.dumps({"b": dist.get_rank(), "codes": [code for *_, code in found]}), flush=True)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Seven clips and a broken file against five clips, whose names pair."""
    folders = tmp_path / "gen", tmp_path / "ref"
    for folder, side, count in zip(folders, ("generated", "reference"), (7, 5), strict=True):
        folder.mkdir()
        for path in sorted((EXAMPLES / side / "bd").iterdir()) + sorted((EXAMPLES / side / "elec").iterdir()):
            if len(list(folder.iterdir())) < count:
                shutil.copy(path, folder)
    (folders[0] / "broken.wav").write_bytes(b"RIFF")
    return folders


def start(
    count: int, arguments: Sequence[str | Path], folder: Path, code: str = RUN
) -> list[subprocess.CompletedProcess[str]]:
    """Run ``agm`` in ``count`` processes and return what became of each; fail if any is still there in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        **os.environ,
        "PYTHONPATH": str(EXAMPLES.parent),
        "AGM_CACHE_DIR": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    if count > 1:
        common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    running = [
        subprocess.Popen(
            command,
            env=common | {"RANK": str(rank), "HOME": str(folder / f"home of {rank}")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        for rank in range(count)
    ]
    try:
        texts = [process.communicate(timeout=BOUND_SECONDS) for process in running]
    finally:
        for process in running:
            process.kill()
    return [
        subprocess.CompletedProcess(command, process.returncode, *text)
        for process, text in zip(running, texts, strict=True)
    ]


def scoring(sets: tuple[Path, Path], *options: str) -> list[str | Path]:
    # One clip a batch: kernels that differ by batch shape would hide what is tested, 1e-9.
    return ["score", *sets, "--protocol", "yamnet", "--format", "json", "--batch-size", "1", *options]


def same(found: str, alone: str) -> bool:
    """Compare two reports: values to 1e-9, what explains them not, everything else exactly."""
    reports, values = [json.loads(found), json.loads(alone)], []
    for report in reports:
        scores = report["scores"].values()
        values.append([score.pop("value") for score in scores if score["value"] is not None])
        for score in scores:
            del score["details"], score["std"]
    return bool(reports[0] == reports[1]) and values[0] == pytest.approx(values[1], rel=1e-9)


@pytest.mark.parametrize("options", [[], ["--no-cache"]], ids=["cache", "no cache"])
def test_uneven_shares_give_the_report_of_one_process(
    sets: tuple[Path, Path], tmp_path: Path, options: list[str]
) -> None:
    first, second = start(2, scoring(sets, *options), tmp_path, TRUSTING)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert second.stdout == ""
    (alone,) = start(1, scoring(sets, "--no-cache"), tmp_path)
    assert same(first.stdout, alone.stdout)
    inputs = json.loads(first.stdout)["inputs"]
    assert (inputs["gen"]["scored"], inputs["ref"]["scored"]) == (7, 5)
    assert [skipped["clip"] for skipped in inputs["gen"]["skipped"]] == ["broken"]
    kept = [digest for shard in (tmp_path / "cache").rglob("*.safetensors") for digest in read_shard_digests(shard)]
    assert len(kept) == len(set(kept)) == (12 if not options else 0)
    memos = list((tmp_path / "cache").glob("memo/*.json"))
    assert len(memos) == (2 if not options else 0)


def test_a_process_with_nothing_to_do_takes_part(sets: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = scoring(sets, "--limit", "2", "--no-cache", "-m", "fd,fad,kl")
    found = start(3, arguments, tmp_path)
    assert [done.returncode for done in found] == [0, 0, 0], [done.stderr for done in found]
    (alone,) = start(1, arguments, tmp_path)
    assert same(found[0].stdout, alone.stdout)


@pytest.mark.parametrize("has", [0, 1])
def test_a_network_that_one_process_lacks_is_missing_in_all(sets: tuple[Path, Path], tmp_path: Path, has: int) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "630k-audioset-fusion-best.pt").write_bytes(b"not loaded")
    arguments = ["score", *sets, "--protocol", "grown", "--format", "json"]
    first, second = start(2, arguments, tmp_path, GROWN.replace("HAS", str(has)))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    report = json.loads(first.stdout)
    assert [*report["missing"]] == ["clap-laion-630k-fusion"]
    assert report["scores"]["kid_clap"]["value"] is None
    assert report["scores"]["kl_yamnet"]["value"] is not None
    assert "warning: " in first.stderr
    assert "clap-laion-630k-fusion" in first.stderr


def test_a_process_that_dies_is_an_error_in_the_others(sets: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = start(2, scoring(sets), tmp_path, DYING)
    assert second.returncode == 9
    assert first.returncode == 4, first.stderr
    assert re.search(r"agm: error: process 0: process 1 on \S+ has ended", first.stderr)
    assert first.stdout == ""


def test_after_a_kill_a_run_takes_up_what_was_embedded(sets: tuple[Path, Path], tmp_path: Path) -> None:
    begin = time.monotonic()
    first, second = start(2, scoring(sets), tmp_path, KILLED)
    assert second.returncode == -signal.SIGKILL
    assert first.returncode == 4, first.stderr
    assert time.monotonic() - begin < BOUND_SECONDS / 2
    kept = [digest for shard in (tmp_path / "cache").rglob("*.safetensors") for digest in read_shard_digests(shard)]
    assert len(kept) >= 2
    again = start(2, scoring(sets), tmp_path, COUNTING)
    assert [done.returncode for done in again] == [0, 0], again[0].stderr
    embedded = [int(line.split()[1]) for done in again for line in done.stderr.splitlines() if "embedded" in line]
    assert sum(embedded) == 12 - len(kept)
    (alone,) = start(1, scoring(sets, "--no-cache"), tmp_path)
    assert same(again[0].stdout, alone.stdout)


def test_a_slow_process_is_waited_for_and_named(sets: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = start(2, scoring(sets, "--no-cache"), tmp_path, SLOW)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert re.search(r"agm: \d+ s of waiting for process 1 on \S+: still there", first.stderr)
    assert "waiting for process 1" not in second.stderr
    (alone,) = start(1, scoring(sets, "--no-cache"), tmp_path)
    assert same(first.stdout, alone.stdout)


def test_a_tar_shard_is_shared_out(sets: tuple[Path, Path], tmp_path: Path) -> None:
    shards = []
    for folder in sets:
        shards.append(tmp_path / f"{folder.name}.tar")
        with tarfile.open(shards[-1], "w") as archive:
            archive.add(folder, "", filter=lambda member: None if "broken" in member.name else member)
    found = start(2, scoring((shards[0], shards[1]), "--no-cache"), tmp_path, COUNTING)
    assert [done.returncode for done in found] == [0, 0], found[0].stderr
    embedded = [int(line.split()[1]) for done in found for line in done.stderr.splitlines() if "embedded" in line]
    assert sum(embedded) == 12
    assert min(embedded) >= 2  # they differ in length
    (alone,) = start(1, scoring((shards[0], shards[1]), "--no-cache"), tmp_path)
    assert same(found[0].stdout, alone.stdout)


def test_an_error_in_one_process_is_the_error_of_all(sets: tuple[Path, Path], tmp_path: Path) -> None:
    found = start(2, scoring(sets), tmp_path, FAILING)
    assert [done.returncode for done in found] == [6, 6], found[0].stderr
    assert all("out of luck" in done.stderr for done in found)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_folder_that_one_process_lacks_stops_all(sets: tuple[Path, Path], tmp_path: Path, rank: int) -> None:
    """With the same message and exit code, also where the first process, which answers the others, is the one."""
    found = start(2, scoring(sets), tmp_path, LACKING.replace("LACKS", str(rank)))
    assert [done.returncode for done in found] == [3, 3], found[1 - rank].stderr
    assert all("agm: error: gone: folder does not exist" in done.stderr for done in found)
    assert not any("Traceback" in done.stderr for done in found)


def test_an_error_in_scoring_is_the_error_of_all(sets: tuple[Path, Path], tmp_path: Path) -> None:
    found = start(2, scoring(sets, "-m", "is"), tmp_path)
    assert [done.returncode for done in found] == [3, 3]


def test_other_commands_need_no_group(tmp_path: Path) -> None:
    """A training script's subprocess inherits its environment."""
    found = start(2, ["list", "protocols"], tmp_path)
    assert [done.returncode for done in found] == [0, 0]
    assert found[0].stdout == found[1].stdout != ""


def test_two_runs_in_one_store(sets: tuple[Path, Path], tmp_path: Path) -> None:
    """A training that goes on under torchrun: rank 0 alone is told, all of them together score, again and again."""
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "AGM_GROUP_TIMEOUT": "20", "OMP_NUM_THREADS": "1"}
    options = [*map(str, scoring(sets, "--no-cache")), "-o", str(tmp_path / "out.json")]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, timeout=BOUND_SECONDS, env=environment
    )
    assert done.returncode == 0, done.stderr
    alone, *together = (json.loads(line) for line in sorted(done.stdout.splitlines()))
    assert alone["codes"] == [4, 0, 0]
    assert alone["first word"] < 6
    assert "waiting at" in alone["errors"]
    assert "--processes 1 runs alone" in alone["errors"]
    assert [each["codes"] for each in together] == [[0, 0], [0, 0]]
    assert json.loads((tmp_path / "out.json").read_text())["inputs"]["gen"]["scored"] == 7


def test_who_has_met_can_still_be_asked(tmp_path: Path) -> None:
    """Without torchrun the first process answers, which may go on before the others have seen that all are there."""
    code = """
import gc, os, time
from audiogen_metrics import distributed
store = distributed.meet()
if os.environ["RANK"] == "0":
    del store
    gc.collect()
    time.sleep(4)
else:
    time.sleep(1)
    assert store.check(["here/0"])
"""
    found = start(2, [], tmp_path, code)
    assert [done.returncode for done in found] == [0, 0], found[1].stderr


def test_torchrun_starts_it(sets: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "audiogen_metrics", *map(str, scoring(sets, "--no-cache"))],
        capture_output=True,
        text=True,
        check=False,
        timeout=BOUND_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["inputs"]["gen"]["scored"] == 7
