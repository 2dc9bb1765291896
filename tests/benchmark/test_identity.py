"""What makes a cell: other contents are another cell, and other places of the same contents are not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audiogen_metrics.audioldm import write_tiny
from audiogen_metrics.audioldm.tiny import MARKER
from audiogen_metrics.benchmark.identity import identified
from audiogen_metrics.benchmark.plans import Plan, make_plan
from audiogen_metrics.benchmark.running import Benchmark, describe_systems
from audiogen_metrics.errors import MissingWeightsError
from tests.benchmark.test_benchmark import CLASSES, TRAINING, settings
from tests.datasets import miniatures

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*random weights"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniatures.esc50(tmp_path_factory.mktemp("sets") / "ESC-50", CLASSES, per_class=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "m", seed=1)


def names(model: Path, root: Path, artefact: Any = "table1", systems: Any = None, **changes: Any) -> list[str]:
    plan = planned(model, root, artefact, systems, **changes)
    return [cell.name for cell in plan.cells]


def planned(model: Path, root: Path, artefact: Any = "table1", systems: Any = None, **changes: Any) -> Plan:
    quick = settings({"esc50": str(root)}, model=str(model), **changes)
    return identified(make_plan([artefact], quick, describe_systems(systems or {})), {}, systems or {})


def changed(text: str, *file: str) -> Any:
    """Return a change of one text file of a checkpoint."""

    def change(folder: Path) -> None:
        path = folder.joinpath(*file)
        content = json.loads(path.read_text())
        path.unlink()  # not in place: a copy may be a link
        path.write_text(json.dumps({**content, text: "changed"}))

    return change


def test_the_same_contents_elsewhere_are_the_same_cells(root: Path, model: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(model, tmp_path / "elsewhere"))
    sounds = Path(shutil.copytree(root, tmp_path / "sounds"))
    for artefact in ("table1", "table2"):
        assert names(model, root, artefact) == names(moved, sounds, artefact)
    # Neither do the rules of other datasets matter.
    more = {"splits": {"esc50": "paper:12", "audiocaps": "fold:val"}}
    assert names(model, root) == names(model, root, **more)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write_tiny(folder, seed=2),
        changed("clip_sample", "scheduler", "scheduler_config.json"),
        changed("act_fn", "unet", "config.json"),
    ],
)
def test_another_checkpoint_at_the_same_path_is_another_cell(
    root: Path, model: Path, tmp_path: Path, change: Any
) -> None:
    mine = Path(shutil.copytree(model, tmp_path / "m"))
    before = names(mine, root) + names(mine, root, "table2")
    change(mine)
    assert not set(before) & {*names(mine, root), *names(mine, root, "table2")}


def test_clap_counts_where_it_is_used(root: Path, model: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(model, tmp_path / "m"))
    text, audio = names(mine, root)
    best_of_two = names(mine, root, candidates=2)
    changed("logit_scale_init_value", "clap", "config.json")(mine)
    assert names(mine, root)[0] == text
    assert names(mine, root)[1] != audio
    assert not set(names(mine, root, candidates=2)) & set(best_of_two)
    shutil.rmtree(mine / "clap")
    with pytest.raises(MissingWeightsError, match="no CLAP with an audio tower is known"):
        names(mine, root)


def test_clips_count_by_their_contents(root: Path, model: Path, tmp_path: Path) -> None:
    sounds = Path(shutil.copytree(root, tmp_path / "sounds"))
    plan = planned(model, sounds)
    before, trained, studied = ([*names(model, sounds, kind)] for kind in ("table1", "table2", "figure1"))
    clip = plan.evaluation("esc50")[0].path
    assert clip is not None
    content = bytearray(clip.read_bytes())
    content[-1] ^= 1  # as many bytes
    clip.write_bytes(content)
    assert not set(before) & set(names(model, sounds))
    assert not set(trained) & set(names(model, sounds, "table2"))
    assert not set(studied) & set(names(model, sounds, "figure1"))
    clip.write_bytes((root / "audio" / clip.name).read_bytes())
    assert names(model, sounds) == before
    # A training clip is nothing to Table I.
    training = plan.training("esc50")[0].path
    assert training is not None
    training.write_bytes(content)
    assert names(model, sounds) == before
    assert not set(trained) & set(names(model, sounds, "table2"))


def test_clips_count_by_their_captions(root: Path, model: Path, tmp_path: Path) -> None:
    sounds = Path(shutil.copytree(root, tmp_path / "sounds"))
    table = sounds / "meta" / "esc50.csv"
    before = names(model, sounds) + names(model, sounds, "table2")
    table.write_text(table.read_text().replace("crying_baby", "laughing_baby"))
    assert not set(before) & {*names(model, sounds), *names(model, sounds, "table2")}


def test_a_training_counts_by_all_that_shapes_it(root: Path, model: Path) -> None:
    before = names(model, root, "table2")
    same = {**TRAINING, "learning_rate": 1e-4, "tracker": "none", "strict": True, "save_every": 7}
    free: dict[str, Any] = {"gradient_checkpointing": True, "batch_size": 1, "dtype": "bfloat16"}
    assert names(model, root, "table2", training=same, **free) == before
    assert not set(before) & set(names(model, root, "table2", training={**TRAINING, "learning_rate": 1e-3}))
    changes: tuple[dict[str, Any], ...] = ({"precision": "bf16"}, {"validation": 0.2})
    for change in changes:
        assert not set(before) & set(names(model, root, "table2", **change))


def test_another_system_counts_by_its_clips(root: Path, model: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "esc50").mkdir(parents=True)
    (mine / "esc50" / "a.wav").write_bytes(b"one")
    before = names(model, root, systems={"mine": mine})
    moved = mine.rename(tmp_path / "moved")
    assert names(model, root, systems={"mine": moved}) == before
    (moved / "audiocaps").mkdir()
    (moved / "audiocaps" / "a.wav").write_bytes(b"other")  # of another dataset
    assert names(model, root, systems={"mine": moved}) == before
    (moved / "esc50" / "a.wav").write_bytes(b"two")
    now = names(model, root, systems={"mine": moved})
    assert now[:2] == before[:2]
    assert now[2] != before[2]


def test_the_scoring_networks_count(root: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiogen_metrics.backbones import BACKBONES

    before = names(model, root) + names(model, root, "figure1")
    monkeypatch.setattr(BACKBONES.get("yamnet"), "weights_sha256", "0" * 64)
    assert not set(before) & {*names(model, root), *names(model, root, "figure1")}


def test_stale_recordings_and_results_are_not_used(root: Path, model: Path, tmp_path: Path) -> None:
    sounds = Path(shutil.copytree(root, tmp_path / "sounds"))
    out = tmp_path / "out"

    def run() -> Any:
        plan = make_plan(["table1"], settings({"esc50": str(sounds)}, model=str(model), steps=1, seconds=0.7))
        return Benchmark(replace(plan, cells=plan.cells[:1]), out).run()[0]

    first = run()
    clip = make_plan(["table1"], settings({"esc50": str(sounds)})).evaluation("esc50")[0].path
    assert clip is not None
    content = clip.read_bytes()
    miniatures.write(clip, 0.5 * miniatures.recording(99, 5.0, 44_100), 44_100)
    second = run()
    assert second.cell.name != first.cell.name
    assert second.scores["fd_yamnet"]["value"] != first.scores["fd_yamnet"]["value"]
    clip.unlink()
    clip.write_bytes(content)
    for done in out.glob("cells/*/result.json"):
        done.unlink()
    assert run().scores == first.scores
    assert "model" in first.cell.settings
    assert first.versions["audiogen-metrics"]


def test_random_weights_are_known_by_the_checkpoints_own_mark(root: Path, model: Path, tmp_path: Path) -> None:
    from audiogen_metrics.benchmark.records import remarks
    from audiogen_metrics.benchmark.running import Result

    def told(folder: Path) -> bool:
        plan = planned(folder, root)
        return any("random weights" in text for text in remarks(plan, [Result(plan.cells[0], {}, None, {}, ())]))

    marked = Path(shutil.copytree(model, tmp_path / "trained"))
    unmarked = Path(shutil.copytree(model, tmp_path / "my-tiny-random-notes"))
    (unmarked / MARKER).unlink()
    assert told(marked)
    assert not told(unmarked)
