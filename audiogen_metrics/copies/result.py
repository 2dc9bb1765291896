"""The result: the nearest training clip of every generated clip, and which of them are copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from audiogen_metrics.audio.files import AudioFile
from audiogen_metrics.copies.calibration import Threshold
from audiogen_metrics.errors import UsageError
from audiogen_metrics.rendering import Renderable, records_to_csv
from audiogen_metrics.results import InputSummary
from audiogen_metrics.writing import written

Kind: TypeAlias = Literal["mel", "embedding"]

Files: TypeAlias = Mapping[Literal["gen", "train", "held_out"], Mapping[str, AudioFile]]


@dataclass(frozen=True)
class Match:
    """The training clip that is most alike to a generated one.

    Attributes
    ----------
    clip_id
        The training clip.
    similarity
        Correlation of log-mel contours at the best time lag, 0 to 1; or cosine of the embeddings, −1 to 1.
    p
        Chance that a real clip that was not trained on is as alike to its nearest training clip.
    is_copy
        Whether it is more alike than the threshold.
    other
        Similarity of the same two clips by the other measure; None if it is not known.
    offset_seconds
        Where in the training clip the generated clip begins; negative if it begins before it. For mel similarity only.
    overlap_seconds
        How much of both was compared. For mel similarity only.
    """

    clip_id: str
    similarity: float
    p: float
    is_copy: bool
    other: float | None = None
    offset_seconds: float | None = None
    overlap_seconds: float | None = None


@dataclass(frozen=True)
class ClipMatches:
    """One generated clip.

    Attributes
    ----------
    clip_id
        The generated clip.
    identical
        ``"bytes"`` if a training file has the same bytes, ``"audio"`` if one decodes to the same samples.
    identical_to
        That training clip.
    mel, embedding
        The nearest training clip by either measure; None if the clip cannot be compared.
    reasons
        Why it cannot be compared, by measure.
    """

    clip_id: str
    identical: Literal["bytes", "audio"] | None = None
    identical_to: str | None = None
    mel: Match | None = None
    embedding: Match | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def matches(self) -> dict[Kind, Match]:
        """The matches, by measure."""
        every: dict[Kind, Match | None] = {"mel": self.mel, "embedding": self.embedding}
        return {kind: match for kind, match in every.items() if match is not None}

    @property
    def found_by(self) -> tuple[str, ...]:
        """What calls it a copy: ``identical bytes``, ``identical audio``, ``mel``, ``embedding``."""
        same = (f"identical {self.identical}",) if self.identical else ()
        return same + tuple(kind for kind, match in self.matches.items() if match.is_copy)

    @property
    def is_copy(self) -> bool:
        """Whether it is called a copy."""
        return bool(self.found_by)


@dataclass(frozen=True)
class Copies(Renderable):
    """What was found in a set of generated clips.

    Attributes
    ----------
    clips
        Every generated clip: copies first, the surest first.
    thresholds
        By measure.
    gen, train, held_out
        The sets; ``held_out`` is None if the held-out clips were drawn from the training set.
    protocol
        Protocol of the embeddings; empty without embeddings.
    backbones
        Settings of the backbones, by name.
    seed
        Seed of the draw of held-out clips.
    warnings
        What to read before you trust the result.
    versions
        Versions of all tools that took part.

    Examples
    --------
    >>> from audiogen_metrics import find_copies
    >>> found = find_copies("generated", "training", heldout="held-out", protocol="yamnet")  # doctest: +SKIP
    >>> [(clip.clip_id, clip.found_by) for clip in found.copies]  # doctest: +SKIP
    [('0007', ('mel', 'embedding'))]
    """

    clips: tuple[ClipMatches, ...]
    thresholds: Mapping[str, Threshold]
    gen: InputSummary
    train: InputSummary
    held_out: InputSummary | None
    protocol: str
    backbones: Mapping[str, Mapping[str, str | int]]
    seed: int
    warnings: tuple[str, ...]
    versions: Mapping[str, str]
    _files: Files = field(default_factory=dict, repr=False, compare=False)

    @property
    def copies(self) -> tuple[ClipMatches, ...]:
        """The clips that are called copies, false alarms among them."""
        return tuple(clip for clip in self.clips if clip.is_copy)

    @property
    def identical(self) -> tuple[ClipMatches, ...]:
        """The clips whose bytes or samples are those of a training clip."""
        return tuple(clip for clip in self.clips if clip.identical)

    @property
    def beyond_chance(self) -> tuple[str, ...]:
        """What cannot be false alarms: identical clips, or a measure with more copies than chance gives.

        A measure counts if ``p`` is below 0.05 divided by the number of measures.
        """
        same = ("identical clips",) if self.identical else ()
        level = 0.05 / max(1, len(self.thresholds))
        return same + tuple(kind for kind, each in self.thresholds.items() if each.flagged and each.p < level)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data, ready for strict JSON."""
        plain = {name: value for name, value in vars(self).items() if name not in ("clips", "_files")}
        for name in ("gen", "train", "held_out"):
            plain[name] = None if plain[name] is None else asdict(plain[name])
        plain["thresholds"] = {kind: asdict(each) for kind, each in self.thresholds.items()}
        plain["clips"] = [{**asdict(clip), "found_by": clip.found_by} for clip in self.clips]
        return {"copies": len(self.copies), "beyond_chance": self.beyond_chance, **plain}

    def records(self) -> list[dict[str, object]]:
        """Return one flat record per generated clip."""
        from audiogen_metrics.copies.tables import records

        return records(self)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return a header and a line for each generated clip, with numbers in full."""
        return written(records_to_csv(self.records()), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return thresholds, copies and notes as GitHub's Markdown."""
        from audiogen_metrics.copies.tables import to_markdown

        return written(to_markdown(self), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return a page with the copies beside their training clips, to hear.

        Raises
        ------
        UsageError
            The result was made in another process, so that the clips are not known.
        """
        if not self._files:
            raise UsageError("the clips behind this result are not known here", fix="Write the page where it was made")
        from audiogen_metrics.copies.page import page

        return written(page(self, self._files), path)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the places of the clips, which another machine does not have."""
        return {**self.__dict__, "_files": {}}

    def __str__(self) -> str:
        from audiogen_metrics.copies.tables import to_text

        return to_text(self)
