"""Score one folder against another: audio to embeddings to numbers to a report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, TypedDict, TypeGuard, Unpack

from audiogen_metrics import distributed as processes
from audiogen_metrics.audio.files import (
    AudioFile,
    AudioFolder,
    ClipSet,
    is_shard,
    open_clips,
    parse_suffixes,
    printable,
)
from audiogen_metrics.audio.pairing import Pairing, PairingMode, pair, read_pairs
from audiogen_metrics.errors import DataError, UsageError, option, spoken
from audiogen_metrics.evaluation.evaluation import DEFAULTS, Asked, Evaluation, of_reference
from audiogen_metrics.evaluation.networks import Networks, added, find_networks
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.file_hashes import hashing_as_asked
from audiogen_metrics.options import as_path, whole
from audiogen_metrics.prompts import Captions, Prompts, captions_of
from audiogen_metrics.protocols import Protocol, get_protocol
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.results import InputSummary, Manifest, ScoreReport

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.embedding.extraction import ExtractionOptions
    from audiogen_metrics.embedding.foreign import ForeignStatistics
    from audiogen_metrics.embedding.given import GivenFeatures
    from audiogen_metrics.embedding.reference import ReferenceStatistics
    from audiogen_metrics.embedding.sides import FolderSide, GivenSide, Side
    from audiogen_metrics.metrics.recipe import Recipe

    Known: TypeAlias = AudioFolder | ReferenceStatistics | ForeignStatistics | GivenSide


class RunOptions(TypedDict, total=False):
    """The options of `score` that say how to score, whatever is scored."""

    batch_size: int
    workers: int | None
    pairing: PairingMode
    pairs: str | Path | Mapping[str, str] | None
    prompts: Prompts | None
    trust_reference: bool
    limit: int | None
    suffixes: str | Iterable[str]
    sample_rate: int | None
    strict: bool
    ci: bool
    draws: int | None
    extrapolate: bool
    seed: int
    cache: bool
    verify: bool
    progress: bool
    distributed: bool


class ScoreOptions(RunOptions, total=False):
    """The options of metric objects: those of a run, and who gets what stands behind the report."""

    observe: Callable[[Evaluation], None] | None


class SystemOptions(RunOptions, total=False):
    """The options of several systems: those of a run, and what is computed for all of them."""

    metrics: str | Sequence[str] | None
    protocol: str
    backbone: str | None
    device: str | torch.device
    weights: Mapping[str, str | Path] | None


def score(
    gen: ClipSet,
    ref: ClipSet | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    protocol: str = "audioldm",
    backbone: str | None = None,
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    pairing: PairingMode = "auto",
    pairs: str | Path | Mapping[str, str] | None = None,
    prompts: Prompts | None = None,
    trust_reference: bool = False,
    limit: int | None = None,
    suffixes: str | Iterable[str] = (),
    sample_rate: int | None = None,
    strict: bool = False,
    ci: bool = True,
    draws: int | None = None,
    extrapolate: bool = False,
    seed: int = 0,
    cache: bool = True,
    verify: bool = False,
    progress: bool = False,
    distributed: bool = False,
    observe: Callable[[Evaluation], None] | None = None,
    beside: Sequence[Evaluation] = (),
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
    metrics
        Names such as ``["fd", "kl"]``. None computes all of the protocol; one that cannot be computed is then
        None with its reason, where a metric asked for by name raises. The same holds for scores that were added to the
        protocol, where their network is missing; its other networks must be here. ``"fd@NAME"`` is a metric on another
        backbone than the protocol's.
    protocol
        Named recipe; see ``agm list protocols``.
    backbone
        Another backbone than the protocol's, for all metrics that name none: a registered name, or a network of
        transformers such as ``"hf:facebook/wav2vec2-base@layer=9"``. Score ids then end in its name. Without
        ``metrics``, those of the protocol that it can serve.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, …
    weights
        Files to use for backbones by name, in the published format; whatever their digest, it goes into the report.
        By default the published files, found on this machine and verified.
    batch_size
        Clips per forward pass, at most.
    workers
        Decoding threads; None chooses, 0 decodes in the calling thread.
    pairing
        ``"auto"`` pairs what matches, ``"id"`` requires that every clip matches, ``"none"`` does not pair.
    pairs
        Where several clips were made for one reference: a pattern such as ``"{ref}_{sample}"``, a CSV file with the
        columns ``gen`` and ``ref``, or the reference's id by generated id. The prompt is then the unit of intervals.
    prompts
        What the generated clips should sound like, for CLAP and for the page: a file with the columns ``clip_id`` and
        ``prompt``, as `audiogen_metrics.generation.requests_from_file` takes it, or a text or several by clip id. With
        ``pairs``, a clip without a prompt of its own has that of its reference.
    trust_reference
        Take others' statistics that do not say their network, or whose audio was prepared otherwise: you vouch for it.
    limit
        Score the first ``limit`` clips of each set only, paired ones first.
    suffixes
        Take files with one of these suffixes only, such as ``".flac"``, from folders where one clip is there in
        several formats; empty takes all audio. A folder must have one of them, not all.
    sample_rate
        Of arrays that come without their own, in Hz.
    strict
        Raise if any file must be skipped.
    ci
        With standard error and 95 % interval, and for metrics that compare two distributions with what chance alone
        gives: p, and the score to expect if gen and ref were one. False leaves them out.
    draws
        Random deals of the clips behind p, which is then at least 1 / (draws + 1). None takes 99, and none for sets of
        more than 2000 clips; 0 leaves p out.
    extrapolate
        Add what FD and FAD would be at infinite n of gen, by a line in 1 / n.
    seed
        Of all that is drawn: deals, halves, groups, and the subsets of the extrapolation.
    cache
        Keep embeddings in the cache folder and reuse them.
    verify
        Read every file again to make sure that it is the one that was cached.
    progress
        Show progress bars on stderr.
    distributed
        All processes of `torch.distributed`'s process group call this together. Each embeds its share of the clips,
        on its own device; the first one scores, and all get the report.
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
    return score_named(
        gen,
        ref,
        metrics,
        protocol,
        by_name=metrics is not None,
        backbone=backbone,
        device=device,
        weights=weights,
        batch_size=batch_size,
        workers=workers,
        pairing=pairing,
        pairs=pairs,
        prompts=prompts,
        trust_reference=trust_reference,
        limit=limit,
        suffixes=suffixes,
        sample_rate=sample_rate,
        strict=strict,
        ci=ci,
        draws=draws,
        extrapolate=extrapolate,
        seed=seed,
        cache=cache,
        verify=verify,
        progress=progress,
        distributed=distributed,
        observe=observe,
        beside=beside,
    )


@hashing_as_asked
def score_named(
    gen: ClipSet,
    ref: ClipSet | None,
    metrics: str | Sequence[str] | None,
    protocol: str,
    *,
    by_name: bool,
    backbone: str | None = None,
    missing: Mapping[str, str] = MappingProxyType({}),
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    beside: Sequence[Evaluation] = (),
    **given: Unpack[ScoreOptions],
) -> ScoreReport:
    """Score two folders as `score` does.

    Parameters
    ----------
    by_name
        Whether a score that cannot be computed is an error.
    missing
        Networks that are not to be looked for, by name, and why.
    gen, ref, metrics, protocol, backbone, device, weights, beside, **given
        As in `score`.
    """
    chosen = get_protocol(protocol)
    has_prompts = given.get("prompts") is not None
    recipes = computable(chosen, metrics, ref=ref is not None, prompts=has_prompts, backbone=backbone)

    def networks() -> Networks:
        wanted = [recipe for recipe in recipes if recipe.backbone not in missing]
        found = find_networks(wanted, device, weights, added(wanted) if metrics is None else ())
        return Networks(found.backbones, {**missing, **found.missing})

    return score_recipes(gen, ref, recipes, networks, chosen, by_name=by_name, weights=weights, beside=beside, **given)


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
    **given: Unpack[ScoreOptions],
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
    beside
        As in `score`.
    **given
        As in `score`.
    """
    check_names(given, ScoreOptions)
    options: ScoreOptions = {**score.__kwdefaults__, **given}  # type: ignore[typeddict-item]
    batch_size, workers, limit = options["batch_size"], options["workers"], options["limit"]
    pairing, pairs, suffixes = options["pairing"], options["pairs"], options["suffixes"]
    ci, draws, observe = options["ci"], options["draws"], options["observe"]
    _check_options(batch_size=batch_size, workers=workers, limit=limit, pairing=pairing)
    for name, place in (("gen", gen), ("ref", ref)):
        if _is_path(place):
            as_path(place, name)
    if ref is None and (pairing == "id" or pairs is not None):
        where = spoken("pairing", "--pairing") if pairs is None else spoken("pairs", "--pairs")
        raise UsageError("clips have no partners without a reference", where=where, fix="Pass ref, or leave it out")
    if draws and not ci:
        fix = f"Leave out one of {spoken('draws and ci=False', '--draws and --no-ci')}"
        where = spoken("draws", "--draws")
        raise UsageError("they are for p, which is left out with the intervals", where=where, fix=fix)
    if pairs is not None and pairing == "none":
        where = spoken("pairs", "--pairs")
        raise UsageError("they are given, and pairing is none", where=where, fix="Leave out one of them")
    _require_given(recipes, ref=ref is not None, prompts=options["prompts"] is not None)
    rate = options["sample_rate"]
    gen_set = open_clips(gen, suffixes, sample_rate=rate)
    ref_set = None if ref is None else _opened(ref, suffixes, rate, trust_reference=options["trust_reference"])
    _require_named(ref_set, pairing, pairs)
    partners = None
    if pairs is not None and ref_set is not None:
        partners = read_pairs(pairs, {*_found_ids(gen_set)}, {*_found_ids(ref_set)})
    captions = None
    if options["prompts"] is not None:
        captions = captions_of(options["prompts"], _found_ids(gen_set), partners)
    gen_set, ref_set = _limited(gen_set, ref_set, limit, partners)
    if captions is not None and not captions.by_clip.keys() & {*_found_ids(gen_set)}:
        fix = f"Leave it out, or give the first clips of gen prompts: {next(iter(gen_set.clip_ids))!r}, …"
        raise DataError(f"none of the first {limit} clips has a prompt", where=spoken("limit", "--limit"), fix=fix)
    if ref_set is not None and not isinstance(ref_set, AudioFolder):
        from audiogen_metrics.embedding.sides import GivenSide

        if not isinstance(ref_set, GivenSide):
            ref_set.check(recipes, protocol.name)
            for recipe in recipes if by_name else ():
                ref_set.require(recipe)
    asked = Asked(
        pairing=pairing,
        by_name=by_name,
        strict=options["strict"],
        ci=ci,
        draws=None if draws is None else whole("draws", draws, 0),
        prompts=partners,
        captions=captions,
        extrapolate=options["extrapolate"],
        seed=whole("seed", options["seed"], 0),
        cache=options["cache"],
        distributed=options["distributed"],
        trust_reference=options["trust_reference"],
    )
    if asked.extrapolate and any(recipe.definition.extrapolates for recipe in recipes):
        from audiogen_metrics.functional.extrapolation import require_clips

        require_clips(len(gen_set.clips))
    found = networks().agreed() if asked.distributed else networks()

    from audiogen_metrics.embedding.extraction import ExtractionOptions

    evaluation = evaluate(
        gen_set,
        ref_set,
        recipes,
        found.backbones,
        protocol,
        ExtractionOptions(batch_size, workers, asked.cache, options["verify"], options["progress"], asked.distributed),
        asked,
        manifest(
            gen if _is_path(gen) else gen_set,
            ref if _is_path(ref) else ref_set,
            recipes,
            protocol,
            asked,
            batch_size,
            limit=limit,
            suffixes=suffixes,
            sample_rate=rate,
            weights=weights or {},
        ),
        beside,
        found.missing,
    )
    report = evaluation.report
    if observe is not None and processes.rank() == 0:
        observe(evaluation)
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
        _require_partners(pair(_found_ids(gen), _found_ids(ref), asked.prompts))
    settings = {name: backbone.settings for name, backbone in backbones.items()}
    ref_side: Side | None = ref if isinstance(ref, GivenSide) else None
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
    batch_size: int,
    *,
    limit: int | None = None,
    suffixes: str | Iterable[str] = (),
    sample_rate: int | None = None,
    weights: Mapping[str, str | Path] = MappingProxyType({}),
) -> Manifest:
    """Return how to run a run again; of sets that were given clip by clip it can only say so."""
    places = {
        name: place.root if isinstance(place, AudioFolder) else place
        for name, place in (("gen", gen), ("ref", ref))
        if isinstance(place, (str, Path, AudioFolder))
    }
    given = tuple(name for name, place in (("gen", gen), ("ref", ref)) if isinstance(place, AudioFolder))
    return Manifest(
        gen=printable(places["gen"]),
        ref=printable(places["ref"]) if "ref" in places else None,
        metrics=tuple(map(protocol.name_of, recipes)),
        limit=limit,
        given=given,
        sample_rate=sample_rate if given else None,
        suffixes=parse_suffixes(suffixes),
        weights={name: printable(path) for name, path in weights.items()},
        batch_size=batch_size,
        recipes={recipe.score_id: recipe.options() for recipe in recipes},
        ci=asked.ci,
        draws=asked.draws,
        pairs=asked.prompts or {},
        prompts={} if asked.captions is None else {**asked.captions.by_clip, **asked.captions.unused},
        extrapolate=asked.extrapolate,
        seed=asked.seed,
        trust_reference=asked.trust_reference,
    )


def reference_statistics(
    folder: ClipSet,
    *,
    metrics: str | Sequence[str] | None = None,
    protocol: str = "audioldm",
    backbone: str | None = None,
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    limit: int | None = None,
    suffixes: str | Iterable[str] = (),
    sample_rate: int | None = None,
    strict: bool = False,
    cache: bool = True,
    verify: bool = False,
    progress: bool = False,
) -> ReferenceStatistics:
    """Return everything that scores need to know of a reference folder, ready to be saved as one file.

    Parameters
    ----------
    folder
        Folder of audio files, or what `score` takes in its place.
    metrics, protocol, backbone, device, weights, batch_size, workers, limit
        As in `score`.
    suffixes, sample_rate, strict, cache, verify, progress
        As in `score`. IS looks at the generated set only, so it leaves nothing in the file.

    Raises
    ------
    DataError, MissingWeightsError, MissingDependencyError, UsageError
        As in `score`.

    Examples
    --------
    >>> from audiogen_metrics import score
    >>> from audiogen_metrics.evaluation import reference_statistics
    >>> reference_statistics("examples/reference", protocol="yamnet").save("ref.stats")  # doctest: +SKIP
    >>> report = score("examples/generated", "ref.stats", protocol="yamnet")  # doctest: +SKIP
    """
    from audiogen_metrics.embedding.reference import ReferenceStatistics

    recipes = get_protocol(protocol).select(metrics, backbone)
    heard = [recipe for recipe in recipes if "ref" in recipe.definition.sides]
    if not heard:
        raise UsageError(f"{recipes[0].definition.symbol} needs no reference", fix="Name other metrics too")
    needy = [recipe.metric for recipe in heard if not recipe.definition.fits_statistics()]
    if needy:
        raise UsageError(f"{needy[0]} needs the reference's clips, not statistics of them", fix="Leave it out")
    side, backbones = embed_folder(
        folder,
        name="ref",
        metrics=metrics,
        protocol=protocol,
        backbone=backbone,
        device=device,
        weights=weights,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        suffixes=suffixes,
        sample_rate=sample_rate,
        strict=strict,
        cache=cache,
        verify=verify,
        progress=progress,
    )
    return ReferenceStatistics.collect(
        protocol=protocol,
        summary=side.summary(),
        warnings=side.warnings(),
        clip_ids=side.clip_ids,
        sources={recipe: side.features(recipe) for recipe in heard if recipe.backbone in backbones},
        settings={name: backbone.settings for name, backbone in backbones.items()},
        versions=tool_versions(),
    )


@hashing_as_asked
def embed_folder(
    folder: ClipSet,
    *,
    name: str = "set",
    metrics: str | Sequence[str] | None = None,
    protocol: str = "audioldm",
    backbone: str | None = None,
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    limit: int | None = None,
    suffixes: str | Iterable[str] = (),
    sample_rate: int | None = None,
    strict: bool = False,
    cache: bool = True,
    verify: bool = False,
    progress: bool = False,
) -> tuple[FolderSide, Mapping[str, Backbone]]:
    """Return the features of one folder by recipe, and the backbones that gave them by name.

    ``name`` is what warnings call the folder; the other parameters and the errors are those of `score`.
    """
    recipes = get_protocol(protocol).select(metrics, backbone)
    _check_options(batch_size=batch_size, workers=workers, limit=limit, pairing="auto")
    found = open_clips(folder, suffixes, sample_rate=sample_rate, name=name)
    found = replace(found, clips=found.clips[:limit])
    backbones = find_networks(recipes, device, weights, added(recipes) if metrics is None else ()).backbones
    recipes = [recipe for recipe in recipes if recipe.backbone in backbones]

    from audiogen_metrics.embedding.extraction import ExtractionOptions
    from audiogen_metrics.embedding.sides import FolderSide

    options = ExtractionOptions(batch_size, workers, cache, verify, progress)
    side = FolderSide.extract(name, found, recipes, backbones, options)
    if strict:
        side.require_all()
    return side, backbones


def open_reference(
    ref: ClipSet,
    suffixes: str | Iterable[str] = (),
    sample_rate: int | None = None,
    *,
    trust_reference: bool = False,
) -> AudioFolder | ReferenceStatistics | ForeignStatistics:
    """Return a reference set: the clips of a folder or what is given in its place, or statistics, ours or others'."""
    if _is_path(ref):
        from audiogen_metrics.embedding.foreign import open_foreign

        foreign = open_foreign(ref, trust_reference)
        if foreign is not None:
            return foreign
    if trust_reference and not (_is_path(ref) and not as_path(ref).exists()):
        fix = "Leave it out"
        raise UsageError("it is for others' statistics", where=spoken("trust_reference", "--trust-reference"), fix=fix)
    if not _is_path(ref) or is_shard(ref) or not as_path(ref).is_file():
        return open_clips(ref, suffixes, sample_rate=sample_rate, name="ref")
    from audiogen_metrics.embedding.reference import ReferenceStatistics

    return ReferenceStatistics.load(ref)


def _opened(
    ref: ClipSet | GivenFeatures,
    suffixes: str | Iterable[str],
    sample_rate: int | None,
    *,
    trust_reference: bool,
) -> Known:
    if not _is_path(ref):
        from audiogen_metrics.embedding.given import GivenFeatures
        from audiogen_metrics.embedding.sides import GivenSide

        if isinstance(ref, GivenFeatures):
            return GivenSide(ref)
    return open_reference(ref, suffixes, sample_rate, trust_reference=trust_reference)  # a folder needs no torch


def _is_path(given: object) -> TypeGuard[str | Path]:
    return isinstance(given, (str, os.PathLike))


def computable(
    protocol: Protocol,
    metrics: str | Sequence[str] | None,
    *,
    ref: bool,
    prompts: bool,
    backbone: str | None = None,
) -> list[Recipe]:
    """Return the recipes that were asked for; of a protocol's own those that need nothing which is not given.

    Raises
    ------
    UsageError
        A metric that was asked for by name, or all of the protocol, need a reference or prompts.
    """
    recipes = protocol.select(metrics, backbone)
    if metrics is not None:
        _require_given(recipes, ref=ref, prompts=prompts)
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


def _require_given(recipes: Iterable[Recipe], *, ref: bool, prompts: bool) -> None:
    """Raise UsageError for recipes that need what is not given."""
    for what, said in (("a reference", "no reference is given"), ("prompts", "no prompts are given")):
        needy = [recipe.score_id for recipe in recipes if lacks(recipe, ref=ref, prompts=prompts) == what]
        if needy:
            raise UsageError(f"{', '.join(needy)}: {said}", fix=f"Pass {_PASS[what]()}")


def _limited(
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


def check_names(given: Mapping[str, object], known: type[RunOptions]) -> None:
    """Raise UsageError for an option that there is not."""
    if unknown := [name for name in given if name not in known.__annotations__]:
        raise unknown_name("option", unknown[0], sorted(known.__annotations__))


def _check_options(batch_size: int, workers: int | None, limit: int | None, pairing: str) -> None:
    whole("batch_size", batch_size, 1)
    if workers is not None:
        whole("workers", workers, 0)
    if limit is not None:
        whole("limit", limit, 1)
    if pairing not in ("auto", "id", "none"):
        raise UsageError(f"unknown pairing {pairing!r}", fix="Use auto, id or none")


def _found_ids(known: Known) -> list[str]:
    """Return the ids of all clips that are there, whether they can be used or not."""
    if isinstance(known, AudioFolder):
        return [*known.clip_ids]
    return [*known.clip_ids, *(entry["clip"] for entry in _summary(known).skipped)]


def _summary(known: ReferenceStatistics | ForeignStatistics | GivenSide) -> InputSummary:
    return known.summary() if callable(known.summary) else known.summary


def _require_named(ref: Known | None, pairing: str, pairs: object) -> None:
    """Raise UsageError where clips are to pair with those of statistics that name none."""
    if ref is None or isinstance(ref, AudioFolder) or _summary(ref).scored is not None:
        return
    if pairing == "id" or pairs is not None:
        where = spoken("pairing", "--pairing") if pairs is None else spoken("pairs", "--pairs")
        raise UsageError("the reference's statistics do not name clips to pair with", where=where, fix="Leave it out")


def _require_partners(pairs: Pairing) -> None:
    """Raise DataError unless every clip that is there has a partner."""
    if pairs.gen_only or pairs.ref_only:
        raise DataError(pairs.unmatched(), fix="Give both files of a pair one name, or use pairing auto")
