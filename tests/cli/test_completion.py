"""Completion scripts: what a shell makes of them, and that no argument is forgotten."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audiogen_metrics.audio.files import AUDIO
from audiogen_metrics.backbones.published import WEIGHTS
from audiogen_metrics.cli.completion import FILES, FOLDERS, LISTS, NAMES, PROGRAMS, SHELLS, taking_values
from audiogen_metrics.cli.main import build_parser
from audiogen_metrics.metrics import OWN
from audiogen_metrics.probes import PROBES
from audiogen_metrics.protocols import PROTOCOLS
from tests.conftest import Run

FREE = {
    *("fail_if", "expect", "set", "train", "system", "split", "fractions", "severities", "hub"),
    *("prompt", "negative", "monitor", "backbone", "older_than", "columns"),
    *("metric", "rating", "lower_is_better", "choose_by"),
}
"""Arguments whose values only the user can know."""


def answers(script: str, line: str, folder: Path, program: str = "agm") -> list[str]:
    """What bash offers at the end of a line, in a folder."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    asked = (
        f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}\n"
        f"$(complete -p {program} | sed -E 's/.*-F ([^ ]+) .*/\\1/') 2>/dev/null\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "--norc"], input=asked, capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def script() -> str:
    command = [sys.executable, "-m", "audiogen_metrics", "completion", "bash"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("completion")
    for name in ("generated", "reference"):
        (root / name).mkdir()
    (root / "reference.stats").touch()
    (root / "report.json").touch()
    return root


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("agm sc", ["score"]),
        ("agm sta", ["stats"]),
        ("agm stats b", ["build"]),
        ("agm score --pai", ["--pairing", "--pairs"]),
        ("agm score --pairing i", ["id"]),
        ("agm score gen ref --protocol audioldm-0", ["audioldm-0.0.3"]),
        ("agm score gen ref --protocol yam", ["yamnet"]),
        ("agm finetune --protocol yam", ["yamnet"]),
        ("agm finetune --tracker tensorboard,wan", ["tensorboard,wandb"]),
        ("agm score -m kl_si", ["kl_sigmoid"]),
        ("agm score -m ka", ["kad", "kad_windows"]),
        ("agm score -m fd,ki", ["fd,kid"]),
        ("agm score --suffix wav,fl", ["wav,flac", "wav,flv"]),
        ("agm score --weights vgg", ["vggish="]),
        ("agm weights fetch vgg", ["vggish"]),
        ("agm data check esc", ["esc50"]),
        ("agm list pro", ["probes", "protocols"]),
        ("agm probe gen out --probe noi", ["noise"]),
        ("agm score gener", ["generated"]),
        ("agm score generated refer", ["reference", "reference.stats"]),
        ("agm embed refer", ["reference"]),
        ("agm copies generated refer", ["reference"]),
        ("agm copies generated reference --heldout gener", ["generated"]),
        ("agm verify rep", ["report.json"]),
        ("agm completion f", ["fish"]),
        ("agm score --nothing-such", []),
    ],
)
def test_bash(script: str, folder: Path, line: str, expected: list[str]) -> None:
    assert sorted(filter(None, answers(script, line, folder))) == sorted(expected)


def test_all_names_are_offered(script: str, folder: Path) -> None:
    for line, names in {
        "agm score --protocol ": [*PROTOCOLS],
        "agm score -m ": [*OWN],
        "agm study ref --probes ": PROBES.names(),
        "agm probe a b --probe ": PROBES.names(),
        "agm weights verify ": WEIGHTS.names(),
        "agm score --suffix ": [suffix[1:] for suffix in AUDIO],
    }.items():
        assert sorted(answers(script, line, folder)) == sorted(names), line


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_reads_its_script(shell: str, agm: Run, tmp_path: Path) -> None:
    done = agm("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "audioldm-0.0.3" in done.stdout
    (tmp_path / "script").write_text(done.stdout)
    if shutil.which(shell) is not None:
        read = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, "")


def test_the_script_is_for_the_name_of_the_program(folder: Path) -> None:
    called = (
        "import sys; from audiogen_metrics.cli.main import main; sys.argv[0] = 'x/audiogen-metrics'; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", called, "completion", "bash"], capture_output=True, text=True, check=True
    )
    assert answers(done.stdout, f"{PROGRAMS[1]} sc", folder, PROGRAMS[1]) == ["score"]


def test_no_argument_is_forgotten() -> None:
    """One that takes neither a path, nor a known name, nor a number, is free text by intention."""
    forgotten = set()
    for command, action in taking_values(build_parser()):
        known = (
            action.choices is not None
            or action.metavar in FOLDERS | FILES
            or action.dest in LISTS
            or action.dest in NAMES
            or f"{command} {action.dest}" in NAMES
            or getattr(action.type, "__name__", "") in ("int", "float")
        )
        if not (known or action.dest in FREE or isinstance(action, argparse._HelpAction)):
            forgotten.add(f"{command} {action.dest}")
    assert not forgotten


def test_names_stand_for_something() -> None:
    """No entry of the tables is about an argument that is gone."""
    arguments = {
        key for command, action in taking_values(build_parser()) for key in (action.dest, f"{command} {action.dest}")
    }
    placeholders = {action.metavar for _, action in taking_values(build_parser())}
    assert NAMES.keys() | LISTS.keys() <= arguments
    assert placeholders >= FOLDERS | FILES
    assert arguments >= FREE
