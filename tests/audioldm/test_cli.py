"""``agm generate`` as a user runs it: made, killed, resumed, shared between processes, scored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics.audioldm.evaluating import EvaluationSet
from audiogen_metrics.cli.main import main
from audiogen_metrics.generation.folder import MANIFEST, read_manifest
from tests import places
from tests.conftest import Run

AGM = [sys.executable, "-m", "audiogen_metrics"]
REFERENCE = str(places.REFERENCE)
TINY = ["--model", "tiny-random"]
QUICK = ["--steps", "2", "--seconds", "1", "--device", "cpu"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "AGM_CACHE_DIR": str(tmp_path / "cache")}


def samples(folder: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(folder)): soundfile.read(path)[0] for path in sorted(folder.rglob("*.wav"))}


@pytest.mark.slow
def test_generated_then_scored(agm: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "out"
    done = agm("generate", *TINY, "--audio", REFERENCE, "-o", out, *QUICK, env=environment)
    assert done.returncode == 0, done.stderr
    assert "random weights: its sound means nothing" in done.stderr
    assert done.stdout == ""
    scored = agm("score", out, REFERENCE, "--protocol", "yamnet", "--format", "json", env=environment)
    assert scored.returncode == 0, scored.stderr
    assert '"kl_yamnet"' in scored.stdout
    assert "40 pairs of 40 clips" in agm("score", out, REFERENCE, "--protocol", "yamnet", env=environment).stdout


@pytest.mark.slow
def test_in_the_original_spacing_and_as_long_as_the_recordings(
    agm: Run, tmp_path: Path, environment: dict[str, str]
) -> None:
    for index, frames in enumerate((8000, 16_000)):
        soundfile.write(tmp_path / f"{index}.flac", np.full(frames, 0.1), 16_000)
    command = [
        "generate",
        *TINY,
        "--audio",
        tmp_path,
        "-o",
        tmp_path / "out",
        "--steps",
        "30",
        "--seconds",
        "recording",
    ]
    done = agm(*command, "--spacing", "original", "--device", "cpu", env=environment)
    assert done.returncode == 0, done.stderr
    assert "30 steps in AudioLDM's own spacing are 31" in done.stderr
    entries = read_manifest(tmp_path / "out")
    assert {name: entry["samples"] for name, entry in entries.items()} == {"0": 8000, "1": 16_000}
    assert {entry["settings"]["spacing"] for entry in entries.values()} == {"original"}


@pytest.mark.slow
def test_killed_and_resumed(agm: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"sound number {index}\n" for index in range(24)))
    command = [
        "generate",
        "--model",
        "tiny-random",
        "--prompts",
        prompts,
        *QUICK,
        "--steps",
        "20",
        "--audio-format",
        "wav-float",
    ]
    straight = agm(*command, "-o", tmp_path / "straight", env=environment)
    assert straight.returncode == 0, straight.stderr
    out = tmp_path / "out"
    with subprocess.Popen([*AGM, *map(str, command), "-o", out], env=environment, stderr=subprocess.DEVNULL) as running:
        while len(read_manifest(out)) < 5:
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    made = len(read_manifest(out))
    assert 5 <= made < 24
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    refused = agm(*command, "-o", out, env=environment)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    resumed = agm(*command, "-o", out, "--resume", env=environment)
    assert resumed.returncode == 0, resumed.stderr
    kept = [path for path, stamp in before.items() if path.stat().st_mtime_ns == stamp]
    assert len(kept) >= made
    ours, theirs = samples(out), samples(tmp_path / "straight")
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_torchrun_splits_the_list(agm: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("clip_id,prompt\n" + "".join(f"c{index},sound {index}\n" for index in range(5)))
    command = ["generate", *TINY, "--prompts", str(prompts), *QUICK]
    assert agm(*command, "-o", tmp_path / "one", env=environment).returncode == 0
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "audiogen_metrics"]
    both = subprocess.run(
        [*run, *command, "-o", str(tmp_path / "two")], capture_output=True, text=True, check=False, env=environment
    )
    assert both.returncode == 0, both.stderr
    assert both.stderr.count("random weights: its sound means nothing") == 1
    lines = (tmp_path / "two" / MANIFEST).read_text().splitlines()
    assert len(lines) == len(read_manifest(tmp_path / "two")) == 5
    ours, theirs = samples(tmp_path / "two"), samples(tmp_path / "one")
    assert ours.keys() == theirs.keys()
    assert max(np.abs(ours[name] - theirs[name]).max() for name in ours) <= 2 / 32768
    again = [*run, *command, "--prompts", str(tmp_path / "three.csv"), "-o", str(tmp_path / "two")]
    (tmp_path / "three.csv").write_text("clip_id,prompt\nc5,a\nc6,b\nc7,c\n")
    refused = subprocess.run(again, capture_output=True, text=True, check=False, env=environment)
    assert refused.returncode != 0
    assert "is not empty. Add --resume" in refused.stderr
    assert len(read_manifest(tmp_path / "two")) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "cvssp/audioldm-s-full-v2", "--prompt", "rain"], 4, "hf download cvssp/audioldm-s-full-v2"),
        (["--model", "no-such", "--prompt", "rain"], 2, "neither a folder nor a name on the hub"),
        ([*TINY, "--prompts", "none.txt"], 3, "No such file"),
        ([*TINY, "--audio", "none"], 3, "does not exist"),
        ([*TINY, "--prompt", "rain", "--seed", "-1"], 2, "negative"),
        (TINY, 2, "one of the arguments"),
        ([*TINY, "--prompt", "a", "--seconds", "recording"], 2, "--seconds: there are no recordings"),
        ([*TINY, "--prompt", "a", "--seconds", "recordings"], 2, "'recordings' is neither a number nor recording"),
        ([*TINY, "--prompt", "a", "--spacing", "mine"], 2, "argument --spacing: invalid choice: 'mine'"),
        ([*TINY, "--prompt", "a", "--steps", "1001"], 2, "argument --steps: 1001 is out of range"),
        ([*TINY, "--prompt", "a", "--prompts", "b.txt"], 2, "not allowed with"),
        ([*TINY, "--prompt", "a", "--steps", "0"], 2, "--steps: 0 is out of range; use a whole number, from 1 to 1000"),
        (
            [*TINY, "--prompt", "a", "--clap", "none/none", "--candidates", "2"],
            4,
            "hf download none/none",
        ),
        ([*TINY, "--prompt", "x", "--caption", "all"], 2, "--caption: chooses among the captions of a file"),
    ],
)
def test_what_is_wrong_is_said(
    agm: Run, tmp_path: Path, environment: dict[str, str], arguments: list[str], code: int, message: str
) -> None:
    done = agm("generate", *arguments, "-o", tmp_path / "out", env=environment | {"AGM_OFFLINE": "1"})
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_captions_of_a_folder_by_choice(agm: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    table = tmp_path / "hf" / "metadata.csv"
    table.parent.mkdir()
    table.write_text("file_name,text,seconds\na.wav,a dog,0.5\na.wav,a hound,0.5\nb.wav,rain,1\n")
    refused = agm("generate", *TINY, "--prompts", table.parent, "-o", tmp_path / "out", *QUICK, env=environment)
    assert (refused.returncode, "--caption first" in refused.stderr) == (3, True), refused.stderr
    for choice, names in (("first", ["a", "b"]), ("all", ["a_0", "a_1", "b_0"]), ("random", ["a", "b"])):
        out = tmp_path / choice
        done = agm(
            "generate", *TINY, "--prompts", table.parent, "--caption", choice, "-o", out, *QUICK, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert sorted(path.stem for path in out.glob("*.wav")) == names
    assert {round(soundfile.info(path).duration, 1) for path in (tmp_path / "all").glob("*.wav")} == {0.5, 1.0}


def test_what_finetune_refuses_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"file,caption\n{next(places.REFERENCE.rglob('*.*')).absolute()},a\ngone.wav,b\n")
    out = tmp_path / "out"
    for options, code, message in (
        (["--data", REFERENCE, "--device", "nonsense"], 2, "unknown device 'nonsense'"),
        (["--data", REFERENCE, "--device", "cuda:99"], 2, "device 'cuda:99' is not on this machine"),
        (["--data", str(tmp_path / "nowhere")], 3, "folder does not exist"),
        (["--data", str(table), "--strict"], 3, "the audio of 1 of 2 training clips is missing: gone"),
    ):
        assert main(["finetune", *TINY, "--output", str(out), *options]) == code
        assert message in capsys.readouterr().err
        assert not out.exists()
    with pytest.raises(SystemExit):
        main(["finetune", *TINY, "--output", str(out), "--data", REFERENCE, "--split", "paper:4", "--eval-clips", "1"])
    assert "argument --eval-clips: 1 is out of range; use a whole number, at least 2" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_a_training_without_any_score_is_told_to_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr(EvaluationSet, "run", failing)
    quick = ["--split", "paper:4", "--steps", "1", "--sampling-steps", "1", "--eval-seconds", "0.5", "--device", "cpu"]
    arguments = ["finetune", *TINY, "--data", REFERENCE, "--output", str(tmp_path / "out"), "--protocol", "yamnet"]
    assert main([*arguments, *quick]) == 5
    shown = capsys.readouterr()
    assert json.loads(shown.out)["scores"] == {}
    assert "no scores: 2 evaluations have failed, the last one with RuntimeError: no luck" in shown.err
