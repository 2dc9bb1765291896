"""Checks for a backbone or metric of one's own: sound ones pass, and each fault is found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from audiogen_metrics import FAD, FD, IS, KL
from audiogen_metrics.backbones import BACKBONES, from_callable
from audiogen_metrics.backbones.base import Backbone, Features
from audiogen_metrics.errors import CheckFailedError, DataError, UsageError
from audiogen_metrics.testing import check_backbone, check_metric


class Pooled(nn.Module):
    """A convolution and its mean over time; ``fault`` breaks one thing."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(6, 1, 64, generator=generator))

    def forward(self, waveforms: torch.Tensor) -> Any:
        if self.fault == "in place":
            waveforms.mul_(0.5)
        if self.fault == "batch":
            waveforms = waveforms - waveforms.mean()
        if self.fault == "hides NaN":
            waveforms = waveforms.nan_to_num()
        rows = nn.functional.conv1d(waveforms[:, None], self.weight, stride=32).relu().mean(dim=2)
        if self.fault == "random":
            rows = rows + torch.rand_like(rows)
        if self.fault == "uses the global state":
            torch.rand(1)
        if self.fault == "log":
            rows = rows.log()
        if self.fault == "dtype":
            return Features(embeddings=rows.double())
        if self.fault == "shape":
            return rows[0]
        return {"logits": rows, "embeddings": rows} if self.fault == "undeclared" else rows


def tiny(fault: str = "", **options: Any) -> Any:
    return from_callable("tiny", Pooled(fault), sample_rate=16_000, **{"minimum_samples": 64, **options})


def loudness(waveforms: torch.Tensor) -> Any:
    """A bare function that gives everything."""
    windows = torch.stack([part.abs() for part in waveforms.unfold(1, 800, 800).unbind(dim=1)], dim=1)
    windows = windows.unflatten(2, (8, 100)).mean(dim=3)
    rows = windows.mean(dim=1)
    return {"embeddings": rows, "windows": windows, "logits": rows}


def everything(**options: Any) -> Any:
    outputs = ("embeddings", "windows", "logits")
    return from_callable("loud", loudness, sample_rate=16_000, outputs=outputs, minimum_samples=800, **options)


class TestSoundOnes:
    def test_yamnet(self) -> None:
        check_backbone(BACKBONES.get("yamnet")())

    @pytest.mark.parametrize("make", [tiny, lambda: everything(version="1")])
    def test_own(self, make: Any) -> None:
        check_backbone(make())

    @pytest.mark.parametrize("metric", [FD, FAD, IS, KL])
    def test_metrics(self, metric: Any) -> None:
        check_metric(metric(protocol="yamnet"))
        check_metric(metric(protocol="yamnet", backbone=everything(version="1")))

    def test_streaming(self) -> None:
        check_metric(FD(protocol="yamnet", streaming=True))


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ("in place", "the input was changed"),
            ("batch", "depend on the other clips of its batch"),
            ("hides NaN", "a clip with NaN gives finite embeddings"),
            ("random", "differ between two passes"),
            ("uses the global state", "the global random state was used"),
            ("log", "silence gives NaN or infinite embeddings"),
            ("dtype", "torch.float64"),
            ("shape", r"embeddings of 1 clips are torch.float32 \(6,\)"),
            ("undeclared", "gives embeddings, logits and declares embeddings"),
        ],
    )
    def test_each_is_found(self, fault: str, message: str) -> None:
        with pytest.raises(CheckFailedError, match=message):
            check_backbone(tiny(fault))

    def test_labels_and_pickling(self) -> None:
        with pytest.raises(CheckFailedError, match="2 labels for 8 classes"):
            check_backbone(everything(version="1", labels=["a", "b"]))
        hidden = from_callable("hidden", lambda x: loudness(x)["embeddings"], sample_rate=16_000, version="1",
                               minimum_samples=800)  # fmt: skip
        with pytest.raises(CheckFailedError, match="cannot be pickled"):
            check_backbone(hidden)

    def test_usable_samples(self) -> None:
        class Greedy(Backbone):
            name, sample_rate, outputs, minimum_samples = "greedy", 16_000, frozenset({"embeddings"}), 64
            weights_sha256 = 64 * "0"

            def load(self) -> Any:
                return tiny().load()

            def usable_samples(self, samples: Any) -> Any:
                return samples // 2

        with pytest.raises(CheckFailedError, match="cut to usable_samples"):
            check_backbone(Greedy())

    def test_metric_that_forgets_float64(self) -> None:
        class Low(FD):
            def compute(self) -> Any:
                return super().compute().float()

        with pytest.raises(CheckFailedError, match="compute gives"):
            check_metric(Low(protocol="yamnet"))

    def test_metric_with_a_reference(self) -> None:
        with pytest.raises(UsageError, match="without ref"):
            check_metric(FD(protocol="yamnet", ref=torch.randn(4, 3)))


class TestOwnBackbone:
    def test_ten_lines(self, small: Any) -> None:
        """Folders and waveforms through a network of one's own."""
        network = nn.Sequential(
            nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 64, 32), nn.AdaptiveAvgPool1d(1), nn.Flatten()
        )
        mine = from_callable("my-net", network, sample_rate=16_000, minimum_samples=64)
        fd = FD(protocol="yamnet", backbone=mine)
        score = fd.score(*small)
        assert (score.id, score.backbone, score.n_gen) == ("fd_my_net", "my-net", 12)
        assert score.value > 0

    def test_waveforms_are_resampled_to_its_rate(self) -> None:
        mine = from_callable("half", Pooled(), sample_rate=8_000, minimum_samples=64)
        fd = FD(protocol="yamnet", backbone=mine)
        assert fd.recipe.preprocessing.sample_rate == 8_000
        assert fd.recipe.preprocessing.minimum_samples == 7_800  # 0.975 s, as the protocol pads
        fd.update(gen=0.1 * torch.randn(4, 16_000), ref=0.1 * torch.randn(4, 16_000), sample_rate=16_000)
        assert fd.compute() > 0

    def test_fingerprint_follows_the_weights(self) -> None:
        network = Pooled()
        first = from_callable("tiny", network, sample_rate=16_000)
        with torch.no_grad():
            network.weight.mul_(2)
        second = from_callable("tiny", network, sample_rate=16_000)
        assert first.fingerprint != second.fingerprint
        assert first.fingerprint == from_callable("tiny", Pooled(), sample_rate=16_000).fingerprint
        batch = torch.ones(1, 64)
        assert torch.equal(2 * first(batch).embeddings, second(batch).embeddings)  # each kept its own weights

    def test_the_users_module_is_left_alone(self) -> None:
        network = Pooled().train()
        tiny_backbone = from_callable("tiny", network, sample_rate=16_000)
        tiny_backbone(torch.ones(1, 64))
        assert network.training
        assert network.weight.requires_grad

    def test_mistakes(self) -> None:
        with pytest.raises(UsageError, match="Pass version='1'"):
            from_callable("loud", loudness, sample_rate=16_000)
        with pytest.raises(UsageError, match="cannot name a backbone"):
            from_callable("My Net", Pooled(), sample_rate=16_000)
        with pytest.raises(UsageError, match="outputs"):
            from_callable("tiny", Pooled(), sample_rate=16_000, outputs="rows")
        with pytest.raises(UsageError, match="fad needs windows, which tiny does not give"):
            FAD(protocol="yamnet", backbone=tiny())
        with pytest.raises(UsageError, match="kl needs logits"):
            KL(protocol="yamnet", backbone=tiny())
        two = from_callable("two", Pooled(), sample_rate=16_000, outputs=("embeddings", "logits"))
        with pytest.raises(DataError, match="Return a dict"):
            two(torch.ones(1, 64))
