"""What is uploaded holds what it should; a lower bound is a version that the suite has run with."""

from __future__ import annotations

import importlib.metadata
import os
import re
import runpy
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import audiogen_metrics
from audiogen_metrics.citations import citations

ROOT = Path(__file__).parent.parent

ONLY_IN_GIT = {".ci/run", ".github/ISSUE_TEMPLATE/bug.md"}
"""Files that nobody needs who has no clone."""


def files_of_git() -> set[str]:
    """Return what git has, or would take: whatever else lies in the folder belongs to nobody but its owner."""
    if not (ROOT / ".git").exists():
        pytest.skip("no clone: nothing says which files belong to the project")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listing.split("\0") if name and (ROOT / name).exists()}


@pytest.mark.slow
def test_sdist_holds_the_project_and_nothing_else(tmp_path: Path) -> None:
    from hatchling.builders.sdist import SdistBuilder

    expected = files_of_git() - ONLY_IN_GIT | {"PKG-INFO"}
    (built,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(built) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held == expected


def test_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    expected = {name for name in files_of_git() if name.startswith("audiogen_metrics/")}
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected


def described() -> dict[str, Any]:
    """Return the project as pyproject.toml has it."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def requirements(extra: str) -> list[Requirement]:
    """Return what this extra of the installed package asks for; with no extra, what the package always needs."""
    found = map(Requirement, importlib.metadata.requires("audiogen-metrics") or [])
    return [each for each in found if (each.marker.evaluate({"extra": extra}) if each.marker else not extra)]


def lower_bound(requirement: Requirement) -> Version:
    (bound,) = [each.version for each in requirement.specifier if each.operator in {">=", "=="}]
    return Version(bound)


def test_every_dependency_has_a_lower_bound() -> None:
    for extra in ("", "test"):
        assert requirements(extra)
        for requirement in requirements(extra):
            assert lower_bound(requirement)


NEWER = {"test": {"transformers", "diffusers"}}
"""By extra, packages that others in it need in newer versions; `audioldm` by itself has their bounds."""


@pytest.mark.skipif(
    "AGM_LOWEST" not in os.environ, reason="needs an environment of the lowest versions: make test-lowest"
)
def test_lowest_versions_are_the_bounds() -> None:
    """Otherwise the bound is one that nothing can be installed with, and no run has tested it."""
    extra = os.environ["AGM_LOWEST"]
    asked = {each.name: lower_bound(each) for each in requirements(extra) if each.name not in NEWER.get(extra, ())}
    assert asked
    assert {name: Version(importlib.metadata.version(name)) for name in asked} == asked


def test_page_of_dependencies_names_the_bounds() -> None:
    """docs/dependencies.md has a row for each package that an extra for users or `docs` asks for, and no other."""
    project = described()
    asked = [*project["dependencies"]]
    for name, extra in project["optional-dependencies"].items():
        asked += extra if name not in ("test", "typing", "dev") else ()
    names = [(Requirement(text).name, text) for text in asked]
    wanted = {name: text.removeprefix(name) for name, text in names if name != project["name"]}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| ([\w-]+) \| ([<>=]\S+) \|", page, re.MULTILINE)) == wanted


def test_the_version_stands_in_one_place() -> None:
    version = Version(described()["version"])
    assert Version(audiogen_metrics.__version__) == version
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[(.*?)\]", changes, re.MULTILINE)[0]
    assert newest == ("Unreleased" if version.is_devrelease else str(version))
    assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_description_has_no_link_that_an_index_cannot_follow() -> None:
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.plugin.manager import PluginManager

    relative = re.compile(r"\]\((?!https://|#)")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    uploaded = ProjectMetadata(str(ROOT), PluginManager()).core.readme
    assert relative.search(text)
    assert not relative.search(uploaded)
    assert uploaded.startswith("# audiogen-metrics\n")

    for_an_index = runpy.run_path(str(ROOT / "hatch_build.py"))["for_an_index"]
    linked = for_an_index(text, "https://example.org/agm")
    assert "[Questions](https://example.org/agm/blob/HEAD/docs/questions.md)" in linked
    assert "](https://example.org/agm/raw/HEAD/docs/_static/study/examples.svg)" in linked
    assert not relative.search(linked)
    assert linked.count("](") == text.count("](")


def test_readme_cites_what_the_library_and_the_citation_file_cite() -> None:
    entries = "".join(work.bibtex() for work in citations([], "audioldm", "0"))
    paper, software = re.findall(r"^@.*?^}", entries, re.MULTILINE | re.DOTALL)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert paper in text
    assert software.replace(", version 0", "") in text

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f"{{{{{cited['title']}}}}}" in software
    assert all(f"{{{{{author['name']}}}}}" in software for author in cited["authors"])
    (article,) = cited["references"]
    authors = (f"{author['family-names']}, {author['given-names']}" for author in article["authors"])
    assert f"{{{' and '.join(authors)}}}" in paper
    assert f"{{{{{article['title']}}}}}" in paper
    assert f"{{{article['year']}}}" in paper
    assert article["identifiers"][0]["value"].removeprefix("arXiv:") in paper


def test_hooks_before_a_commit_are_what_lint_runs() -> None:
    """By the environment of the checkout, so the versions are those that the extra `dev` pins."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    recipe = re.search(r"^lint: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    linted = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert [hook["entry"] for hook in hooks] == linted
    assert all(hook["language"] == "system" and hook["pass_filenames"] is False for hook in hooks)
    extras = described()["optional-dependencies"]
    pinned = {each.name for each in map(Requirement, extras["dev"] + extras["typing"]) if "==" in str(each.specifier)}
    assert {Path(line.split()[0]).name for line in linted} <= pinned
