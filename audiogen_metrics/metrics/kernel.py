"""Kernel distances as metric objects."""

from __future__ import annotations

from audiogen_metrics.metrics.frechet import FrechetMetric


class KID(FrechetMetric):
    """Kernel distance with a cubic kernel, one embedding per clip. Lower is better; unbiased, so n matters little.

    Takes the arguments of `AudioMetric`, but cannot stream: it needs the embeddings themselves.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics.metrics import KID
    >>> rows = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    >>> kid = KID(protocol="yamnet", ref=rows[:50])
    >>> kid.update(gen_embeddings=rows[50:])
    >>> abs(float(kid.compute())) < 0.1
    True
    """

    metric_name = "kid"
    higher_is_better = False


class KAD(FrechetMetric):
    """Kernel audio distance: a Gaussian kernel as wide as the reference, times 100. Lower is better.

    Takes the arguments of `AudioMetric`, but cannot stream: it needs the embeddings themselves.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics.metrics import KAD
    >>> rows = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    >>> kad = KAD(protocol="yamnet", ref=rows[:50])
    >>> kad.update(gen_embeddings=rows[50:] + 1)
    >>> float(kad.compute()) > 1
    True
    """

    metric_name = "kad"
    higher_is_better = False
