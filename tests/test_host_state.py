"""What the host of this library sets in torch for its own training reaches no score, and comes back as it was."""

from __future__ import annotations

import ast
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import audiogen_metrics
from audiogen_metrics import FD
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.evaluation.run import score_named
from audiogen_metrics.precision import full_precision
from audiogen_metrics.protocols import PROTOCOLS
from tests.conftest import Run
from tests.golden.write import WEIGHED, recipes, write_weights

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*random weights", "ignore::UserWarning:torch.*"
)
PACKAGE = Path(audiogen_metrics.__file__).parent

Host = Callable[[], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        assert torch.get_default_dtype() == dtype, "the host's default type was not given back"
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def rounded_products() -> Iterator[None]:
    """Let a CPU that can multiply in bfloat16 do so."""
    torch.set_float32_matmul_precision("medium")
    convolution = getattr(torch.backends.mkldnn, "conv", None)  # torch before 2.9 rounds products only
    if convolution is not None:
        convolution.fp32_precision = "bf16"
    try:
        yield
        assert torch.get_float32_matmul_precision() == "medium"
        assert convolution is None or convolution.fp32_precision == "bf16"
    finally:
        if convolution is not None:
            convolution.fp32_precision = "none"
        torch.set_float32_matmul_precision("highest")


@contextlib.contextmanager
def everything() -> Iterator[None]:
    with default_dtype(torch.bfloat16), torch.autocast("cpu", torch.bfloat16), torch.device("meta"), rounded_products():
        yield


HOSTS: dict[str, Host] = {
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float16": lambda: default_dtype(torch.float16),
    "float64": lambda: default_dtype(torch.float64),
    "device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast16": lambda: torch.autocast("cpu", torch.float16),
    "products": rounded_products,
    "everything": everything,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_weights(tmp_path_factory.mktemp("weights"))


def values(small: tuple[Path, Path], protocol: str, weights: dict[str, Path], **options: Any) -> dict[str, Any]:
    from audiogen_metrics.backbones.published import weights_name

    chosen = [recipe for recipe in recipes(protocol) if not recipe.definition.prompted]
    needed = {weights_name(recipe.backbone) for recipe in chosen}
    given = {name: path for name, path in weights.items() if name in needed}
    names = [PROTOCOLS[protocol].name_of(recipe) for recipe in chosen]
    known = {"protocol": protocol, "weights": given, "limit": 4, "device": "cpu", "ci": True}
    report = score_named(*small, metrics=names, by_name=False, **known, **options)
    return {name: (found.value, found.std, found.ci95) for name, found in report.scores.items()}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("host", HOSTS)
def test_scores_and_cache_on_yamnet(small: tuple[Path, Path], host: str, workers: int, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGM_CACHE_DIR", str(tmp_path / "plain"))
        plain = values(small, "yamnet", {}, workers=workers)
    with HOSTS[host]():
        assert values(small, "yamnet", {}, workers=workers) == plain
    # What the host's run has left in the cache.
    assert values(small, "yamnet", {}, workers=workers) == plain


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("protocol", [name for name in WEIGHED if name != "yamnet"])
def test_scores_and_cache_of_every_protocol(
    small: tuple[Path, Path], weights: dict[str, Path], protocol: str, workers: int, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGM_CACHE_DIR", str(tmp_path / "plain"))
        plain = values(small, protocol, weights, workers=workers)
    with everything():
        assert values(small, protocol, weights, workers=workers) == plain
    assert values(small, protocol, weights, workers=workers) == plain


@pytest.mark.parametrize("host", HOSTS)
def test_metric_objects(host: str) -> None:
    generator = torch.Generator().manual_seed(0)
    waveforms = 0.1 * torch.randn(2, 6, 24_000, generator=generator)

    def distance(metric: FD) -> float:
        metric.update(gen=waveforms[0], ref=waveforms[1], sample_rate=24_000)
        return float(metric.compute())

    plain = distance(FD(protocol="yamnet"))
    metric = FD(protocol="yamnet")  # outside: a metric is made on the host's default device, as torchmetrics' are
    with HOSTS[host]():
        assert distance(metric) == plain


SETTERS = [
    "pass",
    "torch.backends.cuda.matmul.allow_tf32 = True",
    "torch.backends.cudnn.allow_tf32 = False",
    "torch.set_float32_matmul_precision('medium')",
    "torch.set_float32_matmul_precision('high')",
    "torch.backends.fp32_precision = 'tf32'",
    "torch.backends.fp32_precision = 'ieee'",
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "torch.backends.cudnn.fp32_precision = 'ieee'",
    "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    "torch.backends.fp32_precision = 'tf32'; torch.backends.cudnn.conv.fp32_precision = 'ieee'",
]

PROBE = """
import torch
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.evaluation.run import score_named
from audiogen_metrics.precision import full_precision
b = torch.backends
cuda, cpu = (b.cuda.matmul, b.cudnn.conv, b.cudnn.rnn), (b.mkldnn.matmul, b.mkldnn.conv)
state = lambda: [place.fp32_precision for place in (b, b.cudnn, *cuda, *cpu)]
{setter}
before, asked = state(), b.fp32_precision
print(YAMNet(device="cuda").settings["tf32"], YAMNet(device="cuda", tf32=True).settings["tf32"])
for tf32 in (False, True, False):
    with full_precision(torch.device("cuda"), tf32=tf32):
        assert {{place.fp32_precision for place in cuda}} <= ({{"tf32"}} if tf32 else {{"none", "ieee"}}), state()
        assert {{place.fp32_precision for place in cpu}} <= {{"none", "ieee"}}, state()
        b.cuda.matmul.allow_tf32  # what torch's own code may read for a product
        with full_precision(torch.device("cuda")):  # a front end
            assert {{place.fp32_precision for place in cuda}} <= {{"none", "ieee"}}, state()
        chosen = state()
        with full_precision(torch.device("cpu")):  # a thread that resamples meanwhile
            assert state()[:5] == chosen[:5]
    assert state() == before, (state(), before)
# Places that took their setting from above go on doing so.
b.fp32_precision = "ieee" if asked == "tf32" else "tf32"
print(*state())
"""


@pytest.fixture
def run(agm: Run) -> Callable[[str], str]:
    """Run a host's code where torch is as it is after its import."""

    def run(code: str) -> str:
        done = agm(code=code)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    return run


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch before 2.9 has the older flags only")
@pytest.mark.parametrize("setter", SETTERS)
def test_products_are_exact_and_the_host_gets_its_settings_back(run: Callable[[str], str], setter: str) -> None:
    found = run(PROBE.format(setter=setter)).splitlines()
    assert found[0] == "0 1"
    untouched = PROBE.split("print(YAMNet")[0] + PROBE.split("so.\n")[1]
    assert found[1] == run(untouched.format(setter=setter)).strip()


def test_tf32_is_a_choice_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert YAMNet(device="cuda").settings["tf32"] == 0
    assert YAMNet(device="cuda", tf32=True).settings["tf32"] == 1
    assert YAMNet(device="cuda", tf32=True).fingerprint != YAMNet(device="cuda").fingerprint
    assert "tf32" not in YAMNet(device="cpu", tf32=True).settings
    monkeypatch.setenv("AGM_TF32", "1")
    assert YAMNet(device="cuda").settings["tf32"] == 1
    monkeypatch.setenv("AGM_TF32", "yes")
    with pytest.raises(audiogen_metrics.errors.UsageError, match="AGM_TF32=yes"):
        YAMNet(device="cuda")


def test_threads_do_not_take_each_others_settings_for_the_hosts() -> None:
    first_in, first_may_leave, problems = threading.Event(), threading.Event(), []

    def first() -> None:
        with full_precision(torch.device("cpu")):
            first_in.set()
            first_may_leave.wait(10)

    torch.set_float32_matmul_precision("medium")
    try:
        thread = threading.Thread(target=first)
        thread.start()
        first_in.wait(10)
        with full_precision(torch.device("cpu")):
            first_may_leave.set()
            thread.join(10)
            if torch.get_float32_matmul_precision() != "highest":
                problems.append("the host's setting came back while a network was running")
        assert not problems
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


CREATORS = {
    *("arange", "as_tensor", "asarray", "empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randint"),
    *("randn", "randperm", "scalar_tensor", "tensor", "zeros"),
    *("bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window", "fftfreq", "rfftfreq"),
}


def test_every_new_tensor_says_its_type_and_device() -> None:
    """A host's defaults reach only what does not say; a tensor made of an array keeps the array's type."""
    silent = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in CREATORS and ast.unparse(node.func.value) in ("torch", "torch.fft"):
                said = {keyword.arg for keyword in node.keywords}
                needed = {"device"} if node.func.attr in ("as_tensor", "asarray") else {"dtype", "device"}
                if not needed <= said and None not in said:  # None is **options
                    silent.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {ast.unparse(node)}")
    assert not silent


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize("host", [True, False])
def test_cudnn_convolves_only_where_it_may_round(host: bool) -> None:
    """In plain float32 it takes many times the time and memory of torch's own convolution."""
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    before, torch.backends.cudnn.enabled = torch.backends.cudnn.enabled, host
    try:
        with full_precision(cpu):
            assert torch.backends.cudnn.enabled == host
            with full_precision(cuda):
                assert not torch.backends.cudnn.enabled
                with full_precision(cuda, tf32=True):
                    assert torch.backends.cudnn.enabled == host
                assert not torch.backends.cudnn.enabled
            with full_precision(cuda, torch.bfloat16):
                assert torch.backends.cudnn.enabled == host
        assert torch.backends.cudnn.enabled == host
    finally:
        torch.backends.cudnn.enabled = before
    kinds = (YAMNet(device="cuda"), YAMNet(device="cuda", tf32=True), YAMNet(device="cuda", autocast=torch.bfloat16))
    assert [kind.settings["cudnn"] for kind in kinds] == [0, 1, 1]
    assert "cudnn" not in YAMNet(device="cpu").settings
