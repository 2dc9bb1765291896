"""The sanity study: its verdicts on what must be flat, must respond and must be wrong; cost; resuming; files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from audiogen_metrics.audio.files import scan
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.embedding.extraction import EmbeddingSet, ExtractionOptions
from audiogen_metrics.errors import InsufficientDataError, UsageError
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.records import read
from audiogen_metrics.studies import Study, sanity
from audiogen_metrics.studies.files import caption_of, panels, panels_by_score, summary, to_markdown, write_study
from audiogen_metrics.studies.measures import Measure, scale_of
from audiogen_metrics.studies.study import Effort, StudyPlan, run_study
from audiogen_metrics.studies.verdicts import judge
from tests.conftest import EXAMPLES, Run

REFERENCE = EXAMPLES / "reference"


def study(probes: Sequence[str] = ("white-noise",), **options: object) -> Study:
    settings = {"protocol": "yamnet", "limit": 16, "workers": 2, "fractions": (0.0, 0.5, 1.0)} | options
    return sanity(REFERENCE, probes=probes, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def controls() -> Study:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGM_CACHE_DIR", str(Path(__file__).parent / "nowhere"))
        return study(("white-noise", "identity", "resynthesis"), cache=False, limit=None)


@pytest.mark.slow
def test_negative_controls_read_flat_and_noise_does_not(controls: Study) -> None:
    for score in ("fd_yamnet", "fad_yamnet", "is_yamnet", "kl_yamnet"):
        assert controls.finding("identity", score).answer == "flat"
        assert controls.finding("resynthesis", score).answer == "flat"
    for score in ("fd_yamnet", "fad_yamnet", "kl_yamnet"):
        verdict = controls.finding("white-noise", score)
        assert verdict.answer == "responds"
        assert verdict.spearman == pytest.approx(1)
        assert verdict.relative_change > 0.2


def test_identity_scores_are_those_of_the_set_against_itself(controls: Study) -> None:
    fd, kl = controls.curve("identity", "fd_yamnet"), controls.curve("identity", "kl_yamnet")
    assert max(abs(value) for values in fd.values() for value in values) < 1e-6
    assert len({round(value, 9) for values in kl.values() for value in values}) == 1


@pytest.mark.slow
def test_a_planted_inverted_metric_is_caught() -> None:
    recipe = get_protocol("yamnet").select(["fd"])[0]
    honest = Measure.of(recipe)
    inverted = replace(honest, score_id="inverted", higher_is_better=True)
    result = run_study(
        scan(REFERENCE),
        [honest, inverted],
        {"yamnet": YAMNet()},
        StudyPlan(("white-noise",), by_name=True, fractions=(0.0, 0.5, 1.0)),
        ExtractionOptions(workers=2),
        protocol="yamnet",
    )
    assert result.finding("white-noise", "fd_yamnet").answer == "responds"
    assert result.finding("white-noise", "inverted").answer == "wrong direction"


@pytest.mark.slow
def test_a_probe_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    recipe = get_protocol("yamnet").select(["fd"])[0]
    honest = Measure.of(recipe)
    refusals = iter([True] + [False] * 1000)

    def value(gen: EmbeddingSet, ref: EmbeddingSet) -> float:
        if next(refusals):
            raise InsufficientDataError("not this time")
        return honest.value(gen, ref)

    failing = replace(honest, score_id="failing", value=value)
    plan = StudyPlan(("white-noise", "masking"), fractions=(0.0, 0.5, 1.0), repeats=2)
    options = ExtractionOptions(workers=2)
    found = run_study(scan(REFERENCE), [honest, failing], {"yamnet": YAMNet()}, plan, options, protocol="yamnet")
    assert "not this time" in found.not_run["white-noise"]
    assert {point.probe for point in found.points} == {finding.probe for finding in found.findings} == {"masking"}
    assert {finding.score for finding in found.findings} == {"fd_yamnet", "failing"}
    assert write_study(found, tmp_path)
    refusals = iter([True] * 1000)
    with pytest.raises(InsufficientDataError, match="no probe can be studied on this set"):
        run_study(scan(REFERENCE), [honest, failing], {"yamnet": YAMNet()}, plan, options, protocol="yamnet")


@pytest.mark.slow
def test_clips_are_embedded_twice_however_many_fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = 0
    original = YAMNet.__call__

    def counted(self: YAMNet, waveforms: torch.Tensor) -> object:
        nonlocal passed
        passed += len(waveforms)
        return original(self, waveforms)

    monkeypatch.setattr(YAMNet, "__call__", counted)
    effort = Effort()
    study(fractions=tuple(np.linspace(0, 1, 11)), cache=False, effort=effort)
    assert passed == effort.embedded["yamnet"] == 2 * 16


@pytest.mark.slow
def test_an_interrupted_study_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = YAMNet.__call__, []

    def interrupted(self: YAMNet, waveforms: torch.Tensor) -> object:
        calls.append(len(waveforms))
        if len(calls) == 20:
            raise KeyboardInterrupt
        return original(self, waveforms)

    with monkeypatch.context() as patch:
        patch.setattr(YAMNet, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study(batch_size=1)
    effort = Effort()
    resumed = study(batch_size=1, effort=effort)
    assert effort.recalled["yamnet"] == 19
    assert effort.embedded["yamnet"] == 2 * 16 - 19
    assert resumed.to_json() == study(batch_size=1, cache=False).to_json()


@pytest.mark.slow
def test_equal_results_from_one_and_two_workers() -> None:
    one, two = (study(("white-noise", "masking"), workers=workers, cache=False) for workers in (1, 2))
    assert one.to_json() == two.to_json()
    assert one.to_json() != study(("white-noise", "masking"), seed=1, cache=False).to_json()


@pytest.mark.slow
def test_corrupted_clips_are_nested_and_ends_do_not_depend_on_the_repeat() -> None:
    curve = study(repeats=3).curve("white-noise", "fd_yamnet")
    assert len(set(curve[0.0])) == len(set(curve[1.0])) == 1
    assert len(set(curve[0.5])) == 3


@pytest.mark.slow
def test_severity_axis_and_redrawn_parameters() -> None:
    result = study(fractions=(), severities=(0.5, 1.0), repeats=2, redraw_parameters=True)
    curve = result.curve("white-noise", "fd_yamnet", "severity")
    assert sorted(curve) == [0.0, 0.5, 1.0]
    assert len(set(curve[1.0])) == 2
    assert np.mean(curve[0.5]) < np.mean(curve[1.0])
    assert {point.axis for point in result.points} == {"severity"}


@pytest.mark.slow
def test_reordering_makes_sequences_of_events() -> None:
    result = study(("reordering",), limit=None, metrics=["fd", "kl"])
    assert result.probes["reordering"].clips >= 5
    assert result.curve("reordering", "fd_yamnet")[0.0][0] == pytest.approx(0, abs=1e-6)
    assert result.curve("reordering", "fd_yamnet")[1.0][0] > 0
    with pytest.raises(UsageError, match="3 events are too few for an order"):
        study(("reordering",), limit=None, metrics=["fd"], events=3)


@pytest.mark.slow
def test_a_set_without_classes_names_what_cannot_run(tmp_path: Path) -> None:
    for index, path in enumerate(sorted(p for p in REFERENCE.rglob("*.wav"))[:8]):
        (tmp_path / f"{index}.wav").write_bytes(path.read_bytes())
    result = sanity(tmp_path, protocol="yamnet", metrics=["fd", "kl"], fractions=(0, 1))
    assert set(result.not_run) == {"interference", "reordering"}
    assert "sub-folder" in result.not_run["interference"]
    assert set(result.probes) == {"noise", "masking", "resynthesis"}
    with pytest.raises(InsufficientDataError):
        sanity(tmp_path, protocol="yamnet", metrics=["fd"], probes=["reordering"])


def test_nonsense_is_refused_before_anything_is_embedded() -> None:
    for options in (
        {"probes": ("nose",)},
        {"fractions": (2.0,)},
        {"fractions": ()},
        {"repeats": 0},
        {"settings": {"masking": {"spans": "2"}}},
        {"events": 5},
    ):
        with pytest.raises(UsageError):
            study(**options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_files_are_complete_and_equal_for_equal_studies(controls: Study, tmp_path: Path) -> None:
    first, second = write_study(controls, str(tmp_path / "a")), write_study(controls, tmp_path / "b")
    assert {path.name for path in first} == {
        "study.html", "study.json", "points.csv", "verdicts.csv", "study.md", "fraction.pdf", "fraction.png",
        "fraction.svg", "fraction-column.pdf", "fraction.tex", "fraction-probes.png", "fraction-probes.svg",
    }  # fmt: skip
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    content = json.loads((tmp_path / "a" / "study.json").read_text())
    assert len(content["points"]) == 3 * 4 * 3 * 5
    assert "responds" in to_markdown(controls)
    assert "flat" in summary(controls)
    assert [len(row) for row in panels(controls, "fraction")] == [3] * 5
    row = panels_by_score(controls, "fraction")
    assert [panel.title for panel in row] == ["FD ↓", "IS ↑", "KL ↓", "FAD ↓"]
    assert all([curve.label for curve in panel.curves] == [*controls.probes] for panel in row)
    caption = caption_of(controls)
    assert f"{controls.ref.scored} clips" in caption
    assert controls.ref.path in caption
    assert read(Study, json.loads(controls.to_json())) == controls


def test_verdicts() -> None:
    rising = {0.0: [0.0] * 3, 0.5: [1.0, 1.1, 0.9], 1.0: [2.0] * 3}
    assert judge(rising, 4.0, higher_is_better=False).answer == "responds"
    assert judge(rising, 4.0, higher_is_better=True).answer == "wrong direction"
    assert judge(rising, 200.0, higher_is_better=False).answer == "flat"
    noisy = {0.0: [0.0] * 3, 0.5: [9.0, -9.0, 5.0], 1.0: [1.0] * 3}
    assert judge(noisy, 4.0, higher_is_better=False).answer == "flat"
    constant = judge({0.0: [1.0, 1.0], 1.0: [1.0, 1.0]}, 1.0, higher_is_better=False)
    assert (constant.answer, constant.spearman, constant.effect_size) == ("flat", 0.0, None)
    assert judge({0.0: [0.0], 1.0: [3.0]}, 4.0, higher_is_better=False).ci95 is None


def test_what_comes_and_goes_is_not_flat() -> None:
    there_and_back = {0.0: [0.0] * 4, 0.3: [1.0, 1.1, 0.9, 1.0], 0.6: [0.9, 1.0, 1.1, 1.0], 1.0: [0.05] * 4}
    for higher_is_better in (False, True):
        assert judge(there_and_back, 4.0, higher_is_better=higher_is_better).answer == "comes and goes"
    assert judge(there_and_back, 100.0, higher_is_better=False).answer == "flat"


def test_no_verdict_without_repeats_that_differ() -> None:
    for curve in (
        {0.0: [0.0], 0.5: [2.0], 1.0: [3.0]},
        {0.0: [0.0] * 5, 1.0: [3.0] * 5},
        {0.0: [0.0] * 5, 0.5: [2.0] * 5, 1.0: [3.0] * 5},
    ):
        assert judge(curve, 4.0, higher_is_better=False).answer == "no verdict"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("doses", "repeats", "alike"),
    [(11, 5, (0, 10)), (3, 5, (0, 2)), (3, 2, (0, 2)), (5, 1, ()), (5, 5, (0,)), (5, 5, (0, 1, 2, 3, 4))],
    ids=["shares", "three-shares", "two-repeats", "severities", "redrawn", "redrawn-in-vain"],
)
def test_a_metric_of_noise_gets_no_verdict(doses: int, repeats: int, alike: tuple[int, ...]) -> None:
    rng, runs, verdicts = np.random.default_rng(0), 400, 0
    for _ in range(runs):
        scores = rng.normal(size=(doses, repeats))
        for dose in alike:
            scores[dose] = scores[dose, 0]
        found = judge({dose / (doses - 1): list(row) for dose, row in enumerate(scores)}, 1.0, higher_is_better=False)
        verdicts += found.answer not in ("flat", "no verdict")
    assert verdicts <= 0.085 * runs  # three standard errors above 5.5 %


def test_scales_do_not_depend_on_how_many_clips_there_are() -> None:
    stream = torch.Generator().manual_seed(0)

    def drawn(clips: int) -> EmbeddingSet:
        return EmbeddingSet(
            {
                str(clip): {
                    "embeddings": torch.randn(8, generator=stream),
                    "windows": torch.randn(2, 8, generator=stream),
                    "logits": 3 * torch.randn(6, generator=stream),
                }
                for clip in range(clips)
            }
        )

    names = ["fd", "fad", "is", "kl", "kid", "kad", "precision", "recall", "density", "coverage"]
    for recipe in get_protocol("yamnet").select(names):
        measure = Measure.of(recipe)
        few, many = (np.mean([scale_of(measure, drawn(clips), seed) for seed in range(8)]) for clips in (40, 160))
        assert few == pytest.approx(many, rel=0.2), recipe.score_id


@pytest.mark.slow
def test_command_line(agm: Run, tmp_path: Path) -> None:
    common = ("study", REFERENCE, "--protocol", "yamnet", "--limit", "12", "--probes", "white-noise")
    common += ("-m", "fd,kl", "--fractions", "0,1", "--repeats", "2", "--seed", "3", "--workers", "1")
    done = agm(
        *common, "--severities", "0:1:0.5", "--set", "white-noise.snr_db=5", "-o", tmp_path / "out",
        "--expect", "white-noise.fd_yamnet=responds", "--redraw-parameters", "--format", "markdown",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| white-noise | fd_yamnet | fraction | responds |" in done.stdout
    assert "clips embedded" in done.stderr
    assert json.loads((tmp_path / "out" / "cost.json").read_text())["embedded"] == {"yamnet": 12 * 5}
    assert json.loads((tmp_path / "out" / "study.json").read_text())["probes"]["white-noise"]["settings"]["snr_db"] == 5
    failed = agm(*common, "--expect", "white-noise.fd_yamnet=flat")
    assert failed.returncode == 5
    assert "white-noise.fd_yamnet is no verdict, not flat" in failed.stderr
    assert agm(*common, "--fractions", "1:0:2").returncode == 2
    unused = agm(*common, "--events", "4")
    assert unused.returncode == 2
    assert "events: given as 4, but not used by white-noise" in unused.stderr
    assert agm(*common, "--set", "noise=1").returncode == 2
    labels = tmp_path / "labels.csv"
    labels.write_text("clip_id,label\n")
    assert (
        agm("study", REFERENCE, "--protocol", "yamnet", "--probes", "interference", "--labels", labels).returncode == 3
    )
