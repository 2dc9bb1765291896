"""The best of several candidates by a metric: Audiobox Aesthetics and CLAP, on random weights."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiogen_metrics import score
from audiogen_metrics.audioldm.generation import AudioLDM, AudioLDMGenerator
from audiogen_metrics.audioldm.sampling import Sampling
from audiogen_metrics.audioldm.tiny import write_tiny
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, MissingWeightsError, NumericsError, UsageError
from audiogen_metrics.evaluation import Evaluation
from audiogen_metrics.generation.base import FunctionGenerator, Generated, Request
from audiogen_metrics.generation.choosing import BestOf, recipe_for_clips
from audiogen_metrics.generation.folder import generate_folder, read_manifest
from audiogen_metrics.generation.prompts import requests_from_prompts
from tests.checkpoints import write_audiobox

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*random weights"
)

REQUESTS = requests_from_prompts(["rain on a roof", "a dog barks", "wind"], seconds=0.5, seed=3)


@pytest.fixture(scope="module")
def audiobox(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"audiobox-aesthetics": write_audiobox(tmp_path_factory.mktemp("audiobox"))}


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with warnings.catch_warnings(action="ignore"):
        return {"clap": write_tiny(tmp_path_factory.mktemp("tiny") / "tiny") / "clap"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AudioLDM:
    with warnings.catch_warnings(action="ignore"):
        return AudioLDM.from_pretrained(write_tiny(tmp_path_factory.mktemp("model") / "tiny"), device="cpu")


def hiss(request: Request) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(request.stream())
    return np.cumsum(rng.normal(size=8000)) * rng.uniform(0.0005, 0.003)


def hissing(batch_size: int = 1) -> FunctionGenerator:
    generator = FunctionGenerator(hiss, 16_000, {"system": "hiss"})
    generator.batch_size = batch_size
    return generator


def per_clip(folder: Path, metric: str, **options: Any) -> dict[str, float]:
    seen: list[Evaluation] = []
    score(folder, metrics=metric, device="cpu", ci=False, observe=seen.append, **options)
    (found,) = seen[0].by_clip.values()
    return dict(found)


@pytest.mark.slow
def test_the_best_is_kept_and_its_score_is_that_of_the_folder(audiobox: dict[str, Path], tmp_path: Path) -> None:
    """Each candidate made alone and scored as a file has the score in the manifest; the kept one has the largest."""
    best = BestOf(hissing(), "pq", 3, device="cpu", weights=audiobox)
    assert generate_folder(best, REQUESTS, tmp_path / "best", audio_format="wav-float").made == 3
    scores: dict[str, list[float]] = {request.clip_id: [] for request in REQUESTS}
    for place in range(3):
        made = [replace(request, candidate=place) for request in REQUESTS]
        generate_folder(hissing(), made, tmp_path / str(place), audio_format="wav-float")
        for clip, value in per_clip(tmp_path / str(place), "pq", weights=audiobox).items():
            scores[clip].append(value)
    kept = per_clip(tmp_path / "best", "pq", weights=audiobox)
    for request in REQUESTS:
        notes = read_manifest(tmp_path / "best")[request.clip_id]["notes"]
        assert notes["candidate_scores"]["pq_audiobox"] == pytest.approx(scores[request.clip_id], abs=1e-4)
        assert notes["candidate"] == int(np.argmax(scores[request.clip_id]))
        assert notes["candidate_seed"] == request.stream(notes["candidate"])
        assert kept[request.clip_id] == pytest.approx(max(scores[request.clip_id]), abs=1e-4)
    assert len({tuple(found) for found in scores.values()}) == 3
    settings = read_manifest(tmp_path / "best")[REQUESTS[0].clip_id]["settings"]
    assert settings["candidates"] == 3
    assert settings["choose_by"]["score"] == "pq_audiobox"
    assert len(settings["choose_by"]["network"]["weights_sha256"]) == 64


@pytest.mark.slow
def test_by_clap_each_with_its_prompt(clap: dict[str, Path], tmp_path: Path) -> None:
    best = BestOf(hissing(), "clap", 4, protocol="clap", device="cpu", weights=clap)
    generate_folder(best, REQUESTS, tmp_path / "best", audio_format="wav-float")
    prompts = {request.clip_id: str(request.prompt) for request in REQUESTS}
    kept = per_clip(tmp_path / "best", "clap", protocol="clap", weights=clap, prompts=prompts)
    for clip, entry in read_manifest(tmp_path / "best").items():
        (scores,) = entry["notes"]["candidate_scores"].values()
        assert len(set(scores)) == 4
        assert kept[clip] == pytest.approx(max(scores), abs=1e-4)


@pytest.mark.slow
def test_batches_and_restarts_change_nothing(audiobox: dict[str, Path], tmp_path: Path) -> None:
    one = BestOf(hissing(), "ce", 2, device="cpu", weights=audiobox)
    eight = BestOf(hissing(8), "ce", 2, device="cpu", weights=audiobox)
    assert (one.batch_size, eight.batch_size) == (1, 4)
    together, alone = eight.generate(REQUESTS), [one.generate([request])[0] for request in reversed(REQUESTS)][::-1]
    for first, second in zip(together, alone, strict=True):
        assert np.array_equal(first.waveform, second.waveform)
        assert first.notes == second.notes
    folder = tmp_path / "out"
    generate_folder(one, REQUESTS[:1], folder)
    assert generate_folder(one, REQUESTS, folder, resume=True).kept == 1
    for other in (
        BestOf(hissing(), "ce", 3, device="cpu", weights=audiobox),
        BestOf(hissing(), "cu", 2, device="cpu", weights=audiobox),
        hissing(),
    ):
        with pytest.raises(UsageError, match="made with other settings"):
            generate_folder(other, REQUESTS, folder, resume=True)


@pytest.mark.slow
def test_where_lower_is_better_the_lowest_is_kept(audiobox: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    best = BestOf(hissing(), "pq", 4, device="cpu", weights=audiobox)
    monkeypatch.setattr(type(best.recipe.definition), "higher_is_better", False)
    notes = best.generate(REQUESTS[:1])[0].notes
    assert notes["candidate"] == int(np.argmin(notes["candidate_scores"]["pq_audiobox"]))


@pytest.mark.slow
def test_audioldm_draws_the_same_candidates_either_way(model: AudioLDM, audiobox: dict[str, Path]) -> None:
    """Candidate 2 of a run that CLAP chooses is candidate 2 of a run that another metric chooses."""
    request = Request("clip", "rain", seconds=1.0)
    alone = [
        AudioLDMGenerator(model, Sampling(steps=2)).generate([replace(request, candidate=each)])[0].waveform
        for each in range(3)
    ]
    (by_clap,) = model.sample([request], Sampling(steps=2, candidates=3))
    np.testing.assert_allclose(by_clap.waveform, alone[by_clap.notes["candidate"]], atol=5e-6)
    assert by_clap.notes["candidate_seed"] == request.stream(by_clap.notes["candidate"])
    best = BestOf(AudioLDMGenerator(model, Sampling(steps=2)), "cu", 3, device="cpu", weights=audiobox)
    assert best.settings["candidates"] == 3
    (found,) = best.generate([request])
    np.testing.assert_allclose(found.waveform, alone[found.notes["candidate"]], atol=5e-6)


class Given:
    """A generator that gives what it is told to."""

    sample_rate, batch_size = 16_000, 4

    def __init__(self, *waveforms: Any) -> None:
        self.waveforms = waveforms
        self.settings: dict[str, Any] = {}

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        return [Generated(np.asarray(self.waveforms[each.candidate], dtype=np.float32)) for each in requests]


@pytest.mark.parametrize(
    ("waveforms", "message"),
    [
        ((np.zeros(8000), np.zeros(8000)), r"all 2 candidates are the same.*request\.stream\(\)"),
        ((np.zeros(8000), np.full(8000, np.nan)), r"\(candidate 1\): .*not finite"),
        ((np.zeros(8000), np.zeros(0)), r"\(candidate 1\): .*no waveform"),
    ],
)
def test_bad_candidates_are_named(audiobox: dict[str, Path], waveforms: Any, message: str) -> None:
    best = BestOf(Given(*waveforms), "pq", 2, device="cpu", weights=audiobox)
    with pytest.raises((DataError, NumericsError), match=message):
        best.generate(REQUESTS[:1])


@pytest.mark.slow
def test_beyond_full_scale_is_scored_as_it_is_written(audiobox: dict[str, Path]) -> None:
    loud = np.random.default_rng(0).normal(0, 3, 8000)
    best = BestOf(Given(loud, loud / np.abs(loud).max() * 0.999), "pq", 2, device="cpu", weights=audiobox)
    (found,) = best.generate(REQUESTS[:1])
    first, second = found.notes["candidate_scores"]["pq_audiobox"]
    assert first == pytest.approx(second, abs=0.02)


@pytest.mark.parametrize("name", ["fd", "is", "fad", "kid"])
def test_scores_of_whole_sets_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"is a score of a whole set.*Choose by .*pq, .*clap"):
        recipe_for_clips(name)


def test_what_else_is_refused(audiobox: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="needs a reference for each clip"):
        recipe_for_clips("kl")
    with pytest.raises(UsageError, match="Did you mean"):
        recipe_for_clips("pqq")
    with pytest.raises(UsageError, match="candidates=1"):
        BestOf(hissing(), "pq", 1, device="cpu", weights=audiobox)
    with pytest.raises(MissingWeightsError, match="audiobox"):
        BestOf(hissing(), "pq", 2, device="cpu")


def test_a_recording_has_no_prompt(clap: dict[str, Path]) -> None:
    best = BestOf(hissing(), "clap", 2, protocol="clap", device="cpu", weights=clap)
    for request in (Request("x", audio=Path("x.wav")), Request("x", " ")):
        with pytest.raises(DataError, match="has no prompt"):
            best.generate([request])


TINY = ["generate", "--model", "tiny-random", "--steps", "2", "--seconds", "1", "--device", "cpu"]


@pytest.mark.slow
def test_from_the_command_line(audiobox: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = audiobox["audiobox-aesthetics"]
    command = [*TINY, "--prompt", "rain", "--prompt", "wind", "--candidates", "2", "--choose-by", "pq"]
    out = ["-o", str(tmp_path / "out")]
    assert main([*command, "--weights", f"audiobox-aesthetics={file}", *out]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [len(line["notes"]["candidate_scores"]["pq_audiobox"]) for line in lines] == [2, 2]
    assert all(soundfile.info(tmp_path / "out" / line["file"]).frames == 16_000 for line in lines)
    capsys.readouterr()
    assert main([*command, "--weights", f"audiobox-aesthetics={file}", *out, "--resume"]) == 0
    assert "made 0 clips, 2 were there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--choose-by", "pq"], 2, "--choose-by: there is one candidate of each clip"),
        (["--choose-by", "fd", "--candidates", "2"], 2, "a score of a whole set"),
        (["--protocol", "clap", "--candidates", "2"], 2, "--protocol: belongs to --choose-by"),
        (["--weights", "a=b", "--candidates", "2"], 2, "--weights: belongs to --choose-by"),
        (["--choose-by", "pq", "--candidates", "2"], 4, "agm weights fetch audiobox-aesthetics"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, "--prompt", "rain", *arguments, "-o", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
