"""Backbones of one's own: two that may give different numbers never share a cache, a runner or statistics."""

from __future__ import annotations

import copy
import io
import logging
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache, partial, update_wrapper, wraps
from operator import itemgetter
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import MetricCollection

from audiogen_metrics import FD
from audiogen_metrics.backbones import from_callable
from audiogen_metrics.backbones.base import Backbone, Features, Output
from audiogen_metrics.backbones.custom import CallableBackbone
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.objects.runner import shared_runner

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated")

CPU = torch.device("cpu")
log = logging.getLogger(__name__)
GAIN = 1.0


def pool_mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(2)


def pool_max(x: torch.Tensor) -> torch.Tensor:
    return x.amax(2)


class Settings:
    def __init__(self, layer: int) -> None:
        self.layer = layer


class Slotted:
    __slots__ = ("layer",)

    def __init__(self, layer: int) -> None:
        self.layer = layer


class Tower(nn.Module):
    """Weights and repr are equal whatever is chosen."""

    def __init__(self, layer: int = 1, **others: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = layer
        self.front = nn.Conv1d(1, 4, 400, 160)
        self.rest = nn.ModuleList(nn.Conv1d(4, 4, 3, padding=1) for _ in range(4))
        for name, value in others.items():
            setattr(self, name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.front(x[:, None]).relu()
        for index in range(self.layer):
            h = self.rest[index](h).relu()
        return GAIN * h.mean(2)


class OtherCode(Tower):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1


class ByHelper(Tower):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        log.debug("a logger has no say in numbers")
        return pool_mean(self.front(x[:, None]))


def enclosing(gain: float) -> type[nn.Module]:
    class Enclosed(Tower):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return gain * super().forward(x)

    return Enclosed


def hooked(gain: float) -> nn.Module:
    module = Tower()
    module.front.register_forward_hook(lambda _module, _inputs, output: gain * output)
    return module


def buffered(value: float) -> nn.Module:
    module = Tower()
    module.register_buffer("shift", torch.tensor([value]), persistent=False)
    return module


def recurrent(bidirectional: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.LSTM(3, 2, bidirectional=bidirectional)


def wrapping(gain: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that calls itself one of torch's."""

    @wraps(nn.functional.relu)
    def relu(x: torch.Tensor) -> torch.Tensor:
        return gain * nn.functional.relu(x)

    return relu


class Wrapping:
    def __init__(self, gain: float) -> None:
        update_wrapper(self, nn.functional.relu)
        self.gain = gain


def scaled(gain: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def pool(x: torch.Tensor) -> torch.Tensor:
        return x.mean(2)

    pool.gain = gain  # type: ignore[attr-defined]
    return pool


def made(power: int) -> nn.Module:
    """Return a module of a class that says it is of Python's own module."""
    names: dict[str, Any] = {"Tower": Tower}
    exec(f"class Made(Tower):\n    def forward(self, x):\n        return super().forward(x) ** {power}", names)
    assert names["Made"].__module__ == "builtins"
    module: nn.Module = names["Made"]()
    return module


@dataclass
class Config:
    width: int | None = None
    sizes: tuple[int, ...] = (1, 2)


class Ordinary(Tower):
    """What sound modules hold, none of which hides anything."""

    def __init__(self) -> None:
        super().__init__(
            config=Config(), recent=deque([1], 3), kind=np.dtype("f4"), pick=itemgetter(0), when=date(2026, 1, 1)
        )
        self.memory, self.layout, self.hint = torch.channels_last, torch.strided, list[int] | None
        self.recurrent = nn.GRU(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[..., :4]


def linear(value: float) -> nn.Module:
    """Return a module of torch's own, which differs in a weight."""
    module = nn.Linear(4, 2)
    with torch.no_grad():
        module.weight.fill_(0.0)
        module.bias.fill_(value)
    return module


DIFFERENT: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "plain attribute": (lambda: Tower(1), lambda: Tower(4)),
    "text": (lambda: Tower(pool="mean"), lambda: Tower(pool="max")),
    "code": (Tower, OtherCode),
    "weights": (lambda: linear(0.0), lambda: linear(1.0)),
    "function as attribute": (lambda: Tower(pool=pool_mean), lambda: Tower(pool=pool_max)),
    "partial": (lambda: Tower(pool=partial(pool_mean, a=1)), lambda: Tower(pool=partial(pool_mean, a=2))),
    "lambda": (lambda: Tower(pool=lambda x: x + 1), lambda: Tower(pool=lambda x: x + 2)),
    "bound method": (lambda: Tower(pool=Settings(1).__init__), lambda: Tower(pool=Settings(2).__init__)),
    "enclosed value": (lambda: enclosing(1.0)(), lambda: enclosing(2.0)()),
    "hook": (lambda: hooked(1.0), lambda: hooked(2.0)),
    "buffer that is not saved": (lambda: buffered(0.0), lambda: buffered(1.0)),
    "tensor as attribute": (lambda: Tower(scale=torch.ones(3)), lambda: Tower(scale=torch.zeros(3))),
    "modules in a list": (lambda: Tower(heads=[linear(0.0)]), lambda: Tower(heads=[linear(1.0)])),
    "nested settings": (lambda: Tower(options={"a": [1, (2,)]}), lambda: Tower(options={"a": [1, (3,)]})),
    "object": (lambda: Tower(options=Settings(1)), lambda: Tower(options=Settings(2))),
    "object with slots": (lambda: Tower(options=Slotted(1)), lambda: Tower(options=Slotted(2))),
    "cached function": (lambda: Tower(pool=lru_cache(pool_mean)), lambda: Tower(pool=lru_cache(pool_max))),
    "set": (lambda: Tower(layers={1, 2}), lambda: Tower(layers={1, 3})),
    "device": (lambda: Tower(home=torch.device("cpu")), lambda: Tower(home=torch.device("meta"))),
    "wrapped": (lambda: Tower(pool=wrapping(1.0)), lambda: Tower(pool=wrapping(2.0))),
    "object that wraps": (lambda: Tower(pool=Wrapping(1.0)), lambda: Tower(pool=Wrapping(2.0))),
    "attribute of a function": (lambda: Tower(pool=scaled(1.0)), lambda: Tower(pool=scaled(2.0))),
    "class made by exec": (lambda: made(1), lambda: made(2)),
    "mode of a module in a list": (lambda: Tower(heads=[nn.Dropout()]), lambda: Tower(heads=[nn.Dropout().eval()])),
    "weak reference": (lambda: Tower(held=ref(pool_mean)), lambda: Tower(held=ref(pool_max))),
    "layer of torch": (lambda: recurrent(bidirectional=True), lambda: recurrent(bidirectional=False)),
}


BY_CODE = {"code", "lambda", "cached function", "enclosed value", "class made by exec"}


def backbone(function: Any, **options: Any) -> CallableBackbone:
    return from_callable("tower", function, **{"sample_rate": 16_000, "minimum_samples": 400, **options})


@pytest.mark.parametrize("what", DIFFERENT)
def test_modules_that_may_differ_in_numbers_differ_in_identity(what: str) -> None:
    first, second = DIFFERENT[what]
    assert backbone(first()).fingerprint == backbone(first()).fingerprint
    assert backbone(first()).fingerprint != backbone(second()).fingerprint


@pytest.mark.parametrize("what", sorted(DIFFERENT.keys() - BY_CODE))
def test_a_version_stands_for_code_only(what: str) -> None:
    first, second = DIFFERENT[what]
    assert backbone(first(), version="1").fingerprint == backbone(first(), version="1").fingerprint
    assert backbone(first(), version="1").fingerprint != backbone(second(), version="1").fingerprint
    assert backbone(first(), version="1").fingerprint != backbone(first(), version="2").fingerprint


def test_a_helper_and_a_global_belong_to_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = backbone(ByHelper()).fingerprint, backbone(Tower()).fingerprint
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "pool_mean", pool_max)
        assert backbone(ByHelper()).fingerprint != before[0]
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "GAIN", 2.0)
        assert backbone(Tower()).fingerprint != before[1]
    assert (backbone(ByHelper()).fingerprint, backbone(Tower()).fingerprint) == before


def test_training_mode_and_gradients_have_no_say() -> None:
    module = Tower()
    before = backbone(module).fingerprint
    module.eval().requires_grad_(False)
    assert backbone(module).fingerprint == before


@pytest.mark.parametrize("value", [threading.Lock(), torch.Generator(), io.StringIO(), iter([1])])
def test_what_cannot_be_seen_needs_a_version(value: object) -> None:
    class Holding(Tower):
        def __deepcopy__(self, _memo: object) -> Holding:
            return self

    module = Holding(secret=value)
    with pytest.raises(UsageError, match=r"tower: .*secret, a \w+, cannot be hashed.*version='1'"):
        backbone(module)
    assert backbone(module, version="1").fingerprint


def test_what_sound_modules_hold_needs_no_version() -> None:
    assert backbone(Ordinary()).fingerprint == backbone(Ordinary()).fingerprint
    assert backbone(torch.nn.TransformerEncoderLayer(8, 2)).fingerprint


@pytest.mark.parametrize("compiled", [torch.jit.script, lambda module: torch.jit.trace(module, torch.zeros(1, 400))])
def test_torchscript_needs_a_version_and_runs(compiled: Callable[[nn.Module], nn.Module]) -> None:
    network = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 400, 160), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    module = compiled(network)
    with pytest.raises(UsageError, match="cannot be hashed"):
        backbone(module)
    found = backbone(module, version="1")(torch.ones(1, 16_000)).embeddings
    plain = backbone(network)(torch.ones(1, 16_000)).embeddings
    torch.testing.assert_close(found, plain)


def test_what_cannot_be_copied_says_so() -> None:
    with pytest.raises(UsageError, match=r"tower: cannot be copied .*lock.*a function that calls it"):
        backbone(Tower(secret=threading.Lock()), version="1")


def test_methods_and_partial_functions_are_copied_as_they_are() -> None:
    module = Tower(1)
    first = backbone(module.forward, version="1")
    module.layer = 4
    assert first.fingerprint != backbone(module.forward, version="1").fingerprint
    assert first.fingerprint == backbone(Tower(1).forward, version="1").fingerprint
    x = torch.ones(1, 16_000)
    torch.testing.assert_close(first(x).embeddings, backbone(Tower(1))(x).embeddings)


def test_a_global_that_changed_since_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    made_before = backbone(Tower())
    monkeypatch.setitem(globals(), "GAIN", 2.0)
    with pytest.raises(DataError, match="has changed since the backbone was made"):
        made_before(torch.ones(1, 16_000))


def test_a_collection_keeps_backbones_of_one_name_apart() -> None:
    """Also where a first batch of silence gives both the same states."""
    metrics = {str(layer): FD(protocol="yamnet", backbone=backbone(Tower(layer))) for layer in (1, 4)}
    collection = MetricCollection(metrics)
    collection.update(gen=torch.zeros(2, 16_000), ref=torch.zeros(2, 16_000), sample_rate=16_000)
    assert len(collection.compute_groups) == 2
    again = FD(protocol="yamnet", backbone=backbone(Tower(1)))
    assert again.state_dict().keys() == metrics["1"].state_dict().keys()


def test_a_cycle_ends() -> None:
    module = Tower()
    module.parents = [module]
    assert backbone(module).fingerprint


def test_the_interface_belongs_to_the_identity() -> None:
    def both(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"embeddings": x[:, :2], "logits": x[:, :3]}

    one = backbone(lambda x: both(x)["embeddings"], version="1")
    two = backbone(both, version="1", outputs=["embeddings", "logits"])
    other_rate = backbone(both, version="1", outputs=["embeddings", "logits"], sample_rate=8000)
    assert len({one.fingerprint, two.fingerprint, other_rate.fingerprint}) == 3


@pytest.mark.slow
def test_the_same_module_in_another_process_is_the_same(tmp_path: Path) -> None:
    """Compiled in memory, or read from a .pyc file, and whatever was made before it."""
    (tmp_path / "towers.py").write_text(Path(__file__).read_text())
    code = (
        "import sys; sys.path.insert(0, '.')\nimport torch\n"
        "for _ in range({made}): torch.nn.ReLU().register_forward_hook(print)\n"
        "from towers import *\nprint(*[backbone(first()).fingerprint for first, _ in DIFFERENT.values()])"
    )
    found = set()
    for made, hash_seed in ((0, "1"), (5, "2"), (0, "3")):
        run = [sys.executable, "-W", "ignore", "-c", code.format(made=made)]
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        found.add(subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1
    assert found.pop().strip()


def test_runners_are_shared_by_instance() -> None:
    first, second = backbone(Tower(1), version="1"), backbone(Tower(1), version="1")
    assert shared_runner(first, CPU) is shared_runner(first, CPU)
    assert shared_runner(first, CPU) is not shared_runner(second, CPU)
    metric = FD(protocol="yamnet", backbone=first)
    assert metric.clone().runner is metric.runner


def test_metrics_side_by_side_score_their_own_networks() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = 0.1 * torch.randn(8, 16_000, generator=generator), 0.03 * torch.randn(8, 16_000, generator=generator)

    def distance(metric: FD) -> float:
        metric.update(gen=x, ref=y, sample_rate=16_000)
        return float(metric.compute())

    modules = [Tower(1), Tower(4), OtherCode(1)]
    together = [FD(protocol="yamnet", backbone=backbone(module)) for module in modules]
    found = [distance(metric) for metric in together]
    del together
    assert found == [distance(FD(protocol="yamnet", backbone=backbone(module))) for module in modules]
    assert len({*found[:2]}) == 2


@pytest.mark.slow
def test_folders_are_cached_apart(small: tuple[Path, Path]) -> None:
    found = {}
    for cache in (True, False):
        for layer in (1, 4):
            metric = FD(protocol="yamnet", backbone=backbone(Tower(layer)))
            found[cache, layer] = metric.score(*small, cache=cache).value
    assert found[True, 1] == found[False, 1] != found[True, 4] == found[False, 4]


class Layered(Backbone):
    """A subclass with an argument that its weights do not show."""

    name = "layered"
    sample_rate = 16_000
    outputs = frozenset[Output]({"embeddings"})
    weights_sha256 = "0" * 64

    def __init__(
        self, layer: int, scale: float = 1.0, layers: tuple[int, ...] = (), folder: Path | None = None
    ) -> None:
        super().__init__()
        self.layer, self.scale, self.layers, self.folder = layer, scale, layers, folder

    def load(self) -> nn.Module:
        class Network(nn.Module):
            def forward(self, x: torch.Tensor) -> Features:
                return Features(embeddings=x[:, :4])

        return Network()


def test_a_subclass_is_told_by_its_attributes() -> None:
    assert Layered(1).settings["layer"] == 1
    others = [Layered(2), Layered(1, 0.5), Layered(1, layers=(3, 4)), Layered(1, folder=Path("a"))]
    assert len({Layered(1).fingerprint, *(other.fingerprint for other in others)}) == 5
    copied = copy.copy(Layered(1))
    copied.layer = 2
    assert shared_runner(copied, CPU) is not shared_runner(Layered(1), CPU)
    loaded = Layered(1)
    loaded(torch.zeros(1, 16_000))
    assert loaded.fingerprint == Layered(1).fingerprint
