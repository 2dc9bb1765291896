"""How alike two recordings are at their best time lag, by the correlation of their log-mel contours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from scipy.fft import next_fast_len

from audiogen_metrics.backbones.logmel import HOP, SAMPLE_RATE

__all__ = ["align"]

SECONDS_PER_FRAME = HOP / SAMPLE_RATE

LEAST_FRAMES = 12
"""Fewest frames of an overlap, a quarter of a second; shorter overlaps are alike by chance."""

LEAST_CHANGE = 1.0
"""Root mean square of the contours in dB, over the frames that are compared, below which a clip does not change."""

PER_BATCH = 128
"""Clips on either side that are correlated at once, if they are short: about 150 MB of 10 s clips."""

CELLS = 2**24
"""Pairs times lags that are correlated at once, at most: 64 MB, a few times."""


def comparable(contours: torch.Tensor) -> str:
    """Return why a clip ``(frames, contours)`` cannot be compared with any other; empty if it can be."""
    if len(contours) < LEAST_FRAMES:
        return f"shorter than {LEAST_FRAMES * SECONDS_PER_FRAME:.2g} s"
    if float(contours.square().mean()) < LEAST_CHANGE**2:
        return "silent or unchanging"
    return ""


def align(gen: Sequence[torch.Tensor], train: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how alike each pair of clips is at its best time lag, and that lag.

    At each lag the frames of the overlap are compared, which must be at least half of the shorter clip and a quarter of
    a second: the sum over frames and contours of the products, divided by the root of the product of both sums of
    squares. An overlap in which either clip changes by less than 1 dB does not count. Fourier transforms compute every
    lag of every pair.

    Parameters
    ----------
    gen, train
        Clips ``(frames, contours)``, as `audiogen_metrics.backbones.logmel.LogMel` gives them.

    Returns
    -------
    similarity
        ``(gen, train)`` float32, from 0 (nothing in common, or nothing to compare) to 1.
    lags
        ``(gen, train)`` int64: the frame of the training clip at which the generated clip begins; negative where the
        training clip begins later.

    Examples
    --------
    >>> import torch
    >>> clip = 5 * torch.randn(200, 30, generator=torch.Generator().manual_seed(0))
    >>> similarity, lags = align([clip[60:120]], [clip])
    >>> round(float(similarity), 4), int(lags)
    (1.0, 60)
    """
    similarity = torch.zeros(len(gen), len(train), dtype=torch.float32, device="cpu")
    lags = torch.zeros(len(gen), len(train), dtype=torch.int64, device="cpu")
    for rows in _batches([len(clip) for clip in gen]):
        for columns in _batches([len(clip) for clip in train]):
            found = _aligned([gen[row] for row in rows], [train[column] for column in columns])
            place = (
                torch.tensor(rows, dtype=torch.int64, device="cpu")[:, None],
                torch.tensor(columns, dtype=torch.int64, device="cpu")[None],
            )
            similarity[place], lags[place] = found
    return similarity, lags


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield places of clips of similar lengths, as many as fit together."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[place]
        most = min(PER_BATCH, max(1, int((CELLS / max(1, length)) ** 0.5)))
        if batch and (length > 1.25 * lengths[batch[0]] or len(batch) >= most):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _aligned(gen: list[torch.Tensor], train: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths, others = (
        torch.tensor([len(clip) for clip in clips], dtype=torch.int64, device="cpu") for clips in (gen, train)
    )
    longest, other = int(lengths.max()), int(others.max())
    # Lags at which less than half of the shorter clip overlaps may fall onto each other: they do not count.
    size = int(next_fast_len(longest + other - int(torch.minimum(lengths.min(), others.min())) // 2, real=True))
    places = torch.arange(size, dtype=torch.int64, device="cpu")
    lags = torch.where(places < other, places, places - size)
    spectra = [torch.fft.rfft(_padded(clips), n=size, dim=1) for clips in (gen, train)]
    product = spectra[0].conj().transpose(0, 1) @ spectra[1].permute(1, 2, 0)
    sums = torch.fft.irfft(product.permute(1, 2, 0), n=size)
    sums *= _inverse_norms(gen, lengths, others, lags)
    sums *= _inverse_norms(train, others, lengths, -lags).transpose(0, 1)
    best = sums.max(dim=2)
    return best.values.clamp(0, 1), lags[best.indices]


def _padded(clips: list[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)


def _inverse_norms(
    clips: list[torch.Tensor], lengths: torch.Tensor, others: torch.Tensor, lags: torch.Tensor
) -> torch.Tensor:
    """Return 1 over the norm of each clip's overlap, ``(clips, others or 1, lags)``; 0 where it does not count.

    Frame ``t`` of a clip meets frame ``t + lag`` of the other one.
    """
    kinds, kind_of = others.unique(return_inverse=True)
    energy = _padded([clip.double().square().sum(dim=1) for clip in clips])
    summed = torch.nn.functional.pad(energy.cumsum(dim=1), (1, 0))
    begin = (-lags).clamp(min=0).expand(len(kinds), -1)
    norms = torch.empty(len(clips), len(kinds), len(lags), dtype=torch.float32, device="cpu")
    for place, length in enumerate(lengths.tolist()):
        end = (kinds[:, None] - lags).clamp(max=length)
        count = end - begin
        first, last = begin.clamp(max=length), end.clamp(min=0)
        overlap = summed[place][last] - summed[place][first]
        least = (
            torch.minimum(kinds, torch.tensor(length, dtype=torch.int64, device="cpu"))
            .div(2)
            .ceil()
            .clamp(min=LEAST_FRAMES)[:, None]
        )
        floor = count * (clips[place].shape[1] * LEAST_CHANGE**2)
        counts = (count >= least) & (overlap >= floor)
        norms[place] = torch.where(counts, overlap.clamp(min=1e-30).rsqrt(), 0.0)
    return norms if len(kinds) == 1 else norms[:, kind_of]
