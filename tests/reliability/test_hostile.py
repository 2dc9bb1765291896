"""Tables, names, servers and files by somebody who means harm, or does not care."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiogen_metrics.cli.main import main
from audiogen_metrics.datasets.base import DatasetClip
from audiogen_metrics.errors import AudiogenMetricsError, DataError
from audiogen_metrics.evaluation.external import read_features
from audiogen_metrics.generation.base import Request
from audiogen_metrics.probes.base import Clip
from audiogen_metrics.probes.copying import write_clip
from audiogen_metrics.text import escaped
from audiogen_metrics.writing import below
from tests.conftest import write_tone

ESCAPES = ["../x", "a/../../x", "/x", "a//x", "./x", "a/..", "..", ".", "", "a\0b"]


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ESCAPES)
def test_no_name_leads_out_of_a_folder(tmp_path: Path, name: str) -> None:
    clip = Clip(name, np.zeros(8, np.float32), 16_000)
    for make in (
        lambda: below(tmp_path / "out", name, ".wav"),
        lambda: DatasetClip(name, None, "a dog"),
        lambda: Request(name, "a dog"),
        lambda: write_clip(tmp_path / "out", clip),
    ):
        with pytest.raises(DataError, match="not a path below a folder"):
            make()
    assert everything(tmp_path) == set()


@pytest.mark.parametrize("name", ["x", "dog/0001", "..x", "a..b/c.", "with space", "-rf", "é"])
def test_ordinary_names_stay_as_they_are(tmp_path: Path, name: str) -> None:
    assert below(tmp_path, name, ".wav") == tmp_path / f"{name}.wav"


@pytest.mark.parametrize("clip_id", ["../../escaped", "{root}/escaped", "a/../../../escaped"])
def test_an_exported_table_writes_nothing_outside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip_id: str
) -> None:
    write_tone(tmp_path / "data" / "dog.wav")
    table = tmp_path / "data" / "list.csv"
    table.write_text(f"clip_id,file,caption\n{clip_id.format(root=tmp_path)},dog.wav,a dog\n")
    before = everything(tmp_path)
    assert main(["data", "export", "folder", str(table), "-o", str(tmp_path / "a" / "b" / "out")]) == 3
    assert "list.csv, record 1: " in capsys.readouterr().err
    assert everything(tmp_path) == before


def test_a_table_beside_its_audio_folder_is_exported_into_the_folder(tmp_path: Path) -> None:
    write_tone(tmp_path / "data" / "audio" / "dog.wav")
    table = tmp_path / "data" / "meta" / "list.csv"
    table.parent.mkdir()
    table.write_text("file,caption\n../audio/dog.wav,a dog\n")
    assert main(["data", "export", "folder", str(table), "-o", str(tmp_path / "out")]) == 0
    assert everything(tmp_path / "out") == {"prompts.csv", "references/audio/dog.wav"}
    assert (tmp_path / "out" / "prompts.csv").read_text().splitlines()[1] == "audio/dog,a dog,1.00"


HOSTILE = "dog\x1b]0;title\x07\x1b[2J\u202egnp\x9b31m\n| x |\r\u2028"
UNSHOWABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069]")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two folders with such names that hold clips and damaged files with such names."""
    monkeypatch.chdir(tmp_path)
    for side in ("gen", "ref"):
        for place in range(4):
            write_tone(Path(f"{side}{HOSTILE}") / f"{place}.wav", seconds=0.3 + place / 10)
        Path(f"{side}{HOSTILE}", f"{HOSTILE}.wav").write_bytes(b"no sound")
        Path(f"{side}{HOSTILE}", f"{side}{HOSTILE}.wav").write_bytes(b"no sound")
    return f"gen{HOSTILE}", f"ref{HOSTILE}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["score", "GEN", "REF", "--protocol", "yamnet"],
        ["score", "GEN", "REF", "--protocol", "yamnet", "--format", "markdown"],
        ["score", "GEN", "REF", "--protocol", "yamnet", "--format", "latex"],
        ["score", "GEN", "REF", "--protocol", "yamnet", "--strict"],
        ["score", "GEN", "REF/none", "--protocol", "yamnet"],
        ["compare", "GEN", "REF", "REF", "--protocol", "yamnet", "-m", "fd", "--permutations", "0"],
        ["protocols", "compare", "GEN", "REF", "--base", "yamnet"],
        ["stats", "build", "REF", "-o", "out.stats", "--protocol", "yamnet"],
        ["embed", "GEN", "-o", "out.npz", "--protocol", "yamnet"],
        ["data", "check", "folder", "GEN"],
        ["probe", "GEN", "copy", "--probe", "noise"],
        ["import", "GEN", "REF"],
    ],
    ids=" ".join,
)
def test_names_do_nothing_to_the_terminal(hostile: Any, capsys: pytest.CaptureFixture[str], command: str) -> None:
    gen, ref = hostile
    main([part.replace("GEN", gen).replace("REF", ref) for part in command])
    printed = capsys.readouterr()
    shown = printed.out + printed.err
    assert not UNSHOWABLE.search(shown), shown
    assert r"\x1b" in shown or r"\textbackslash{}x1b" in shown
    assert not any(line.startswith("| x |") for line in shown.splitlines())


def test_an_error_is_one_line() -> None:
    assert escaped("a\u200db") == "a\u200db"  # joins emoji
    assert str(AudiogenMetricsError("bad\nagm: ok", Path("a\x1bb"))) == r"a\x1bb: bad\nagm: ok"


def run_me(*_: object) -> None:
    raise AssertionError("this ran")


class Code:
    def __reduce__(self) -> Any:
        return run_me, ()


def test_nobody_is_told_how_to_load_unsafely(tmp_path: Path) -> None:
    """Torch and numpy say in their errors how to run what is in a file."""
    folder = tmp_path / "cache"
    folder.mkdir()
    torch.save({"clip": Code()}, folder / "vggish_features.pth")
    np.save(tmp_path / "rows.npy", np.array([Code()]), allow_pickle=True)
    (tmp_path / "bare.npy").write_bytes(b"\x80\x04]\x94.")
    for path in (folder, tmp_path / "rows.npy", tmp_path / "bare.npy"):
        with pytest.raises(DataError, match="cannot be read") as caught:
            read_features(path)
        assert not re.search("weights_only|allow_pickle|trust|safe_globals", str(caught.value)), caught.value
