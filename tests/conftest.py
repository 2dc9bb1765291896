"""Fixtures: one torch thread, a cache of its own for every test, real recordings."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from tests import forked

# Beside another busy process, two torch threads on two cores can be sixty times slower than one.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# Values and keys of all machines are compared with those that were kept; test_products asks for the other engine.
os.environ["AGM_PRODUCTS"] = "torch"

collect_ignore = ["broken_plugin.py"]  # what a plug-in that cannot be imported looks like
# Programs for the peers' environments, whose packages need not work in this one.
collect_ignore_glob = ["peers/run_*.py"]

EXAMPLES = Path(__file__).parent.parent / "examples"

AGM = [sys.executable, "-m", "audiogen_metrics"]

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., forked.Forked | subprocess.Popen[str]]


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = (
        False  # xdist's own order, files of many tests first, leaves one core the long ones
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that all cores have work to the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True, scope="session")
def _not_the_users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures of a session are made before `_cache_of_a_module` and `_own_cache`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGM_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="module")
def _cache_of_a_module(_not_the_users_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What one file's fixtures embed never reaches another's: extractions agree to rounding only, not to the bit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGM_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("AGM_CACHE_DIR", str(folder))
    yield
    # Converted weights are 600 MB a test: what the caches of a whole run leave would fill a disk.
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fresh_agm() -> Run:
    """Run the command line in a new interpreter, which loads what it needs."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        command = [*AGM, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture(scope="session")
def _servers() -> Iterator[dict[tuple[str, ...], forked.Server]]:
    """Hold the processes that are forked, each from its first use on."""
    servers: dict[tuple[str, ...], forked.Server] = {}
    yield servers
    for server in servers.values():
        server.close()


@pytest.fixture
def start_agm(_servers: dict[tuple[str, ...], forked.Server]) -> Iterator[Start]:
    """Begin a command line, or code, in a process of its own that has torch loaded already, where one can be forked."""
    with contextlib.ExitStack() as running:

        def start(
            *arguments: str | Path,
            cwd: str | Path | None = None,
            env: Mapping[str, str] | None = None,
            code: str = "",
        ) -> forked.Forked | subprocess.Popen[str]:
            environment = dict(os.environ if env is None else env)
            modules = forked.LIBRARIES if code else forked.modules(str(arguments[0]))
            if forked.AVAILABLE and modules not in _servers:
                _servers[modules] = forked.Server(modules)
            server, words = _servers.get(modules), [*map(str, arguments)]
            if server is not None and forked.at_start(environment) == server.environment:
                return running.enter_context(server.start(words, cwd or Path.cwd(), environment, code))
            command = [*([sys.executable, "-c", code] if code else AGM), *words]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            return running.enter_context(subprocess.Popen(command, text=True, cwd=cwd, env=environment, **pipes))

        yield start


@pytest.fixture
def agm(start_agm: Start) -> Run:
    """Run a command line, or code, as `start_agm` begins it, to its end."""

    def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        process = start_agm(*arguments, **options)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.poll(), out, err)

    return run


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders of the same 12 clip ids, real recordings in mixed formats, as gen and ref."""
    folders = tmp_path / "gen", tmp_path / "ref"
    for source, target in zip(("generated", "reference"), folders, strict=True):
        clips = sorted(path for path in (EXAMPLES / source).rglob("*") if path.is_file())[::3][:12]
        for clip in clips:
            copy = target / clip.relative_to(EXAMPLES / source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, copy)
    return folders


def write_tone(path: Path, seconds: float = 1.0, rate: int = 16_000, **options: object) -> npt.NDArray[np.float32]:
    """Write a quiet tone with noise, different for each name; return its samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(list(path.name.encode()))
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * generator.uniform(200, 2000) * time)
    samples: npt.NDArray[np.float32] = (tone + 0.01 * generator.normal(size=time.shape)).astype(np.float32)
    soundfile.write(path, samples, rate, **options)
    return samples
