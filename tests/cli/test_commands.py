"""The command line, each flag in a process of its own: `agm` in one that has torch loaded, `fresh_agm` in a new one."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiogen_metrics import __version__
from audiogen_metrics.backbones.weights import parse_weights
from audiogen_metrics.cli.main import build_parser, main
from audiogen_metrics.cli.scoring import Bound
from audiogen_metrics.errors import UsageError
from audiogen_metrics.text import byte_size
from tests.conftest import EXAMPLES, Run
from tests.test_docs import parsers

YAMNET = ("--protocol", "yamnet", "--device", "cpu")


def test_score_prints_the_table_and_nothing_else(agm: Run, small: tuple[Path, Path]) -> None:
    done = agm("score", *small, *YAMNET)
    assert done.returncode == 0, done.stderr
    for expected in ("fd_yamnet", "fad_yamnet", "is_yamnet", "kl_yamnet", "12 pairs of 12", "not comparable"):
        assert expected in done.stdout
    assert "gen: scored 12 of 12" in done.stderr
    assert "\r" not in done.stderr  # no progress bar off a terminal


@pytest.mark.slow
def test_score_json_and_every_option(agm: Run, small: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out" / "scores.json"
    options = ("-m", "fd,kl", "--batch-size", "4", "--workers", "1", "--pairing", "id", "--limit", "8", "--strict")
    more = ("--no-cache", "--verify", "--fail-if", "fd_yamnet<0", "--format", "json", "-o", output)
    done = agm("score", *small, *YAMNET, *options, *more)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    content = json.loads(output.read_text())
    assert list(content["scores"]) == ["fd_yamnet", "kl_yamnet"]
    assert content["inputs"]["gen"]["scored"] == 8
    assert not list(Path(os.environ["AGM_CACHE_DIR"]).rglob("*.safetensors"))


def test_without_a_reference(small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(small[0]), *YAMNET, "--format", "json"]) == 0
    shown = capsys.readouterr()
    content = json.loads(shown.out)
    assert list(content["scores"]) == ["is_yamnet"]
    assert content["inputs"]["ref"] is None
    assert "no reference" in shown.err
    assert "fd_yamnet, fad_yamnet, kl_yamnet would need one" in shown.err
    for form in ("table", "csv", "markdown", "latex"):
        assert main(["score", str(small[0]), *YAMNET, "--format", form]) == 0
        assert "fd_yamnet" not in capsys.readouterr().out


@pytest.mark.slow
def test_several_systems_against_one_reference(
    small: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(small[1], tmp_path / "other")
    systems = [str(small[0]), str(tmp_path / "other")]
    common = [*systems, "--ref", str(small[1]), *YAMNET, "-m", "fd"]
    assert main(["score", *common, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    reports = content["reports"]
    assert content["systems"] == [Path(system).name for system in systems]
    assert [report["inputs"]["gen"]["path"] for report in reports] == systems
    assert reports[0]["scores"]["fd_yamnet"]["value"] > 1 > reports[1]["scores"]["fd_yamnet"]["value"]
    assert main(["score", *common, "--format", "csv"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("gen,score,value")
    assert [row.partition(",")[0] for row in rows] == systems
    assert main(["score", *common]) == 0
    assert capsys.readouterr().out.count("protocol yamnet on cpu") == 1
    assert main(["score", *common, "--fail-if", "fd_yamnet<1"]) == 5
    capsys.readouterr()
    one = ["score", systems[0], "--ref", str(small[1]), *YAMNET, "-m", "fd", "--format", "json"]
    assert main(one) == 0
    assert json.loads(capsys.readouterr().out)["inputs"]["gen"]["path"] == systems[0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["score", "a", "b", "--protcol", "yamnet"], 2, "unrecognized arguments: --protcol"),
        (["score", "a", "b", "--strct"], 2, "unrecognized arguments"),
        (["list", "metrics", "--form", "json"], 2, "unrecognized arguments"),
        (["weights", "list", "--form", "json"], 2, "unrecognized arguments"),
        (["score"], 2, "required"),
        (["score", "a", "b", "c"], 2, "--ref c"),
        (["score", "a", "--protocol", "google-fad"], 2, "all scores of google-fad need a reference"),
        (["score", "a", "-m", "fd"], 2, "fd_panns: no reference is given"),
        (["score", "a", "b", "--ref", "c", "--extrapolate", "fit.svg"], 2, "one folder at a time"),
        (["score", "a", "b", "--permutations", "9"], 2, "only several systems are compared"),
        (["score", "a", "b", "--ref", "c", "--no-ci", "--differences", "d.csv"], 2, "error: --no-ci: leaves out what"),
        (["score", "a", "b", "--ref", ""], 2, "error: --ref: a path is empty"),
        (["score", "a", "--ref", ""], 2, "error: --ref: a path is empty"),
        (["score", "a", ""], 2, "error: REF: a path is empty"),
        (["score", "", "b"], 2, "error: GEN: a path is empty"),
        (["score", "a", "b", *YAMNET, "--no-ci", "--draws", "3"], 2, "error: --draws: they are for p"),
        (["score", "a", "b", "--extrapolate", "fit.xyz"], 2, "neither .pdf, .svg nor .png"),
        (["scor"], 2, "invalid choice"),
        (["score", "a", "b", "--protcol", "yamnet"], 2, "did you mean --protocol?"),
        (["score", "a", "b", "--protcol", "yamnet"], 2, "usage: agm score "),
        (["stats", "build", "a", "-o", "b", "--limt", "3"], 2, "did you mean --limit?"),
        (["scor"], 2, "Did you mean 'score'?"),
        (["score", "a", "b", "--pairing", "ids"], 2, "Did you mean 'id'?"),
        (["compare", "a", "b", "c", "-o", "out.tex"], 2, "does not write .tex, but table, json, markdown, html"),
        (["score", "a", "b", "--format", "html"], 2, "a page needs a file"),
        (["score", "nowhere", "nowhere", *YAMNET], 3, "nowhere: folder does not exist"),
        (["score", "a", "b", "--protocol", "yamnett"], 2, "Did you mean 'yamnet'"),
        (["score", "a", "b", *YAMNET, "-m", "fda"], 2, "unknown metric 'fda'"),
        (["score", "a", "b", *YAMNET, "--fail-if", "fd_yamnet=3"], 2, "cannot read the check"),
        (["score", "a", "b", *YAMNET, "--fail-if", "fd_panns>3"], 2, "unknown score 'fd_panns'"),
        (["score", "a", "b", *YAMNET, "--batch-size", "x"], 2, "invalid int value"),
        (["score", "a", "b", *YAMNET, "--columns", "value"], 2, "--columns: only a LaTeX table has them"),
        (["score", "a", "b", *YAMNET, "-o", "x.tex", "--columns", "valu"], 2, "Did you mean 'value'"),
        (["score", "a", "b", *YAMNET, "--format", "latex", "--columns", "std"], 2, "no column of the table is chosen"),
        (["score", "a", "b", "--ref", "c", *YAMNET, "-o", "x.tex", "--columns", "value"], 2, "Known: n, fd_yamnet"),
        (["import", "a", "b", "--format", "latex", "--columns", "n"], 2, "unknown column 'n'"),
        (["correlate", "a", "b", "-o", "x.csv", "--columns", "n"], 2, "--columns: only a LaTeX table has them"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        found = main(arguments)
    except SystemExit as exit_:
        found = exit_.code  # type: ignore[assignment]
    printed = capsys.readouterr()
    assert found == code
    assert message in printed.err
    assert printed.out == ""


def test_alone_it_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "score a folder of generated audio" in capsys.readouterr().out


def test_help_texts_are_formatted_once() -> None:
    found = list(parsers(build_parser()))
    assert len(found) > 25
    assert not [parser.prog for parser in found if "%%" in parser.format_help() or "%(" in parser.format_help()]


def test_a_typo_in_a_flag_exits_2(agm: Run) -> None:
    assert agm("score", "a", "b", "--protcol", "yamnet").returncode == 2


def test_fail_if_exits_5_and_still_gives_the_result(agm: Run, small: tuple[Path, Path]) -> None:
    done = agm("score", *small, *YAMNET, "-m", "fd", "--fail-if", "fd_yamnet>1", "--fail-if", "fd_yamnet>=1e9")
    assert done.returncode == 5
    assert "fd_yamnet" in done.stdout
    assert "is > 1" in done.stderr
    assert "1e+09" not in done.stderr


@pytest.mark.slow
def test_named_metrics_must_be_computable(agm: Run, small: tuple[Path, Path]) -> None:
    limited = ("score", *small, *YAMNET, "--limit", "5")
    assert agm(*limited).returncode == 0
    for metrics in ("is", "all"):
        done = agm(*limited, "-m", metrics)
        assert done.returncode == 3
        assert "is_yamnet: inception score over 10 splits needs at least 10 clips, got 5" in done.stderr
        assert done.stdout == ""


def test_strict_exits_3(agm: Run, small: tuple[Path, Path]) -> None:
    (small[0] / "bad.wav").write_bytes(b"")
    assert "scored 12 of 13" in agm("score", *small, *YAMNET, "-m", "fd").stderr
    done = agm("score", *small, *YAMNET, "--strict")
    assert done.returncode == 3
    assert "bad: the file is empty" in done.stderr


def test_default_protocol_without_weights_is_quick_and_helpful(fresh_agm: Run, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "AGM_OFFLINE": "1"}
    start = time.monotonic()
    done = fresh_agm("score", EXAMPLES / "generated", EXAMPLES / "reference", env=environment)
    assert done.returncode == 4
    for way in ("agm weights fetch", "--weights", "--protocol yamnet"):
        assert way in done.stderr
    assert time.monotonic() - start < 20  # two seconds on an idle machine; this one may be busy


def test_given_weights_must_be_used_and_there(agm: Run, small: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "vggish.pth").write_bytes(b"no checkpoint")
    given = ("--weights", f"vggish={tmp_path / 'vggish.pth'}")
    done = agm("score", *small, *YAMNET, *given)
    assert done.returncode == 2
    assert "weights for 'vggish', which is not used here" in done.stderr
    done = agm("score", *small, "-m", "fad", *given)
    assert done.returncode == 4
    assert "damaged or is not a checkpoint" in done.stderr
    assert agm("score", *small, "--weights", "vggish=nowhere.pth").returncode == 2


@pytest.mark.slow
def test_an_unwritable_output_does_not_lose_the_result(agm: Run, small: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = agm("score", *small, *YAMNET, "-m", "kl", "-o", tmp_path / "file" / "scores.txt")
    assert done.returncode == 2
    assert "kl_yamnet" in done.stdout
    assert "on stdout instead" in done.stderr


@pytest.mark.parametrize("what", ["metrics", "backbones", "protocols", "datasets"])
@pytest.mark.parametrize("format_", ["table", "json"])
def test_list(agm: Run, what: str, format_: str, tmp_path: Path) -> None:
    done = agm("list", what, "--format", format_)
    assert done.returncode == 0, done.stderr
    assert "fd" in done.stdout or "yamnet" in done.stdout or "esc50" in done.stdout
    if format_ == "json":
        assert {row["name"] for row in json.loads(done.stdout)} & {"fd", "yamnet", "esc50"}
    assert agm("list", what, "--format", format_, "-o", tmp_path / "list").stdout == ""
    assert (tmp_path / "list").read_text() == done.stdout


@pytest.mark.slow
def test_cache_info(agm: Run, small: tuple[Path, Path]) -> None:
    assert "empty" in agm("cache", "info").stdout
    assert agm("score", *small, *YAMNET).returncode == 0
    assert "yamnet-" in agm("cache", "info").stdout
    info = json.loads(agm("cache", "info", "--format", "json").stdout)
    (space,) = info["spaces"]
    assert space["clips"] == 24
    there = [path for path in Path(info["cache"]).rglob("*") if path.is_file()]
    assert (info["files"], info["bytes"]) == (len(there), sum(path.stat().st_size for path in there))
    assert info["bytes"] == sum(kind["bytes"] for kind in info["kinds"].values())
    assert info["kinds"]["embeddings"]["bytes"] == space["bytes"]
    size = f"{info['kinds']['embeddings']['files']} files, {byte_size(space['bytes'])}"
    assert f"embeddings: {size}" in agm("cache", "info").stdout
    (Path(info["folder"]) / space["name"] / "b.safetensors").write_bytes(b"no shard")
    done = agm("cache", "info")
    assert (done.returncode, done.stderr) == (0, "")
    assert "unreadable  b.safetensors: " in done.stdout
    assert "b.safetensors" in json.loads(agm("cache", "info", "--format", "json").stdout)["spaces"][0]["damaged"]


@pytest.mark.slow
def test_doctor(agm: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = agm("doctor")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith(f"ok       audiogen-metrics: {__version__}\n")
    assert "ok       backbone yamnet" in done.stdout
    assert "MISSING  backbone vggish: the weights vggish-10086976.pth are not on this machine" in done.stdout
    (tmp_path / "blocked").touch()
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "blocked"))
    done = agm("doctor")
    assert done.returncode == 4
    assert "MISSING  cache" in done.stdout


def test_help_and_version(agm: Run) -> None:
    assert "exit codes: 0 ok" in agm("--help").stdout
    assert "--fail-if" in agm("score", "--help").stdout
    assert agm("--version").stdout.startswith("audiogen-metrics ")


FRESH = {
    "score gen ref --protocol yamnet": (3, "gen: folder does not exist"),
    "verify a.json": (3, "a.json: cannot be read"),
    "import gen ref": (3, "gen: does not exist"),
    "compare a b ref --protocol yamnet": (3, "a: folder does not exist"),
    "copies gen ref": (3, "gen: folder does not exist"),
    "clap gen p.csv": (3, "gen: folder does not exist"),
    "correlate a.json b.json": (3, "a.json: cannot be read"),
    "embed gen -o a.npz": (3, "gen: folder does not exist"),
    "stats build ref -o a.stats": (3, "ref: folder does not exist"),
    "protocols compare gen ref": (3, "gen: folder does not exist"),
    "probe ref copy --probe noise": (3, "ref: folder does not exist"),
    "study ref --protocol yamnet --probes white-noise": (3, "ref: folder does not exist"),
    "generate --model tiny-random --prompts p.csv -o out": (3, "p.csv: cannot be read"),
    "finetune a.yaml": (2, "a.yaml: does not exist"),
    "convert a.ckpt -o out": (4, "a.ckpt: there is no such checkpoint"),
    "data check folder ref": (3, "ref: folder does not exist"),
    "bench table1 -o out": (2, "table1: has no dataset"),
    "list metrics": (0, ""),
    "weights list": (0, ""),
    "cache info": (0, ""),
    "doctor": (0, ""),
    "selftest --format x": (2, "invalid choice: 'x'"),
    "completion bash": (0, ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("line", FRESH)
def test_every_command_in_a_new_interpreter(fresh_agm: Run, tmp_path: Path, line: str) -> None:
    """Which has loaded nothing before: `agm` of the other tests has."""
    code, message = FRESH[line]
    done = fresh_agm(*line.split(), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_is_left_out_of_them() -> None:
    (commands,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    assert {line.split()[0] for line in FRESH} == set(commands.choices)


@pytest.mark.parametrize("name", ["agm", "audiogen-metrics"])
def test_console_scripts(name: str) -> None:
    script = Path(sys.executable).parent / name
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("audiogen-metrics ")


@pytest.mark.slow
def test_names_with_spaces_and_leading_dashes(agm: Run, small: tuple[Path, Path], tmp_path: Path) -> None:
    odd = [shutil.copytree(folder, tmp_path / name) for folder, name in zip(small, ("- gen", "ref é"), strict=True)]
    done = agm("score", *YAMNET, "-m", "fd", "--", odd[0].name, odd[1].name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


SLOW_DECODER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits it as ignored
from audiogen_metrics.cli.main import entry
from audiogen_metrics.embedding import extraction
decode = extraction.decode
def slowly(path, content, **options):
    sys.stderr.write("decoding\\n")
    time.sleep(1)
    return decode(path, content, **options)
extraction.decode = slowly
entry()
"""


def test_interrupt_exits_130(small: tuple[Path, Path]) -> None:
    """Interrupted as soon as it decodes, of which it has many seconds to do."""
    command = [sys.executable, "-c", SLOW_DECODER, "score", *map(str, small), *YAMNET]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("decoding")
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in printed
    assert "Traceback" not in printed


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m audiogen_metrics list metrics | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_weights_of_a_backbone_that_nobody_publishes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in Python: a folder for CLAP, and still a file where a file was published."""
    assert parse_weights([f"clap={tmp_path}"]) == {"clap": tmp_path}
    with pytest.raises(UsageError, match="is a folder, not a file"):
        parse_weights([f"vggish={tmp_path}"])
    with pytest.raises(UsageError, match="unknown weights 'clapp'"):
        parse_weights([f"clapp={tmp_path}"])
    assert main(["score", "a", "b", *YAMNET, "--weights", f"clap={tmp_path}"]) != 0
    assert "unknown weights" not in capsys.readouterr().err


def test_check_reads_numbers() -> None:
    assert Bound.parse("fd_yamnet >= -1.5e3", ["fd_yamnet"]) == Bound("fd_yamnet", ">=", -1500.0)
    with pytest.raises(UsageError):
        Bound.parse("fd_yamnet>1.2.3", ["fd_yamnet"])
