"""A score that cannot be computed, and a clip that cannot be scored, stop no training and are never passed over."""

from __future__ import annotations

import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from audiogen_metrics import FAD, FD, IS, KL, MetricSuite, score
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.errors import DataError, InsufficientDataError, NumericsError, UsageError
from audiogen_metrics.objects import Coverage, Density, Precision, Recall, object_of
from tests.checkpoints import write_panns
from tests.conftest import EXAMPLES

RATE = 16_000

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")


def noise(clips: int, seconds: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(clips, int(seconds * RATE), generator=generator)


def names(clips: int) -> list[str]:
    return [f"clip-{index}" for index in range(clips)]


def suite(**options: Any) -> MetricSuite:
    metrics = [metric(protocol="yamnet", **options) for metric in (FD, FAD, IS, KL, Precision, Recall)]
    return MetricSuite(metrics)


class TestMissingScores:
    """Eight clips are too few for an IS of ten splits."""

    def test_a_suite_leaves_it_out(self) -> None:
        found = suite()
        found.update(gen=noise(8), ref=noise(8, seed=1), sample_rate=RATE)
        with pytest.warns(UserWarning, match="is_yamnet has no value: .* at least 10 clips, got 8"):
            values = found.compute()
        assert list(values) == ["fd_yamnet", "fad_yamnet", "kl_yamnet", "precision_yamnet", "recall_yamnet"]
        assert all(math.isfinite(value) for value in values.values())

    def test_scores_say_why(self) -> None:
        found = suite()
        found.update(gen=noise(8), ref=noise(8, seed=1), sample_rate=RATE)
        scores = found.compute_scores()
        assert [name for name, score in scores.items() if score.value is None] == ["is_yamnet"]
        assert scores["is_yamnet"].reason.startswith("inception score over 10 splits needs at least 10 clips, got 8")
        assert scores["is_yamnet"].n_gen == 8

    def test_a_suite_of_nothing(self) -> None:
        found = suite()
        with pytest.warns(UserWarning, match="there are no gen clips"):
            assert found.compute() == {}
        scores = found.compute_scores()
        assert {score.value for score in scores.values()} == {None}
        assert all("no gen clips" in score.reason for score in scores.values())

    def test_a_single_metric_raises(self) -> None:
        found = IS(protocol="yamnet")
        found.update(gen=noise(8), sample_rate=RATE)
        for ask in (found.compute, found.compute_score):
            with pytest.raises(InsufficientDataError, match="at least 10 clips"):
                ask()

    def test_choices(self) -> None:
        rows = torch.randn(8, 521, generator=torch.Generator().manual_seed(0))
        for choice, expected in (("nan", math.isnan), ("omit", lambda value: value is None)):
            single = IS(protocol="yamnet", on_missing=choice)
            single.update(gen_logits=rows)
            with pytest.warns(UserWarning, match="is_yamnet has no value"):
                assert expected(single.compute())
            assert single.compute_score().value is None
        raising = MetricSuite([IS(protocol="yamnet")], on_missing="raise")
        raising.update(gen_logits=rows)
        with pytest.raises(InsufficientDataError):
            raising.compute()
        assert raising.compute_scores()["is_yamnet"].value is None
        nan = MetricSuite([IS(protocol="yamnet")], on_missing="nan")
        nan.update(gen_logits=rows)
        with pytest.warns(UserWarning, match="has no value"):
            assert math.isnan(nan.compute()["is_yamnet"])

    def test_a_member_keeps_its_own_choice(self) -> None:
        found = MetricSuite([IS(protocol="yamnet", on_missing="raise"), FD(protocol="yamnet")])
        found.update(gen=noise(8), ref=noise(8, seed=1), sample_rate=RATE)
        with pytest.raises(InsufficientDataError):
            found.compute()

    def test_a_reason_is_not_recalled_as_a_value(self) -> None:
        single = IS(protocol="yamnet", on_missing="nan")
        rows = torch.randn(20, 521, generator=torch.Generator().manual_seed(0))
        single.update(gen_logits=rows[:8])
        with pytest.warns(UserWarning, match="has no value"):
            assert math.isnan(single.compute())
        single.update(gen_logits=rows[8:])
        assert single.compute() >= 1
        assert single.compute_score().n_gen == 20

    def test_ids_that_do_not_pair_stop_no_other_score(self) -> None:
        found = suite()
        found.update(gen=noise(12), sample_rate=RATE)
        found.update(ref=noise(11, seed=1), sample_rate=RATE)
        with pytest.warns(UserWarning, match="kl_yamnet has no value: 12 gen and 11 ref clips without ids"):
            assert len(found.compute()) == 5

    def test_inside_a_collection(self) -> None:
        outer = MetricCollection([suite()])
        outer.update(gen=noise(8), ref=noise(8, seed=1), sample_rate=RATE)
        with pytest.warns(UserWarning, match="is_yamnet has no value"):
            assert len(outer.compute()) == 5
        outer.to(torch.device("cpu"))
        with pytest.warns(UserWarning, match="is_yamnet has no value"):
            assert len(outer.clone().compute()) == 5

    def test_copies_keep_the_choice(self) -> None:
        found = suite()
        for copied in (found.clone(), pickle.loads(pickle.dumps(found))):
            copied.update(gen=noise(8), ref=noise(8, seed=1), sample_rate=RATE)
            with pytest.warns(UserWarning, match="has no value"):
                assert "is_yamnet" not in copied.compute()

    def test_folders(self) -> None:
        few = MetricSuite([FD(protocol="yamnet"), IS(protocol="yamnet")])
        folders = EXAMPLES / "generated", EXAMPLES / "reference"
        report = few.score(*folders, limit=8)
        assert report["is_yamnet"].value is None
        assert report["fd_yamnet"].value > 0
        with pytest.raises(InsufficientDataError):
            IS(protocol="yamnet").score(folders[0], limit=8)
        assert IS(protocol="yamnet", on_missing="omit").score(folders[0], limit=8).value is None

    @pytest.mark.parametrize("wrong", [{"on_missing": "skip"}, {"on_bad_clip": "nan"}])
    def test_unknown_choices(self, wrong: Any) -> None:
        with pytest.raises(UsageError, match="unknown on_"):
            FD(protocol="yamnet", **wrong)
        if "on_missing" in wrong:
            with pytest.raises(UsageError, match="unknown on_missing"):
                MetricSuite([], **wrong)


def _nan(clips: torch.Tensor) -> torch.Tensor:
    clips[2, 100] = math.nan
    return clips


def _infinite(clips: torch.Tensor) -> torch.Tensor:
    clips[2] = -math.inf
    return clips


def _enormous(clips: torch.Tensor) -> torch.Tensor:
    clips[2] *= 1e30
    return clips


class TestBadClips:
    """What a young generator makes now and then."""

    @pytest.mark.parametrize("spoil", [_nan, _infinite, _enormous])
    @pytest.mark.filterwarnings("ignore:.*beyond full scale")
    def test_one_is_left_out_and_counted(self, spoil: Any) -> None:
        bad, good = suite(on_bad_clip="omit"), suite()
        clips, references = noise(12), noise(12, seed=1)
        kept = [index for index in range(12) if index != 2]
        with pytest.warns(UserWarning, match="gen: 1 of 12 clips are left out") as caught:
            bad.update(gen=spoil(clips.clone()), ref=references, sample_rate=RATE, ids=names(12))
        assert sum("left out" in str(each.message) for each in caught) == 1
        good.update(gen=clips[kept], sample_rate=RATE, ids=[names(12)[index] for index in kept])
        good.update(ref=references, sample_rate=RATE, ids=names(12))
        found, expected = bad.compute_scores(), good.compute_scores()
        for name, each in found.items():
            assert each.value == pytest.approx(expected[name].value, rel=1e-5), name
            assert each.n_gen == 11
            assert each.details["left_out_gen"] == 1
            assert "clips left out of gen, since they cannot be scored: 1" in each.remarks

    @pytest.mark.parametrize(("spoil", "kind"), [(_nan, DataError), (_enormous, NumericsError)])
    @pytest.mark.filterwarnings("ignore:.*beyond full scale")
    def test_by_default_it_is_an_error_and_nothing_is_added(self, spoil: Any, kind: str) -> None:
        for found in (FD(protocol="yamnet"), suite()):
            with pytest.raises(kind, match=r"gen\[2\]"):
                found.update(gen=spoil(noise(12)), ref=noise(12, seed=1), sample_rate=RATE)
            if isinstance(found, MetricSuite):
                assert {score.n_gen for score in found.compute_scores().values()} == {0}

    def test_a_suite_adds_to_all_members_or_to_none(self) -> None:
        found = suite()
        found.update(gen=noise(12), ref=noise(12, seed=1), sample_rate=RATE)
        before = {name: float(value) for name, value in found.compute().items()}
        with pytest.raises(DataError, match="12 gen and 11 ref clips without ids"):  # of KL, the fourth member
            found.update(gen=noise(12, seed=2), ref=noise(11, seed=3), sample_rate=RATE)
        assert {name: float(value) for name, value in found.compute().items()} == before
        assert {each.n_gen for each in found.compute_scores().values()} == {12}

    def test_pairs_by_order_of_arrival_lose_both(self) -> None:
        clips, references = noise(12), noise(12, seed=1)
        kept = [index for index in range(12) if index != 2]
        bad, good = KL(protocol="yamnet", on_bad_clip="omit"), KL(protocol="yamnet")
        with pytest.warns(UserWarning, match="left out"):
            bad.update(gen=_nan(clips.clone()), ref=references, sample_rate=RATE)
        good.update(gen=clips[kept], ref=references[kept], sample_rate=RATE)
        assert float(bad.compute()) == pytest.approx(float(good.compute()), rel=1e-5)

    def test_pairs_by_order_of_arrival_never_shift(self) -> None:
        metric = KL(protocol="yamnet", on_bad_clip="omit")
        clips = _nan(noise(12))
        with pytest.warns(UserWarning, match="left out"), pytest.raises(DataError, match="would shift the pairs"):
            metric.update(gen=clips, sample_rate=RATE)

    def test_a_whole_batch(self) -> None:
        metric = FAD(protocol="yamnet", on_bad_clip="omit")
        with pytest.warns(UserWarning, match="3 of 3 clips are left out"):
            metric.update(gen=torch.full((3, RATE), math.nan), sample_rate=RATE)
        metric.update(gen=noise(12), ref=noise(12, seed=1), sample_rate=RATE)
        assert metric.compute_score().details["left_out_gen"] == 3
        assert metric.compute_score().n_gen == 12

    @pytest.mark.parametrize("samples", [0, 1, 50])
    def test_clips_that_are_no_sound(self, samples: np.ndarray) -> None:
        metric = FD(protocol="yamnet", on_bad_clip="omit")
        clips = [*noise(3)]
        clips[1] = clips[1][:samples]
        with pytest.warns(UserWarning, match="1 of 3 clips are left out: .* samples"):
            metric.update(gen=clips, ref=noise(3, seed=1), sample_rate=RATE)
        assert metric.compute_score().n_gen == 2
        with pytest.raises(DataError, match=r"gen\[1\] of shape"):
            FD(protocol="yamnet").update(gen=clips, sample_rate=RATE)

    def test_ready_rows(self) -> None:
        rows = torch.randn(20, 9, generator=torch.Generator().manual_seed(0))
        broken = rows.clone()
        broken[3, 1] = math.nan
        kept = [index for index in range(20) if index != 3]
        for name, given, make in (
            ("gen_embeddings", broken, FD),
            ("gen_logits", broken, KL),
            ("gen_embeddings", broken[:, None], FAD),
        ):
            metric = make(protocol="yamnet", on_bad_clip="omit", ref={f"clip-{i}": row for i, row in enumerate(rows)})
            with pytest.warns(UserWarning, match="gen: 1 of 20 clips are left out") as told:
                metric.update(**{name: given}, ids=names(20))
            assert told[0].filename == __file__
            expected = make(protocol="yamnet", ref={f"clip-{i}": row for i, row in enumerate(rows)})
            expected.update(**{name: given[kept]}, ids=[names(20)[i] for i in kept])
            assert float(metric.compute()) == pytest.approx(float(expected.compute()), rel=1e-9)
            assert metric.compute_score().details["left_out_gen"] == 1

    def test_a_reference_whose_values_are_no_rows(self) -> None:
        waveform = np.zeros(RATE, dtype=np.float32)
        for ref in ({"a": (waveform, RATE)}, {"a": waveform[:3], "b": waveform[:4]}):
            with pytest.raises(DataError, match="the values of the reference are not embeddings of equal width"):
                FD(protocol="yamnet", ref=ref)
        with pytest.raises(InsufficientDataError, match="the reference is empty"):
            FD(protocol="yamnet", ref={})

    def test_nothing_is_left(self) -> None:
        metric = FD(protocol="yamnet", on_bad_clip="omit", on_missing="omit")
        with pytest.warns(UserWarning, match="left out"):
            metric.update(gen=torch.full((4, RATE), math.nan), ref=noise(4), sample_rate=RATE)
        with pytest.warns(UserWarning, match="fd_yamnet has no value: all 4 gen clips were left out"):
            assert metric.compute() is None
        assert metric.compute_score().details == {"left_out_gen": 4}

    def test_repeats_of_a_bad_clip_count_once(self) -> None:
        """As a distributed sampler adds them."""
        metric = FD(protocol="yamnet", on_bad_clip="omit")
        clips = _nan(noise(4))
        for _ in range(2):
            with pytest.warns(UserWarning, match="left out"):
                metric.update(gen=clips, ref=noise(4, seed=1), sample_rate=RATE, ids=names(4))
        assert metric.compute_score().details["left_out_gen"] == 1
        metric.update(gen=noise(4), sample_rate=RATE, ids=names(4))  # it can be scored now
        assert "left_out_gen" not in metric.compute_score().details
        assert metric.compute_score().n_gen == 4

    def test_clips_that_are_too_short(self) -> None:
        """A protocol that does not pad cannot take them."""
        metric = FAD(protocol="google-fad", backbone="yamnet", on_bad_clip="omit")
        assert metric.recipe.preprocessing.minimum_samples == 0
        with pytest.warns(UserWarning, match="1 of 2 clips are left out: .* samples at 16000 Hz"):
            metric.update(gen=[noise(1)[0], noise(1, 0.1)[0]], sample_rate=RATE)


class TestPadding:
    """transformers' Trainer fills up shorter clips with −100."""

    def test_it_is_no_part_of_a_clip(self) -> None:
        clips = [noise(1, seconds)[0] for seconds in (1.0, 1.5, 2.0)]
        padded = np.full((3, 2 * RATE), -100, np.float32)
        for row, clip in zip(padded, clips, strict=True):
            row[: len(clip)] = clip
        plain, gathered = FAD(protocol="yamnet"), FAD(protocol="yamnet")
        plain.update(gen=clips, ref=noise(4, seed=1), sample_rate=RATE)
        gathered.update(gen=padded, ref=noise(4, seed=1), sample_rate=RATE)
        assert float(gathered.compute()) == pytest.approx(float(plain.compute()), rel=1e-9)

    def test_padding_alone(self) -> None:
        clips = torch.stack([noise(1)[0], torch.full((RATE,), -100.0)])
        with pytest.raises(DataError, match=r"gen\[1\] of shape \(0,\) holds clips of 0 samples"):
            FD(protocol="yamnet").update(gen=clips, sample_rate=RATE)
        metric = FD(protocol="yamnet", on_bad_clip="omit")
        with pytest.warns(UserWarning, match="1 of 2 clips are left out"):
            metric.update(gen=clips, sample_rate=RATE)

    @pytest.mark.filterwarnings("ignore:.*beyond full scale")
    def test_integers_as_floats_may_end_so(self) -> None:
        from audiogen_metrics.objects.batch import Batch

        clip = (noise(1)[0] * 32767).round()
        clip[-1] = -100
        assert Batch(clip, RATE, "gen").clips[0].shape[-1] == RATE


class TestWholeOfScore:
    """What ``score()`` takes, objects take too."""

    def test_weights(self, tmp_path: Path) -> None:
        file = write_panns(tmp_path / "panns.pth", Cnn14At16k)
        folders = EXAMPLES / "generated", EXAMPLES / "reference"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = score(*folders, metrics=["fd", "kl"], weights={"panns-cnn14-16k": file}, limit=12)
            members = [FD(weights=file), KL(weights={"panns-cnn14-16k": file, "vggish": tmp_path / "other.pth"})]
            assert members[0].runner is members[1].runner
            report = MetricSuite(members).score(*folders, limit=12)
        assert report.to_dict() == {**expected.to_dict()}
        assert FD(weights=str(file)).score(*folders, limit=12) == expected["fd_panns"]

    def test_weights_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no such weights file"):
            FD(weights=tmp_path / "none.pth")
        with pytest.raises(UsageError, match="unknown"):
            FD(weights={"panns": tmp_path / "none.pth"})

    def test_options(self) -> None:
        folders = EXAMPLES / "generated", EXAMPLES / "reference"
        options = {"limit": 20, "ci": True, "draws": 19, "seed": 3, "pairing": "none", "extrapolate": False}
        expected = score(*folders, metrics=["fd", "fad"], protocol="yamnet", **options)
        found = MetricSuite([FD(protocol="yamnet"), FAD(protocol="yamnet")]).score(*folders, **options)
        assert found.to_dict() == expected.to_dict()
        assert FD(protocol="yamnet", ref=folders[1]).score(folders[0], **options) == expected["fd_yamnet"]
        with pytest.raises(UsageError, match="unknown option 'limits'"):
            FD(protocol="yamnet").score(*folders, limits=20)

    def test_an_interval_of_what_was_added(self) -> None:
        rows = torch.randn(80, 6, generator=torch.Generator().manual_seed(0))
        metric = FD(protocol="yamnet", ref=rows[:40])
        metric.update(gen_embeddings=rows[40:])
        found = metric.compute_score(ci=True, draws=19)
        assert found.ci95[0] < found.value < found.ci95[1]
        assert 0 < found.details["chance_p"] <= 1
        assert metric.compute_score().ci95 is None
        suite = MetricSuite([metric])
        assert suite.compute_scores(ci=True, draws=19)["fd_yamnet"] == found

    def test_ready_features_against_a_folder(self) -> None:
        reference = torch.randn(40, 1024, generator=torch.Generator().manual_seed(0))
        found = FD(protocol="yamnet", ref=reference).score(EXAMPLES / "generated", limit=None)
        assert found.value > 0
        assert found.ci95 is not None
        assert found.n_ref == 40
        with pytest.raises(UsageError, match="cannot be limited"):
            FD(protocol="yamnet", ref=reference).score(EXAMPLES / "generated", limit=10)

    @pytest.mark.parametrize("kind", [Precision, Recall, Density, Coverage])
    def test_neighbourhoods(self, kind: str) -> None:
        folders = EXAMPLES / "generated", EXAMPLES / "reference"
        name = kind.metric_name
        expected = score(*folders, metrics=[name], protocol="yamnet", ci=False)
        assert kind(protocol="yamnet").score(*folders, ci=False) == expected[name]
        assert object_of(name) is kind
        assert kind(protocol="yamnet", nearest=3).definition.nearest == 3

    def test_a_member_by_its_metric(self) -> None:
        both = MetricSuite([FD(protocol="yamnet"), KL(protocol="yamnet"), KL(protocol="av-benchmark")])
        assert both["fd"] is both["fd_yamnet"]
        with pytest.raises(KeyError, match="2 metrics are called 'kl'"):
            both["kl"]
        with pytest.raises(KeyError, match="there is no metric 'kid'; choose one of fd_yamnet"):
            both["kid"]

    @pytest.mark.parametrize("option", ["device", "weights", "metrics", "protocol", "beside"])
    def test_options_that_belong_elsewhere(self, option: Any) -> None:
        folders = EXAMPLES / "generated", EXAMPLES / "reference"
        for found in (FD(protocol="yamnet"), MetricSuite([FD(protocol="yamnet")])):
            with pytest.raises(UsageError, match=option):
                found.score(*folders, **{option: "cpu"})

    def test_two_networks_of_one_name(self, tmp_path: Path) -> None:
        files = [write_panns(tmp_path / f"{seed}.pth", Cnn14At16k, seed) for seed in range(2)]
        both = MetricSuite([FD(weights=files[0]), KL(weights=files[1])])
        with pytest.raises(UsageError, match="fd_panns and kl_panns have different networks called 'panns-cnn14-16k'"):
            both.score(EXAMPLES / "generated", EXAMPLES / "reference", limit=12)

    def test_keys_have_the_prefix(self) -> None:
        found = MetricSuite([FD(protocol="yamnet")], prefix="val/")
        found.update(gen=noise(3), ref=noise(3, seed=1), sample_rate=RATE)
        assert list(found.compute()) == list(found.compute_scores()) == ["val/fd_yamnet"]
        assert "fd" in found
        assert "val/fd_yamnet" in found
        assert found["val/fd_yamnet"] is found["fd"]

    @pytest.mark.parametrize("shape", [(20, 4), (20, 3, 4)])
    def test_rows_are_its_own(self, shape: Any) -> None:
        buffer = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        kind = FAD if len(shape) == 3 else FD
        metric, expected = kind(protocol="yamnet", ref=buffer, streaming=False), kind(protocol="yamnet", ref=buffer + 0)
        for shift in range(2):
            buffer += shift
            metric.update(gen_embeddings=buffer)
            expected.update(gen_embeddings=buffer.float())
        assert float(metric.compute()) == pytest.approx(float(expected.compute()), rel=1e-5)
        part = kind(protocol="yamnet", streaming=False)
        part.update(gen_embeddings=buffer[:2])
        assert next(iter(part._state("gen", "rows"))).untyped_storage().nbytes() < buffer.untyped_storage().nbytes()

    def test_unknown_arguments(self) -> None:
        with pytest.raises(UsageError, match=r"Options of KID: .*subset_size"):
            object_of("kid")(protocol="yamnet", subsetsize=3)
        with pytest.raises(TypeError, match="gen_embedding"):
            suite().update(gen_embedding=torch.zeros(3, 4))
