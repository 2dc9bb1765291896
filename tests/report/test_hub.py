"""Scores for a model's page on Hugging Face, read back by huggingface_hub itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results

from audiogen_metrics import score
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, MissingDependencyError, UsageError
from audiogen_metrics.report.hub import eval_result_entries, eval_results
from audiogen_metrics.results import InputSummary, Score, ScoreReport

SUMMARY = InputSummary("gen", 4, 4, 0, 20.0, "00")
FD = Score("fd_panns", "fd", "panns", 24.5, False, 4, 4, ci95=(20.0, 30.0), ci95_ref="exact", remarks=("it is: few",))
IS = Score("is_panns", "is", "panns", 2.0, True, 4, None, std=0.5)
GONE = Score("kl_panns", "kl", "panns", None, False, 4, 4, reason="no pairs")
REPORT = ScoreReport(
    {"fd_panns": FD, "kl_panns": GONE, "is_panns": IS},
    "audioldm",
    SUMMARY,
    SUMMARY,
    caveat="of a # test: 'é'",
    versions={"audiogen-metrics": "1.2.3"},
)
DATASET = {"dataset_id": "somebody/sounds"}
CARD = {**DATASET, "model_name": "tiny", "task_type": "text-to-audio"}
YAMNET = ["--protocol", "yamnet", "--device", "cpu", "--no-ci"]


class TestEvalResults:
    def test_read_back_by_its_parser(self, tmp_path: Path) -> None:
        known = {
            **DATASET, "dataset_revision": "5503434ddd753f426f4b38109466949a1217c2bb", "date": "2026-01-31T10:30:00Z",
            "source_url": "https://example.org/run", "source_name": "a run: 3", "source_user": "me",
            "source_org": "we", "verify_token": "abc", "task_id": "audiocaps-{score}", "notes": "with EMA",
        }  # fmt: skip
        path = tmp_path / ".eval_results" / "sounds.yaml"
        text = REPORT.to_eval_results(path, **known)  # type: ignore[arg-type]
        assert path.read_text(encoding="utf-8") == text
        entries = parse_eval_result_entries(yaml.safe_load(text))
        assert entries == eval_result_entries(REPORT, known)
        assert [entry.task_id for entry in entries] == ["audiocaps-fd_panns", "audiocaps-is_panns"]
        assert [entry.value for entry in entries] == [24.5, 2.0]
        for field, value in known.items():
            if field not in ("task_id", "notes"):
                assert {getattr(entry, field) for entry in entries} == {value}
        assert entries[0].notes == (
            "with EMA; Fréchet distance; lower is better; n_gen 4, n_ref 4; 95 % interval 20 to 30 (reference taken as "
            "exact); backbone panns; protocol audioldm (of a # test: 'é'); it is: few; audiogen-metrics 1.2.3"
        )
        assert entries[1].notes is not None
        assert "n_gen 4; standard deviation 0.5; backbone" in entries[1].notes

    def test_one_task_has_one_value(self) -> None:
        assert yaml.safe_load(REPORT.to_eval_results(**DATASET))[0]["dataset"]["task_id"] == "fd_panns"  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"task_id: 2 scores cannot all be the value of the task 'all'\. Write"):
            REPORT.to_eval_results(**DATASET, task_id="all")  # type: ignore[arg-type]
        single = replace(REPORT, scores={"fd_panns": FD, "kl_panns": GONE})
        assert yaml.safe_load(single.to_eval_results(**DATASET, task_id="all"))[0]["dataset"]["task_id"] == "all"  # type: ignore[arg-type]


class TestModelIndex:
    def test_read_back_by_its_parser(self, tmp_path: Path) -> None:
        known = {
            **CARD, "dataset_name": "Sounds: all", "task_name": "Sounds", "dataset_config": "full",
            "dataset_split": "test", "dataset_revision": "5503434", "source_url": "https://example.org/run",
            "source_name": "a run",
        }  # fmt: skip
        text = REPORT.to_model_index(tmp_path / "card.yaml", **known)  # type: ignore[arg-type]
        content = yaml.safe_load((tmp_path / "card.yaml").read_text(encoding="utf-8"))
        name, results = model_index_to_eval_results(content["model-index"])
        assert name == "tiny"
        assert results == eval_results(REPORT, known)
        assert ModelCardData(**content).eval_results == results
        assert [(result.metric_type, result.metric_name, result.metric_value) for result in results] == [
            ("fd_panns", "Fréchet distance", 24.5),
            ("is_panns", "Inception score", 2.0),
        ]
        assert results[0].metric_args == {
            "protocol": "audioldm", "backbone": "panns", "n_gen": 4, "n_ref": 4, "higher_is_better": False,
            "ci95": [20.0, 30.0], "ci95_ref": "exact", "caveat": "of a # test: 'é'", "remarks": ["it is: few"],
            "audiogen_metrics": "1.2.3",
        }  # fmt: skip
        assert text.startswith("model-index:\n")

    def test_into_a_card(self, tmp_path: Path) -> None:
        """The head of a README takes the text as it is."""
        text = REPORT.to_model_index(**CARD)  # type: ignore[arg-type]
        (tmp_path / "README.md").write_text(f"---\nlicense: mit\n{text}---\n\n# tiny\n", encoding="utf-8")
        card = ModelCard.load(tmp_path / "README.md")
        assert card.data.model_name == "tiny"
        assert card.data.eval_results == eval_results(REPORT, CARD)
        assert card.data.eval_results[0].dataset_name == "sounds"


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({}, 'eval-results: the scores do not tell dataset_id. Add dataset_id="OWNER/NAME"'),
        ({"datset_id": "a/b"}, "unknown field 'datset_id'. Did you mean 'dataset_id'"),
        ({"dataset_id": ""}, "dataset_id: '' is not a text"),
        ({"dataset_id": None}, "dataset_id: None is not a text"),
        ({"dataset_id": "a/b/c"}, "dataset_id: Repo id must be in the form"),
        ({"dataset_id": "a b"}, "dataset_id: Repo id must use alphanumeric"),
        ({**DATASET, "date": "tomorrow"}, "date: 'tomorrow' is not a date of ISO 8601"),
        ({**DATASET, "source_name": "x"}, "a source needs its URL"),
    ],
    ids=str,
)
def test_mistakes(known: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        REPORT.to_eval_results(**known)


def test_model_index_says_all_that_is_missing() -> None:
    with pytest.raises(UsageError, match="model-index: the scores do not tell dataset_id, model_name, task_type"):
        REPORT.to_model_index()  # type: ignore[call-arg]


def test_nothing_has_a_value() -> None:
    with pytest.raises(DataError, match="no score has a value \\(kl_panns: no pairs\\)"):
        replace(REPORT, scores={"kl_panns": GONE}).to_eval_results(**DATASET)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("package", "message"), [(None, "cannot be imported"), (ModuleType("huggingface_hub"), "is too old")]
)
def test_without_the_package(
    package: ModuleType | None, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    with pytest.raises(MissingDependencyError, match=rf"huggingface_hub {message}.*'audiogen-metrics\[hub\]'"):
        REPORT.to_eval_results(**DATASET)  # type: ignore[arg-type]
    command = ["score", "nowhere", "neither", *YAMNET, "--format", "eval-results", "--hub", "dataset_id=a/b"]
    assert main(command) == 4
    assert f"huggingface_hub {message}" in capsys.readouterr().err


class TestCommandLine:
    def test_eval_results(self, small: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        gen, ref = map(str, small)
        target = tmp_path / "sounds.yaml"
        hub = ["--hub", "dataset_id=somebody/sounds", "--hub", "notes=a=b"]
        assert main(["score", gen, ref, *YAMNET, *hub, "-o", str(target)]) == 0
        assert capsys.readouterr().out == ""
        entries = parse_eval_result_entries(yaml.safe_load(target.read_text(encoding="utf-8")))
        report = score(gen, ref, protocol="yamnet", device="cpu", ci=False)
        assert {entry.task_id: entry.value for entry in entries} == {
            each.id: each.value for each in report.scores.values()
        }
        assert all((entry.notes or "").startswith("a=b; ") for entry in entries)

    def test_model_index_and_what_has_no_value(
        self, small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        gen, ref = map(str, small)
        hub = [part for name, value in CARD.items() for part in ("--hub", f"{name}={value}")]
        assert main(["score", gen, ref, *YAMNET, "--limit", "4", *hub, "--format", "model-index"]) == 0
        printed = capsys.readouterr()
        card = ModelCardData(**yaml.safe_load(printed.out))
        assert card.eval_results is not None
        assert [result.metric_type for result in card.eval_results] == ["fd_yamnet", "fad_yamnet", "kl_yamnet"]
        assert "is_yamnet has no value and is left out: inception score over 10 splits" in printed.err
        assert "warning: fd_yamnet: 4 clips for 1024 dimensions" in printed.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--format", "eval-results"], "the scores do not tell dataset_id. Add --hub dataset_id=OWNER/NAME"),
            (["-o", "x.yaml"], "the scores do not tell dataset_id. Add --hub dataset_id=OWNER/NAME"),
            (["--format", "model-index"], "Add --hub dataset_id=OWNER/NAME --hub model_name=NAME --hub task_type="),
            (["--hub", "dataset_id=a/b"], "--hub: the format table has no place for it. Write --format eval-results"),
            (["--hub", "dataset_id", "--format", "eval-results"], "--hub: 'dataset_id' is not NAME=VALUE"),
            (["--hub", "notes=a", "--hub", "notes=b", "--format", "eval-results"], "--hub: notes is set twice"),
            (["--ref", "c", "--hub", "dataset_id=a/b", "--format", "eval-results"], "holds one system"),
        ],
        ids=" ".join,
    )
    def test_mistakes_show_before_anything_is_scored(
        self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["score", "nowhere", "neither", *YAMNET, *arguments]) == 2
        printed = capsys.readouterr()
        assert message in printed.err
        assert printed.out == ""
