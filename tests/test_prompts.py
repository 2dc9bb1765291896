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
from audiogen_metrics.evaluation.compare import Systems
from audiogen_metrics.prompts import captions_of, read_entries
from tests.conftest import write_tone
from tests.places import ROOT

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
        ("p.json", '[{"id": "a", "prompt": "half \\ud83d"}]', "is not a prompt"),
        ("p.json", '[{"id": "a", "captions": ["x", 3]}]', "is not a prompt"),
        ("p.json", '[{"id": "a", "captions": []}]', "is not a prompt"),
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("name", "content", "clip", "texts"),
    [
        ("musiccaps.csv", "ytid,start_s,end_s,caption\n-0Gj8,30,40,slow piano\n", "-0Gj8", ("slow piano",)),
        ("audiocaps.csv", "audiocap_id,youtube_id,start_time,caption\n1,7fm,20,rattling\n", "7fm", ("rattling",)),
        ("fsd50k.csv", "fname,caption,split\n64760,guitar,train\n", "64760", ("guitar",)),
        ("tango.jsonl", '{"location": "data/Yabc.wav", "captions": "a dog"}\n', "Yabc", ("a dog",)),
        ("nemo.jsonl", '{"audio_filepath": "/data/x.flac", "duration": 2, "text": "rain"}\n', "x", ("rain",)),
        ("windows.csv", "path,text\nD:\\sounds\\x.wav,rain\n", "x", ("rain",)),
        ("clotho.csv", "file_name,caption_1,caption_2,caption_3\n a.wav,dog,hound,\n", " a", ("dog", "hound")),
        ("m4a.csv", "file_name,caption\na.m4a,dog\n", "a", ("dog",)),
        ("capitals.csv", "File Name, Caption\na.wav,dog\n", "a", ("dog",)),
        ("semicolons.csv", "file;caption\na.wav;a dog, barking\n", "a", ("a dog, barking",)),
        ("tabs.csv", "file\tcaption\na.wav\ta dog, barking\n", "a", ("a dog, barking",)),
        ("late.csv", "\r\n\nfile,caption\na.wav,a dog\n", "a", ("a dog",)),
        ("metadata.csv", "id,file_name,text\n7,a.wav,a dog\n", "a", ("a dog",)),
        ("marked.csv", "\ufefffile_name,caption\na.wav,dog\n", "a", ("dog",)),
        ("numbers.json", '[{"id": 7, "audio": {"bytes": null}, "text": "dog"}]', "7", ("dog",)),
    ],
)
def test_ids_by_the_names_that_people_use(
    tmp_path: Path, name: str, content: str, clip: str, texts: tuple[str, ...]
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    (entry,) = read_entries(tmp_path / name)
    assert (entry.clip_id, entry.captions) == (clip, texts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "recording,caption\na.wav,dog\n"),
        ("a.csv", "clip_id,caption\na,dog\n,rain\n"),
        ("a.jsonl", '{"clip_id": "a", "prompt": "dog"}\n{"prompt": "rain"}\n'),
        ("a.json", '[{"audio": {"path": "a.wav"}, "text": "dog"}]'),
    ],
)
def test_clips_are_not_numbered_where_a_table_has_other_columns(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(DataError, match=r"record \d: does not say which clip .* it has .*(caption|prompt|text)"):
        captions(tmp_path / name, content)


def test_columns_of_prompts_alone_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("Prompt,Seconds\nrain,2\n", encoding="utf-8")
    (entry,) = read_entries(tmp_path / "p.csv")
    assert (entry.clip_id, entry.seconds) == ("0001-rain", "2")


def test_two_columns_that_differ_only_in_case(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several columns caption"):
        captions(tmp_path / "p.csv", "clip_id,caption,Caption\na,x,y\n")


def test_parquet_and_the_table_of_a_folder(tmp_path: Path) -> None:
    parquet, table = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow").table
    content = {"file_name": ["a.wav", "b.wav"], "text": ["a dog\u2028barks", "rain, wind"]}
    parquet.write_table(table(content), tmp_path / "metadata.parquet")
    for source in (tmp_path / "metadata.parquet", tmp_path):
        found = read_entries(source)
        assert [(entry.clip_id, *entry.captions) for entry in found] == [("a", "a dog\u2028barks"), ("b", "rain, wind")]
    (tmp_path / "metadata.csv").write_text("file_name,text\na.wav,x\n")
    with pytest.raises(DataError, match=r"metadata\.csv and metadata\.parquet"):
        read_entries(tmp_path)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_entries(tmp_path / "broken.parquet")
    with pytest.raises(DataError, match="a folder without a table of prompts"):
        read_entries(ROOT / "tests" / "golden")
