"""Every command with bad arguments: the exit code of its kind, one line that says why, and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch.testing import assert_close

from audiogen_metrics import FD, score
from audiogen_metrics.backbones import from_callable
from audiogen_metrics.cli.main import main
from audiogen_metrics.datasets.folder import open_dataset
from audiogen_metrics.datasets.splits import paper_split
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.evaluation.external import read_features
from audiogen_metrics.functional import inception_score, kernel_distance
from audiogen_metrics.functional.extrapolation import extrapolate
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.validation import float64_tensor
from audiogen_metrics.generation.prompts import requests_from_file
from audiogen_metrics.objects.batch import Batch, check_sample_rate
from tests.conftest import write_tone

YAMNET = ["--protocol", "yamnet", "-m", "fd"]
SCORE = ["score", "gen", "ref", *YAMNET]
COMPARE = ["compare", "gen", "ref", "ref", *YAMNET]
STUDY = ["study", "ref", *YAMNET, "--probes", "noise", "--fractions", "0,1", "--repeats", "1"]
PROBE = ["probe", "gen", "copy", "--probe", "noise"]
GENERATE = ["generate", "--model", "tiny-random", "--prompt", "a", "-o", "made"]
EXPORT = ["data", "export", "folder", "ref", "-o", "out"]

NUMBERS = {
    ("--batch-size", "0"): [SCORE, COMPARE, STUDY, GENERATE, ["clap", "gen", "p.csv"]],
    ("--workers", "-1"): [SCORE, COMPARE, STUDY, PROBE, ["clap", "gen", "p.csv"], ["verify", "r.json"]],
    ("--limit", "0"): [SCORE, STUDY, ["stats", "build", "ref", "-o", "s"], ["bench", "table1"]],
    ("--seed", "-1"): [COMPARE, STUDY, PROBE, GENERATE, [*EXPORT, "--split", "paper:2"], ["bench", "table1"]],
    ("--permutations", "-1"): [COMPARE],
    ("--repeats", "0"): [STUDY, ["bench", "figure1"]],
    ("--events", "0"): [STUDY, PROBE],
    ("--steps", "0"): [GENERATE],
    ("--candidates", "0"): [GENERATE],
}
REALS = {
    "--severity": [PROBE],
    "--seconds": [GENERATE, ["bench", "table1"]],
    "--eta": [GENERATE],
    "--guidance": [GENERATE],
    "--tolerance": [["verify", "r.json"]],
    "--older-than": [["cache", "prune"]],
}
FILES = {
    "-o": [SCORE, COMPARE, ["stats", "build", "ref"], ["embed", "gen"], ["list", "metrics"], ["cache", "info"]],
    "--html": [SCORE, COMPARE],
    "--extrapolate": [SCORE],
}
CASES = [
    *((2, [*command, *pair]) for pair, commands in NUMBERS.items() for command in commands),
    *((2, [*command, pair[0], "x"]) for pair, commands in NUMBERS.items() for command in commands),
    *(
        (2, [*command, flag, value])
        for flag, all_ in REALS.items()
        for command in all_
        for value in ("nan", "inf", "x")
    ),
    *(
        (2, [*command, flag, value])
        for flag, all_ in FILES.items()
        for command in all_
        for value in ("", "gen", "x" * 300)
    ),
    *((2, [*SCORE, "--device", name]) for name in ("mps", "xpu", "meta", "cuda:99", "cuda:-1", "", "gpu")),
    *((2, [*command, "--device", "meta"]) for command in (COMPARE, STUDY, ["clap", "gen", "p.csv"])),
    *((2, [*command, "-m", names]) for command in (SCORE[:3], COMPARE[:4]) for names in ("", ",", "fda")),
    *((2, [*command, "-o", ""]) for command in (STUDY, GENERATE[:-2], EXPORT[:-2])),
    (2, [*SCORE, "--extrapolate", "fit.xyz"]),
    (3, [*SCORE, "--extrapolate", "fit.svg"]),
    (2, ["score", "gen", "ref", "--protocol", "yamnet", "-m", "kl", "--extrapolate", "fit.svg"]),
    *((2, [command, "", "ref"]) for command in ("score", "import")),
    (2, ["score", "gen", ""]),
    *((2, [*command, ""]) for command in (["stats", "show"], ["data", "check", "folder"], ["probe", "", "--probe"])),
    *((3, [command, "x" * 5000, "ref"]) for command in ("score", "import")),
    (2, ["compare", "gen", "ref", ""]),
    (3, ["stats", "show", "gen"]),
    (3, ["verify", "gen"]),
    (2, ["probe", "gen", "copy", "--probe", "interference", "--labels", "gen"]),
    (3, ["clap", "gen", "gen"]),
    (2, ["generate", "--model", "tiny-random", "--prompt", "a", "--seconds", "1e26", "-o", "made"]),
]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("sets")
    for side in ("gen", "ref"):
        for place in range(12):
            write_tone(folder / side / f"{side[:0]}{place}.wav", seconds=0.5 + place / 50)
    (folder / "p.csv").write_text("clip_id,prompt\n0,a dog\n1,rain\n")
    return folder


@pytest.mark.parametrize(
    ("code", "arguments"), CASES, ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else ""
)
def test_bad_arguments(
    sets: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, arguments: Any
) -> None:
    monkeypatch.chdir(sets)
    before = sorted(sets.iterdir())
    try:
        found = main(arguments)
    except SystemExit as exit_:
        found = exit_.code
    printed = capsys.readouterr()
    assert (found, "Traceback" in printed.err) == (code, False), printed.err
    assert "error: " in printed.err.splitlines()[-1]
    assert printed.out == ""  # nothing was computed first
    assert sorted(sets.iterdir()) == before


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06, 0.1, 0.2, 0.5])
def test_an_interruption_while_modules_are_loaded(sets: Any, delay: Any) -> None:
    """From the moment that Python has set up its signals."""
    starter = "import runpy, sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler); print(flush=True); "
    starter += "sys.argv[0] = 'agm'; runpy.run_module('audiogen_metrics', run_name='__main__')"
    command = [sys.executable, "-c", starter, *SCORE, "--no-cache"]
    with subprocess.Popen(command, cwd=sets, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    if "Traceback" in error:  # before the package's first line, there is nobody to catch it
        assert "audiogen_metrics/" not in error, error
    else:
        assert process.returncode == 130


SWALLOWER = """
import time
try:
    print("loading", flush=True)
    time.sleep(60)
except KeyboardInterrupt:  # as torch's C code does while it imports numpy
    print("went on")
"""
DRIVER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import audiogen_metrics.cli.main as cli
cli.entry = lambda: __import__("swallower")
from audiogen_metrics.__main__ import entry
entry()
"""


def test_an_interruption_that_a_module_swallows(tmp_path: Path) -> None:
    (tmp_path / "swallower.py").write_text(SWALLOWER)
    command = [sys.executable, "-c", DRIVER]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        printed, error = process.communicate(timeout=60)
    assert (process.returncode, printed, error) == (130, "", "agm: interrupted\n")


# Arrays --------------------------------------------------------------------------------------------------------------

ROWS = np.random.default_rng(0).normal(size=(12, 4))


def readonly(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "same",
    [
        ROWS[::-1][::-1],
        np.flip(np.flip(ROWS, 1), 1),
        np.asfortranarray(ROWS),
        readonly(ROWS),
        ROWS.astype(">f8"),
        ROWS.astype(np.longdouble),
        ROWS.tolist(),
        np.ma.masked_array(ROWS),
        torch.from_numpy(ROWS.T.copy()).T,
        torch.from_numpy(ROWS).requires_grad_(),
        [torch.from_numpy(row) for row in ROWS],
    ],
)
@pytest.mark.filterwarnings("error")
def test_harmless_arrays_are_taken(same: Any) -> None:
    assert_close(float64_tensor(same, "rows", 2), torch.from_numpy(ROWS))
    assert_close(float64_tensor(ROWS[::-1], "rows", 2), torch.from_numpy(ROWS).flip(0))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (np.ma.masked_greater(ROWS, 1), "has masked entries"),
        (torch.from_numpy(ROWS).to_sparse(), "is sparse"),
        (torch.zeros(3, 4, device="meta"), "without values"),
        (scipy.sparse.csr_matrix(ROWS), "csr_matrix"),
        (ROWS.astype(object), "type object"),
        ("gen", "is a str"),
        ([[1.0, 2.0], [3.0]], "not an array of numbers"),
        (None, "NoneType"),
        (np.zeros((12, 0)), r"shape \(12, 0\)"),
        (ROWS + 1j, "complex"),
    ],
)
def test_other_arrays_are_refused_by_name(other: Any, reason: str) -> None:
    for take in (
        lambda: float64_tensor(other, "rows", 2),
        lambda: GaussianStatistics.from_embeddings(other),
        lambda: inception_score(other),
    ):
        with pytest.raises(DataError, match=reason):
            take()


def test_waveforms(sets: Any) -> None:
    clip = (0.1 * np.random.default_rng(0).normal(size=16_000)).astype(np.float32)
    for same in (clip[::-1][::-1], readonly(clip), clip.astype(">f4"), torch.from_numpy(clip)[::1]):
        assert_close(Batch(same, 16_000, "gen").clips[0], torch.from_numpy(clip)[None])
        assert_close(Batch([same], 16_000, "gen").clips[0], torch.from_numpy(clip)[None])
    refused = (np.ma.masked_greater(clip, 0), torch.from_numpy(clip).to_sparse(), clip.astype(object))
    for other in (*refused, [clip.astype(str)], "gen", sets / "gen", 3, None, {"a": 1}):
        with pytest.raises(DataError, match="gen"):
            Batch(other, 16_000, "gen")
    with pytest.raises(DataError, match="not waveforms"):
        FD(protocol="yamnet").update(gen=str(sets / "gen"), sample_rate=16_000)
    for rate in (float("nan"), float("inf"), 0, -1, 16_000.5, "16000", True, None, [16_000]):
        with pytest.raises(UsageError, match="sample_rate"):
            check_sample_rate(rate)
    with pytest.raises(UsageError, match="sample_rate=nan"):
        from_callable("own", torch.abs, sample_rate=float("nan"), version="1")


@pytest.mark.parametrize("other", [torch.zeros(3), None, 3, ["gen"], ""])
def test_what_is_no_path(sets: Any, other: Any) -> None:
    with pytest.raises(UsageError, match="path"):
        read_features(other)
    takers = [lambda: score(other, sets / "ref")]
    if other is not None:  # no reference is one of two ways to score
        takers.append(lambda: score(sets / "gen", other))
    for take in takers:
        with pytest.raises(
            (UsageError, DataError), match=r"not a set of clips|does not exist|is a folder|a path is empty"
        ):
            take()


def test_negative_seeds(sets: Any) -> None:
    for take in (
        lambda: inception_score(ROWS, splits=2, seed=-1),
        lambda: kernel_distance(ROWS, ROWS, seed=-1),
        lambda: extrapolate(np.tile(ROWS, (2, 1)), GaussianStatistics.from_embeddings(ROWS), seed=-1),
        lambda: paper_split(open_dataset(sets / "ref"), 4, seed=-1),
        lambda: compare(sets / "gen", sets / "ref", sets / "ref", protocol="yamnet", seed=-1),
    ):
        with pytest.raises(UsageError, match="seed=-1"):
            take()


# Tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", "[1, 2]\n", r"record 1 must be an object, and is \[1, 2\]"),
        ("a.json", '{"data": "text"}', "is not a list of records"),
        ("a.json", '{"data": 5}', "is not a list of records"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.csv", b"file,caption\na.wav,caf\xe9\n", "is not UTF-8 text"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, name: str, content: Any, reason: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=reason):
        open_dataset(tmp_path / name)


def test_captions_in_another_encoding(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"a\.txt: the caption is not UTF-8 text"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("row", "reason"),
    [("x,vid,30,a dog", "audiocap_id 'x'"), ("1,vid,soon,a dog", "start_time 'soon'"), ("1,vid,nan,a dog", "'nan'")],
)
def test_odd_numbers_in_audiocaps(tmp_path: Path, row: Any, reason: str) -> None:
    (tmp_path / "test.csv").write_text(f"audiocap_id,youtube_id,start_time,caption\n{row}\n")
    with pytest.raises(DataError, match=rf"test\.csv: .*{reason} is not a number"):
        open_dataset(f"audiocaps={tmp_path}")


def test_audioset_tables_with_other_headers_and_numbers(tmp_path: Path) -> None:
    (tmp_path / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/0,"Dog"\n')
    table = tmp_path / "eval_segments.csv"
    table.write_text('YTID, start_seconds, end_seconds, positive_labels\nvid, 30.0, 40.0, "/m/0"\n')
    assert [clip.clip_id for clip in open_dataset(f"audioset={tmp_path}").clips] == ["Yvid"]
    for row in ("vid, x, 40.0", "vid, 30.0, inf"):
        table.write_text(f'{row}, "/m/0"\n')
        with pytest.raises(DataError, match="is not a number"):
            open_dataset(f"audioset={tmp_path}")


def test_prompts_whose_id_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": ["a"], "prompt": "rain"}\n')
    with pytest.raises(DataError, match="record 1: does not say which clip it is about: it has id, prompt"):
        requests_from_file(tmp_path / "p.jsonl")


# Features ------------------------------------------------------------------------------------------------------------


def huge(path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 128), }"
    header = header.ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=ROWS)


@pytest.mark.parametrize(
    "write",
    [
        huge,
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)),
        archive,
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to("nowhere"),
    ],
)
def test_npy_files_that_are_none(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "rows.npy")
    with pytest.raises(DataError, match=r"rows\.npy"):
        read_features(tmp_path / "rows.npy")


def test_features_in_sub_folders_are_named_and_two_of_one_id_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    np.save(tmp_path / "a" / "one.npy", ROWS)
    np.save(tmp_path / "a" / "b" / "two.npy", ROWS)
    found = read_features(tmp_path / "a")
    assert list(found.files) == ["one"]
    assert found.notes == ("1 .npy files in sub-folders are not read",)
    torch.save({1: torch.zeros(3, 4), "1": torch.ones(3, 4)}, tmp_path / "a" / "vggish_features.pth")
    with pytest.raises(DataError, match="two clips of one id"):
        read_features(tmp_path / "a")
