"""Score one folder against another: audio to embeddings to numbers to a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Unpack

from audiogen_metrics import distributed as processes
from audiogen_metrics.audio.files import AudioFolder, ClipSet, parse_suffixes, printable
from audiogen_metrics.audio.pairing import pair
from audiogen_metrics.declaring import options_of, part_of, takes
from audiogen_metrics.evaluation.evaluation import DEFAULTS, Asked, Evaluation, of_reference
from audiogen_metrics.evaluation.networks import Networks, added, find_networks
from audiogen_metrics.evaluation.opening import (
    computable,
    fitted,
    found_ids,
    is_path,
    open_gen,
    open_ref,
    require_agreement,
    require_given,
    require_partners,
)
from audiogen_metrics.file_hashes import hashing_as_asked
from audiogen_metrics.options import as_path
from audiogen_metrics.prompts import Captions
from audiogen_metrics.protocols import Protocol, get_protocol
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.results import Manifest, ScoreReport
from audiogen_metrics.run_options import RunOptions, ScoreOptions, SystemOptions

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.embedding.extraction import ExtractionOptions
    from audiogen_metrics.embedding.given import GivenFeatures
    from audiogen_metrics.embedding.sides import EmbeddedSide, FolderSide
    from audiogen_metrics.evaluation.opening import Known
    from audiogen_metrics.metrics.recipe import Recipe


@takes(SystemOptions)
def score(
    gen: ClipSet,
    ref: ClipSet | None = None,
    *,
    observe: Callable[[Evaluation], None] | None = None,
    beside: Sequence[Evaluation] = (),
    **options: Unpack[SystemOptions],
) -> ScoreReport:
    """Score a set of generated audio against a set of references, or their statistics.

    Parameters
    ----------
    gen, ref
        Folders of audio files, searched recursively. Clips pair by clip id: the path below the folder without
        its suffix. ``ref`` may be a statistics file, of ``agm stats build`` or of others: an ``.npz`` with mean and
        covariance, or fadtk's folder of them, with ``::NAME`` behind it for one of several networks. None leaves the
        metrics that look at gen only.

        In place of a folder, with the same report: a tar shard in WebDataset's form, or a range of them
        (``"clips-{000..012}.tar"``); a list of files; a dict of arrays, files or files' bytes by clip id; an iterable
        of ``(clip_id, array, sample_rate)``, of files or of WebDataset's samples; a dataset of Hugging Face with an
        Audio column. Arrays are ``(time,)`` or ``(channels, time)``, floats of full scale ±1. An iterable is read to
        its end first, into a temporary file where it is large.
    observe
        Called once with the whole `Evaluation` when all is computed: what a page or one's own analysis needs.
    beside
        Evaluations that ``observe`` was given before, such as those of other systems. A set that was embedded there by
        the same networks, for the same recipes, is not embedded again.

    Returns
    -------
    ScoreReport
        Scores with n, protocol and backbone, skipped files and warnings.

    Raises
    ------
    DataError
        A folder without usable audio; skipped files with ``strict``; with ``pairing="id"``, clips whose partner is not
        there or cannot be used.
    InsufficientDataError
        Too few clips or pairs for a metric asked for by name.
    MissingWeightsError, MissingDependencyError
        A backbone of the protocol is not on this machine.
    UsageError
        An unknown name, ``distributed`` without a process group, or a metric that needs the reference or the prompts
        which are None.
    LostProcessError
        Another process of a distributed run has gone.

    Examples
    --------
    >>> from audiogen_metrics import score
    >>> report = score("examples/generated", "examples/reference", protocol="yamnet")  # doctest: +SKIP
    >>> report["kl_yamnet"].n_gen  # doctest: +SKIP
    40
    """
    given = SystemOptions(**options)
    by_name = given["metrics"] is not None
    return score_named(gen, ref, by_name=by_name, observe=observe, beside=beside, **given)


@hashing_as_asked
def score_named(
    gen: ClipSet,
    ref: ClipSet | None,
    *,
    by_name: bool,
    missing: Mapping[str, str] = MappingProxyType({}),
    observe: Callable[[Evaluation], None] | None = None,
    beside: Sequence[Evaluation] = (),
    sets: Callable[[], tuple[AudioFolder, Known | None]] | None = None,
    **options: Unpack[SystemOptions],
) -> ScoreReport:
    """Score two folders as `score` does.

    Parameters
    ----------
    by_name
        Whether a score that cannot be computed is an error.
    missing
        Networks that are not to be looked for, by name, and why.
    sets
        Gives ``gen`` and ``ref`` opened; called once the options have been checked. None opens them.
    gen, ref, observe, beside, **options
        As in `score`.
    """
    given = SystemOptions(**options)
    chosen, metrics, weights = get_protocol(given["protocol"]), given["metrics"], given["weights"]
    has_prompts = given["prompts"] is not None
    recipes = computable(chosen, metrics, ref=ref is not None, prompts=has_prompts, backbone=given["backbone"])

    def networks() -> Networks:
        wanted = [recipe for recipe in recipes if recipe.backbone not in missing]
        found = find_networks(wanted, given["device"], weights, added(wanted) if metrics is None else ())
        return Networks(found.backbones, {**missing, **found.missing})

    run = part_of(RunOptions, given)
    return score_recipes(
        gen,
        ref,
        recipes,
        networks,
        chosen,
        by_name=by_name,
        weights=weights,
        beside=beside,
        sets=sets,
        observe=observe,
        **run,
    )


@hashing_as_asked
def score_recipes(
    gen: ClipSet,
    ref: ClipSet | GivenFeatures | None,
    recipes: Sequence[Recipe],
    networks: Callable[[], Networks],
    protocol: Protocol,
    *,
    by_name: bool,
    weights: Mapping[str, str | Path] | None = None,
    beside: Sequence[Evaluation] = (),
    sets: Callable[[], tuple[AudioFolder, Known | None]] | None = None,
    **options: Unpack[ScoreOptions],
) -> ScoreReport:
    """Score two folders for recipes that are chosen already.

    Parameters
    ----------
    gen, ref
        As in `score`; ``ref`` may be ready features, for one recipe.
    recipes, protocol
        What to compute, and whose recipes they are.
    networks
        Gives them; called once all else has been checked.
    by_name
        Whether a score that cannot be computed is an error.
    weights
        Files that stand in for the published ones, for the manifest.
    sets
        As in `score_named`.
    beside, **options
        As in `score`.
    """
    given = ScoreOptions(**options)
    for name, place in (("gen", gen), ("ref", ref)):
        if is_path(place):
            as_path(place, name)
    require_agreement(given, ref=ref is not None)
    require_given(recipes, ref=ref is not None, prompts=given["prompts"] is not None)
    opened = (open_gen(gen, given), open_ref(ref, given)) if sets is None else sets()
    fit = fitted(*opened, recipes, protocol, given, by_name=by_name)
    asked = Asked(
        pairing=given["pairing"],
        by_name=by_name,
        strict=given["strict"],
        ci=given["ci"],
        draws=given["draws"],
        prompts=fit.partners,
        captions=fit.captions,
        extrapolate=given["extrapolate"],
        seed=given["seed"],
        cache=given["cache"],
        distributed=given["distributed"],
        trust_reference=given["trust_reference"],
    )
    found = networks().agreed() if asked.distributed else networks()

    from audiogen_metrics.embedding.extraction import ExtractionOptions

    evaluation = evaluate(
        fit.gen,
        fit.ref,
        recipes,
        found.backbones,
        protocol,
        ExtractionOptions.of(given, distributed=asked.distributed),
        asked,
        manifest(
            gen if is_path(gen) else fit.gen,
            ref if is_path(ref) else fit.ref,
            recipes,
            protocol,
            asked,
            given,
            weights or {},
        ),
        beside,
        found.missing,
    )
    report = evaluation.report
    if given["observe"] is not None and processes.rank() == 0:
        given["observe"](evaluation)
    return report


def evaluate(
    gen: AudioFolder,
    ref: Known | None,
    recipes: Sequence[Recipe],
    backbones: Mapping[str, Backbone],
    protocol: Protocol,
    options: ExtractionOptions,
    asked: Asked = DEFAULTS,
    manifest: Manifest | None = None,
    beside: Sequence[Evaluation] = (),
    missing: Mapping[str, str] = MappingProxyType({}),
) -> Evaluation:
    """Embed two sets for recipes and backbones that are there already; `score` finds them by name.

    Parameters
    ----------
    gen, ref
        The sets; ``ref`` may be None if all recipes look at gen only.
    recipes, backbones, protocol
        What to compute, on what, and whose recipes they are.
    options
        How to embed.
    asked, manifest
        What else is asked for, and how to run it again; see `Evaluation`.
    beside
        As in `score`.
    missing
        By name, why a backbone is missing: recipes on it have no score.

    Returns
    -------
    Evaluation
        Its ``report`` has the scores; they are computed when first asked for.

    Raises
    ------
    DataError, NumericsError
        As in `score`; the rest when the report is asked for.
    """
    from audiogen_metrics.embedding.sides import FolderSide, GivenSide, StatisticsSide

    gone = {recipe: missing[recipe.backbone] for recipe in recipes if recipe.backbone in missing}
    recipes = [recipe for recipe in recipes if recipe not in gone]
    if asked.pairing == "id" and ref is not None:
        require_partners(pair(found_ids(gen), found_ids(ref), asked.prompts))
    settings = {name: backbone.settings for name, backbone in backbones.items()}
    ref_side: EmbeddedSide | None = ref if isinstance(ref, GivenSide) else None
    if ref is not None and not isinstance(ref, (AudioFolder, GivenSide)):
        ref.check(recipes, protocol.name, settings)
        ref_side = StatisticsSide(ref, protocol.name, settings)
    known = [
        side
        for each in beside
        if each.recipes == tuple(recipes) and {name: one.settings for name, one in each.backbones.items()} == settings
        for side in (each.gen, each.ref)
        if isinstance(side, FolderSide)
    ]

    def embedded(name: str, folder: AudioFolder, on: Sequence[Recipe], captions: Captions | None = None) -> FolderSide:
        for side in known:
            if side.folder == folder and side.captions == captions and side.sets.keys() >= {*on}:
                return replace(side, name=name)
        return FolderSide.extract(name, folder, on, backbones, options, captions=captions)

    gen_side = embedded("gen", gen, recipes, asked.captions)
    if isinstance(ref, AudioFolder):
        ref_side = embedded("ref", ref, of_reference(recipes))
    if isinstance(ref_side, StatisticsSide):
        ref_side.require_width(gen_side)
    return Evaluation(gen_side, ref_side, tuple(recipes), backbones, protocol, asked, manifest, gone)


def manifest(
    gen: str | Path | AudioFolder,
    ref: str | Path | Known | None,
    recipes: Sequence[Recipe],
    protocol: Protocol,
    asked: Asked,
    given: RunOptions,
    weights: Mapping[str, str | Path],
) -> Manifest:
    """Return how a run can be repeated; of sets that were given clip by clip it says only that."""
    places = {
        name: place.root if isinstance(place, AudioFolder) else place
        for name, place in (("gen", gen), ("ref", ref))
        if isinstance(place, (str, Path, AudioFolder))
    }
    by_clip = tuple(name for name, place in (("gen", gen), ("ref", ref)) if isinstance(place, AudioFolder))
    return Manifest(
        gen=printable(places["gen"]),
        ref=printable(places["ref"]) if "ref" in places else None,
        metrics=tuple(map(protocol.name_of, recipes)),
        limit=given["limit"],
        given=by_clip,
        sample_rate=given["sample_rate"] if by_clip else None,
        suffixes=parse_suffixes(given["suffixes"]),
        weights={name: printable(path) for name, path in weights.items()},
        batch_size=given["batch_size"],
        recipes={recipe.score_id: recipe.options() for recipe in recipes},
        ci=asked.ci,
        draws=asked.draws,
        pairs=asked.prompts or {},
        prompts={} if asked.captions is None else {**asked.captions.by_clip, **asked.captions.unused},
        extrapolate=asked.extrapolate,
        seed=asked.seed,
        trust_reference=asked.trust_reference,
    )


def check_names(given: Mapping[str, object], family: type[RunOptions]) -> None:
    """Raise UsageError for an unknown option."""
    known = options_of(family)
    if unknown := [name for name in given if name not in known]:
        raise unknown_name("option", unknown[0], sorted(known))
