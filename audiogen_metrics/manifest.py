"""What went into a run: the two sets as they were found, and what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LATER = {"later": True}
"""Marks a field that reports of the first version do not have; the schema does not require it."""


@dataclass(frozen=True)
class InputSummary:
    """One of the two sets: what was found, scored, skipped.

    Parameters
    ----------
    path
        The folder as given.
    found, scored
        Audio files below it, and those that were scored; None for statistics that do not say how many clips are behind
        them.
    ignored
        Files without an audio suffix, or without one of those that were asked for.
    seconds
        Length of the scored audio; 0 where it is not known.
    digest
        Hash over clip ids and file contents: equal for equal sets, whatever the order and place of the files. For
        others' statistics it is the SHA-256 of their file, or over those of their files.
    skipped
        The files that could not be scored: ``{"clip", "path", "reason"}``, and ``"fix"`` where one is known.
    left_out
        By backbone, clips that only this backbone could not take; same fields.
    files
        Content hash (BLAKE2b, 20 bytes) of each scored clip by id.
    statistics
        Where others' statistics come from: the layout of the file, the arrays that were read for each score, the
        SHA-256 of each file. Empty for clips.
    """

    path: str
    found: int | None
    scored: int | None
    ignored: int
    seconds: float
    digest: str
    skipped: tuple[dict[str, str], ...] = ()
    left_out: Mapping[str, tuple[dict[str, str], ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    statistics: Mapping[str, str] = field(default_factory=dict, metadata=LATER)

    @property
    def clips(self) -> str:
        """How many clips were scored, in words."""
        return "statistics of an unknown number of clips" if self.scored is None else f"{self.scored} clips"

    @property
    def share(self) -> str:
        """How many of the clips that were found were scored, in words."""
        return self.clips if self.scored is None else f"{self.scored} of {self.found} clips"

    @property
    def length(self) -> str:
        """Length as text to append, empty where it is not known."""
        return f", {self.seconds:.1f} s" if self.seconds else ""


@dataclass(frozen=True)
class Manifest:
    """What a run was asked for, which is enough to run it again.

    Parameters
    ----------
    gen, ref
        As given: folders, or a statistics file for ``ref``; None where there was no reference.
    given
        Which of the two were given clip by clip, so that their places are only descriptions.
    sample_rate
        Sample rate, in Hz, of arrays that came without their own.
    metrics
        Names of the metrics that were computed.
    limit
        How many clips of each set were taken at most.
    weights
        By name, files that were given in place of the published ones.
    batch_size
        Clips per forward pass, at most; changes scores by less than 1e-5 relative.
    recipes
        By score id, everything that shapes the score: preprocessing with its resampler, and the metric's options.
    suffixes
        Suffixes of the files that were taken as clips; empty for all audio.
    ci, extrapolate
        Whether intervals and values at infinite n were computed; None if that was not recorded.
    draws
        Random deals behind p, as asked for; None for the default.
    pairs
        The reference of each generated clip, where several may share one; empty where equal ids pair.
    seed
        Seed of everything that is drawn at random.
    prompts
        What generated clips should sound like, as one or several texts by clip id; empty where that was not given.
    trust_reference
        Whether statistics were accepted although they do not say how they were made.
    """

    gen: str
    ref: str | None
    metrics: tuple[str, ...]
    limit: int | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    batch_size: int = 16
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    suffixes: tuple[str, ...] = field(default=(), metadata=LATER)
    ci: bool | None = field(default=None, metadata=LATER)
    extrapolate: bool | None = field(default=None, metadata=LATER)
    seed: int = field(default=0, metadata=LATER)
    draws: int | None = field(default=None, metadata=LATER)
    pairs: Mapping[str, str] = field(default_factory=dict, metadata=LATER)
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict, metadata=LATER)
    given: tuple[str, ...] = field(default=(), metadata=LATER)
    sample_rate: int | None = field(default=None, metadata=LATER)
    trust_reference: bool = field(default=False, metadata=LATER)
