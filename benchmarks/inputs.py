"""What both sides of a comparison are given: the same audio, random checkpoints and features."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.files import scan
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.panns import LABELS_FILE, Cnn14At16k
from tests.checkpoints import write_panns, write_vggish
from tests.peers.clips import build


@dataclass(frozen=True)
class Inputs:
    """Files below a folder, each written when first asked for.

    Parameters
    ----------
    folder
        Where they go.
    seconds
        Length of each clip.
    """

    folder: Path
    seconds: float

    def home(self) -> Path:
        """Return a home folder for the peers, with the file that panns_inference would download when imported."""
        labels = self.folder / "panns_data" / LABELS_FILE
        if not labels.exists():
            labels.parent.mkdir()
            source = resources.files("audiogen_metrics.backbones") / "data" / LABELS_FILE
            labels.write_bytes(source.read_bytes())
        return self.folder

    def weights(self, name: str) -> Path:
        """Return the random checkpoint of ``panns-cnn14-16k`` or ``vggish``."""
        path = self.folder / f"{name}.pth"
        if not path.exists():
            if name == "vggish":
                write_vggish(path)
            else:
                write_panns(path, Cnn14At16k)
        return path

    def clips(self, count: int) -> tuple[Path, Path]:
        """Return two folders of clips of real sounds, at mixed rates and in mixed formats."""
        target = self.folder / f"clips-{count}"
        if not target.exists():
            build(target, count, self.seconds, self.seconds, seed=1)
        return target / "gen", target / "ref"

    def waveforms(self, count: int) -> Path:
        """Return such clips at 16 kHz, ``(count, time)``."""
        path = self.folder / f"waveforms-{count}.npy"
        if not path.exists():
            files = scan(self.clips(count)[0]).clips
            audio = [prepare(decode(clip.path, clip.path.read_bytes()), Preprocessing(16_000)) for clip in files]
            np.save(path, np.stack([clip[: min(map(len, audio))].numpy() for clip in audio]))
        return path

    def patches(self, count: int) -> Path:
        """Return YAMNet's log-mel patches of those, ``(n, 96, 64)``."""
        path = self.folder / f"patches-{count}.npy"
        if not path.exists():
            waveforms = torch.from_numpy(np.load(self.waveforms(count)))
            with torch.inference_mode():
                found = BACKBONES.get("yamnet")("cpu").network.patches(waveforms)
            np.save(path, found.flatten(0, 1).numpy())
        return path

    def features(self, count: int, dimension: int) -> Path:
        """Return two sets of rows with a power-law spectrum, as networks give them, ``(2, count, dimension)``."""
        path = self.folder / f"features-{count}x{dimension}.npy"
        scale = np.arange(1, dimension + 1) ** -0.5
        np.save(path, np.random.default_rng(0).normal(size=(2, count, dimension)) * scale)
        return path

    def logits(self, count: int) -> Path:
        """Return class logits ``(count, 527)``."""
        path = self.folder / f"logits-{count}.npy"
        np.save(path, np.random.default_rng(0).normal(scale=3, size=(count, 527)))
        return path
