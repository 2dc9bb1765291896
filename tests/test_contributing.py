"""The recipes of CONTRIBUTING.md are followed in a copy of the package, and what they add is used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import audiogen_metrics
from tests.conftest import EXAMPLES, Run, write_tone
from tests.test_docs import ROOT, blocks

PACKAGE = Path(audiogen_metrics.__file__).parent

HUNKS = {"metric": 1, "backbone": 3, "probe": 2, "protocol": 2, "dataset": 2, "command": 2}
"""Of each thing that can be added: how many places of the package have to know it."""


def recipe(kind: str) -> str:
    """Return the section on a kind of thing."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(rf"^### A {kind}\n(.*?)^##", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def follow(text: str, root: Path) -> int:
    """Write each block of a recipe where its first line says, below ``root``; return how many there were."""
    written = blocks(text, "python", "diff")
    for block in written:
        (mark, name), content = block.partition("\n")[0].split(), block.partition("\n")[2]
        path = root / name
        if mark == "#":
            assert not path.exists(), name
            path.write_text(content, encoding="utf-8")
            continue
        lines, source = content.splitlines(keepends=True), path.read_text(encoding="utf-8")
        before, after = ("".join(line[1:] for line in lines if line[0] != other) for other in "+-")
        assert source.count(before) == 1, f"{name} is not what the recipe takes it for"
        path.write_text(source.replace(before, after), encoding="utf-8")
    return len(written)


class Copy:
    """A copy of the package, to which the recipe of one kind was applied."""

    def __init__(self, root: Path, kind: str, agm: Run) -> None:
        shutil.copytree(PACKAGE, root / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
        follow(recipe(kind), root)
        self.environment = {**os.environ, "PYTHONPATH": str(root)}
        self.root, self._agm = root, agm

    def agm(self, *words: str | Path) -> str:
        """Return what a command prints."""
        done = self._agm(*words, cwd=self.root, env=self.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, code: str) -> str:
        """Return what some code prints."""
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def copy(request: pytest.FixtureRequest, tmp_path: Path, fresh_agm: Run) -> Copy:
    """Follow the recipe that the test's name says."""
    return Copy(tmp_path, request.node.name.removeprefix("test_a_"), fresh_agm)


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders of six recordings of the same ids."""
    for source in ("generated", "reference"):
        clips = sorted(path for path in (EXAMPLES / source).rglob("*") if path.is_file())[:6]
        (tmp_path / source).mkdir()
        for place, clip in enumerate(clips):
            shutil.copy(clip, tmp_path / source / f"{place}{clip.suffix}")
    return tmp_path / "generated", tmp_path / "reference"


def test_the_page_has_a_recipe_for_each_kind(tmp_path: Path) -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.findall(r"^### A (\w+)$", page, re.MULTILINE) == [*HUNKS]
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name)
    assert {kind: follow(recipe(kind), tmp_path) for kind in HUNKS} == HUNKS, "all of them together, too"


@pytest.mark.slow
def test_a_metric(copy: Copy, sets: tuple[Path, Path]) -> None:
    assert "vendi\n    title: Vendi score" in copy.agm("list", "metrics")
    report = json.loads(copy.agm("score", *sets, "--protocol", "yamnet", "-m", "vendi", "--format", "json"))
    assert 1 <= report["scores"]["vendi_yamnet"]["value"] <= 6
    schema = json.loads(copy.python("import runpy; runpy.run_module('audiogen_metrics.schema', run_name='__main__')"))
    assert "vendi" in schema["$defs"]["score"]["properties"]["metric"]["enum"]
    made = copy.python("from audiogen_metrics.objects import object_of; print(object_of('vendi')(protocol='yamnet'))")
    assert made == "Vendi(vendi_yamnet, protocol='yamnet', streaming=False)\n"


@pytest.mark.slow
def test_a_backbone(copy: Copy, sets: tuple[Path, Path]) -> None:
    assert "bands\n    summary: Sixteen mixtures" in copy.agm("list", "backbones")
    assert "bands.safetensors" in copy.agm("weights", "list")
    copy.python(
        "import torch; from safetensors.torch import save_file; torch.manual_seed(0)\n"
        "from audiogen_metrics.backbones import BACKBONES; from audiogen_metrics.testing import check_backbone\n"
        "save_file(torch.nn.Linear(257, 16).state_dict(), 'bands.safetensors')\n"
        "check_backbone(BACKBONES.get('bands')(weights='bands.safetensors'))"
    )
    options = ["--protocol", "yamnet", "-m", "fd", "--backbone", "bands", "--weights", "bands=bands.safetensors"]
    report = json.loads(copy.agm("score", *sets, *options, "--format", "json"))
    assert report["scores"]["fd_bands"]["value"] > 0
    assert report["scores"]["fd_bands"]["n_gen"] == 6


@pytest.mark.slow
def test_a_probe(copy: Copy, sets: tuple[Path, Path]) -> None:
    assert "tremolo\n    summary: A level that goes up and down" in copy.agm("list", "probes")
    copy.agm("probe", sets[0], "out", "--probe", "tremolo", "--set", "rate=2", "--severity", "0.5")
    manifest = json.loads((copy.root / "out" / "manifest.json").read_text())
    assert len(manifest["clips"]) == 6
    assert all(clip["parameters"]["depth"] == 0.5 for clip in manifest["clips"].values())
    found = copy.python(
        "import numpy as np; from audiogen_metrics.probes import PROBES, base\n"
        "found = PROBES.get('tremolo')()(base.Clip('a', np.ones(16_000, np.float32), 16_000), 1).waveform\n"
        "print(round(float(found.min()), 3), round(float(found.max()), 3))"
    )
    assert found == "0.0 1.0\n"


@pytest.mark.slow
def test_a_protocol(copy: Copy, sets: tuple[Path, Path]) -> None:
    listed = copy.agm("list", "protocols")
    assert "first-channel\n    summary: YAMNet on the first channel only" in listed
    report = json.loads(copy.agm("score", *sets, "--protocol", "first-channel", "--format", "json"))
    assert report["protocol"] == "first-channel"
    assert [*report["scores"]] == ["fd_yamnet", "kl_yamnet"]
    differs = copy.python(
        "from audiogen_metrics.protocols import PROTOCOLS as known\n"
        "print(known['first-channel'].differences(known['yamnet'])['kl_yamnet'])"
    )
    assert differs == "eps 0.0, channel first\n"


@pytest.mark.slow
def test_a_dataset(copy: Copy) -> None:
    for name in ("snare.wav", "kick.wav"):
        write_tone(copy.root / "drums" / "audio" / name)
    (copy.root / "drums" / "drums.csv").write_text("file,drum,session\nsnare.wav,snare,1\nkick.wav,kick,2\n")
    assert "drums\n    title: Drums" in copy.agm("list", "datasets")
    assert "licence: CC0-1.0" in copy.agm("data", "list").partition("drums: ")[2]
    assert "2 clips" in copy.agm("data", "check", "drums", "drums")
    copy.agm("data", "export", "drums", "drums", "-o", "out")
    assert (copy.root / "out" / "prompts.csv").read_text().splitlines()[1] == "kick,kick,1.00"
    opened = copy.python(
        "from audiogen_metrics.datasets.folder import open_dataset\n"
        "print([clip.labels for clip in open_dataset('drums=drums').clips])"
    )
    assert opened == "[('kick',), ('snare',)]\n"


def test_a_command(copy: Copy, sets: tuple[Path, Path]) -> None:
    assert "count the clips of a folder" in copy.agm("--help")
    assert copy.agm("count", sets[0]) == "6 clips\n"
    assert json.loads(copy.agm("count", sets[0], "--format", "json")) == {"clips": 6}
    assert "count" in copy.agm("completion", "bash")


def test_the_same_files_in_a_package_of_ones_own(tmp_path: Path, fresh_agm: Run) -> None:
    """docs/extending.md says how another package announces what the recipes put into this one."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    announced = [tomllib.loads(block)["project"]["entry-points"] for block in blocks(page, "toml")]
    groups = {group: entries for each in announced for group, entries in each.items()}
    mine, about = tmp_path / "my_package", tmp_path / "my_package-1.dist-info"
    mine.mkdir()
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    entry_points = ""
    for kind in ("metric", "probe", "dataset"):
        ((name, address),) = groups[f"audiogen_metrics.{kind}s"].items()
        module = address.partition(":")[0].removeprefix("my_package.")
        (block,) = blocks(recipe(kind), "python")
        (mine / f"{module}.py").write_text(block)
        entry_points += f"[audiogen_metrics.{kind}s]\n{name} = {address}\n"
    (about / "entry_points.txt").write_text(entry_points)
    titles = {"metric": "vendi\n    title", "probe": "tremolo\n    summary", "dataset": "drums\n    title"}
    for kind, title in titles.items():
        done = fresh_agm("list", f"{kind}s", cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)})
        assert title in done.stdout, done.stderr
        assert "broken" not in done.stdout
