"""What other tools call their networks, and on what terms statistics of them may stand in for a reference here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from audiogen_metrics.backbones.published import WEIGHTS, weights_name
from audiogen_metrics.errors import option
from audiogen_metrics.protocols import PROTOCOLS, get_protocol

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Output
    from audiogen_metrics.metrics.recipe import Recipe


@dataclass(frozen=True)
class Known:
    """A network under the name that another tool gives it.

    Parameters
    ----------
    network
        Its checkpoint by the name here, with the layer where there are several.
    width
        Numbers in a row.
    output
        Which rows that tool's statistics are of.
    protocol, backbone
        What prepares the same audio and gives the same rows here; empty where nothing is shown to.
    unrounded
        A backbone that gives these rows before they are rounded to float16.
    """

    network: str
    width: int
    output: Output = "windows"
    protocol: str = ""
    backbone: str = ""
    unrounded: str = ""


KNOWN: Mapping[str, Known] = {
    "vggish": Known("vggish", 128, "windows", "fadtk", "vggish-float16", "vggish"),
    "clap-laion-music": Known("clap-laion-music", 512, "windows", "fadtk-clap", "clap-laion-music-hop1"),
    "clap-laion-audio": Known("clap-laion-630k", 512),
    "panns-wavegram-logmel": Known(
        "panns-wavegram-logmel-cnn14", 2048, "embeddings", "kadtk", "panns-wavegram-logmel-cnn14"
    ),
    "panns-cnn14-16k": Known("panns-cnn14-16k", 2048, "embeddings"),
    "panns-cnn14-32k": Known("panns-cnn14-32k", 2048, "embeddings"),
    "passt-base-10s": Known("passt", 1295, "embeddings", "kadtk", "passt-kadtk"),
}
"""By the names of fadtk and kadtk, read in their wheels (1.1.0 of each)."""

_OF_THE_HUB: Mapping[str, tuple[str, int, int]] = {
    "MERT-v1-95M": ("m-a-p/MERT-v1-95M", 12, 768),
    "w2v2-base": ("facebook/wav2vec2-base-960h", 12, 768),
    "w2v2-large": ("facebook/wav2vec2-large-960h", 24, 1024),
    "wavlm-base": ("patrickvonplaten/wavlm-libri-clean-100h-base", 12, 768),
    "wavlm-base-plus": ("patrickvonplaten/wavlm-libri-clean-100h-base-plus", 12, 768),
    "wavlm-large": ("patrickvonplaten/wavlm-libri-clean-100h-large", 24, 1024),
}
"""Checkpoint, last layer and width of fadtk's networks of transformers; ``NAME-9`` is their layer 9."""

_BY_RATE = frozenset({"sample_rate", "minimum_samples", "maximum_samples"})
"""What of a preparation follows from the network's rate."""


@dataclass(frozen=True)
class Standing:
    """On what terms a recipe may take statistics of a network.

    Parameters
    ----------
    other
        It is another network, so that it may not.
    needs_trust
        Whether the user must vouch for what is not known or differs.
    fact, trust
        What is not known or differs, and what one trusts who takes them.
    fix
        What would do without trust.
    """

    other: bool = False
    needs_trust: bool = False
    fact: str = ""
    trust: str = ""
    fix: str = ""

    @property
    def warning(self) -> str:
        """What to say beside the score; empty where both are made alike."""
        return f"{self.fact}; it is trusted that {self.trust}" if self.trust else self.fact


def known(name: str) -> Known | None:
    """Return the network of a name of another tool, or None."""
    if name in KNOWN:
        return KNOWN[name]
    stem, _, layer = name.rpartition("-")
    if name in _OF_THE_HUB or not layer.isdecimal():
        stem, layer = name, ""
    if stem not in _OF_THE_HUB:
        return None
    source, last, width = _OF_THE_HUB[stem]
    network = f"hf:{source}@layer={int(layer or last)}"
    return Known(network, width, "windows", "fadtk", f"{network}@frames@float16", f"{network}@frames")


def standing(name: str, recipe: Recipe, protocol: str = "", weights_sha256: str | None = None) -> Standing:
    """Return on what terms a recipe may take statistics of a network.

    Parameters
    ----------
    name
        As the other tool has it; empty where the file does not say it.
    recipe, protocol
        What is to be computed, and whose recipe it is.
    weights_sha256
        Digest of the weights of the run, once it is known.
    """
    rows = {"embeddings": "clip embeddings", "windows": "windows"}.get(recipe.definition.output, "rows")
    prepared = f"protocol {protocol} prepares it" if protocol in PROTOCOLS else "that of gen"
    trust = f"they are of {rows} of {recipe.backbone}, and of audio prepared as {prepared}"
    if not name:
        fact = "the reference's statistics do not say of which network they are, nor how their audio was prepared"
        return Standing(needs_trust=True, fact=fact, trust=trust)
    theirs = known(name)
    if theirs is None and name in (recipe.backbone, recipe.backbone.replace("-", "_")):
        fact = f"statistics of {name} do not say which rows they are of, nor how their audio was prepared"
        return Standing(needs_trust=True, fact=fact, trust=trust)
    if theirs is None or theirs.network != _network(recipe.backbone):
        return Standing(other=True)
    found = _of_known(name, theirs, recipe, protocol)
    published = WEIGHTS.get(theirs.network).sha256 if theirs.network in WEIGHTS.names() else None
    if weights_sha256 is None or published in (None, weights_sha256):
        return found
    facts = [found.fact, f"gen is heard with other weights than the published ones, which are behind {name}"]
    return replace(
        found,
        needs_trust=True,
        fact="; ".join(filter(None, facts)),
        trust=found.trust or "they are of these weights too",
    )


def _of_known(name: str, theirs: Known, recipe: Recipe, protocol: str) -> Standing:
    """Return on what terms a recipe may take statistics of its own network, by the tool that has named it."""
    if protocol and protocol not in PROTOCOLS:
        fact = "how the audio behind the features of gen was prepared is not known here"
        return Standing(needs_trust=True, fact=fact, trust=f"it was as that behind {name}")
    if not theirs.protocol:
        fact = f"no protocol here is shown to give the rows that fadtk and kadtk call {name}"
        return Standing(needs_trust=True, fact=fact, trust="they are like those of this run")
    apart = _differences(theirs, recipe)
    if not apart:
        return Standing()
    if apart == ["float16"]:
        return Standing(fact=f"rows of {name} are rounded to float16 behind the reference, and not in gen")
    fact = f"{name} is what protocol {theirs.protocol} computes, and {protocol} differs: {', '.join(apart)}"
    trust = "the distance between sets that were heard in two ways says what you want to know"
    asked = option("protocol", theirs.protocol)
    return Standing(needs_trust=True, fact=fact, trust=trust, fix=f"Score with {asked}, which hears both alike. ")


def _differences(theirs: Known, recipe: Recipe) -> list[str]:
    """Return in what a recipe differs from what gives the same rows as the other tool."""
    found = [f"{recipe.definition.output}, not {theirs.output}"] * (recipe.definition.output != theirs.output)
    hub = theirs.network.startswith("hf:")
    recipes = get_protocol(theirs.protocol).recipes.values()
    prepared = next(each for each in recipes if hub or each.backbone == theirs.backbone).preprocessing
    ours, others = asdict(recipe.preprocessing), asdict(prepared)
    for key in [key for key in dict.fromkeys([*ours, *others]) if not (hub and key in _BY_RATE)]:
        if ours.get(key) != others.get(key):
            found.append(f"{key} {ours.get(key)}, not {others.get(key)}")
    backbone = _without_revision(recipe.backbone)
    if backbone == theirs.unrounded and not found:
        return ["float16"]
    return found + [f"backbone {recipe.backbone}, not {theirs.backbone}"] * (backbone != theirs.backbone)


def _network(backbone: str) -> str:
    """Return the checkpoint behind a backbone, with the layer where it has several."""
    return (
        re.sub("@(frames|float16)", "", _without_revision(backbone))
        if backbone.startswith("hf:")
        else weights_name(backbone)
    )


def _without_revision(backbone: str) -> str:
    return re.sub("@revision=[^@]*", "", backbone) if backbone.startswith("hf:") else backbone
