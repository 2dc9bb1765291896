"""One tiny model for all tests of AudioLDM."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
import torch

from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.tiny import write_tiny
from tests.places import REFERENCE

EXAMPLES = REFERENCE

require()  # before a test imports diffusers by itself


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Two threads beside another process are many times slower than one on a small model.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write_tiny(tmp_path_factory.mktemp("models") / "tiny", seed=0)


@pytest.fixture(scope="session")
def model(tiny: Path) -> AudioLDM:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AudioLDM.from_pretrained(tiny, device="cpu")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ten real recordings of three classes, of which some are longer than what the denoiser sees."""
    root = tmp_path_factory.mktemp("sounds")
    for label in sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())[:5]:
        for file in sorted((EXAMPLES / label).iterdir())[:2]:
            (root / label).mkdir(exist_ok=True)
            shutil.copy(file, root / label / file.name)
    return root
