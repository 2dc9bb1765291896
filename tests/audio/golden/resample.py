"""Write ``resample.npz``: what ``torchaudio.functional.resample`` makes of seeded noise.

Run where torchaudio can be imported: ``python -m tests.audio.golden.resample``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

RATES = (8000, 11_025, 11_127, 22_050, 22_254, 24_000, 32_000, 44_100, 48_000, 96_000)
GOLDEN = Path(__file__).with_suffix(".npz")


def noise(rate: int) -> torch.Tensor:
    """Return 20 ms and a sample of seeded noise."""
    samples = np.random.default_rng(rate).normal(size=rate // 50 + 1)
    return torch.from_numpy(samples.astype(np.float32))


def main() -> None:
    """Write the file."""
    from torchaudio.functional import resample

    np.savez_compressed(GOLDEN, **{str(rate): resample(noise(rate), rate, 16_000).numpy() for rate in RATES})


if __name__ == "__main__":
    main()
