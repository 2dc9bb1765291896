"""FD, FAD, IS and KL as metric objects: the three ways in, and what goes wrong in simpler forms of them."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import nn
from torchmetrics import Metric, MetricCollection

from audiogen_metrics import FAD, FD, IS, KL, score
from audiogen_metrics.audio.files import scan
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.functional import GaussianStatistics
from audiogen_metrics.objects.batch import Batch
from audiogen_metrics.objects.runner import shared_runner
from tests.conftest import EXAMPLES

# torchmetrics warns when compute comes before update; that it then raises is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")

METRICS = {"fd": FD, "fad": FAD, "is": IS, "kl": KL}
NAMES = [f"clip-{index}" for index in range(12)]


def read(folder: Path) -> Any:
    """Return (clip id, mono waveform, rate) of each file."""
    clips = []
    for clip in scan(folder).clips:
        samples, rate = soundfile.read(clip.path, dtype="float32", always_2d=True)
        clips.append((clip.clip_id, torch.from_numpy(samples).mean(dim=1), rate))
    return clips


def rows(seed: int, clips: Any = 12, width: int = 5) -> Any:
    return torch.randn(clips, width, generator=torch.Generator().manual_seed(seed)).double()


def ready(metric: Any, gen: Any = None, ref: Any = None) -> Any:
    """Return the keyword arguments that hand ready rows to a metric."""
    kind = "embeddings" if metric.metric_name in ("fd", "fad") else "logits"
    given = {f"gen_{kind}": gen, f"ref_{kind}": ref}
    if metric.metric_name == "is":
        del given[f"ref_{kind}"]
    return {name: value for name, value in given.items() if value is not None}


@pytest.fixture(params=list(METRICS))
def metric(request: pytest.FixtureRequest) -> Any:
    """Each metric in turn."""
    return METRICS[request.param](protocol="yamnet")


@pytest.fixture
def filled(metric: Any) -> Any:
    """Each metric with twelve clips in both sets."""
    metric.update(**ready(metric, rows(1), rows(2)), ids=NAMES)
    return metric


class TestThreeWaysIn:
    @pytest.mark.slow
    def test_folders_waveforms_and_embeddings_agree(self, small: tuple[Path, Path], metric: Any) -> None:
        gen, ref = small
        assert metric.score(gen, ref) == score(gen, ref, protocol="yamnet")[metric.score_id]
        from_folders = metric.score(gen, ref, ci=False)

        for side, folder in (("gen", gen), ("ref", ref)):
            for clip_id, waveform, rate in read(folder):
                metric.update(**{side: waveform}, sample_rate=rate, ids=[clip_id])
        from_waveforms = metric.compute_score()
        assert from_waveforms.value == pytest.approx(from_folders.value, rel=1e-5)
        assert (from_waveforms.n_gen, from_waveforms.n_ref) == (from_folders.n_gen, from_folders.n_ref)
        assert from_waveforms.details.keys() == from_folders.details.keys()
        if from_folders.std is not None:
            assert from_waveforms.std == pytest.approx(from_folders.std, rel=1e-5)

        again = type(metric)(protocol="yamnet")
        for side, folder in (("gen", gen), ("ref", ref)):
            clips = read(folder)
            features = [
                Batch([waveform], rate, side).features(metric.runner, metric.recipe.preprocessing)[0][metric._output]
                for _, waveform, rate in clips
            ]
            blocks = features if metric.metric_name == "fad" else [feature[None] for feature in features]
            if side == "ref" and metric.metric_name == "is":
                continue
            names = [clip[0] for clip, block in zip(clips, blocks, strict=True) for _ in block]
            again.update(**ready(again, **{side: torch.cat(blocks)}), ids=names)
        assert float(again.compute()) == pytest.approx(from_waveforms.value, rel=1e-9)

    def test_preparation_is_that_of_files(self, tmp_path: Path) -> None:
        """With one clip per batch on both ways, not even the last bit differs."""
        for name, rate in (("a", 44_100), ("b", 22_050)):
            noise = np.random.default_rng(0).normal(0.2, 0.1, rate).astype(np.float32)
            soundfile.write(tmp_path / f"{name}.wav", noise, rate, subtype="FLOAT")
        fd = FD(protocol="yamnet")
        folder = fd.score(tmp_path, EXAMPLES / "reference" / "bd", batch_size=1)
        other = FD(protocol="yamnet", ref=EXAMPLES / "reference" / "bd")
        for clip_id, waveform, rate in read(tmp_path):
            other.update(gen=waveform, sample_rate=rate, ids=[clip_id])
        assert float(other.compute()) == pytest.approx(folder.value, rel=1e-6)

    @pytest.mark.parametrize("form", ["batch", "list", "numpy", "bfloat16 host"])
    def test_forms_of_waveforms(self, form: Any) -> None:
        waveforms = 0.1 * torch.randn(4, 16_000, generator=torch.Generator().manual_seed(0))
        one, other = FD(protocol="yamnet"), FD(protocol="yamnet")
        for waveform in waveforms:
            one.update(gen=waveform, ref=waveform.flip(0), sample_rate=16_000)
        given = {"list": list(waveforms), "numpy": waveforms.numpy()}.get(form, waveforms)
        flipped = {"list": list(waveforms.flip(1)), "numpy": waveforms.numpy()[:, ::-1]}.get(form, waveforms.flip(1))
        with torch.autocast("cpu", torch.bfloat16, enabled=form == "bfloat16 host"):
            other.update(gen=given, ref=flipped if form != "numpy" else flipped.copy(), sample_rate=16_000)
        assert float(other.compute()) == pytest.approx(float(one.compute()), rel=1e-5)

    def test_resampling_under_a_hosts_autocast(self) -> None:
        waveform = 0.1 * torch.randn(2, 32_000, generator=torch.Generator().manual_seed(0))
        plain, inside = FD(protocol="yamnet", ref=rows(1, width=1024)), FD(protocol="yamnet", ref=rows(1, width=1024))
        plain.update(gen=waveform, sample_rate=32_000)
        plain.runner._remembered.clear()
        with torch.autocast("cpu", torch.bfloat16):
            inside.update(gen=waveform, sample_rate=32_000)
        assert float(inside.compute()) == float(plain.compute())

    def test_update_in_inference_mode(self) -> None:
        fd = FD(protocol="yamnet")
        with torch.inference_mode():
            fd.update(gen=0.1 * torch.randn(3, 16_000), ref=0.1 * torch.randn(3, 16_000), sample_rate=16_000)
        assert float(fd.clone().compute()) == float(fd.compute())


class TestReference:
    @pytest.mark.slow
    def test_ref_survives_reset(self, small: tuple[Path, Path], metric: Any) -> None:
        gen, ref = small
        expected = metric.score(gen, ref).value
        kept = type(metric)(protocol="yamnet", ref=ref)
        for _ in range(2):
            for clip_id, waveform, rate in read(gen):
                kept.update(gen=waveform, sample_rate=rate, ids=[clip_id])
            assert float(kept.compute()) == pytest.approx(expected, rel=1e-5)
            kept.reset()
        assert kept.score(gen).value == expected

    @pytest.mark.parametrize("kind", ["tensor", "numpy", "by id", "statistics"])
    def test_kinds_of_ref(self, kind: str) -> None:
        ref = rows(2)
        forms = {
            "tensor": ref,
            "numpy": ref.numpy(),
            "by id": dict(zip(NAMES, ref, strict=True)),
            "statistics": GaussianStatistics.from_embeddings(ref),
        }
        fd, plain = FD(protocol="yamnet", ref=forms[kind]), FD(protocol="yamnet")
        fd.update(gen_embeddings=rows(1))
        plain.update(gen_embeddings=rows(1), ref_embeddings=ref)
        assert float(fd.compute()) == pytest.approx(float(plain.compute()), rel=1e-12)

    def test_second_reference_is_an_error(self) -> None:
        fd = FD(protocol="yamnet", ref=rows(2))
        with pytest.raises(UsageError, match="given to the constructor"):
            fd.update(ref_embeddings=rows(3))

    def test_missing_reference_shows_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="does not exist"):
            FAD(protocol="yamnet", ref=tmp_path / "none")
        (tmp_path / "text.stats").write_text("no statistics")
        with pytest.raises(DataError, match="not one of reference statistics"):
            FAD(protocol="yamnet", ref=tmp_path / "text.stats")

    @pytest.mark.slow
    def test_score_leaves_state_alone_and_names_skipped_files(self, small: tuple[Path, Path]) -> None:
        gen, ref = small
        fd = FD(protocol="yamnet")
        fd.update(gen_embeddings=rows(1), ref_embeddings=rows(2))
        before = float(fd.compute())
        (gen / "broken.wav").write_bytes(b"RIFF")
        with pytest.warns(UserWarning, match="skipped 1 of 13 files .broken"):
            fd.score(gen, ref)
        fd._computed = None
        assert float(fd.compute()) == before

    def test_score_without_reference(self, small: tuple[Path, Path]) -> None:
        with pytest.raises(UsageError, match="needs a reference"):
            FD(protocol="yamnet").score(small[0])
        assert IS(protocol="yamnet").score(small[0]).n_ref is None


class TestMerging:
    @pytest.mark.parametrize("streaming", [False, True])
    @pytest.mark.parametrize("sizes", [[100], [1] * 100, [7, 50, 3, 40]])
    def test_any_split_and_order(self, streaming: bool, sizes: Any) -> None:
        gen, ref = rows(1, 100, 8) * 3 + 1e4, rows(2, 100, 8) + 1e4
        expected = FD(protocol="yamnet")
        expected.update(gen_embeddings=gen, ref_embeddings=ref)
        fd = FD(protocol="yamnet", streaming=streaming)
        order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
        for part in order.split(sizes):
            fd.update(gen_embeddings=gen[part], ref_embeddings=ref[part], ids=[f"{place:03d}" for place in part])
        assert float(fd.compute()) == pytest.approx(float(expected.compute()), rel=1e-9)
        assert fd.compute_score().n_gen == 100

    def test_streaming_is_bounded(self) -> None:
        fad = FAD(protocol="yamnet")
        for seed in range(20):
            fad.update(gen_embeddings=rows(seed, 300, 4)[:, None])
        held = sum(tensor.numel() for tensor in fad._state("gen", "rows") + fad._state("gen", "folded_rows"))
        assert held < 20 * 300 * 4 / 50
        assert fad._collect("gen").statistics("windows").count == 6000

    def test_sorted_by_id(self) -> None:
        """IS depends on the order of rows: the same clips in any order give one number."""
        logits = 3 * rows(1, 40, 6)
        scores = set()
        for seed in range(5):
            inception = IS(protocol="yamnet")
            order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
            inception.update(gen_logits=logits[order], ids=[f"{place:02d}" for place in order])
            scores.add(float(inception.compute()))
        assert len(scores) == 1
        naive = IS(protocol="yamnet")
        naive.update(gen_logits=logits[order])
        assert float(naive.compute()) not in scores

    def test_repeats_count_once(self, filled: Any) -> None:
        """DistributedSampler evens out its shares with repeats."""
        value, n = float(filled.compute()), filled.compute_score().n_gen
        filled.update(**ready(filled, rows(1)[:3], rows(2)[:3]), ids=NAMES[:3])
        assert float(filled.compute()) == pytest.approx(value, rel=1e-9)
        assert filled.compute_score().n_gen == n == 12

    def test_repeats_count_twice_without_ids(self) -> None:
        """The naive form of the test above: that repeats matter."""
        fd = FD(protocol="yamnet")
        fd.update(gen_embeddings=rows(1), ref_embeddings=rows(2))
        value = float(fd.compute())
        fd.update(gen_embeddings=rows(1)[:3], ref_embeddings=rows(2)[:3])
        assert float(fd.compute()) != pytest.approx(value, rel=1e-3)

    def test_two_clips_of_one_id_are_an_error(self, metric: Any) -> None:
        metric.update(**ready(metric, rows(1), rows(2)), ids=NAMES)
        with pytest.raises(DataError, match="two different clips have the id 'clip-0'"):  # noqa: PT012
            metric.update(**ready(metric, rows(3), rows(2)), ids=NAMES)  # streaming finds it here
            metric.compute()

    def test_some_ids_are_an_error(self, filled: Any) -> None:
        with pytest.raises(DataError, match="some clips have ids and some have none"):  # noqa: PT012
            filled.update(**ready(filled, rows(3), rows(3)))  # streaming finds it here
            filled.compute()

    def test_merge_state(self, filled: Any) -> None:
        value = float(filled.compute())
        halves = [type(filled)(protocol="yamnet") for _ in range(2)]
        for half, part in zip(halves, (slice(0, 5), slice(5, 12)), strict=True):
            half.update(**ready(half, rows(1)[part], rows(2)[part]), ids=NAMES[part])
        halves[0].compute() if filled.metric_name == "fd" else None  # a value that must not be recalled
        halves[0].merge_state(halves[1])
        assert float(halves[0].compute()) == pytest.approx(value, rel=1e-9)

    def test_kl_pairs_by_id(self) -> None:
        kl, shuffled = KL(protocol="yamnet"), KL(protocol="yamnet")
        kl.update(gen_logits=rows(1), ref_logits=rows(2))
        shuffled.update(gen_logits=rows(1), ids=NAMES)
        shuffled.update(ref_logits=rows(2).flip(0), ids=NAMES[::-1])
        assert float(shuffled.compute()) == pytest.approx(float(kl.compute()), rel=1e-12)

    def test_fad_counts_clips_and_rows_apart(self) -> None:
        fad = FAD(protocol="yamnet")
        windows = rows(1, 30, 4).reshape(10, 3, 4)
        fad.update(gen_embeddings=windows, ids=NAMES[:10])
        fad.update(ref_embeddings=windows.flatten(0, 1), ids=[name for name in NAMES[:10] for _ in range(3)])
        result = fad.compute_score()
        assert (result.n_gen, result.n_ref, result.details["rows_gen"], result.details["rows_ref"]) == (10, 10, 30, 30)
        assert result.value == pytest.approx(0, abs=1e-9)
        with pytest.raises(DataError, match="rows of one clip are apart"):
            fad.update(gen_embeddings=rows(1, 3, 4), ids=["a", "b", "a"])


class TestHost:
    class Host(nn.Module):
        """A model with a metric, as in Lightning."""

        def __init__(self, metric: Any) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.metric = metric

    class Naive(Metric):
        """A metric with the backbone as a submodule and moments as plain states."""

        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.backbone = YAMNet().network
            self.add_state("total", torch.zeros(5, dtype=torch.float64), "sum")

        def update(self, values: Any) -> None:
            self.total += values.sum(dim=0)

        def compute(self) -> Any:
            return self.total.sum()

    def used(self, metric: Any) -> Any:
        metric.update(gen=0.1 * torch.randn(2, 16_000), ref=0.1 * torch.randn(2, 16_000), sample_rate=16_000)
        return self.Host(metric)

    def test_backbone_stays_out_of_the_host(self, metric: Any) -> None:
        host, bare = self.used(metric), nn.Linear(2, 2)
        assert host.state_dict().keys() == {f"layer.{name}" for name in bare.state_dict()}
        assert sum(p.numel() for p in host.parameters()) == sum(p.numel() for p in bare.parameters())
        host.train()
        assert not metric.runner.backbone.network.training
        naive = self.Host(self.Naive())
        assert len(naive.state_dict()) > 50
        assert naive.train().metric.backbone.training

    @pytest.mark.parametrize("cast", [lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.double()])
    def test_casting_the_host_leaves_states_alone(self, filled: Any, cast: Any) -> None:
        value = float(filled.compute())
        host = cast(self.Host(filled))
        filled.set_dtype(torch.float16)
        filled._computed = None
        assert float(host.metric.compute()) == value
        states = [tensor for name in filled._defaults for tensor in getattr(filled, name) if tensor.is_floating_point()]
        assert states
        assert all(tensor.dtype == torch.float64 for tensor in states)
        naive = self.Host(self.Naive()).to(torch.bfloat16)
        assert naive.metric.total.dtype == torch.bfloat16

    def test_backbone_is_shared_and_follows_the_device(self) -> None:
        fd, fad = FD(protocol="yamnet"), FAD(protocol="yamnet")
        assert fd.runner is fad.runner
        first = fd.runner
        fd.to("meta")
        assert fd._runner is None
        assert fad.runner is first
        assert fd.runner.backbone.device.type == "meta"
        assert shared_runner("yamnet", torch.device("cpu")) is first

    @pytest.mark.slow
    def test_backbone_leaves_with_its_last_metric(self) -> None:
        import gc
        import weakref

        fd = FD(protocol="yamnet")
        runner = weakref.ref(fd.runner)
        del fd
        gc.collect()
        assert runner() is None


class TestObject:
    def test_compute_gives_a_float64_scalar(self, filled: Any) -> None:
        value = filled.compute()
        assert (value.dtype, value.shape) == (torch.float64, ())
        assert filled.compute_score().value == float(value)

    @pytest.mark.parametrize("copied", [copy.deepcopy, Metric.clone, lambda m: pickle.loads(pickle.dumps(m))])
    def test_copies(self, filled: Any, copied: Any) -> None:
        twin = copied(filled)
        assert float(twin.compute()) == float(filled.compute())
        twin.update(**ready(twin, rows(5), rows(6)), ids=[f"other-{name}" for name in NAMES])
        assert float(twin.compute()) != float(filled.compute())

    def test_pickle_leaves_the_backbone_behind(self, metric: Any) -> None:
        metric.update(gen=0.1 * torch.randn(2, 16_000), ref=0.1 * torch.randn(2, 16_000), sample_rate=16_000)
        assert metric._runner is not None
        content = pickle.dumps(metric)
        assert len(content) < 200_000  # the network has 15 MB
        assert pickle.loads(content)._runner is None

    def test_checkpoint_of_a_half_filled_metric(self, metric: Any) -> None:
        names, half = NAMES, 5
        metric.persistent(True)
        metric.update(**ready(metric, rows(1)[:half], rows(2)[:half]), ids=names[:half])
        file = io.BytesIO()
        torch.save(metric.state_dict(), file)
        state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        resumed, other = type(metric)(protocol="yamnet"), type(metric)(protocol="yamnet")
        for loaded in (resumed, other):
            loaded.load_state_dict(state, strict=False)
        for full in (metric, resumed):
            full.update(**ready(full, rows(1)[half:], rows(2)[half:]), ids=names[half:])
        assert float(resumed.compute()) == float(metric.compute())
        assert other._collect("gen").__len__() == half

    def test_reset(self, filled: Any) -> None:
        filled.reset()
        with pytest.raises(InsufficientDataError, match="there are no gen clips"):
            filled.compute()
        filled.update(**ready(filled, rows(3), rows(4)))
        assert filled.compute_score().n_gen == 12

    def test_one_sided(self, metric: Any) -> None:
        if metric.metric_name == "is":
            metric.update(ref=0.1 * torch.randn(1, 16_000), sample_rate=16_000)
            with pytest.raises(InsufficientDataError, match=r"Call update\(gen=…\)"):
                metric.compute()
            return
        metric.update(**ready(metric, gen=rows(1)))
        with pytest.raises(
            InsufficientDataError, match=r"there are no ref clips. Call update\(ref=…\) first, or pass ref"
        ):
            metric.compute()
        metric.reset()
        metric.update(**ready(metric, ref=rows(1)))
        with pytest.raises(InsufficientDataError, match="there are no gen clips"):
            metric.compute()

    def test_forward_is_refused(self, metric: Any) -> None:
        with pytest.raises(UsageError, match=r"update\(…\).*compute\(\)"):
            metric(gen=torch.zeros(1, 16_000), sample_rate=16_000)

    def test_plot(self, filled: Any) -> None:
        import matplotlib as mpl

        mpl.use("agg")
        figure, _ = filled.plot()
        assert figure is not None
        filled.plot([filled.compute(), filled.compute()])
        mpl.pyplot.close("all")

    def test_too_few_clips(self) -> None:
        inception = IS(protocol="yamnet")
        inception.update(gen_logits=rows(1, 9))
        with pytest.raises(InsufficientDataError, match="needs at least 10 clips, got 9"):
            inception.compute()

    def test_repr_tells_metrics_apart(self) -> None:
        assert repr(FAD(protocol="yamnet")) == "FAD(fad_yamnet, protocol='yamnet', streaming=True)"


class TestComputeGroups:
    def test_equal_first_batches_do_not_merge(self) -> None:
        """Two recipes that give equal features for the first batch, and not for the second."""
        collection = MetricCollection({"one": KL(protocol="yamnet"), "other": KL(backbone="yamnet")})
        first, second = torch.zeros(2, 40_000), 0.5 + 0.1 * torch.randn(3, 12_000)
        collection.update(gen=first, ref=first, sample_rate=16_000)
        assert len(collection.compute_groups) == 2
        collection.update(gen=second, ref=second.flip(0), sample_rate=16_000)
        values = collection.compute()
        alone = KL(backbone="yamnet")
        for gen, ref in ((first, first), (second, second.flip(0))):
            alone.update(gen=gen, ref=ref, sample_rate=16_000)
        assert float(values["other"]) == float(alone.compute())
        assert float(values["other"]) != float(values["one"])

    def test_naive_state_names_do_merge(self) -> None:
        """The fault itself: torchmetrics lets the second metric go with the first one's states."""

        class Naive(Metric):
            full_state_update = False

            def __init__(self, floor: Any) -> None:
                super().__init__()
                self.floor = floor
                self.add_state("total", torch.zeros(()), "sum")

            def update(self, value: Any) -> None:
                self.total += value.clamp(min=self.floor)

            def compute(self) -> Any:
                return self.total

        collection = MetricCollection({"one": Naive(0.0), "other": Naive(2.0)})
        for value in (3.0, 1.0):
            collection.update(torch.tensor(value))
        assert float(collection.compute()["other"]) == 4.0  # 5.0 is true

    def test_fd_and_fad_of_equal_rows(self) -> None:
        collection = MetricCollection([FD(protocol="yamnet"), FAD(protocol="yamnet")])
        for seed in range(2):
            collection.update(gen_embeddings=rows(seed), ref_embeddings=rows(seed + 7))
        assert len(collection.compute_groups) == 2


class TestValidation:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"gen": torch.zeros(2, 16_000)}, "sample_rate is missing"),
            ({"gen": torch.zeros(2, 16_000), "sample_rate": 0}, "sample_rate=0"),
            ({"gen": torch.zeros(1, 2, 2, 16_000), "sample_rate": 16_000}, r"has shape \(1, 2, 2, 16000\)"),
            (
                {"gen": torch.zeros(16_000, 2), "sample_rate": 16_000},
                r"\(16000, 2\) holds clips of 2 samples.*gen.swap",
            ),
            ({"gen": torch.zeros(4, 16_000, 2), "sample_rate": 16_000}, r"Time must come last"),
            ({"gen": [torch.zeros(16_000, 2)], "sample_rate": 16_000}, r"gen\[0\].swapaxes\(-1, -2\)"),
            ({"gen": torch.zeros(2, 159), "sample_rate": 16_000}, r"clips of 159 samples, 0.0099 s. Pass longer"),
            ({"gen": [torch.zeros(16_000), torch.zeros(16)], "sample_rate": 16_000}, r"gen\[1\].*16 samples"),
            ({"gen": torch.zeros(2, 16_000, dtype=torch.int16), "sample_rate": 16_000}, "int16 / 32768"),
            ({"gen": torch.full((2, 16_000), torch.nan), "sample_rate": 16_000}, r"gen\[0\] has NaN"),
            ({"gen": torch.zeros(2, 0), "sample_rate": 16_000}, "holds clips of 0 samples"),
            ({"gen": [], "sample_rate": 16_000}, "no clips"),
            ({"gen": torch.zeros(2, 16_000), "sample_rate": 16_000, "ids": ["a"]}, "1 ids for 2 gen clips"),
            ({"gen": torch.zeros(2, 16_000), "sample_rate": 16_000, "ids": [1, 2]}, "non-empty strings"),
            ({"gen_embeddings": torch.full((2, 3), torch.inf)}, "NaN or infinite value, first in row 0"),
            ({"gen_embeddings": torch.zeros(3)}, r"has shape \(3,\)"),
            ({"gen": torch.zeros(1, 16_000), "gen_embeddings": rows(1)}, "given twice"),
            ({}, "nothing to add"),
        ],
    )
    def test_bad_input_says_the_fix_and_adds_nothing(self, arguments: Any, message: str) -> None:
        fd = FD(protocol="yamnet")
        with pytest.raises((DataError, UsageError), match=message):
            fd.update(**arguments)
        assert fd._collect("gen") is None

    def test_nothing_is_added_if_one_side_is_bad(self) -> None:
        fd = FD(protocol="yamnet")
        with pytest.raises(DataError):
            fd.update(gen_embeddings=rows(1), ref_embeddings=torch.full((2, 5), torch.nan))
        assert fd._collect("gen") is None

    def test_width_changes(self) -> None:
        fd = FD(protocol="yamnet")
        fd.update(gen_embeddings=rows(1))
        with pytest.raises(DataError, match="dimension 6, and earlier ones 5"):
            fd.update(gen_embeddings=rows(1, width=6))

    def test_constructor(self) -> None:
        with pytest.raises(UsageError, match="Did you mean 'yamnet'"):
            FD(protocol="yamet")
        with pytest.raises(UsageError, match="unknown backbone"):
            FD(protocol="yamnet", backbone="none")
        with pytest.raises(UsageError, match="needs all rows"):
            KL(protocol="yamnet", streaming=True)
        assert (FD(backbone="yamnet").protocol, FD(backbone="yamnet").score_id) == ("audioldm", "fd_yamnet")
