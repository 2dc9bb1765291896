"""The tables of a benchmark: one set of columns for all rows, what is done is written, remarks where they belong."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiogen_metrics.audioldm.evaluating import EvaluationSet
from audiogen_metrics.benchmark.checking import check_clips
from audiogen_metrics.benchmark.latex import chosen_columns
from audiogen_metrics.benchmark.output import write
from audiogen_metrics.benchmark.plans import Plan, make_plan
from audiogen_metrics.benchmark.records import remarks_of, rows
from audiogen_metrics.benchmark.running import RESULT, Benchmark, Result
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, UsageError
from tests.benchmark.test_benchmark import CLASSES, TRAINING, settings
from tests.datasets import miniatures
from tests.report.test_html import outline


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = tmp_path_factory.mktemp("sets")
    return {
        "esc50": str(miniatures.esc50(base / "ESC-50", CLASSES, per_class=2)),
        "urbansound8k": str(miniatures.urbansound8k(base / "US8K")),
    }


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """Let a test train in a precision of its own: accelerate allows one for each process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def command(roots: dict[str, str], artefact: str, out: Path, *more: str) -> list[str]:
    arguments = ["bench", artefact, "-o", str(out), "--device", "cpu", "--model", "tiny-random"]
    arguments += ["--protocol", "yamnet", "--steps", "1", "--seconds", "0.7"]
    for name, root in roots.items():
        arguments += ["--root", f"{name}={root}", "--split", f"{name}=paper:10"]
    return [*arguments, *more]


def uneven(plan: Plan) -> list[Result]:
    """Return results that have other parts: the first lacks KL, only the last has an interval, none has a spread."""
    cells = plan.cells
    whole = {f"{metric}_panns": {"value": 10.0 + place, "n_gen": 12} for place, metric in enumerate(("fd", "is", "kl"))}
    whole["fad_vggish"] = {"value": 13.0, "n_gen": 12}
    first = {name: score for name, score in whole.items() if name != "kl_panns"}
    last = whole | {"kl_panns": {"value": 12.0, "n_gen": 12, "ci95": (11.0, 13.0)}}
    every = [first, *[whole] * (len(cells) - 2), last]
    return [Result(cell, scores, None, {}, ()) for cell, scores in zip(cells, every, strict=True)]


def table_of(path: Path) -> list[list[str]]:
    """Return the header and rows of a table in any of the formats, rules left out."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        lines = [line for line in text.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if path.suffix == ".csv":
        return list(csv.reader(text.splitlines()))
    if path.suffix == ".json":
        records = json.loads(text)["rows"]
        return [list(records[0]), *[[str(value) for value in record.values()] for record in records]]
    found = re.findall(r"<tr>(.*?)</tr>", text)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in found]


def test_all_rows_have_all_columns_in_every_format(roots: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(["table1"], settings(roots, protocol="audioldm"))
    results = uneven(plan)
    write(plan, results, tmp_path)
    for name in ("table1.md", "table1.csv", "table1.json", "index.html"):
        header, *body = table_of(tmp_path / name)
        assert len(body) == len(plan.cells)
        assert {len(row) for row in body} == {len(header)}, name
        place = header.index("KL")
        assert body[0][place] in {"–", "--", "", "None"}, name
        assert float(body[1][place]) == 12, name
        kl = next(place for place, column in enumerate(header) if column.startswith("KL 95"))
        assert [row[kl] for row in body][-1] == "11 to 13"
        assert "IS ±" not in header
        assert "FD 95 %" not in header
    page = outline(tmp_path / "index.html")
    assert len(page.all("caption")) == len(page.all("table")) == 1
    assert {str(each["href"])[1:] for each in page.all("a")} <= {each.get("id") for _, each in page.elements}
    assert (
        table_of(tmp_path / "table1.md")[1].count("–") == 5
    )  # KL, its interval, its difference; FD as published, and its difference


def test_the_page_begins_with_what_the_numbers_support(roots: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(["table1"], settings(roots, protocol="audioldm"))

    def said(plan: Plan, results: list[Result]) -> str:
        write(plan, results, tmp_path)
        (found,) = re.findall('<p class="verdict">(.*?)</p>', (tmp_path / "index.html").read_text(encoding="utf-8"))
        return html.unescape(found)

    def scored(ci95: tuple[float, float] | None) -> list[Result]:
        """Return results with an FAD of 6 and this interval."""
        score = {"value": 6.0, "n_gen": 12, "ci95": ci95}
        return [Result(cell, {"fad_vggish": score}, None, {}, ()) for cell in plan.cells]

    published = [row["FAD paper"] for row in rows("table1", plan, scored(None))]
    assert len(published) == 4
    assert published.count(5.95) == 1
    assert said(plan, scored((5.9, 6.0))).startswith(
        "The published number lies within our 95 % interval for 1 of the 4 scores that have both."
    )
    assert said(plan, scored((0.0, 99.0))).startswith(
        "The published number lies within our 95 % interval for 4 of the 4"
    )
    assert said(plan, scored(None)).startswith("4 scores stand beside published ones, without intervals")
    assert said(plan, []) == "No cell is done."
    for change, why in (
        ({"protocol": "yamnet"}, "the protocol is yamnet"),
        ({"limit": 2}, "it took a part of the clips"),
    ):
        other = make_plan(["table1"], settings(roots, **{"protocol": "audioldm", **change}))
        assert said(other, scored((0.0, 99.0))).startswith(f"Nothing here can be compared with the paper: {why}")
    random = [
        replace(result, cell=replace(result.cell, settings={"model": {"random_weights": True}}))
        for result in scored((0.0, 99.0))
    ]
    assert "its weights are random" in said(plan, random)


def test_columns_do_not_depend_on_the_order_of_rows(roots: dict[str, str]) -> None:
    plan = make_plan(["table1"], settings(roots, protocol="audioldm"))
    results = uneven(plan)
    forward, backward = rows("table1", plan, results), rows("table1", plan, results[::-1])
    assert forward == backward[::-1]
    assert [list(row) for row in forward] == [list(forward[0])] * len(results)
    assert rows("table1", plan, []) == []


def test_a_protocol_without_one_of_the_papers_scores_has_a_table(roots: dict[str, str]) -> None:
    plan = make_plan(["table1"], settings(roots, protocol="google-fad"))
    found = rows("table1", plan, [Result(plan.cells[0], {"fad_vggish": {"value": 2.0, "n_gen": 10}}, None, {}, ())])
    assert (found[0]["FAD"], found[0]["FD"], found[0]["n"]) == (2.0, None, 10)


@pytest.mark.slow
def test_what_is_done_is_written_where_a_later_cell_fails(
    roots: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    only = {"esc50": roots["esc50"]}
    (tmp_path / "mine" / "esc50").mkdir(parents=True)
    (tmp_path / "mine" / "esc50" / "broken.wav").write_bytes(b"RIFF")
    broken = command(only, "table1", out, "--system", f"mine={tmp_path / 'mine'}")
    assert main(broken) == 3
    shown = capsys.readouterr()
    assert "broken" in shown.err
    assert str(out / "table1.md") in shown.out.splitlines()
    header, *body = table_of(out / "table1.md")
    assert [row[header.index("condition")] for row in body] == ["text", "audio"]
    remark = "1 of 3 cells are not done, and missing here: folder-esc50-mine"
    assert json.loads((out / "table1.json").read_text())["remarks"][2] == remark
    assert remark in (out / "index.html").read_text()
    # Mended, the rest is done, and the remark is gone.
    (tmp_path / "mine" / "esc50" / "broken.wav").unlink()
    sets = Path(roots["esc50"], "audio")
    for file in sorted(sets.iterdir())[:10]:
        (tmp_path / "mine" / "esc50" / file.name).write_bytes(file.read_bytes())
    done = {path: path.stat().st_mtime_ns for path in out.glob(f"cells/*/{RESULT}")}
    assert main(broken) == 0
    assert len(table_of(out / "table1.md")) == 4
    assert "not done" not in (out / "table1.md").read_text()
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_remarks_stand_where_they_belong(roots: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(["table1", "table2"], settings(roots, protocol="audioldm"), {"mine": "folder", "other": "folder"})
    assert not any("share their source recording" in text for text in plan.warnings["table1"])
    assert any("share their source recording" in text for text in plan.warnings["table2"])
    results = [Result(cell, {}, None, {}, (f"said of {cell.title}", "said of all")) for cell in plan.cells]
    write(plan, results, tmp_path)
    told = {name: json.loads((tmp_path / f"{name}.json").read_text())["remarks"] for name in ("table1", "table2")}
    assert "ESC-50 mine: said of folder-esc50-mine" in told["table1"]
    assert "UrbanSound8K other: said of folder-urbansound8k-other" in told["table1"]
    assert "ESC-50 scratch audio: said of finetune-esc50-audioldm-scratch-audio" in told["table2"]
    assert not any("finetune" in text or "share their" in text for text in told["table1"])
    assert not any("said of folder" in text for text in told["table2"])
    everywhere = [text for text in told["table1"] if text.endswith("said of all")]
    assert everywhere == [
        "ESC-50 text, ESC-50 audio, ESC-50 mine, ESC-50 other, UrbanSound8K text, UrbanSound8K audio, "
        "UrbanSound8K mine, UrbanSound8K other: said of all"
    ]
    page = (tmp_path / "index.html").read_text()
    first, second = page.split(">Table I: ")[-1].split(">Table II: ")[0], page.split(">Table II: ")[-1]
    assert "share their source" not in first
    assert "share their source" in second
    assert "folder-esc50-mine" in first
    assert "folder-esc50-mine" not in second


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_accelerate")
def test_table_2_has_spreads_and_warnings_and_what_made_it(
    roots: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = [f"--train={name}={value}" for name, value in (TRAINING | {"steps": 2}).items()]
    more = ["--candidates", "2", "--precision", "bf16", "--gradient-checkpointing", "--batch-size", "3"]
    only = command({"esc50": roots["esc50"]}, "table2", tmp_path / "out", *more, *train)
    assert main(only) == 0, capsys.readouterr().err
    content = json.loads((tmp_path / "out" / "table2.json").read_text())
    assert all(row["IS ±"] >= 0 and row["n"] == 10 for row in content["rows"])
    optimistic = next(text for text in content["remarks"] if "chosen on the evaluation clips" in text)
    places = ("scratch audio", "scratch text", "pre-trained audio", "pre-trained text")
    assert optimistic.startswith(", ".join(f"ESC-50 {place}" for place in places))
    assert any("is_yamnet: " in text for text in content["remarks"])
    assert content["remarks"][0].startswith("the model has random weights")
    for cell in content["cells"]:
        assert cell["settings"]["training"]["precision"] == "bf16"
        assert cell["settings"]["training"]["learning_rate"] == 1e-4
        assert cell["settings"]["model"]["weights_sha256"]["unet/diffusion_pytorch_model.safetensors"]
        assert cell["settings"]["clap"]["model.safetensors"]
        assert cell["settings"]["scoring"]["yamnet"]["weights_sha256"]
        assert cell["versions"].keys() >= {"audiogen-metrics", "torch", "numpy"}
        run = tmp_path / "out" / "cells" / cell["name"] / "run"
        config = json.loads((run / "result.json").read_text())["config"]
        chosen = {name: config[name] for name in ("precision", "gradient_checkpointing", "eval_batch_size")}
        assert chosen == {"precision": "bf16", "gradient_checkpointing": True, "eval_batch_size": 3}
        for line in (run / "evaluation/samples/0000002/manifest.jsonl").read_text().splitlines():
            entry = json.loads(line)
            assert (entry["settings"]["candidates"], entry["settings"]["dtype"]) == (2, "float32")
            assert len(entry["notes"]["clap_similarity"]) == 2


@pytest.mark.slow
def test_scores_of_a_choice_on_training_clips_are_those_of_the_evaluation(
    roots: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = [f"--train={name}={value}" for name, value in (TRAINING | {"steps": 2}).items()]
    only = command({"esc50": roots["esc50"]}, "table2", tmp_path / "out", "--validation", "0.3", *train)
    assert main(only) == 0, capsys.readouterr().err
    content = json.loads((tmp_path / "out" / "table2.json").read_text())
    (chosen,) = (text for text in content["remarks"] if "chosen on" in text)
    assert chosen.startswith("ESC-50 scratch audio, ESC-50 scratch text, ESC-50 pre-trained audio")
    assert "is chosen on 4 validation clips, taken out of the training clips" in chosen
    assert not any("best" in column for row in content["rows"] for column in row)
    assert any("fd_yamnet: 10 clips" in text for text in content["remarks"])
    for cell, row in zip(content["cells"], content["rows"], strict=True):
        outcome = json.loads((tmp_path / "out/cells" / cell["name"] / "run/result.json").read_text())
        assert row["FD"] == outcome["scores_on_evaluation"]["fd_yamnet"] != outcome["scores"]["fd_yamnet"]
        assert (row["n"], row["IS ±"] is None) == (10, False)


def test_an_evaluation_clip_that_cannot_be_used_is_said_before_any_is_made(
    roots: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(roots["esc50"], tmp_path / "ESC-50"))
    for file in sorted((root / "audio").iterdir()):
        soundfile.write(file, np.full(8000, np.nan, dtype=np.float32), 16_000, subtype="FLOAT")
    assert main(command({"esc50": str(root)}, "table1", tmp_path / "out")) == 3
    assert "10 evaluation clips cannot be used: " in capsys.readouterr().err
    assert not [*(tmp_path / "out").glob("cells/*")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"\(cannot be decoded: it is text .* or remove it\. Then run this again: what is done is kept"),
        (
            np.zeros(800, np.float32),
            r"\(lasts less than 0\.1 s\)\. Repair it, or delete it: a training clip without",
        ),
    ],
)
def test_a_training_clip_that_cannot_be_used_is_said_before_any_cell(
    roots: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, message: str
) -> None:
    root = Path(shutil.copytree(roots["esc50"], tmp_path / "ESC-50"))
    plan = make_plan(["table2"], settings({"esc50": str(root)}, splits={"esc50": "paper:10"}))
    clip = plan.training("esc50")[-1]
    assert clip.path is not None
    clip.path.unlink()
    if content is None:
        clip.path.write_bytes(b"RIFF")
    else:
        soundfile.write(clip.path, content, 16_000)
    assert main(command({"esc50": str(root)}, "table2", tmp_path / "out")) == 3
    said = rf"esc50: 1 training clip cannot be used: {clip.clip_id} {message}"
    assert re.search(said, capsys.readouterr().err)
    assert not [*(tmp_path / "out").glob("cells/*")]
    check_clips(plan, "esc50", trains=False)
    clip.path.unlink()
    left = make_plan(["table2"], plan.settings)
    check_clips(left, "esc50", trains=True)
    assert len(left.training("esc50")) == len(plan.training("esc50")) - 1


def test_clips_that_were_checked_are_not_read_again(roots: dict[str, str], tmp_path: Path) -> None:
    root = Path(shutil.copytree(roots["esc50"], tmp_path / "ESC-50"))
    plans = [make_plan(["table1"], settings({"esc50": str(root)}, seconds=None)) for _ in range(2)]
    expected = plans[0].seconds("esc50")
    check_clips(plans[1], "esc50", trains=False)
    shutil.rmtree(root / "audio")
    assert plans[1].seconds("esc50") == expected


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_accelerate")
def test_evaluations_that_failed_are_said_of_the_row(
    roots: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = EvaluationSet.run

    def failing(self: EvaluationSet, model: Any, step: int, accelerator: Any) -> dict[str, Any]:
        if step:
            raise RuntimeError("no luck")
        return whole(self, model, step, accelerator)

    monkeypatch.setattr(EvaluationSet, "run", failing)
    train = ["--train", "steps=1", "--train", "eval_every=1"]
    assert main(command({"esc50": roots["esc50"]}, "table2", tmp_path / "out", *train)) == 0
    remarks = json.loads((tmp_path / "out" / "table2.json").read_text())["remarks"]
    assert sum("evaluations have failed, at step 1 (RuntimeError: no luck)" in text for text in remarks) == 4


@pytest.mark.slow
def test_evaluations_that_failed_leave_a_gap_in_the_figure(roots: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(["figure2"], settings({"esc50": roots["esc50"]}))
    history: list[dict[str, Any]] = [
        {"step": 2, "error": "no room on the disk"},
        {"step": 4, "scores": {"fd_yamnet": 3.0, "kl_yamnet": None}},
        {"step": 6, "scores": {"fd_yamnet": 2.0, "is_yamnet": 1.5}},
    ]
    results = [Result(cell, {}, 6, {"history": history[place % 3 :]}, ()) for place, cell in enumerate(plan.cells)]
    write(plan, results, tmp_path)
    figure = (tmp_path / "figure2.svg").read_text()
    for text in ("FD ↓", "IS ↑", "training steps (thousands)", "scratch, audio", "pre-trained, text"):
        assert text in figure
    assert "KL ↓" not in figure  # no evaluation has it
    caption = (tmp_path / "figure2.tex").read_text()
    assert "ESC-50" in caption
    assert "12 evaluation clips" in caption
    page = outline(tmp_path / "index.html")
    assert [str(each["src"]).partition(";")[0] for each in page.all("img")] == ["data:image/svg+xml"]
    assert not any("style" in each for _, each in page.elements), "the page's policy refuses them"


def latex_rows(path: Path) -> list[list[str]]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("\\\\")]
    return [[cell.strip() for cell in line.removesuffix("\\\\").split("&")] for line in lines]


def test_latex_has_the_papers_columns_and_its_numbers_below_ours(roots: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(["table1", "table2"], settings(roots, protocol="audioldm"))
    write(plan, uneven(plan), tmp_path)
    header, ours, theirs, *_ = latex_rows(tmp_path / "table1.tex")
    metrics = ["FD $\\downarrow$", "IS $\\uparrow$", "KL $\\downarrow$", "FAD $\\downarrow$"]
    assert header == ["dataset", "condition", *metrics]
    assert ours == ["ESC-50", "text", "10.00", "11.00", "--", "13.00"]
    assert theirs[2:] == [
        "", "{\\footnotesize (5.55)}", "{\\footnotesize (3.01)}", "{\\footnotesize (5.95)}",
    ]  # fmt: skip
    header, ours, theirs, *_ = latex_rows(tmp_path / "table2.tex")
    assert header == ["dataset", "start", "condition", "step (k)", *metrics]
    assert ours[:5] == ["ESC-50", "scratch", "audio", "--", "10.00"]
    assert theirs[3] == "{\\footnotesize (240)}"
    text = (tmp_path / "table1.tex").read_text()
    assert "Clips: ESC-50 12, UrbanSound8K 12." in text
    assert "In parentheses: as published" in text
    assert text.count("\\begin{tabular}") == 1
    assert "% " + json.loads((tmp_path / "table1.json").read_text())["remarks"][0] in text


def test_latex_shows_what_is_chosen(roots: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(["table1", "table2"], settings(roots, protocol="audioldm"))
    write(plan, uneven(plan), tmp_path, chosen_columns("FD,kl,step,ci95,difference"))
    header, *body = latex_rows(tmp_path / "table1.tex")
    assert header == ["dataset", "condition", "FD $\\downarrow$", "KL $\\downarrow$"]
    assert ["", "", "", "{\\footnotesize $+$9.92}"] in body
    header, *body = latex_rows(tmp_path / "table2.tex")
    assert "step (k)" in header
    assert any("[11.00, 13.00]" in row[-1] for row in body)
    with pytest.raises(UsageError, match="Did you mean 'paper'"):
        chosen_columns("fd,papr")
    with pytest.raises(UsageError, match="Add one of fd, is, kl, fad"):
        chosen_columns("step,paper")


def test_wrong_columns_are_said_before_any_cell_runs(
    roots: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(roots, "table1", tmp_path / "out", "--columns", "fd,nonsense")) == 2
    assert "unknown column 'nonsense'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_figure_1_is_one_row_with_the_control(
    roots: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = {"esc50": roots["esc50"]}
    more = ("--repeats", "2", "--fractions", "0:1:0.5", "--columns", "fd")
    assert main(command(only, "figure1", tmp_path / "out", *more)) == 0, capsys.readouterr().err
    made = sorted(path.name for path in (tmp_path / "out").glob("figure1*"))
    assert made == [
        "figure1-esc50-column.pdf", "figure1-esc50.pdf", "figure1-esc50.png", "figure1-esc50.svg", "figure1-esc50.tex",
    ]  # fmt: skip
    figure = (tmp_path / "out" / "figure1-esc50.svg").read_text()
    for text in ("FD ↓", "IS ↑", "KL ↓", "FAD ↓", "noise", "masking", "interference", "reordering", "resynthesis"):
        assert figure.count(f">{text}<") == 1, text
    caption = " ".join((tmp_path / "out" / "figure1-esc50.tex").read_text().replace("\\allowbreak{}", "").split())
    for text in ("ESC-50", "24 clips", "2 repeats", "protocol yamnet", "Resynthesis is the control"):
        assert text in caption
    before = (tmp_path / "out" / "figure1-esc50.pdf").read_bytes()
    shutil.rmtree(next((tmp_path / "out" / "cells").glob("study-*")) / "study")  # the result is all that is needed
    assert main(command(only, "figure1", tmp_path / "out", *more)) == 0
    assert (tmp_path / "out" / "figure1-esc50.pdf").read_bytes() == before


def trained(plan: Plan, last_step: int) -> list[Result]:
    """Return results of trainings: FD is best at the step of the row, FAD at another one, KL has no best."""
    scores = {name: {"value": 10.0, "n_gen": 12} for name in ("fd_panns", "kl_panns", "fad_vggish")}
    best = {"fd_panns": {"value": 10.0, "step": 20_000}, "fad_vggish": {"value": 9.0, "step": 0}}
    details = {"last_step": last_step, "chosen_on": "evaluation", "each_best": best}
    return [Result(cell, scores, 20_000, details, ()) for cell in plan.cells]


def test_each_score_has_its_own_best_beside_that_of_the_row(roots: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(["table2"], settings({"esc50": roots["esc50"]}, protocol="audioldm"))
    results = trained(plan, 20_000)
    row = rows("table2", plan, results)[0]
    assert (row["step (k)"], row["FD"], row["FD best"], row["FD best step (k)"]) == (20, 10, 10, 20)
    assert (row["FAD"], row["FAD best"], row["FAD best step (k)"], row["FAD paper"]) == (10, 9, 0, 4.02)
    assert "KL best" not in row
    names = [*row]
    assert names.index("FAD") < names.index("FAD best") < names.index("FAD paper")
    write(plan, results, tmp_path)
    for name in ("table2.md", "table2.csv", "table2.json", "index.html"):
        header, *body = table_of(tmp_path / name)
        assert float(body[0][header.index("FAD best")]) == 9, name
    write(plan, results, tmp_path, chosen_columns("fad,best"))
    assert "best 9.00 at 0\\,k" in (tmp_path / "table2.tex").read_text()
    contributed = json.loads((tmp_path / "table2.json").read_text())["cells"][0]
    assert contributed["each_best"]["fad_vggish"] == {"value": 9.0, "step": 0}
    assert (contributed["last_step"], contributed["chosen_on"]) == (20_000, "evaluation")


def test_a_training_that_ended_before_the_papers_best_step_is_named(roots: dict[str, str]) -> None:
    plan = make_plan(["table2", "figure2"], settings(roots, protocol="audioldm"))
    (said,) = (text for text in remarks_of("table2", plan, trained(plan, 200_000)) if "the paper's training" in text)
    assert said == (
        "ended before the step at which the paper's training was best: ESC-50 scratch audio at 200 k of 240 k, "
        "UrbanSound8K scratch text at 200 k of 350 k, UrbanSound8K pre-trained text at 200 k of 240 k"
    )
    (said,) = (text for text in remarks_of("figure2", plan, trained(plan, 200_000)) if "the paper's training" in text)
    assert said.endswith("best: ESC-50 scratch audio at 200 k of 240 k")
    assert not any("the paper's training" in text for text in remarks_of("table2", plan, trained(plan, 350_000)))
    assert not any("the paper's training" in text for text in remarks_of("table1", plan, trained(plan, 1)))


@pytest.mark.slow
def test_a_choice_on_training_clips_that_cannot_be_scored_is_no_row(
    roots: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores on validation clips are not shown for those on the evaluation clips."""
    from audiogen_metrics.audioldm.finetuning import _FineTuningRun

    plan = make_plan(["table2"], settings({"esc50": roots["esc50"]}, validation=0.3))

    def failed(_: _FineTuningRun, step: int, failures: list[dict[str, Any]]) -> None:
        failures.append({"step": step, "error": "x"})

    monkeypatch.setattr(_FineTuningRun, "_score_best", failed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        benchmark = Benchmark(plan, tmp_path / "out")
        with pytest.raises(DataError, match="no evaluation of the training has succeeded: x"):
            benchmark.run()
    assert benchmark.done() == []
    assert not capsys.readouterr().out
