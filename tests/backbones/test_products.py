"""Products by oneDNN give what torch's own give, where they may run, and are told apart in cache keys."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.backbones import products
from audiogen_metrics.backbones.audiobox import AudioboxAesthetics
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.backbones.convolution import Pointwise, Winograd
from audiogen_metrics.backbones.laion_clap import Sounds
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.backbones.passt import PaSST
from audiogen_metrics.backbones.products import TILES_TOGETHER, Grouped, batched, engine, is_plain, linear, use_onednn
from audiogen_metrics.backbones.vggish import VGGish
from audiogen_metrics.backbones.wavegram import WavegramLogmelCnn14
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.errors import UsageError
from tests.checkpoints import (
    calibration_clips,
    write_audiobox,
    write_laion_clap,
    write_panns,
    write_passt,
    write_vggish,
)

CPU = torch.device("cpu")
onednn = pytest.mark.skipif(not products.onednn_works(), reason="this torch has no such operators of oneDNN")


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator(CPU).manual_seed(sum(shape)), dtype=torch.float32, device=CPU)


def largest_difference(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).abs().max() / exact.abs().max())


def by_onednn(module: nn.Module) -> nn.Module:
    use_onednn(module)
    return module


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the rows that went to oneDNN."""
    shapes: list[tuple[int, ...]] = []
    real = products._by_onednn

    def noted(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        shapes.append(tuple(rows.shape))
        return real(rows, weight, bias)

    monkeypatch.setattr(products, "_by_onednn", noted)
    return shapes


@onednn
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(300, 256), (2, 150, 256), (1, 3, 100, 256)])
def test_a_linear_layer_is_one(shape: tuple[int, ...], bias: bool, calls: list[tuple[int, ...]]) -> None:
    rows, weight, shift = drawn(*shape), drawn(512, 256), drawn(512) if bias else None
    exact = F.linear(rows.double(), weight.double(), None if shift is None else shift.double())
    assert largest_difference(linear(rows, weight, shift), exact) < 1e-6
    assert calls == [shape]


@onednn
def test_a_slice_of_a_layer_and_of_rows_is_one(calls: list[tuple[int, ...]]) -> None:
    rows, weight = drawn(2, 300, 256)[:, 20:], drawn(1024, 256)[512:]
    assert largest_difference(linear(rows, weight), F.linear(rows.double(), weight.double())) < 1e-6
    assert calls == [(2, 280, 256)]


@onednn
def test_products_in_a_batch_are_those_of_torch(calls: list[tuple[int, ...]]) -> None:
    rows, weight = drawn(5, 100, 300), drawn(5, 400, 300).transpose(1, 2)
    assert largest_difference(batched(rows, weight), rows.double() @ weight.double()) < 1e-6
    assert calls == [(100, 300)] * 5


@onednn
@pytest.mark.parametrize("channels", [(3, 5), (64, 128), (256, 256)])
def test_products_in_one_call_are_those_of_torch(channels: tuple[int, int]) -> None:
    grouped, rows, weight = Grouped(), drawn(TILES_TOGETHER, 36, channels[0]), drawn(36, *channels)
    exact = torch.einsum("tpi,pio->tpo", rows.double(), weight.double())
    assert largest_difference(grouped(rows, weight), exact) < 1e-6
    assert largest_difference(grouped(rows, 2 * weight), 2 * exact) < 1e-6  # others' weights are not kept


@onednn
def test_another_number_of_threads_lays_weights_out_anew() -> None:
    grouped, rows, weight = Grouped(), drawn(TILES_TOGETHER, 36, 64), drawn(36, 64, 64)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            exact = torch.einsum("tpi,pio->tpo", rows.double(), weight.double())
            assert largest_difference(grouped(rows, weight), exact) < 1e-6
            assert grouped._laid_out is not None
            assert grouped._laid_out[1] == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [1, 20])
def test_small_products_stay_with_torch(rows: int, calls: list[tuple[int, ...]]) -> None:
    given, weight = drawn(rows, 500), drawn(600, 500)
    assert torch.equal(linear(given, weight), F.linear(given, weight))
    assert torch.equal(batched(given[None], weight.T[None]), torch.bmm(given[None], weight.T[None]))
    assert calls == []


def test_only_float32_on_a_cpu_without_gradients_goes_to_onednn(calls: list[tuple[int, ...]]) -> None:
    rows, weight = drawn(300, 256), drawn(512, 256)
    for other in (rows.double(), rows.bfloat16(), rows.to("meta")):
        same = weight.to(other.device, other.dtype)
        assert linear(other, same).dtype == other.dtype
        assert linear(other, same).device == other.device
        assert not is_plain(other, same)
    wanted = rows.requires_grad_()
    linear(wanted, weight).sum().backward()
    torch.testing.assert_close(wanted.grad, weight.sum(dim=0).expand(300, -1), rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(rows.detach(), weight).dtype == torch.bfloat16
    assert calls == []
    with torch.no_grad():
        assert is_plain(wanted, weight)


@onednn
@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("channels", [(24, 17), (64, 128), (320, 512)])
@pytest.mark.parametrize("size", [(1, 1), (31, 2), (53, 40)])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_winograd_is_a_convolution(
    tile: int, channels: tuple[int, int], size: tuple[int, int], memory: torch.memory_format
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(*channels, 3, padding=1, dtype=torch.float32, device=CPU).requires_grad_(False)
    maps = drawn(3, channels[0], *size).to(memory_format=memory)
    exact = F.conv2d(maps.double(), plain.weight.double(), plain.bias.double(), padding=1)
    found = by_onednn(Winograd(plain, tile))(maps)
    assert found.shape == exact.shape
    assert largest_difference(found, exact) < 7e-6
    # About as far from the truth as by torch's own products.
    assert largest_difference(found, exact) < 2 * largest_difference(Winograd(plain, tile)(maps), exact) + 1e-7


@onednn
def test_winograd_can_be_copied_pickled_moved_and_asked_for_its_state() -> None:
    plain = nn.Conv2d(32, 48, 3, padding=1, dtype=torch.float32, device=CPU).requires_grad_(False)
    layer, maps = by_onednn(Winograd(plain, 4)), drawn(2, 32, 20, 12)
    found = layer(maps)
    assert layer.state_dict() == {}
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(again(maps), found)
    assert torch.allclose(copy.deepcopy(layer).double()(maps.double()).float(), found, atol=1e-5)
    moved = copy.deepcopy(layer).to("meta")(maps.to("meta"))
    assert (moved.device.type, moved.shape) == ("meta", found.shape)


@onednn
def test_pointwise_is_a_convolution(calls: list[tuple[int, ...]]) -> None:
    plain = nn.Conv2d(256, 512, 1, dtype=torch.float32, device=CPU).requires_grad_(False)
    maps = drawn(3, 256, 10, 7).to(memory_format=torch.channels_last)
    torch.testing.assert_close(by_onednn(Pointwise(plain))(maps), plain(maps))
    assert calls == [(3, 10, 7, 256)]


def choose(monkeypatch: pytest.MonkeyPatch, maker: str, family: int, capability: str, mkl: bool = True) -> str:
    monkeypatch.delenv(products.VARIABLE, raising=False)
    monkeypatch.setattr(products, "processor_family", lambda: family)
    monkeypatch.setattr(products, "processor_maker", lambda: maker)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    products.suits_onednn.cache_clear()
    try:
        return engine()
    finally:
        products.suits_onednn.cache_clear()


@onednn
def test_the_engine_follows_from_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    amd, intel = "AuthenticAMD", "GenuineIntel"
    for family in (26, 27):
        assert choose(monkeypatch, amd, family, "AVX512") == "onednn"
    others = ((intel, 26, "AVX512"), (amd, 25, "AVX512"), (amd, 26, "AVX2"), (amd, 26, "AVX512", False), ("", 0, ""))
    for other in others:
        assert choose(monkeypatch, *other) == "torch"


def test_windows_tells_its_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_told_by_linux", lambda _: "")
    monkeypatch.setenv("PROCESSOR_IDENTIFIER", "AMD64 Family 25 Model 17 Stepping 1, AuthenticAMD")
    assert (products.processor_maker(), products.processor_family()) == ("AuthenticAMD", 25)
    monkeypatch.delenv("PROCESSOR_IDENTIFIER")
    assert (products.processor_maker(), products.processor_family()) == ("", 0)


def test_a_machine_tells_its_maker() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    told = [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if "vendor_id" in line]
    assert products.processor_maker() in "".join(told)
    assert bool(products.processor_maker()) == bool(told)


class Lacking:
    """Operators of a torch that has none of these."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(name)


class Wrong:
    """Operators that are there, and wrong in the fifth digit."""

    def __init__(self, real: object) -> None:
        self.real = real

    def __getattr__(self, name: str) -> object:
        return lambda *given: 1.00001 * getattr(self.real, name)(*given)


@onednn
@pytest.mark.parametrize("broken", ["lacking", "wrong"])
def test_operators_that_lack_or_err_leave_torch_its_products(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    operators = Lacking() if broken == "lacking" else Wrong(torch.ops.mkldnn)
    monkeypatch.setitem(vars(torch.ops), "mkldnn", operators)
    products.onednn_works.cache_clear()
    try:
        assert choose(monkeypatch, "AuthenticAMD", 26, "AVX512") == "torch"
        assert "products" not in YAMNet("cpu").settings
        monkeypatch.setenv(products.VARIABLE, "onednn")
        with pytest.raises(UsageError, match="cannot use"):
            engine()
    finally:
        monkeypatch.undo()
        products.onednn_works.cache_clear()


@onednn
def test_a_choice_is_recorded_and_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for wanted in ("torch", "onednn"):
        monkeypatch.setenv(products.VARIABLE, wanted)
        assert engine() == wanted
        backbone = YAMNet("cpu")
        found[wanted] = backbone.settings
        monkeypatch.delenv(products.VARIABLE)
        assert backbone.settings == found[wanted]  # as it was made
        assert pickle.loads(pickle.dumps(backbone)).fingerprint == backbone.fingerprint
    assert found["onednn"] == found["torch"] | {"products": "onednn"}
    # Byte for byte the key of before there was a choice.
    keys = ["name", "weights_sha256", "numerics_version", "device_type", "dtype"]
    assert list(json.loads(json.dumps(found["torch"]))) == keys


def test_the_choice_is_for_float32_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(products.VARIABLE, "onednn" if products.onednn_works() else "torch")
    assert "products" not in YAMNet("cpu", autocast=torch.bfloat16).settings
    assert "products" not in YAMNet("meta").settings


def test_another_word_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(products.VARIABLE, "mkl")
    with pytest.raises(UsageError, match="AGM_PRODUCTS=mkl"):
        YAMNet("cpu")


@onednn
def test_layers_stay_who_they_are() -> None:
    network = nn.Sequential(nn.Linear(256, 512, dtype=torch.float32, device=CPU), nn.ReLU())
    names, rows, held = list(network.state_dict()), drawn(300, 256), network[0]
    exact = network(rows)
    use_onednn(network)
    assert network[0] is held
    assert isinstance(held, nn.Linear)
    assert list(network.state_dict()) == names
    with torch.no_grad():
        for again in (network, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert largest_difference(again(rows), exact) < 1e-6
    assert network.to("meta")(rows.to("meta")).shape == exact.shape


NETWORKS: dict[str, tuple[type[Backbone], Callable[[Path], Path | None], float]] = {
    "cnn14": (Cnn14At16k, lambda folder: write_panns(folder / "weights.pth", Cnn14At16k), 2.5),
    "wavegram": (WavegramLogmelCnn14, lambda folder: write_panns(folder / "weights.pth", WavegramLogmelCnn14), 2.5),
    "vggish": (VGGish, lambda folder: write_vggish(folder / "weights.pth"), 2.5),
    "yamnet": (YAMNet, lambda _: None, 2.5),
    "passt": (PaSST, lambda folder: write_passt(folder / "weights.pt"), 10),
    "clap": (Sounds, lambda folder: write_laion_clap(folder / "weights.pt", Sounds), 10),
    "audiobox": (AudioboxAesthetics, write_audiobox, 10),
}


@onednn
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_the_same_by_either_engine(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, ...]]
) -> None:
    kind, write, seconds = NETWORKS[name]
    path = write(tmp_path)
    clips = calibration_clips(kind.sample_rate, torch.Generator(CPU).manual_seed(3), seconds=seconds)[:3]
    by = {}
    for wanted in ("torch", "onednn"):
        monkeypatch.setenv(products.VARIABLE, wanted)
        backbone = kind() if path is None else kind(weights=path)  # type: ignore[call-arg]
        by[wanted] = backbone(clips).named()
        assert bool(calls) == (wanted == "onednn")
    for output, own in by["torch"].items():
        found = largest_difference(by["onednn"][output], own)
        assert 0 < found < 1e-5, output
