"""Requests from the files that people have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.generation.base import Request
from audiogen_metrics.generation.prompts import requests_from_audio, requests_from_file, requests_from_prompts
from tests.places import REFERENCE


def test_text_numbers_its_lines_and_takes_any_characters(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text('A dog barks\n犬が吠える 🐕 "quoted" <b>\nrain\nrain\n' + "word " * 1000 + "\n\n", encoding="utf-8")
    requests = requests_from_file(path, seconds=3, seed=7)
    assert [request.clip_id for request in requests[:4]] == [
        "0001-a-dog-barks",
        "0002-quoted-b",
        "0003-rain",
        "0004-rain",
    ]
    assert requests[1].prompt == '犬が吠える 🐕 "quoted" <b>'
    assert len(requests[4].prompt or "") > 4000
    assert {(request.seconds, request.seed) for request in requests} == {(3, 7)}


def test_an_empty_line_is_no_prompt(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("rain\n\nwind\n")
    with pytest.raises(DataError, match="line 2 is empty"):
        requests_from_file(path)


def test_tables_name_their_clips(tmp_path: Path) -> None:
    table = tmp_path / "prompts.csv"
    table.write_text('file_name,caption,seconds\ndog/1.wav,"a dog, barking",2.5\nrain.flac,,\n')
    first, second = requests_from_file(table)
    assert (first.clip_id, first.prompt, first.seconds) == ("dog/1", "a dog, barking", 2.5)
    assert (second.clip_id, second.prompt, second.seconds) == ("rain", "", 10.0)

    lines = tmp_path / "prompts.jsonl"
    lines.write_text("\n".join(json.dumps({"clip_id": name, "prompt": "rain"}) for name in ("a.b", "c")))
    assert [request.clip_id for request in requests_from_file(lines)] == ["a.b", "c"]

    table.write_text("clip_id,prompt\ncafe\u0301,a machine\n", encoding="utf-8")
    assert requests_from_file(table)[0].clip_id == "caf\u00e9"  # as the recording of this name is called
    table.write_text("clip_id,prompt\ncafe\u0301,a\ncaf\u00e9,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 clip ids occur twice"):
        requests_from_file(table)

    official = tmp_path / "official.json"
    official.write_text(json.dumps({"data": [{"wav": "audio/Y123.wav", "caption": ["first", "second"]}]}))
    (request,) = requests_from_file(official)
    assert (request.clip_id, request.prompt) == ("Y123", "first")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "has no prompts"),
        ("a.csv", "prompt\n", "has no prompts"),
        ("a.csv", "words\nrain\n", "record 1: has no prompt among words"),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt', "cannot be read as jsonl"),
        ("a.json", '{"prompt": "a"}', "not a list of records"),
        ("a.csv", "clip_id,prompt\na,x\nA,y\n", "1 clip ids occur twice"),
        ("a.csv", "prompt,seconds\na,long\n", "seconds 'long' is not a number"),
        ("a.json", '[{"prompt": "a", "seconds": 0}]', "cannot last 0"),
        ("a.csv", "clip_id,prompt\n../up,x\n", "not a path below a folder"),
        ("a.csv", "clip_id,prompt\n/root,x\n", "not a path below a folder"),
        ("a.doc", "x", "not a list of prompts"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises((DataError, UsageError), match=message):
        requests_from_file(path)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        requests_from_file(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="UTF-8"):
        requests_from_file(tmp_path / "latin.txt")


def test_recordings_keep_their_ids() -> None:
    requests = requests_from_audio(REFERENCE, seconds=1)
    assert len(requests) == 40
    assert requests[0].audio is not None
    assert requests[0].clip_id == requests[0].audio.relative_to(REFERENCE).with_suffix("").as_posix()


def test_clips_as_long_as_their_recordings(tmp_path: Path) -> None:
    for name, rate, frames in (("a.wav", 16_000, 12_345), ("b/c.flac", 44_100, 44_100)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.full(frames, 0.1), rate)
    requests = requests_from_audio(tmp_path, seconds="recording")
    assert {request.clip_id: request.seconds for request in requests} == {"a": 12_345 / 16_000, "b/c": 1.0}
    assert [request.seconds for request in requests_from_audio(tmp_path)] == [10.0, 10.0]
    for wrong in ("5", 0):
        with pytest.raises(UsageError):
            requests_from_audio(tmp_path, seconds=wrong)  # type: ignore[arg-type]
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"broken\.wav"):
        requests_from_audio(tmp_path, seconds="recording")


@pytest.mark.parametrize(
    ("written", "clip_id"),
    [("a.m4a", "a"), ("b/A.WEBM", "b/A"), ("c.wave", "c"), ("take.2", "take.2"), ("d.txt", "d.txt"), (".wav", ".wav")],
)
def test_ids_lose_the_suffix_of_any_audio_file(tmp_path: Path, written: str, clip_id: str) -> None:
    (tmp_path / "prompts.csv").write_text(f"clip_id,prompt\n{written},rain\n")
    assert [request.clip_id for request in requests_from_file(tmp_path / "prompts.csv")] == [clip_id]


def test_streams_are_distinct_and_fixed() -> None:
    one, two = requests_from_prompts(["rain", "rain"])
    seeds = {request.stream(candidate) for request in (one, two) for candidate in range(3)}
    assert len(seeds) == 6
    assert Request("x", "rain", seed=1).stream() != Request("x", "rain", seed=2).stream()
    # Pinned: a change would make every published clip another one.
    assert Request("0001-rain", "rain").stream() == 437_180_229_106_402_320


@pytest.mark.parametrize(
    "changes", [{"prompt": None}, {"audio": Path("a.wav")}, {"seconds": 0.0}, {"seed": -1}, {"clip_id": ""}]
)
def test_impossible_requests(changes: dict[str, object]) -> None:
    with pytest.raises((DataError, UsageError)):
        Request(**{"clip_id": "a", "prompt": "rain", **changes})  # type: ignore[arg-type]
