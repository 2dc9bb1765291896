"""Measure a generator while it learns: a tiny vocoder, the recordings of this folder, metrics in the loop.

    python examples/training_loop.py

The hooks have Lightning's names; a ``LightningModule`` takes them as they are, with ``self.log_dict(scores)`` in
``on_validation_epoch_end``. The metrics are attributes of the module, so they follow it to its device, and neither
the module's weights nor its checkpoints, nor its precision, know of them. The scores are on YAMNet and comparable
with nothing published: leave out ``protocol`` for the published recipe, once its weights are here.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from audiogen_metrics import FAD, FD, IS, KL, MetricSuite
from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.files import scan
from audiogen_metrics.audio.preparation import Preprocessing, prepare

RATE, FFT, HOP, BANDS = 16_000, 512, 128, 12
SAMPLES = 24_000
RECORDINGS = Path(__file__).parent / "reference"


def recordings(folder: Path) -> tuple[list[str], torch.Tensor]:
    """Return ids and waveforms ``(clips, 24000)``: the first 1.5 s of each clip, padded where it is shorter."""
    clips = scan(folder).clips
    audio = [prepare(decode(clip.path, clip.path.read_bytes()), Preprocessing(RATE, "mean")) for clip in clips]
    return [clip.clip_id for clip in clips], torch.stack([nn.functional.pad(x, (0, SAMPLES))[:SAMPLES] for x in audio])


class Vocoder(nn.Module):
    """Shapes noise after the coarse spectrum of a recording, and learns how."""

    def __init__(self) -> None:
        super().__init__()
        self.gains = nn.Sequential(nn.Conv1d(BANDS, 64, 3, padding=1), nn.GELU(), nn.Conv1d(64, FFT // 2 + 1, 1))
        self.register_buffer("window", torch.hann_window(FFT), persistent=False)
        self.window: torch.Tensor
        self.scores = MetricSuite([metric(protocol="yamnet") for metric in (FD, FAD, IS, KL)])

    def spectrum(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return the complex spectrogram ``(batch, bins, frames)``."""
        return torch.stft(waveforms, FFT, HOP, window=self.window, return_complex=True)

    def forward(self, waveforms: torch.Tensor, seed: int) -> torch.Tensor:
        """Return new sounds after the coarse spectrum of ``waveforms``, ``(batch, time)``."""
        log_spectrum = self.spectrum(waveforms).abs().clamp(min=1e-4).log()
        coarse = nn.functional.adaptive_avg_pool2d(log_spectrum, (BANDS, log_spectrum.shape[2]))
        noise = torch.randn(waveforms.shape, generator=torch.Generator().manual_seed(seed)).to(waveforms.device)
        shaped = self.spectrum(noise) / FFT**0.5 * self.gains(coarse).exp()
        return torch.istft(shaped, FFT, HOP, window=self.window, length=waveforms.shape[1]).clamp(-1, 1)

    def training_step(self, waveforms: torch.Tensor, step: int) -> torch.Tensor:
        """Return the loss of one batch: the distance of log spectra."""
        wanted, found = self.spectrum(waveforms).abs(), self.spectrum(self(waveforms, seed=step)).abs()
        return (wanted.clamp(min=1e-4).log() - found.clamp(min=1e-4).log()).abs().mean()

    def validation_step(self, names: list[str], waveforms: torch.Tensor) -> None:
        """Add one batch to the metrics; ids pair the sounds, and count repeats of a distributed sampler once."""
        self.scores.update(gen=self(waveforms, seed=0), ref=waveforms, sample_rate=RATE, ids=names)

    def on_validation_epoch_end(self) -> dict[str, float]:
        """Return the scores of the epoch and start afresh."""
        scores = {name: float(value) for name, value in self.scores.compute().items()}
        self.scores.reset()
        return scores


def main(epochs: int = 4, batch: int = 10) -> list[dict[str, float]]:
    """Train and measure; return the scores before the first epoch and after each."""
    torch.manual_seed(0)
    names, waveforms = recordings(RECORDINGS)
    model = Vocoder()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for epoch in range(epochs + 1):
        if epoch:
            model.train()
            for step, part in enumerate(waveforms[torch.randperm(len(waveforms))].split(batch)):
                optimiser.zero_grad()
                model.training_step(part, seed_of(epoch, step)).backward()
                optimiser.step()
        model.eval()
        with torch.inference_mode():
            for start in range(0, len(names), batch):
                model.validation_step(names[start : start + batch], waveforms[start : start + batch])
            history.append(model.on_validation_epoch_end())
        print(f"epoch {epoch}  " + "  ".join(f"{name} {value:.2f}" for name, value in history[-1].items()))
    return history


def seed_of(epoch: int, step: int) -> int:
    """Return another seed for each step, so that the noise is not learned by heart."""
    return 1 + 1000 * epoch + step


if __name__ == "__main__":
    main()
