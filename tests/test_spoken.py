"""Errors name options as the user of the moment writes them: arguments in Python, flags on the command line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import audiogen_metrics
from audiogen_metrics import score
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import UsageError, option, speaking_flags, spoken
from tests.conftest import write_tone

PACKAGE = Path(audiogen_metrics.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")

COMMAND = re.compile(r"\b(agm|pip|pip3|python|ffmpeg|git|torchrun|accelerate)\b")
"""What a flag may follow: the name of the command that it is for."""

OWN = {"errors.py", "repeating.py"}
"""Where flags are made of arguments, and where a page gets the command that repeats it."""

READS_FLAGS = {"parse_weights"}
"""Functions outside cli that read the texts of flags, for the command line alone."""


def flags_in(path: Path) -> list[str]:
    """Return texts of a module that name a flag of no command, but for docstrings, declarations, and `spoken` ones."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "spoken":
            passed.update(ast.walk(node))
        if isinstance(node, ast.keyword) and node.arg in ("flag", "help"):
            passed.add(node.value)
        if isinstance(node, ast.FunctionDef) and node.name in READS_FLAGS:
            passed.update(ast.walk(node))
        if isinstance(node, ast.JoinedStr) and COMMAND.search(ast.unparse(node)):
            passed.update(node.values)
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in passed
        and FLAG.search(node.value)
        and not COMMAND.search(node.value)
        and ":root{" not in node.value  # style sheets have variables of that form
    ]


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "cli" and path.name not in OWN],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_the_library_names_no_flags(path: Path) -> None:
    assert flags_in(path) == []


def test_the_walk_finds_flags(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        'raise UsageError("x", fix=f"Use --device {device}")\nx = "agm score --format json"\nspoken("a=1", "--a 1")\n'
    )
    assert flags_in(path) == ["Use --device "]


def test_options_of_every_kind() -> None:
    cases = {
        ("protocol", "yamnet"): ('protocol="yamnet"', "--protocol yamnet"),
        ("limit", "N"): ("limit=N", "--limit N"),
        ("processes", "1"): ("processes=1", "--processes 1"),
        ("suffixes", ".flac"): ('suffixes=".flac"', "--suffix .flac"),
        ("pairs", "{ref}_{sample}"): ('pairs="{ref}_{sample}"', "--pairs '{ref}_{sample}'"),
        ("batch_size", "8"): ("batch_size=8", "--batch-size 8"),
        ("resume", True): ("resume=True", "--resume"),
    }
    for given, (python, flags) in cases.items():
        assert option(*given) == python
        with speaking_flags():
            assert option(*given) == flags
    files = {"vggish": "FILE", "yamnet": "my file.onnx"}
    assert option("weights", files) == 'weights={"vggish": FILE, "yamnet": "my file.onnx"}'
    with speaking_flags():
        assert option("weights", files) == "--weights vggish=FILE --weights 'yamnet=my file.onnx'"
        assert spoken("a", "b") == "b"
    assert spoken("a", "b") == "a"


def test_one_error_in_both_worlds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(2):
        write_tone(tmp_path / f"{index}.wav")
    with pytest.raises(UsageError, match=r'Use device="cpu" or auto'):
        score(tmp_path, tmp_path, protocol="yamnet", device="meta:7")
    assert main(["score", str(tmp_path), str(tmp_path), "--protocol", "yamnet", "--device", "meta:7"]) == 2
    assert "Use --device cpu or auto" in capsys.readouterr().err
    command = ["score", str(tmp_path), str(tmp_path), "--protocol", "yamnet"]
    with pytest.raises(UsageError, match=r"draws: they are for p.* Leave out one of draws and ci=False"):
        score(tmp_path, tmp_path, protocol="yamnet", draws=3, ci=False)
    assert main([*command, "--draws", "3", "--no-ci"]) == 2
    assert "--draws: they are for p, which is left out with the intervals" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"^ref: a path is empty"):
        score(tmp_path, "", protocol="yamnet")
    with pytest.raises(UsageError, match=r"^gen: a path is empty"):
        score("", tmp_path, protocol="yamnet")
    with pytest.raises(UsageError, match=r'Use device="cpu" or auto'):  # a command leaves nothing behind
        score(tmp_path, tmp_path, protocol="yamnet", device="meta:7")
