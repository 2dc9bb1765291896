"""Files of prompts that look right and would give a wrong number: each is read as written, or refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from audiogen_metrics import CLAPScore, compare, score
from audiogen_metrics.audioldm.tiny import write_tiny
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, MissingWeightsError, UsageError
from audiogen_metrics.evaluation import Evaluation
from audiogen_metrics.prompts import captions_of, read_entries
from audiogen_metrics.systems import Systems
from tests.conftest import write_tone

pytestmark = pytest.mark.filterwarnings("ignore:.*random weights")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with warnings.catch_warnings(action="ignore"):
        return {"clap": write_tiny(tmp_path_factory.mktemp("tiny") / "tiny") / "clap"}


def captions(path: Path, content: str) -> list[tuple[str, ...]]:
    path.write_text(content, encoding="utf-8")
    return [entry.captions for entry in read_entries(path)]


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_a_line_feed_ends_a_record(tmp_path: Path, end: str) -> None:
    """``str.splitlines`` knows ten ends of a line, and files three."""
    text = f"a dog{end}in the rain"
    assert captions(tmp_path / "p.csv", f"clip_id,prompt\na,{text}\n") == [(text,)]
    assert captions(tmp_path / "p.jsonl", json.dumps({"prompt": text}, ensure_ascii=False)) == [(text,)]
    assert captions(tmp_path / "p.txt", f"{text}\nwind\n") == [(text,), ("wind",)]


def test_a_quoted_prompt_keeps_its_lines(tmp_path: Path) -> None:
    assert captions(tmp_path / "p.csv", 'clip_id,prompt\na,"a dog\nbarks"\n') == [("a dog\nbarks",)]
    (tmp_path / "p.csv").write_bytes(b'clip_id,prompt\r\na,"a dog\r\nbarks"\r\nb,wind\r\n')
    assert [entry.captions for entry in read_entries(tmp_path / "p.csv")] == [("a dog\nbarks",), ("wind",)]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("p.csv", "clip_id,prompt\na,wind\nb,a dog, then rain\n", "record 2 has more fields than the head; .*comma"),
        ("p.tsv", "clip_id\tprompt\na\ta dog\tthen rain\n", "more fields .*tab"),
        ("p.csv", "clip_id,prompt,prompt\na,x,y\n", "several columns prompt"),
        ("p.csv", "id,id,prompt\na,b,y\n", "several columns id"),
        ("p.json", '[{"id": "a", "prompt": "half \\ud83d"}]', "is no prompt"),
        ("p.json", '[{"id": "a", "captions": ["x", 3]}]', "is no prompt"),
        ("p.json", '[{"id": "a", "captions": []}]', "is no prompt"),
    ],
)
def test_what_would_be_cut_off_or_overwritten(tmp_path: Path, name: str, content: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        captions(tmp_path / name, content)


def test_empty_fields_behind_a_record_are_harmless(tmp_path: Path) -> None:
    assert captions(tmp_path / "p.csv", "clip_id,prompt\na,wind,,\n") == [("wind",)]


def test_prompts_that_say_nothing() -> None:
    with pytest.raises(DataError, match="has no prompt that says anything"):
        captions_of({"a": "", "b": " "}, ["a", "b"])


@pytest.mark.parametrize(
    "prompts",
    [{"a": "a dog", "b": "rain"}, {"a dog", "rain"}, "ab", 2, (text for text in ("a dog", "rain"))],
    ids=lambda prompts: type(prompts).__name__,
)
def test_an_object_takes_a_list_of_prompts(prompts: object) -> None:
    """The keys of a dict, or the letters of a text, would have been taken for prompts."""
    metric = CLAPScore("clap")
    with pytest.raises(UsageError, match=f"prompts is a {type(prompts).__name__}"):
        metric._rows([None, None], prompts)  # type: ignore[arg-type]


def test_an_object_names_a_text_that_cannot_be_written() -> None:
    with pytest.raises(DataError, match=r"prompts\[1\]"):
        CLAPScore("clap")._rows([None, None], ["a dog", "half \ud83d"])


def test_a_limit_that_leaves_no_clip_with_a_prompt(tmp_path: Path) -> None:
    for name in "abc":
        write_tone(tmp_path / "gen" / f"{name}.wav")
    with pytest.raises(DataError, match="limit: none of the first 2 clips has a prompt"):
        score(tmp_path / "gen", metrics="clap", protocol="clap", prompts={"c": "a tone"}, limit=2)


@pytest.mark.parametrize("name", ["fd@", "@yamnet"])
def test_half_a_name(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """``fd@``, of an empty variable of a shell, would be FD on the protocol's own network."""
    assert main(["score", str(tmp_path), str(tmp_path), "-m", name]) == 2
    assert f"{name} is half a name" in capsys.readouterr().err


def test_samples_of_one_prompt_leave_together(weights: Mapping[str, Path], tmp_path: Path) -> None:
    """Three samples of each of four prompts are four independent things: a reference may say so, or their texts."""
    prompts = {}
    for name in ("dog", "rain", "wind", "bell"):
        write_tone(tmp_path / "ref" / f"{name}.wav")
        for sample in range(3):
            write_tone(tmp_path / "gen" / f"{name}_{sample}.wav", seconds=1 + sample / 4)
            prompts[f"{name}_{sample}"] = f"the sound of {name}"
    gen, given = tmp_path / "gen", {"metrics": "clap", "protocol": "clap", "weights": weights, "device": "cpu"}
    found = score(gen, prompts=prompts, **given)["clap"]  # type: ignore[arg-type]
    tied = score(gen, tmp_path / "ref", pairs="{ref}_{sample}", prompts=prompts, **given)["clap"]  # type: ignore[arg-type]
    alone = score(gen, prompts={clip: f"{text} {clip}" for clip, text in prompts.items()}, **given)["clap"]  # type: ignore[arg-type]
    assert found.ci95 == tied.ci95
    assert found.ci95 != alone.ci95
    assert found.details["standard_error"] == pytest.approx(by_prompt(gen, prompts, given))


def by_prompt(gen: Path, prompts: Mapping[str, str], given: Mapping[str, object]) -> float:
    """Return the standard error by hand: the jackknife over prompts."""
    seen: list[Evaluation] = []
    score(gen, prompts=prompts, observe=seen.append, **given)  # type: ignore[arg-type]
    cosines = seen[0].measured(seen[0].recipes[0]).measurement.by_clip or {}
    without = [
        np.mean([value for clip, value in cosines.items() if prompts[clip] != text]) for text in {*prompts.values()}
    ]
    return float(np.sqrt((len(without) - 1) * np.var(without)))


def test_systems_are_told_apart_by_prompts(weights: Mapping[str, Path], tmp_path: Path) -> None:
    """A comparison ties them too: its interval is not that of as many independent clips."""
    prompts = {}
    for name in ("dog", "rain", "wind", "bell"):
        for sample in range(3):
            for place, system in enumerate("ab"):
                write_tone(tmp_path / system / f"{name}_{sample}.wav", seconds=1 + place / 2)
            prompts[f"{name}_{sample}"] = f"the sound of {name}"
    given = {"metrics": "clap", "protocol": "clap", "weights": weights, "device": "cpu", "permutations": 0}
    sets = tmp_path / "a", tmp_path / "b"
    alone = {clip: f"the sound of {clip}" for clip in prompts}
    seen: list[Systems] = []
    for texts in (prompts, alone):
        compare(*sets, prompts=texts, observe=seen.append, **given)  # type: ignore[arg-type]
    groups = [len({*found.measured[0][0].ties["gen"].tolist()}) for found in seen]
    assert groups == [4, 12]


def test_all_files_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    """Two gigabytes later, another command must not be asked for."""
    write_tone(tmp_path / "a.wav")
    with pytest.raises(MissingWeightsError, match="agm weights fetch clap-laion-music-speech roberta-base-merges"):
        score(tmp_path, metrics="clap", prompts={"a": "a tone"})


def test_av_benchmarks_table(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("name,caption\ndog.wav,a dog barks\nrain,rain\n")
    assert captions_of(tmp_path / "captions.csv", ["dog", "rain"]).by_clip == {
        "dog": ("a dog barks",),
        "rain": ("rain",),
    }
