"""What is given to a run: sets that are opened, cut and paired, and the recipes that can be computed of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from audiogen_metrics.audio.files import (
    AudioFile,
    AudioFolder,
    ClipSet,
    is_shard,
    open_clips,
)
from audiogen_metrics.audio.pairing import Pairing, no_pairs, pair, read_pairs
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError, option, spoken
from audiogen_metrics.metrics.measuring.measured import pairing_is_off
from audiogen_metrics.options import as_path
from audiogen_metrics.prompts import Captions, captions_of
from audiogen_metrics.protocols import Protocol
from audiogen_metrics.results import InputSummary

if TYPE_CHECKING:
    from audiogen_metrics.embedding.foreign import ForeignStatistics
    from audiogen_metrics.embedding.given import GivenFeatures
    from audiogen_metrics.embedding.reference import ReferenceStatistics
    from audiogen_metrics.embedding.sides import GivenSide
    from audiogen_metrics.metrics.recipe import Recipe
    from audiogen_metrics.run_options import RunOptions

    Known: TypeAlias = AudioFolder | ReferenceStatistics | ForeignStatistics | GivenSide


def open_reference(
    ref: ClipSet,
    suffixes: str | Iterable[str] = (),
    sample_rate: int | None = None,
    *,
    trust_reference: bool = False,
) -> AudioFolder | ReferenceStatistics | ForeignStatistics:
    """Return a reference set: the clips of a folder or what is given in its place, or statistics, ours or others'."""
    if is_path(ref):
        from audiogen_metrics.embedding.foreign import open_foreign

        foreign = open_foreign(ref, trust_reference)
        if foreign is not None:
            return foreign
    if trust_reference and not (is_path(ref) and not as_path(ref).exists()):
        fix = "Leave it out"
        raise UsageError("it is for others' statistics", where=spoken("trust_reference", "--trust-reference"), fix=fix)
    if not is_path(ref) or is_shard(ref) or not as_path(ref).is_file():
        return open_clips(ref, suffixes, sample_rate=sample_rate, name="ref")
    from audiogen_metrics.embedding.reference import ReferenceStatistics

    return ReferenceStatistics.load(ref)


def open_gen(gen: ClipSet, options: RunOptions) -> AudioFolder:
    """Return the generated clips of a run."""
    return open_clips(gen, options["suffixes"], sample_rate=options["sample_rate"])


def open_ref(ref: ClipSet | GivenFeatures | None, options: RunOptions) -> Known | None:
    """Return the reference of a run as `open_reference` does, or the ready features of a metric object."""
    if ref is None:
        return None
    if not is_path(ref):
        from audiogen_metrics.embedding.given import GivenFeatures
        from audiogen_metrics.embedding.sides import GivenSide

        if isinstance(ref, GivenFeatures):
            return GivenSide(ref)
    suffixes, rate, trust = options["suffixes"], options["sample_rate"], options["trust_reference"]
    return open_reference(ref, suffixes, rate, trust_reference=trust)  # a folder needs no torch


def is_path(given: object) -> TypeGuard[str | Path]:
    """Tell whether a set was given by its path."""
    return isinstance(given, (str, os.PathLike))


def computable(
    protocol: Protocol,
    metrics: str | Sequence[str] | None,
    *,
    ref: bool,
    prompts: bool,
    backbone: str | None = None,
) -> list[Recipe]:
    """Return the recipes that were asked for by name, else those of the protocol whose needs are all given.

    Raises
    ------
    UsageError
        A metric that was asked for by name, or all of the protocol, need a reference or prompts.
    """
    recipes = protocol.select(metrics, backbone)
    if metrics is not None:
        require_given(recipes, ref=ref, prompts=prompts)
        return recipes
    found = [recipe for recipe in recipes if not lacks(recipe, ref=ref, prompts=prompts)]
    if not found:
        needs = sorted({lacks(recipe, ref=ref, prompts=prompts) for recipe in recipes})
        raise UsageError(
            f"all scores of {protocol.name} need {' or '.join(needs)}",
            fix=f"Pass {' or '.join(_PASS[each]() for each in needs)}",
        )
    return found


def lacks(recipe: Recipe, *, ref: bool, prompts: bool) -> str:
    """Return what a recipe needs that is not given: ``a reference``, ``prompts``, or nothing."""
    if "ref" in recipe.definition.sides and not ref:
        return "a reference"
    return "prompts" if recipe.definition.prompted and not prompts else ""


_PASS: Mapping[str, Callable[[], str]] = {
    "a reference": lambda: "the reference",
    "prompts": lambda: option("prompts", "FILE"),
}


def require_agreement(options: RunOptions, *, ref: bool) -> None:
    """Raise UsageError where one option asks for what another one, or the lack of a reference, rules out."""
    pairing, pairs = options["pairing"], options["pairs"]
    if not ref and (pairing == "id" or pairs is not None):
        where = spoken("pairing", "--pairing") if pairs is None else spoken("pairs", "--pairs")
        raise UsageError("clips have no partners without a reference", where=where, fix="Pass ref, or leave it out")
    if options["draws"] and not options["ci"]:
        fix = f"Leave out one of {spoken('draws and ci=False', '--draws and --no-ci')}"
        where = spoken("draws", "--draws")
        raise UsageError("they are for p, which is left out with the intervals", where=where, fix=fix)
    if pairs is not None and pairing == "none":
        where = spoken("pairs", "--pairs")
        raise UsageError("they are given, but pairing is off", where=where, fix="Leave out one of them")


def require_given(recipes: Iterable[Recipe], *, ref: bool, prompts: bool) -> None:
    """Raise UsageError for recipes that need what is not given."""
    for what, said in (("a reference", "no reference is given"), ("prompts", "no prompts are given")):
        needy = [recipe.score_id for recipe in recipes if lacks(recipe, ref=ref, prompts=prompts) == what]
        if needy:
            raise UsageError(f"{', '.join(needy)}: {said}", fix=f"Pass {_PASS[what]()}")


@dataclass(frozen=True)
class Sets:
    """Two sets as a run takes them: cut, with the reference and the captions of each generated clip."""

    gen: AudioFolder
    ref: Known | None
    partners: Mapping[str, str] | None
    captions: Captions | None


def fitted(
    gen: AudioFolder,
    ref: Known | None,
    recipes: Sequence[Recipe],
    protocol: Protocol,
    options: RunOptions,
    *,
    by_name: bool,
) -> Sets:
    """Return two sets as a run takes them, before anything is computed.

    Parameters
    ----------
    gen, ref
        All clips that there are.
    recipes, protocol
        What is to be computed of them.
    options
        Of the run.
    by_name
        Whether a score that cannot be computed is an error.

    Raises
    ------
    DataError, InsufficientDataError, UsageError
        The clips do not pair, or have no prompts, as the options ask; they are too few; or the reference is not known
        as it must be.
    """
    pairing, pairs, limit = options["pairing"], options["pairs"], options["limit"]
    require_named(ref, pairing, pairs)
    partners = captions = None
    if pairs is not None and ref is not None:
        partners = read_pairs(pairs, {*found_ids(gen)}, {*found_ids(ref)})
    if options["prompts"] is not None:
        captions = captions_of(options["prompts"], found_ids(gen), partners)
    gen, ref = limited(gen, ref, limit, partners)
    if captions is not None and not captions.by_clip.keys() & {*found_ids(gen)}:
        fix = f"Leave it out, or give the first clips of gen prompts: {next(iter(gen.clip_ids))!r}, …"
        raise DataError(f"none of the first {limit} clips has a prompt", where=spoken("limit", "--limit"), fix=fix)
    if ref is not None:
        _require_reference(ref, recipes, protocol, by_name=by_name)
        if pairing == "id":
            require_partners(pair(found_ids(gen), found_ids(ref), partners))
        if by_name:
            _require_pairs(gen, ref, recipes, pairing, partners)
    if options["extrapolate"] and any(recipe.definition.extrapolates for recipe in recipes):
        from audiogen_metrics.functional.extrapolation import require_clips

        require_clips(len(gen.clips))
    return Sets(gen, ref, partners, captions)


def _require_reference(ref: Known, recipes: Sequence[Recipe], protocol: Protocol, *, by_name: bool) -> None:
    """Raise what `ReferenceStatistics.check` does, where the reference is known by statistics only."""
    if isinstance(ref, AudioFolder):
        return
    from audiogen_metrics.embedding.sides import GivenSide

    if not isinstance(ref, GivenSide):
        ref.check(recipes, protocol.name)
        for recipe in recipes if by_name else ():
            ref.require(recipe)


def _require_pairs(
    gen: AudioFolder, ref: Known, recipes: Sequence[Recipe], pairing: str, partners: Mapping[str, str] | None
) -> None:
    """Raise InsufficientDataError where a metric compares pairs and there is none."""
    needy = [recipe for recipe in recipes if recipe.definition.needs == "pairs"]
    if not needy or not (isinstance(ref, AudioFolder) or _summary(ref).scored):
        return
    ids = found_ids(gen), found_ids(ref)
    problem = None if pair(*ids, partners).paired else no_pairs(*ids)
    if pairing == "none":
        problem = pairing_is_off(needy[0].definition)
    if problem is not None:
        raise InsufficientDataError(problem.what, where=needy[0].score_id, fix=problem.fix)


def limited(
    gen: AudioFolder,
    ref: Known | None,
    limit: int | None,
    partners: Mapping[str, str] | None,
) -> tuple[AudioFolder, Known | None]:
    """Cut both sets to ``limit`` clips, paired ones first, so that every metric sees the same files."""
    if limit is None:
        return gen, ref
    if ref is None:
        return replace(gen, clips=gen.clips[:limit]), None
    if not isinstance(ref, AudioFolder):
        raise UsageError(
            "statistics and ready features cannot be limited",
            where=getattr(ref, "path", None),
            fix=f"Pass the folder, or build it with {option('limit', 'N')}",
        )
    pairs = pair(gen.clip_ids, ref.clip_ids, partners)
    alone = {*pairs.gen_only}, {*pairs.ref_only}

    def first(clips: tuple[AudioFile, ...], alone: set[str]) -> tuple[AudioFile, ...]:
        return tuple(sorted(sorted(clips, key=lambda clip: clip.clip_id in alone)[:limit]))

    return replace(gen, clips=first(gen.clips, alone[0])), replace(ref, clips=first(ref.clips, alone[1]))


def found_ids(known: Known) -> list[str]:
    """Return the ids of all clips that are there, whether they can be used or not."""
    if isinstance(known, AudioFolder):
        return [*known.clip_ids]
    return [*known.clip_ids, *(entry["clip"] for entry in _summary(known).skipped)]


def _summary(known: ReferenceStatistics | ForeignStatistics | GivenSide) -> InputSummary:
    return known.summary() if callable(known.summary) else known.summary


def require_named(ref: Known | None, pairing: str, pairs: object) -> None:
    """Raise UsageError where clips are to pair with those of statistics that name none."""
    if ref is None or isinstance(ref, AudioFolder) or _summary(ref).scored is not None:
        return
    if pairing == "id" or pairs is not None:
        where = spoken("pairing", "--pairing") if pairs is None else spoken("pairs", "--pairs")
        raise UsageError("the reference's statistics do not name clips to pair with", where=where, fix="Leave it out")


def require_partners(pairs: Pairing) -> None:
    """Raise DataError unless every clip that is there has a partner."""
    if pairs.gen_only or pairs.ref_only:
        raise DataError(pairs.unmatched(), fix="Give both files of a pair one name, or use pairing auto")
