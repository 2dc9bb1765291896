"""``agm probe``: every flag, in a process of its own."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.probes import PROBES
from audiogen_metrics.probes.base import Clip
from audiogen_metrics.probes.configuration import configure
from audiogen_metrics.probes.copying import CopyOptions, corrupt_folder
from audiogen_metrics.probes.pool import read_labels

REFERENCE = Path(__file__).parent.parent.parent / "examples" / "reference"
Run = Callable[..., CompletedProcess[str]]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(path: Path) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(path, dtype="float32")
    return samples, rate


@pytest.fixture
def source(small: tuple[Path, Path]) -> Path:
    return small[1]


def test_every_clip_is_what_the_probe_makes_of_it(source: Path, tmp_path: Path) -> None:
    manifest = corrupt_folder(source, tmp_path / "out", CopyOptions("noise", severity=0.4, seed=5))
    assert manifest == json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert len(manifest["clips"]) == 12
    probe = configure("noise")
    for path in source.rglob("*.*"):
        clip_id = path.relative_to(source).with_suffix("").as_posix()
        expected = probe(Clip.from_audio(clip_id, decode(path, path.read_bytes())), 0.4, seed=5)
        samples, rate = read(tmp_path / "out" / f"{clip_id}.wav")
        np.testing.assert_array_equal(samples, expected.waveform)
        assert rate == 22_050
        entry = manifest["clips"][clip_id]
        assert entry["sources"] == [{"clip_id": clip_id, "sha256": sha256(path.read_bytes()).hexdigest()}]
        assert entry["parameters"]["scale"] == 0.4
        assert 0 < entry["measured"]["reanalysis_error"] < 0.3
    assert {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} == {".wav", ".json"}


@pytest.mark.slow
def test_flags(agm: Run, source: Path, tmp_path: Path) -> None:
    rows = [path.relative_to(source).with_suffix("").as_posix() for path in sorted(source.rglob("*.*"))]
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="") as file:
        csv.writer(file).writerows([("label", "clip_id"), *((f"class {i % 3}", row) for i, row in enumerate(rows))])
    flags = [
        "--probe",
        "interference",
        "--severity",
        "0.5",
        "--seed",
        "7",
        "--set",
        "classes=2",
        "--set",
        "mel.hop=200",
    ]
    flags += ["--labels", str(labels)]
    for workers in ("1", "2"):
        done = agm("probe", source, tmp_path / workers, *flags, "--workers", workers)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert "12 of 12 clips" in done.stderr
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    manifest = json.loads((tmp_path / "1" / "manifest.json").read_text())
    assert (manifest["probe"], manifest["severity"], manifest["seed"]) == ("interference", 0.5, 7)
    assert manifest["settings"]["classes"] == 2
    assert manifest["settings"]["mel"]["hop"] == 200
    for index, clip_id in enumerate(rows):
        interferer = manifest["clips"][clip_id]["parameters"]["interferer"]
        assert rows.index(interferer) % 3 != index % 3


def test_severity_zero_is_the_mono_original(agm: Run, source: Path, tmp_path: Path) -> None:
    done = agm("probe", source, tmp_path / "out", "--probe", "masking", "--severity", "0")
    assert done.returncode == 0, done.stderr
    for path in source.rglob("*.*"):
        original = decode(path, path.read_bytes())
        samples, rate = read(tmp_path / "out" / path.relative_to(source).with_suffix(".wav"))
        assert rate == original.sample_rate
        np.testing.assert_array_equal(samples, original.samples.mean(axis=1))


@pytest.mark.slow
def test_reordering_writes_sequences(agm: Run, tmp_path: Path) -> None:
    for severity in ("0", "1"):
        done = agm(
            "probe", REFERENCE, tmp_path / severity, "--probe", "reordering", "--severity", severity, "--events", "5"
        )
        assert done.returncode == 0, done.stderr
    manifests = [json.loads((tmp_path / severity / "manifest.json").read_text()) for severity in "01"]
    assert list(manifests[0]["clips"]) == [f"sequence-{index:05d}" for index in range(8)]
    for clip_id, entry in manifests[1]["clips"].items():
        assert entry["sources"] == manifests[0]["clips"][clip_id]["sources"]
        assert len({source["clip_id"].split("/")[0] for source in entry["sources"]}) == 5
        ordered, moved = (read(tmp_path / severity / f"{clip_id}.wav")[0] for severity in "01")
        pieces = np.split(ordered, entry["events"]["in"][1:])
        np.testing.assert_array_equal(moved, np.concatenate([pieces[i] for i in entry["parameters"]["order"]]))


@pytest.mark.parametrize("probe", ["gain", "mix"])
def test_broken_files_are_named_and_skipped(
    source: Path, tmp_path: Path, probe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "broken.wav").write_bytes(b"RIFF")
    (source / "foreign.m4a").write_bytes(b"\0" * 64)
    assert main(["probe", str(source), str(tmp_path / "out"), "--probe", probe]) == 0
    messages = capsys.readouterr().err
    assert "12 of 14 clips" in messages
    assert "skipped broken.wav: cannot be decoded" in messages
    skipped = json.loads((tmp_path / "out" / "manifest.json").read_text())["skipped"]
    assert [(skip["clip_id"], skip["file"]) for skip in skipped] == [
        ("broken", "broken.wav"),
        ("foreign", "foreign.m4a"),
    ]
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()


@pytest.mark.parametrize("probe", ["noise", "resynthesis", "white-noise"])
def test_a_long_file_costs_no_gigabytes(source: Path, tmp_path: Path, probe: str) -> None:
    """A probe of the waveform takes it; one of the mel-spectrogram, which would take ten, leaves it out by name."""
    with soundfile.SoundFile(source / "long.flac", "w", 8000, 1) as file:
        for minute in range(14):
            file.write(np.full(60 * 8000, minute / 100))
    skipped = corrupt_folder(source, tmp_path / "out", CopyOptions(probe))["skipped"]
    reason = "840 s are too long for a mel-spectrogram: cut it into clips of at most 759 s"
    assert [skip["reason"] for skip in skipped] == [reason] * (probe != "white-noise")


@pytest.mark.parametrize(
    "run_out",
    [lambda: np.empty(2**50, np.uint8), lambda: torch.empty(2**50, dtype=torch.uint8, device="cpu")],
    ids=["numpy", "torch"],
)
def test_a_file_for_which_memory_runs_out_is_left_out_by_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_out: Callable[[], object]
) -> None:
    kind = type(configure("white-noise"))
    corrupt = kind.corrupt

    def greedy(probe: Any, clip: Clip, parameters: Any) -> Clip:
        if clip.clip_id == "long":
            run_out()
        return corrupt(probe, clip, parameters)

    monkeypatch.setattr(kind, "corrupt", greedy)
    soundfile.write(source / "long.wav", np.full(16_000, 0.1), 16_000)
    manifest = corrupt_folder(source, tmp_path / "out", CopyOptions("white-noise"))
    assert len(manifest["clips"]) == 12
    assert [(skip["clip_id"], skip["reason"]) for skip in manifest["skipped"]] == [
        ("long", "does not fit into memory: cut it into clips")
    ]


@pytest.mark.parametrize("probe", ["gain", "mix", "reordering"])
def test_no_usable_file_is_an_error(tmp_path: Path, probe: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="none of 1 audio files"):
        corrupt_folder(tmp_path / "in", tmp_path / "out", CopyOptions(probe))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--probe", "nois"], 2, "Did you mean 'noise'"),
        (["--probe", "noise", "--severity", "2"], 2, "2 is out of range; use a number, from 0 to 1"),
        (["--probe", "noise", "--seed", "-1"], 2, "-1 is out of range; use a whole number, at least 0"),
        (["--probe", "noise", "--set", "method"], 2, "'method' is not NAME=VALUE"),
        (["--probe", "gain", "--set", "gain_db=1", "--set", "gain_db=2"], 2, "set twice"),
        (["--probe", "gain", "--set", "gain=1"], 2, "Did you mean 'gain_db'"),
        (["--probe", "reordering", "--events", "3"], 2, "4 or more"),
        (["--probe", "noise", "--events", "5"], 2, "events: given as 5, but not used by noise. Leave it out"),
        (["--probe", "gain", "--labels", "none.csv"], 2, "labels: given as none.csv, but not used by gain"),
        (["--probe", "interference", "--labels", "none.csv"], 2, "none.csv: cannot be read"),
        (["--probe", "interference", "--set", "classes=50"], 3, "where 50 are asked for"),
    ],
)
def test_wrong_use(
    source: Path, tmp_path: Path, flags: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found = main(["probe", str(source), str(tmp_path / "out"), *flags])
    except SystemExit as exit_:
        found = exit_.code  # type: ignore[assignment]
    assert found == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_flags_that_do_not_exist(agm: Run, source: Path, tmp_path: Path) -> None:
    done = agm("probe", source, tmp_path / "out", "--prob", "noise")
    assert done.returncode == 2
    assert "required: --probe" in done.stderr


def test_targets_in_use_are_refused(source: Path, tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "mine").touch()
    (tmp_path / "file").touch()
    for target, message in (
        (occupied, "is not empty.*without manifest.json is one that was interrupted"),
        (source, "within the folder"),
        (source / "new", "within the folder"),
        (tmp_path / "file", "is a file"),
    ):
        before = contents(tmp_path)
        with pytest.raises(UsageError, match=message):
            corrupt_folder(source, target, CopyOptions("gain"))
        assert contents(tmp_path) == before


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("clip_id,label,more\na/b,dog,1\nc,,2\n", encoding="utf-8-sig")
    assert read_labels(path) == {"a/b": "dog"}
    path.write_text("clip_id,label\ncafe\u0301,dog\n", encoding="utf-8")
    assert read_labels(path) == {"caf\u00e9": "dog"}  # as scan calls the clip
    path.write_text("id,label\na,b\n")
    with pytest.raises(UsageError, match="no columns clip_id and label"):
        read_labels(path)


def test_list_probes(agm: Run) -> None:
    done = agm("list", "probes", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["name"] for row in rows] == PROBES.names()
    assert "gain_db=-40" in {row["name"]: row["settings"] for row in rows}["gain"]
