"""What the documentation shows is run; what it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from audiogen_metrics.cli.main import build_parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if not {"_generated", "_build"} & set(page.parts)]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)
    assert "nan" not in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_flags_and_commands_exist(page: Path) -> None:
    known = usage(build_parser())
    lines = re.findall(r"^(?:.*bin/)?(agm [a-z].*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    for line in lines:
        words = line.split("#")[0].split()
        assert words[1] in known, line
        assert {word for word in words if word.startswith("--")} <= known[words[1]], line


def usage(parser: object) -> dict[str, set[str]]:
    """Return the flags of each command, those of its actions included."""
    found: dict[str, set[str]] = {}
    for action in parser._actions:  # type: ignore[attr-defined]
        if hasattr(action, "choices") and isinstance(action.choices, dict):
            for name, child in action.choices.items():
                inner = usage(child)
                flags = {option for item in child._actions for option in item.option_strings}
                found[name] = flags.union(*inner.values()) if inner else flags
    return found


def test_readme_shows_what_the_demo_prints(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The table in the README is the tool's own, up to the last digits, which kernels may change."""
    from audiogen_metrics.cli.main import main

    monkeypatch.chdir(ROOT)
    assert main(["score", "examples/generated", "examples/reference", "--protocol", "yamnet", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    shown = re.search(r"^score +value.*?^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown is not None
    for line in shown[0].splitlines()[1:-1]:
        name, value = line.split()[:2]
        found = re.search(rf"^{name} +([\d.]+)", printed, re.MULTILINE)
        assert found is not None
        assert float(found[1]) == pytest.approx(float(value), rel=2e-3)


@pytest.mark.slow
def test_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", tmp_path / "html"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--fail-if" in (tmp_path / "html" / "cli.html").read_text(encoding="utf-8")
    formulas = (tmp_path / "html" / "metrics" / "fd.html").read_text(encoding="utf-8")
    assert "<math" in formulas
    loaded = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?:[^"]+)', formulas)
    assert loaded == []
