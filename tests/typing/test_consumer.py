"""A user's code passes mypy and pyright, his mistakes do not, and editors complete what there is.

Run by ``make test-wheel`` too, where the package that the checkers find is the installed wheel.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import audiogen_metrics

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PACKAGE = Path(audiogen_metrics.__file__).parent

COMPLETE = 0.98
"""Least share of the package's public names with a type that every checker sees alike."""


def needs(checker: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(checker) is None
    return pytest.mark.skipif(missing, reason=f"needs {checker}: pip install -e '.[typing]'")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Where pyright verifies types it asks the first python of the path for packages, whatever it is told.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", *arguments]
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


def pyright(*arguments: str) -> dict[str, Any]:
    done = run("pyright", "--pythonpath", sys.executable, "--outputjson", *arguments)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@needs("mypy")
def test_mypy_takes_a_users_code_and_none_of_his_mistakes() -> None:
    # Without the settings of this repository; its cache, as torch takes mypy most of a minute.
    settings = ("--strict", "--warn-unused-ignores", "--config-file=", "--cache-dir", ".mypy_cache/consumer")
    done = run("mypy", *settings, str(FOLDER / "consumer.py"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@needs("pyright")
def test_pyright_takes_a_users_code_and_none_of_his_mistakes() -> None:
    found = pyright("-p", str(FOLDER))
    assert not found["generalDiagnostics"], found["generalDiagnostics"]
    assert found["summary"]["filesAnalyzed"] == 1


@pytest.mark.slow
@needs("pyright")
def test_public_names_have_types() -> None:
    found = pyright("--verifytypes", "audiogen_metrics", "--ignoreexternal")["typeCompleteness"]
    lacking = [symbol["name"] for symbol in found["symbols"] if symbol["isExported"] and not symbol["isTypeKnown"]]
    assert found["completenessScore"] >= COMPLETE, lacking


@pytest.mark.slow
@needs("jedi")
@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("FAD", "protocol"),
        ("score", "protocol"),
        ("score", "workers"),
        ("compare", "permutations"),
        ("score_systems", "ci"),
        ("reference_statistics", "strict"),
        ("find_copies", "sample_rate"),
        ("verify", "cache"),
    ],
)
def test_editors_complete_names_with_signatures(name: str, parameter: str) -> None:
    import jedi  # type: ignore[import-not-found,unused-ignore]

    environment = jedi.create_environment(sys.executable, safe=False)
    script = jedi.Script(f"import audiogen_metrics as agm\nagm.{name}", environment=environment)
    (completion,) = [found for found in script.complete() if found.name == name]
    assert completion.type in {"class", "function"}
    (signature,) = completion.get_signatures()
    assert parameter in [each.name for each in signature.params]
    called = jedi.Script(f"import audiogen_metrics as agm\nagm.{name}(", environment=environment)
    assert [each.name for each in called.get_signatures()] == [name]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_checker_sees_a_lookup_of_any_name(path: Path) -> None:
    """A module's ``__getattr__`` makes each misspelt name right in a checker's eyes."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert "__getattr__" not in [node.name for node in body if isinstance(node, ast.FunctionDef)], path


def test_what_checkers_and_users_are_told_of_is_one_list() -> None:
    """Names at the top are written twice: for checkers, and for where they are loaded from."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    told = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == audiogen_metrics._HOME
    assert set(audiogen_metrics.__all__) == {*told, "__version__"}
