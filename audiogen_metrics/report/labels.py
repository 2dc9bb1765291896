"""What scores are called where people read them: ``FD ↓``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

from audiogen_metrics.metrics import catalogue

PAPER_ORDER: tuple[str, ...] = ("fd", "is", "kl", "fad")
"""Metrics in the order of the tables and figures of arXiv 2303.03857."""

_NETWORKS = {
    "panns": "PANNs",
    "passt": "PaSST",
    "vggish": "VGGish",
    "yamnet": "YAMNet",
    "clap": "CLAP",
    "laion": "LAION",
}


def labels_of(score_ids: Iterable[str]) -> dict[str, str]:
    """Return a label for each score: its metric, the network where two would share it, and an arrow to the better side.

    A score whose metric is not known is called by its id.

    Examples
    --------
    >>> labels_of(["fd_panns", "is_panns"])
    {'fd_panns': 'FD ↓', 'is_panns': 'IS ↑'}
    >>> labels_of(["fd_panns", "fd_passt", "kl_reverse_passt"])
    {'fd_panns': 'FD (PANNs) ↓', 'fd_passt': 'FD (PaSST) ↓', 'kl_reverse_passt': 'KL reverse ↓'}
    """
    kinds, labels = catalogue(), {}
    metrics = {score_id: _metric(score_id, kinds) for score_id in score_ids}
    shared = Counter(metrics.values())
    for score_id, metric in metrics.items():
        labels[score_id] = score_id
        if metric is not None:
            network = score_id[len(metric) + 1 :] if shared[metric] > 1 else ""
            words = " ".join(_NETWORKS.get(word, word) for word in network.split("_"))
            arrow = "↑" if kinds[metric].higher_is_better else "↓"
            labels[score_id] = f"{_spoken(kinds[metric].symbol)}{f' ({words})' * bool(words)} {arrow}"
    return labels


def in_papers_order(score_ids: Iterable[str]) -> list[str]:
    """Return scores in the paper's order, behind them those that it does not have, as they came.

    Examples
    --------
    >>> in_papers_order(["pq_audiobox", "fad_vggish", "fd_panns"])
    ['fd_panns', 'fad_vggish', 'pq_audiobox']
    """
    kinds = catalogue()
    place = {name: number for number, name in enumerate(PAPER_ORDER)}
    return sorted(dict.fromkeys(score_ids), key=lambda score_id: place.get(_metric(score_id, kinds) or "", len(place)))


def _metric(score_id: str, known: Collection[str]) -> str | None:
    """Return the metric of a score: the first words of its id, before the name of the network."""
    names = [name for name in known if score_id == name or score_id.startswith(f"{name}_")]
    return max(names, key=len, default=None)


def _spoken(symbol: str) -> str:
    """Return the name of a metric's class in words: that of ``KLReverse`` is KL reverse."""
    first, *others = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z]+", symbol)
    return " ".join([first, *(word if word.isupper() else word.lower() for word in others)])
