"""Known answers: what a score of the seeded clips must be, who says so, and which recipe computes it. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols import PROTOCOLS

__all__ = ["Answer"]

PROMPT = "synthetic test audio {}, tones and noise"
"""Prompt of each generated clip, with its id in the braces."""

MUSEGAUGE = "musegauge 0.1.4"
OURS = "recorded with audiogen-metrics 0.2"

FMA_POP = "fma_pop.npz"
FMA_POP_SHA256 = "74746819873d7082498b0caec0c7846b2e7967050353761a3fdcfcabf3f11dcb"
"""fadtk 1.1.0's statistics of FMA-Pop, from its wheel: 82 302 832 bytes, for all of its networks."""


@dataclass(frozen=True)
class Answer:
    """One known answer.

    Parameters
    ----------
    title
        Common name.
    value
        Known value.
    protocol, score_id
        Recipe of this library that computes it; empty without such a recipe.
    clip
        The clip whose value it is; empty for the score of all.
    fma_pop
        Whether the reference is fadtk's statistics of FMA-Pop instead of the seeded clips of *ref*.
    source
        Who published it, or that we recorded it ourselves.
    """

    title: str
    value: float
    protocol: str = ""
    score_id: str = ""
    clip: str = ""
    fma_pop: bool = False
    source: str = MUSEGAUGE

    @property
    def published(self) -> bool:
        """Whether others have computed the value, with their own code."""
        return self.source != OURS

    @property
    def origin(self) -> str:
        """The value with its source."""
        value = f"{self.value:.7g}"
        return f"published {value} ({self.source})" if self.published else f"{value} {self.source}"

    @property
    def recipe(self) -> Recipe | None:
        """The recipe with which this library computes it; None without such a recipe."""
        if not self.protocol:
            return None
        return next(each for each in PROTOCOLS[self.protocol].every.values() if each.score_id == self.score_id)


_AUDIOBOX = {
    "CE": (2.405021846294403, 2.0855908393859863),
    "CU": (5.454983810583751, 5.958126068115234),
    "PC": (1.7804259061813354, 1.704948902130127),
    "PQ": (6.2276515165964765, 6.867370128631592),
}
"""Mean of the twelve clips, and the first clip's."""

ANSWERS: tuple[Answer, ...] = (
    Answer("FD YAMNet", 46.7944388, "yamnet", "fd_yamnet", source=OURS),
    Answer("FAD YAMNet", 39.9108762, "yamnet", "fad_yamnet", source=OURS),
    Answer("IS YAMNet", 1.06398750, "yamnet", "is_yamnet", source=OURS),
    Answer("KL YAMNet", 3.92217657, "yamnet", "kl_yamnet", source=OURS),
    Answer("KL YAMNet, gen_000", 2.83340647, "yamnet", "kl_yamnet", "gen_000", source=OURS),
    Answer("KAD YAMNet", -2.20341522, "yamnet", "kad_yamnet", source=OURS),
    Answer("FAD VGGish (fadtk)", 6.404002057871562, "fadtk", "fad_vggish"),
    Answer("FAD VGGish (fadtk) to FMA-Pop", 25.37354654507443, "fadtk", "fad_vggish", fma_pop=True),
    Answer("FAD clap-laion-music (fadtk)", 0.16001256366075456, "fadtk-clap", "fad_clap_laion_music"),
    Answer("FAD encodec-emb (fadtk)", 170.10745264056982),
    Answer("KAD VGGish (kadtk)", 6.871640682220459, "kadtk", "kad_windows_vggish"),
    Answer("KAD clap-laion-music (kadtk)", 1.4183998107910156, "kadtk", "kad_windows_clap_laion_music"),
    Answer("CLAP score (music)", 0.2321940166737584, "musegauge", "clap_laion_music"),
    Answer("CLAP score (music), gen_000", 0.3138045492547386, "musegauge", "clap_laion_music", "gen_000"),
    *(
        Answer(f"Audiobox {axis}{', gen_000' * first}", values[first], "audiobox-aesthetics",
               f"{axis.lower()}_audiobox", "gen_000" * first)
        for axis, values in _AUDIOBOX.items()
        for first in (False, True)
    ),
)  # fmt: skip
"""All of them. musegauge ran the published code (fadtk 1.1.0, kadtk 1.1.0, laion_clap, audiobox_aesthetics 0.0.4) with
the real weights on a CPU; on a GPU its values differ by up to 2e-4."""
