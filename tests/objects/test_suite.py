"""Several metrics together: one pass per backbone, results by score id."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.wrappers import FeatureShare

from audiogen_metrics import FAD, FD, IS, KL, MetricSuite, score
from audiogen_metrics.errors import UsageError
from tests.objects.test_metrics import read

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")

IDS = ["fd_yamnet", "fad_yamnet", "is_yamnet", "kl_yamnet"]


def four() -> Any:
    return [metric(protocol="yamnet") for metric in (FD, FAD, IS, KL)]


@pytest.fixture
def noise() -> Any:
    """Two batches of 12 clips."""
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(2, 12, 16_000, generator=generator)


@pytest.fixture
def passes() -> Any:
    """Count passes through the network of a metric's backbone."""

    def count(metric: Any) -> Any:
        calls = []
        metric.runner._remembered.clear()
        metric.runner.backbone.network.register_forward_hook(lambda *_: calls.append(1))
        return calls

    return count


def test_one_pass_per_batch_for_four_metrics(noise: torch.Tensor, passes: Any) -> None:
    suite = MetricSuite(four())
    calls = passes(suite["fd_yamnet"])
    suite.update(gen=noise[0], ref=noise[1], sample_rate=16_000)
    assert len(calls) == 2  # one for gen, one for ref
    assert list(suite.compute()) == IDS
    assert len(calls) == 2


@pytest.mark.parametrize("arrange", [lambda m: MetricCollection(m), lambda m: MetricCollection([MetricSuite(m)])])
def test_one_pass_also_inside_a_collection(noise: torch.Tensor, passes: Any, arrange: Any) -> None:
    members = four()
    calls = passes(members[0])
    collection = arrange(members)
    for _ in range(2):
        collection.update(gen=noise[0], ref=noise[1], sample_rate=16_000)
    assert len(calls) == 2
    assert len(collection.compute()) == 4
    assert len(collection.compute_groups) == 4


@pytest.mark.slow
def test_one_pass_over_folders(small: Any, passes: Any) -> None:
    suite = MetricSuite(four())
    calls = passes(suite["fd_yamnet"])
    report = suite.score(*small, cache=False)
    once = len(calls)
    FD(protocol="yamnet").score(*small, cache=False)
    assert len(calls) == 2 * once  # the suite took as many passes as FD alone
    expected = score(*small, protocol="yamnet")
    assert {name: report[name].value for name in IDS} == {name: expected[name].value for name in IDS}


@pytest.mark.slow
def test_waveforms_give_the_folders_numbers(small: Any) -> None:
    suite = MetricSuite(four())
    for side, folder in zip(("gen", "ref"), small, strict=True):
        for clip_id, waveform, rate in read(folder):
            suite.update(**{side: waveform}, sample_rate=rate, ids=[clip_id])
    expected = score(*small, protocol="yamnet")
    for name, value in suite.compute().items():
        assert float(value) == pytest.approx(expected[name].value, rel=1e-5)
    assert {name: found.n_gen for name, found in suite.compute_scores().items()} == dict.fromkeys(IDS, 12)


def test_refilled_buffer_is_another_batch(noise: torch.Tensor) -> None:
    """A buffer that is filled again has the same address, and other clips."""
    buffer = noise[0].clone()
    one, other = MetricSuite(four()), MetricSuite(four())
    for batch in noise:
        buffer.copy_(batch)
        one.update(gen=buffer, sample_rate=16_000)
        other.update(gen=batch.clone(), sample_rate=16_000)
        ref = batch.flip(0)
        for suite in (one, other):
            suite.update(ref=ref, sample_rate=16_000)
    assert one.compute() == other.compute()


def test_feature_share_of_torchmetrics_is_stale() -> None:
    """The naive form: features are recalled by the tensor's identity."""

    class Level(MeanMetric):
        feature_network = "network"

        def __init__(self) -> None:
            super().__init__()
            self.network = Mean()

        def update(self, value: Any) -> None:
            super().update(self.network(value))

    class Mean(torch.nn.Module):
        num_features = 1

        def forward(self, value: Any) -> Any:
            return value.mean()

    class Other(Level):
        pass

    share = FeatureShare([Level(), Other()])
    buffer = torch.zeros(3)
    for level in (0.0, 1.0):
        buffer.fill_(level)
        share.update(buffer)
    assert float(share.compute()["Level"]) == 0.0  # 0.5 is true


def test_suite_refuses_forward_and_mistakes() -> None:
    suite = MetricSuite(four())
    with pytest.raises(UsageError, match="no values of a single batch"):
        suite(gen=torch.zeros(1, 16_000), sample_rate=16_000)
    with pytest.raises(UsageError, match="two metrics have the score id"):
        MetricSuite([FD(protocol="yamnet"), FD(protocol="yamnet")])
    with pytest.raises(UsageError, match="MeanMetric does not work on audio"):
        MetricSuite([MeanMetric()])
    with pytest.raises(UsageError, match="of the protocols"):
        MetricSuite([FD(protocol="yamnet"), FAD(backbone="yamnet")]).score("gen", "ref")


def test_copies_prefix_and_reset(noise: torch.Tensor) -> None:
    suite = MetricSuite(four(), prefix="val/")
    suite.update(gen=noise[0], ref=noise[1], sample_rate=16_000)
    values = suite.compute()
    assert list(values) == [f"val/{name}" for name in IDS]
    assert pickle.loads(pickle.dumps(suite)).compute() == values
    assert suite.clone(prefix="test/").compute().keys() == {f"test/{name}" for name in IDS}
    suite.reset()
    suite.update(gen=noise[0], ref=noise[1], sample_rate=16_000)
    assert suite.compute() == values
