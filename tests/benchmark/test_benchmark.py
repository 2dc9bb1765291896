"""The paper's tables: its numbers verbatim, ours beside them, and a stop in between that changes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audiogen_metrics.benchmark.costs import evaluations, multiply_adds, papers_best_step
from audiogen_metrics.benchmark.output import write
from audiogen_metrics.benchmark.plans import PAPER_DATASETS, Plan, make_plan
from audiogen_metrics.benchmark.published import PAPER_METRICS, published, schedule, tables
from audiogen_metrics.benchmark.records import rows
from audiogen_metrics.benchmark.running import RESULT, Benchmark, Result, describe_systems
from audiogen_metrics.benchmark.settings import BenchSettings, training_config
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.generation.base import FunctionGenerator
from tests.datasets import miniatures

CLASSES = (
    "dog",
    "rain",
    "crow",
    "wind",
    "hen",
    "frog",
    "siren",
    "sheep",
    "engine",
    "clock_tick",
    "crying_baby",
    "insects",
)
FIGURES = tuple(
    f"{name}{suffix}"
    for name in ("figure1-esc50", "figure2")
    for suffix in (".svg", ".png", ".pdf", "-column.pdf", ".tex")
)
TRAINING = {"steps": 4, "eval_every": 2, "warmup": 1, "seconds": 1.28}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = tmp_path_factory.mktemp("sets")
    return {
        "esc50": str(miniatures.esc50(base / "ESC-50", CLASSES, per_class=2)),
        "urbansound8k": str(miniatures.urbansound8k(base / "US8K")),
        "audiocaps": str(miniatures.audiocaps(base / "AudioCaps")),
        "audioset": str(miniatures.audioset(base / "AudioSet")),
    }


def settings(roots: dict[str, str], **changes: Any) -> BenchSettings:
    quick: dict[str, Any] = {
        "model": "tiny-random",
        "splits": {"esc50": "paper:12", "urbansound8k": "paper:10"},
        "protocol": "yamnet",
        "steps": 2,
        "seconds": 1.0,
        "training": TRAINING,
        "fractions": (0.0, 0.5, 1.0),
        "repeats": 2,
        "device": "cpu",
    }
    return BenchSettings(**{"roots": roots, **quick, **changes})


def faked(plan: Plan) -> list[Result]:
    """Return results with known numbers: what is tested is how they are laid out."""
    scores = {
        f"{metric}_panns": {"value": 10.0 + i, "std": 0.5, "n_gen": 12} for i, metric in enumerate(("fd", "is", "kl"))
    }
    scores["fad_vggish"] = {"value": 13.0, "n_gen": 12}
    return [Result(cell, scores, 20_000 if cell.kind == "finetune" else None, {}, ()) for cell in plan.cells]


def test_published_numbers_are_the_papers() -> None:
    """A second typing, from the paper's Tables I and II."""
    assert published("table1", "audioset", "audio") == {"fd": 19.04, "is": 6.72, "kl": 1.63, "fad": 1.52}
    assert published("table1", "esc50", "text") == {"fd": None, "is": 5.55, "kl": 3.01, "fad": 5.95}
    assert published("table2", "esc50", "text", True) == {
        "fd": 22.38,
        "is": 12.98,
        "kl": 1.56,
        "fad": 2.66,
        "steps_k": 80,
    }
    assert published("table2", "audiocaps", "audio", False)["fad"] == 2.98
    assert published("table1", "esc50", "none") == {}
    assert [len(tables()[name]["rows"]) for name in ("table_1", "table_2")] == [8, 12]


def test_every_published_number_stands_in_our_tables(roots: dict[str, str], tmp_path: Path) -> None:
    for caps in (Path(roots["audiocaps"]) / "train.csv",):
        caps.write_text((Path(roots["audiocaps"]) / "test.csv").read_text().replace("-id_", "-tr_"))
        for file in sorted((Path(roots["audiocaps"]) / "audio").glob("*-id_*")):
            file.with_name(file.name.replace("-id_", "-tr_")).write_bytes(file.read_bytes())
    plan = make_plan(["table1", "table2"], settings(roots, protocol="audioldm"))
    results = faked(plan)
    for artefact, name in (("table1", "table_1"), ("table2", "table_2")):
        found = rows(artefact, plan, results)  # type: ignore[arg-type]
        assert len(found) == len(tables()[name]["rows"])
        shown = [{metric: row[f"{metric.upper()} paper"] for metric in PAPER_METRICS} for row in found]
        theirs = [{metric: row[metric] for metric in PAPER_METRICS} for row in tables()[name]["rows"]]
        key = json.dumps
        assert sorted(map(key, shown)) == sorted(map(key, theirs))
        differences = [row["FAD difference"] for row in found]
        assert differences == [pytest.approx(13.0 - row["FAD paper"]) for row in found]
    write(plan, results, tmp_path)
    markdown = (tmp_path / "table2.md").read_text()
    for row in tables()["table_2"]["rows"]:
        assert all(f"| {row[metric]:.2f} |" in markdown for metric in PAPER_METRICS)
    for suffix in ("json", "csv", "md", "tex"):
        assert (tmp_path / f"table1.{suffix}").stat().st_size > 500
    assert json.loads((tmp_path / "table1.json").read_text())["unknown_in_the_paper"]


def test_cells_have_other_folders_for_other_settings(roots: dict[str, str]) -> None:
    base = make_plan(["table1"], settings(roots))
    assert len(base.cells) == len({cell.name for cell in base.cells}) == 8
    for changes in (
        {"steps": 3},
        {"seed": 1},
        {"template": "sentence"},
        {"limit": 5},
        {"protocol": "audioldm"},
        {"dtype": "bfloat16"},
    ):
        other = make_plan(["table1"], settings(roots, **changes))
        assert not {cell.name for cell in base.cells} & {cell.name for cell in other.cells}
    # What changes no number changes no folder.
    trains = {"precision": "bf16", "validation": 0.3, "gradient_checkpointing": True}
    same = make_plan(["table1"], settings(roots, batch_size=1, **trains))
    assert [cell.name for cell in same.cells] == [cell.name for cell in base.cells]
    # Figure 2 shows cells of Table II, which run once.
    both = make_plan(["table2", "figure2"], settings({"esc50": roots["esc50"]}))
    assert len(both.cells) == 4
    assert {cell.artefacts for cell in both.cells} == {("table2", "figure2")}


def test_what_a_dry_run_says(roots: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = ["--root", f"esc50={roots['esc50']}", "--split", "esc50=paper:12"]
    assert main(["bench", "table1", *root, "--dry-run", "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "generate-esc50-audioldm-text" in shown.out
    # 12 clips × (2 × 200 × 51.7 G + 0.85 T) multiply-adds of a clip of 10.24 s, and theirs have 5 s; twice.
    assert re.search(r"12 clips, 200 steps, 0\.13 P multiply-adds", shown.out)
    assert "together 0.3 P multiply-adds" in shown.out
    assert "no root for audiocaps, audioset, urbansound8k; left out" in shown.err
    assert not (tmp_path / "out").exists()
    plan = make_plan(["table1"], BenchSettings({"esc50": roots["esc50"]}, splits={"esc50": "paper:12"}))
    one = 400 * 51.7e9 + 0.85e12
    assert multiply_adds(plan.cells[0], plan) == pytest.approx(12 * one * 5 / 10.24)
    longer = replace(plan, settings=replace(plan.settings, seconds=5.12))
    assert multiply_adds(plan.cells[0], longer) == pytest.approx(12 * one / 2)


def test_trainings_are_as_long_as_the_papers_unless_said_otherwise(
    roots: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each dataset all four go on to the paper's highest best step; its best ones are multiples of 10 000."""
    assert {name: schedule(name)["steps"] for name in PAPER_DATASETS["table2"]} == {
        "esc50": 240_000,
        "urbansound8k": 350_000,
        "audiocaps": 480_000,
    }
    assert schedule("audioset") == {}
    root = {name: roots[name] for name in ("esc50", "urbansound8k")}
    base = BenchSettings(root, splits={"esc50": "paper:12", "urbansound8k": "paper:10"}, seconds=10.24)
    plan = make_plan(["table2"], base)
    for cell in plan.cells:
        config = training_config(base, cell.dataset)
        assert config.steps % config.eval_every == 0
        assert papers_best_step(cell) in range(config.eval_every, config.steps + 1, config.eval_every)
        assert cell.settings["training"]["steps"] == config.steps == schedule(cell.dataset)["steps"]
    assert training_config(base, "mine").steps == training_config(base).steps == 20_000
    chosen = replace(base, training={"eval_every": 50_000})
    assert evaluations(training_config(chosen, "esc50")) == 6  # before, at 50, 100, 150 and 200 k, at the end
    step, one = 51.7e9, 400 * 51.7e9 + 0.85e12
    assert multiply_adds(plan.cells[0], plan) == pytest.approx(6 * step * 240_000 + 25 * 12 * one)
    held = replace(plan, settings=replace(base, validation=0.5))
    trained = len(plan.training("esc50"))
    assert multiply_adds(plan.cells[0], held) == pytest.approx(
        6 * step * 240_000 + (25 * round(0.5 * trained) + 12) * one
    )
    arguments = [f"--root={name}={folder}" for name, folder in root.items()]
    arguments += [f"--split={name}={rule}" for name, rule in base.splits.items()]
    assert main(["bench", "table2", *arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "scratch-audio  12 clips, 240000 steps, 25 evaluations, " in shown
    assert "pretrained-text  10 clips, 350000 steps, 36 evaluations, " in shown
    assert main(["bench", "table2", *arguments, "--dry-run", "--train", "steps=20000"]) == 0
    shown = capsys.readouterr().out
    assert "12 clips, 20000 steps (before the paper's best step, 240000), 21 evaluations, " in shown
    assert "urbansound8k-audioldm-pretrained-audio  10 clips, 20000 steps, 21 evaluations, " in shown


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["table1"], 2, "has no dataset. Give one of --root esc50=FOLDER"),
        (["table1", "--root", "esc51=x"], 2, "unknown dataset 'esc51'"),
        (["table1", "--root", "esc50=/none"], 3, "is not a folder"),
        (["table1", "--root", "esc50"], 2, "is not NAME=VALUE"),
        (["table1", "--root", "ROOT", "--system", "audioldm=x"], 2, "is the name of our own system"),
        (["table1", "--root", "ROOT", "--system", "mine=/none"], 3, "is not a folder"),
        (["table2", "--root", "ROOT", "--train", "stepz=3"], 2, "unknown setting 'stepz'"),
        (["table2", "--root", "ROOT", "--train", "steps=many"], 2, "steps=many is not of type int"),
        (["table2", "--root", "ROOT", "--train", "steps=0"], 2, "steps: 0 is out of range. Use a whole number"),
        (["table2", "--root", "ROOT", "--train", "precision=bf16"], 2, "Use --precision"),
        (["table2", "--root", "ROOT", "--train", "gradient_checkpointing=true"], 2, "Use --gradient-checkpointing"),
        (["table2", "--root", "ROOT", "--train", "validation=0.2"], 2, "Use --validation"),
        (["table2", "--root", "ROOT", "--train", "eval_batch_size=2"], 2, "Use --batch-size"),
        (["table2", "--root", "ROOT", "--train", "strict=2"], 2, "=2 is not of type bool"),
        (["table2", "--root", "ROOT", "--train", "tracker=none,wandb"], 2, "names trackers beside none"),
        (["table2", "--root", "ROOT", "--train", "output=x"], 2, "The benchmark gives each cell its own"),
        (["table1", "--root", "ROOT", "--train", "data=/elsewhere"], 2, "data is not a setting of the training alone"),
        (["table2", "--root", "ROOT", "--train", "sampling_steps=9"], 2, "Use --steps"),
        (["table2", "--root", "ROOT", "--train", "eval_clips=9"], 2, "Use --limit"),
        (["table2", "--root", "ROOT", "--train", "split=paper:9"], 2, "Use --split"),
        (["table1", "--root", "ROOT", "--limit", "1"], 2, "1 clips have no distribution"),
    ],
)
def test_what_is_wrong_is_said(
    roots: dict[str, str], capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    arguments = [argument.replace("ROOT", f"esc50={roots['esc50']}") for argument in arguments]
    assert main(["bench", *arguments, "--split", "esc50=paper:12", "--dry-run"]) == code
    assert message in capsys.readouterr().err


def test_missing_evaluation_audio_is_named(roots: dict[str, str], tmp_path: Path) -> None:
    import shutil

    root = Path(shutil.copytree(roots["esc50"], tmp_path / "copy"))
    plan = make_plan(["table1"], settings({"esc50": str(root)}))
    gone = plan.evaluation("esc50")[0]
    assert gone.path is not None
    gone.path.unlink()
    with pytest.raises(DataError, match=f"1 of 12 evaluation clips is missing: {gone.clip_id}"):
        make_plan(["table1"], settings({"esc50": str(root)}))
    with pytest.raises(DataError, match="has no training clips"):
        make_plan(["table2"], settings({"audiocaps": str(miniatures.audiocaps(tmp_path / "caps"))}))


@pytest.mark.slow
def test_other_systems_get_rows(roots: dict[str, str], tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "esc50"
    base = settings({"esc50": roots["esc50"]})
    for index, clip in enumerate(make_plan(["table1"], base).evaluation("esc50")):
        miniatures.write(mine / f"{clip.clip_id}.wav", miniatures.recording(index + 5, 1.0, 16_000), 16_000)
    hum = FunctionGenerator(
        lambda request: 0.1 * np.sin(np.arange(16_000) * (request.stream() % 97) / 100), 16_000, {"system": "hum"}
    )
    systems: dict[str, Any] = {"mine": str(tmp_path / "mine"), "hum": hum}
    plan = make_plan(["table1"], base, describe_systems(systems))
    chosen = Plan(plan.settings, plan.artefacts, plan.cells[2:], plan.splits, plan.warnings)
    results = Benchmark(chosen, tmp_path / "out", systems=systems).run()
    found = rows("table1", chosen, results)
    assert [row["system"] for row in found] == ["mine", "hum"]
    assert all(row["FD"] > 0 and "FD paper" not in row and row["n"] == 12 for row in found)
    (tmp_path / "mine" / "esc50").rename(tmp_path / "mine" / "other")
    with pytest.raises(DataError, match="the system mine has no clips of esc50"):
        Benchmark(make_plan(["table1"], base, describe_systems(systems)), tmp_path / "new", systems=systems)._run(
            make_plan(["table1"], base, describe_systems(systems)).cells[2]
        )


def launch(roots: dict[str, str], out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "audiogen_metrics", "bench", "all", "-o", str(out), "--device", "cpu"]
    command += ["--root", f"esc50={roots['esc50']}", "--split", "esc50=paper:12", "--model", "tiny-random"]
    command += ["--protocol", "yamnet", "--steps", "2", "--seconds", "1", "--repeats", "2", "--fractions", "0:1:0.5"]
    command += [f"--train={name}={value}" for name, value in TRAINING.items()]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@pytest.mark.slow
def test_killed_at_random_and_resumed_the_tables_are_identical(
    roots: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "cache"))
    straight = launch(roots, tmp_path / "straight")
    output = straight.communicate(timeout=400)[0]
    assert straight.returncode == 0, output
    rng = np.random.default_rng(0)
    out = tmp_path / "out"
    for _ in range(3):
        process = launch(roots, out)
        time.sleep(float(rng.uniform(5, 12)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resumed = launch(roots, out)
    output = resumed.communicate(timeout=400)[0]
    assert resumed.returncode == 0, output
    for name in ("table1.json", "table1.csv", "table2.json", "table2.tex", *FIGURES):
        assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name
    page = (out / "index.html").read_text()
    assert page == (tmp_path / "straight" / "index.html").read_text()
    assert not re.search(r"""(?:src|href)=["']?http""", page)
    # Nothing is done again, and a result that was tampered with is not believed.
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").glob(f"*/{RESULT}")}
    tampered = sorted(before)[0]
    tampered.write_text(tampered.read_text().replace('"value": ', '"value": 1'))
    again = launch(roots, out)
    output = again.communicate(timeout=400)[0]
    assert again.returncode == 0, output
    changed = [path for path, stamp in before.items() if path.stat().st_mtime_ns != stamp]
    assert changed == [tampered]
    assert (out / "table1.json").read_bytes() == (tmp_path / "straight" / "table1.json").read_bytes()


def test_settings_that_are_none(roots: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = ["--root", f"esc50={roots['esc50']}", "--split", "esc50=paper:12", "--model", "tiny-random"]
    for wrong in (["--train", "steps=0"], ["--train", "sampling_steps=1001"]):
        assert main(["bench", "table2", *root, *wrong, "--dry-run", "-o", str(tmp_path / "out")]) == 2
        assert "steps" in capsys.readouterr().err
    for wrong, message in (
        (["--steps", "1001"], "argument --steps: 1001 is out of range; use a whole number, from 1 to 1000"),
        (["--guidance=-1"], "argument --guidance: -1 is out of range; use a number, at least 0"),
        (["--validation", "0.95"], "argument --validation: 0.95 is out of range; use a number, from 0.001 to 0.9"),
    ):
        with pytest.raises(SystemExit):
            main(["bench", "table2", *root, *wrong, "--dry-run", "-o", str(tmp_path / "out")])
        assert message in capsys.readouterr().err
    assert main(["bench", "table2", *root, "--validation", "0.2", "--dry-run", "-o", str(tmp_path / "out")]) == 0
    for option in ("--precision", "--dtype"):
        with pytest.raises(SystemExit):
            main(["bench", "table2", *root, option, "int4"])
        assert f"argument {option}: invalid choice: 'int4'" in capsys.readouterr().err
    with pytest.raises(UsageError, match="unknown dtype 'half'"):
        settings(roots, dtype="half")
    with pytest.raises(UsageError, match="'tf32' is not one of no, fp16, bf16"):
        settings(roots, precision="tf32")
    with pytest.raises(UsageError, match="unknown protocol"):
        settings(roots, protocol="none")
