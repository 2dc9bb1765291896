"""Find the nearest training clip of every generated clip, and say which are too near to be new."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from audiogen_metrics.audio.files import AudioFolder, ClipSet, open_clips
from audiogen_metrics.copies.calibration import FALSE_ALARMS, checked_rate
from audiogen_metrics.declaring import takes
from audiogen_metrics.errors import InsufficientDataError, UsageError, option, spoken
from audiogen_metrics.evaluation.networks import find_networks
from audiogen_metrics.file_hashes import hashing_as_asked
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.run_options import CopiesOptions
from audiogen_metrics.settings import resolve_device

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.audio.preparation import Preprocessing
    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.copies.result import Copies
    from audiogen_metrics.embedding.extraction import Extraction
    from audiogen_metrics.metrics.recipe import Recipe

HELD_OUT = 500
"""Training clips that are held out if no other clips are given; a lower rate of false alarms takes more."""

PER_BLOCK = 512
"""Training clips in memory at a time."""


@takes(CopiesOptions)
@hashing_as_asked
def find_copies(
    gen: ClipSet,
    train: ClipSet,
    *,
    heldout: ClipSet | None = None,
    false_alarms: float | None = None,
    embedding: bool = True,
    **options: Unpack[CopiesOptions],
) -> Copies:
    """Find the nearest training clip of every generated clip, and say which generated clips are copies.

    Two clips are compared in two ways: by their log-mel contours at the best time lag
    (`audiogen_metrics.copies.alignment.align`), which gain, mild noise, coding and cuts hardly change, and by the
    cosine of their embeddings. A clip is called a copy if its nearest training clip is more alike than the threshold,
    which real clips that were not trained on pass at a known rate (`audiogen_metrics.copies.Threshold`). It is also
    called a copy if a training file has its bytes or decodes to its samples.

    Parameters
    ----------
    gen, train
        Folders of generated clips, and of clips that the generator was trained on, or any other set of clips that
        `audiogen_metrics.score` takes.
    heldout
        Folder of real clips of the same kind and length that were not trained on. None draws up to 500 training clips
        and compares each with all others: near-duplicates among them are as alike as copies are, and raise the
        threshold, so that fewer copies are found, not more. Clips identical to another training clip are left out.
    false_alarms
        Share of real clips, not trained on, that each measure may call copies, between 0 and 1. None takes 0.01, or the
        lowest rate that the held-out clips can show.
    embedding
        Whether to compare embeddings too, which needs a network.

    Returns
    -------
    Copies
        Every generated clip with its nearest training clips, and the thresholds.

    Raises
    ------
    DataError
        A folder without usable audio.
    InsufficientDataError
        Too few held-out clips for the rate of false alarms.
    MissingWeightsError, MissingDependencyError
        The backbone is not on this machine.
    UsageError
        An unknown name, or a number out of its range.

    Examples
    --------
    >>> from audiogen_metrics import find_copies
    >>> found = find_copies("generated", "training", protocol="yamnet")  # doctest: +SKIP
    >>> found.thresholds["mel"].flagged, round(found.thresholds["mel"].expected, 1)  # doctest: +SKIP
    (1, 0.4)
    """
    rate = checked_rate(false_alarms)
    given = CopiesOptions(**options)
    protocol, backbone, device, weights = given["protocol"], given["backbone"], given["device"], given["weights"]
    suffixes, limit, seed = given["suffixes"], given["limit"], given["seed"]
    if not embedding and (backbone is not None or weights):
        where = spoken("weights", "--weights") if backbone is None else spoken("backbone", "--backbone")
        fix = f"Leave out {where} or {spoken('embedding=False', '--no-embedding')}"
        raise UsageError("no network is used without embeddings", where=where, fix=fix)
    places = (("gen", gen), ("train", train), *((("held-out", heldout),) if heldout is not None else ()))
    folders = {
        name: _first(open_clips(place, suffixes, sample_rate=given["sample_rate"], name=name), limit)
        for name, place in places
    }
    if heldout is None and len(folders["train"].clips) < 2:
        fix = f"Pass more, or {option('heldout', 'FOLDER')}"
        raise InsufficientDataError(
            "with one training clip, no clip can be held out", where=folders["train"].root, fix=fix
        )
    recipe = get_protocol(protocol).select(["fd"], backbone)[0] if embedding else None
    network = find_networks([recipe], device, weights).backbones[recipe.backbone] if recipe else None

    from audiogen_metrics.copies.judging import judged
    from audiogen_metrics.copies.searching import Search, cut, describe, joined
    from audiogen_metrics.embedding.extraction import ExtractionOptions, extract_blocks, extract_each

    how = ExtractionOptions.of(given)
    groups, name = _networks(recipe, network, device), recipe.backbone if recipe else None
    drawn = heldout is None
    held_out = _drawn(folders["train"], seed, rate) if drawn else folders["held-out"]
    sets = [extract_each(folder, groups, how) for folder in (folders["gen"], held_out)]
    described = [describe(extractions, name) for extractions in sets]
    count = len(described[0])
    search = Search(joined(described[0], cut(described[1], described[0], seed)), count, held_out_is_train=drawn)
    blocks = []
    for block in extract_blocks(folders["train"], groups, how, PER_BLOCK):
        search.compare(describe(block, name))
        blocks.append(replace(block[0], sets={}))
    used = {"gen": sets[0][0], "train": _merged(folders["train"], blocks), "held-out": sets[1][0]}
    backbones = {each.name: each.settings for each in (each for group in groups.values() for each in group)}
    return judged(
        search, used, rate, drawn=drawn, protocol=protocol if embedding else "", backbones=backbones, seed=seed
    )


def _first(folder: AudioFolder, limit: int | None) -> AudioFolder:
    return replace(folder, clips=folder.clips[:limit])


def _networks(
    recipe: Recipe | None, network: Backbone | None, device: str | torch.device
) -> dict[Preprocessing, list[Backbone]]:
    from audiogen_metrics.backbones.logmel import PREPROCESSING, LogMel

    groups: dict[Preprocessing, list[Backbone]] = {PREPROCESSING: [LogMel(resolve_device(device))]}
    if recipe is not None and network is not None:
        groups.setdefault(recipe.preprocessing, []).append(network)
    return groups


def _drawn(train: AudioFolder, seed: int, rate: float | None) -> AudioFolder:
    """Return the training clips that are held out: enough to know the rate of false alarms to about half of it."""
    import numpy as np

    wanted = max(HELD_OUT, math.ceil(5 / (FALSE_ALARMS if rate is None else rate)))
    order = np.random.default_rng(seed).permutation(len(train.clips))[:wanted]
    return replace(train, clips=tuple(train.clips[place] for place in sorted(order.tolist())))


def _merged(folder: AudioFolder, blocks: Sequence[Extraction]) -> Extraction:
    """Return what became of a folder that was embedded in blocks, without its features."""
    return replace(
        blocks[0],
        folder=folder,
        facts={clip: facts for block in blocks for clip, facts in block.facts.items()},
        digests={clip: digest for block in blocks for clip, digest in block.digests.items()},
        failures=tuple(failure for block in blocks for failure in block.failures),
        from_cache=sum(block.from_cache for block in blocks),
        problems=tuple(dict.fromkeys(problem for block in blocks for problem in block.problems)),
    )
