"""Score one folder against another: audio to embeddings to numbers to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, TypedDict, Unpack

from audiogen_metrics import distributed as processes
from audiogen_metrics.audio.files import AudioFile, AudioFolder, parse_suffixes, printable, scan
from audiogen_metrics.audio.pairing import Pairing, PairingMode, pair, read_pairs
from audiogen_metrics.errors import DataError, UsageError, option, spoken
from audiogen_metrics.evaluation.evaluation import DEFAULTS, Asked, Evaluation
from audiogen_metrics.evaluation.networks import create_backbones, require_weights
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.options import as_path, whole
from audiogen_metrics.protocols import Protocol, get_protocol
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.results import Manifest, ScoreReport
from audiogen_metrics.settings import resolve_device

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.embedding.extraction import ExtractionOptions
    from audiogen_metrics.embedding.reference import GivenFeatures, ReferenceStatistics
    from audiogen_metrics.embedding.sides import FolderSide, GivenSide, Side
    from audiogen_metrics.metrics.recipe import Recipe

    Known: TypeAlias = AudioFolder | ReferenceStatistics | GivenSide


class RunOptions(TypedDict, total=False):
    """The options of `score` that say how to score, whatever is scored."""

    batch_size: int
    workers: int | None
    pairing: PairingMode
    pairs: str | Path | Mapping[str, str] | None
    limit: int | None
    suffixes: str | Iterable[str]
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
    device: str | torch.device
    weights: Mapping[str, str | Path] | None


def score(
    gen: str | Path,
    ref: str | Path | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    protocol: str = "audioldm",
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    pairing: PairingMode = "auto",
    pairs: str | Path | Mapping[str, str] | None = None,
    limit: int | None = None,
    suffixes: str | Iterable[str] = (),
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
    """Score a folder of generated audio against a folder of references, or their statistics.

    Parameters
    ----------
    gen, ref
        Folders of audio files, searched recursively. Clips pair by clip id: the path below the folder without
        its suffix. ``ref`` may be a statistics file; None leaves the metrics that look at gen only.
    metrics
        Names such as ``["fd", "kl"]``. None computes all of the protocol; one that cannot be computed is then
        None with its reason, where a metric asked for by name raises.
    protocol
        Named recipe; see ``agm list protocols``.
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
    limit
        Score the first ``limit`` clips of each set only, paired ones first.
    suffixes
        Take files with one of these suffixes only, such as ``".flac"``, from folders where one clip is there in
        several formats; empty takes all audio. A folder must have one of them, not all.
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
        An unknown name, ``distributed`` without a process group, or a metric that needs the reference which is None.
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
        device=device,
        weights=weights,
        batch_size=batch_size,
        workers=workers,
        pairing=pairing,
        pairs=pairs,
        limit=limit,
        suffixes=suffixes,
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


def score_named(
    gen: str | Path,
    ref: str | Path | None,
    metrics: str | Sequence[str] | None,
    protocol: str,
    *,
    by_name: bool,
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    beside: Sequence[Evaluation] = (),
    **given: Unpack[ScoreOptions],
) -> ScoreReport:
    """Score two folders as `score` does; ``by_name`` says whether a score that cannot be computed is an error."""
    chosen = get_protocol(protocol)
    recipes = _computable(chosen, metrics, ref)

    def networks() -> Mapping[str, Backbone]:
        require_weights(recipes, weights or {})
        return create_backbones(recipes, resolve_device(device), weights)

    return score_recipes(gen, ref, recipes, networks, chosen, by_name=by_name, weights=weights, beside=beside, **given)


def score_recipes(
    gen: str | Path,
    ref: str | Path | GivenFeatures | None,
    recipes: Sequence[Recipe],
    networks: Callable[[], Mapping[str, Backbone]],
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
        Gives the backbones by name; called once all else has been checked.
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
        if isinstance(place, (str, Path)):
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
    gen_set, ref_set = scan(gen, suffixes), None if ref is None else _opened(ref, suffixes)
    prompts = None
    if pairs is not None and ref_set is not None:
        prompts = read_pairs(pairs, {*_found_ids(gen_set)}, {*_found_ids(ref_set)})
    gen_set, ref_set = _limited(gen_set, ref_set, limit, prompts)
    if ref_set is not None and not isinstance(ref_set, AudioFolder):
        from audiogen_metrics.embedding.reference import ReferenceStatistics

        if isinstance(ref_set, ReferenceStatistics):
            ref_set.check(recipes, protocol.name)
            for recipe in recipes if by_name else ():
                ref_set.require(recipe)
    asked = Asked(
        pairing=pairing,
        by_name=by_name,
        strict=options["strict"],
        ci=ci,
        draws=None if draws is None else whole("draws", draws, 0),
        prompts=prompts,
        extrapolate=options["extrapolate"],
        seed=whole("seed", options["seed"], 0),
        cache=options["cache"],
        distributed=options["distributed"],
    )
    if asked.extrapolate and any(recipe.definition.extrapolates for recipe in recipes):
        from audiogen_metrics.functional.extrapolation import require_clips

        require_clips(len(gen_set.clips))
    backbones = networks()

    from audiogen_metrics.embedding.extraction import ExtractionOptions

    evaluation = evaluate(
        gen_set,
        ref_set,
        recipes,
        backbones,
        protocol,
        ExtractionOptions(batch_size, workers, asked.cache, options["verify"], options["progress"], asked.distributed),
        asked,
        manifest(gen, ref, recipes, asked, batch_size, limit=limit, suffixes=suffixes, weights=weights or {}),
        beside,
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

    Returns
    -------
    Evaluation
        Its ``report`` has the scores; they are computed when first asked for.

    Raises
    ------
    DataError, NumericsError
        As in `score`; the rest when the report is asked for.
    """
    from audiogen_metrics.embedding.reference import ReferenceStatistics
    from audiogen_metrics.embedding.sides import FolderSide, GivenSide, StatisticsSide

    if asked.pairing == "id" and ref is not None:
        _require_partners(pair(_found_ids(gen), _found_ids(ref), asked.prompts))
    settings = {name: backbone.settings for name, backbone in backbones.items()}
    ref_side: Side | None = ref if isinstance(ref, GivenSide) else None
    if isinstance(ref, ReferenceStatistics):
        ref.check(recipes, protocol.name, settings)
        ref_side = StatisticsSide(ref, protocol.name, settings)
    known = [
        side
        for each in beside
        if each.recipes == tuple(recipes) and {name: one.settings for name, one in each.backbones.items()} == settings
        for side in (each.gen, each.ref)
        if isinstance(side, FolderSide)
    ]

    def embedded(name: str, folder: AudioFolder) -> FolderSide:
        side = next((side for side in known if side.folder == folder), None)
        return (
            FolderSide.extract(name, folder, recipes, backbones, options) if side is None else replace(side, name=name)
        )

    gen_side = embedded("gen", gen)
    if isinstance(ref, AudioFolder):
        ref_side = embedded("ref", ref)
    return Evaluation(gen_side, ref_side, tuple(recipes), backbones, protocol, asked, manifest)


def manifest(
    gen: str | Path,
    ref: str | Path | GivenFeatures | None,
    recipes: Sequence[Recipe],
    asked: Asked,
    batch_size: int,
    *,
    limit: int | None = None,
    suffixes: str | Iterable[str] = (),
    weights: Mapping[str, str | Path] = MappingProxyType({}),
) -> Manifest:
    """Return how to run a run again."""
    return Manifest(
        gen=printable(gen),
        ref=printable(ref) if isinstance(ref, (str, Path)) else None,
        metrics=tuple(recipe.metric for recipe in recipes),
        limit=limit,
        suffixes=parse_suffixes(suffixes),
        weights={name: printable(path) for name, path in weights.items()},
        batch_size=batch_size,
        recipes={recipe.score_id: recipe.options() for recipe in recipes},
        ci=asked.ci,
        draws=asked.draws,
        pairs=asked.prompts or {},
        extrapolate=asked.extrapolate,
        seed=asked.seed,
    )


def reference_statistics(
    folder: str | Path,
    *,
    metrics: str | Sequence[str] | None = None,
    protocol: str = "audioldm",
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    limit: int | None = None,
    suffixes: str | Iterable[str] = (),
    strict: bool = False,
    cache: bool = True,
    verify: bool = False,
    progress: bool = False,
) -> ReferenceStatistics:
    """Return everything that scores need to know of a reference folder, ready to be saved as one file.

    Parameters
    ----------
    folder
        Folder of audio files.
    metrics, protocol, device, weights, batch_size, workers, limit, suffixes, strict, cache, verify, progress
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

    recipes = get_protocol(protocol).select(metrics)
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
        device=device,
        weights=weights,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        suffixes=suffixes,
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
        sources={recipe: side.features(recipe) for recipe in heard},
        settings={name: backbone.settings for name, backbone in backbones.items()},
        versions=tool_versions(),
    )


def embed_folder(
    folder: str | Path,
    *,
    name: str = "set",
    metrics: str | Sequence[str] | None = None,
    protocol: str = "audioldm",
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    limit: int | None = None,
    suffixes: str | Iterable[str] = (),
    strict: bool = False,
    cache: bool = True,
    verify: bool = False,
    progress: bool = False,
) -> tuple[FolderSide, dict[str, Backbone]]:
    """Return the features of one folder by recipe, and the backbones that gave them by name.

    ``name`` is what warnings call the folder; the other parameters and the errors are those of `score`.
    """
    recipes = get_protocol(protocol).select(metrics)
    _check_options(batch_size=batch_size, workers=workers, limit=limit, pairing="auto")
    require_weights(recipes, weights or {})
    found = scan(folder, suffixes)
    found = replace(found, clips=found.clips[:limit])

    from audiogen_metrics.embedding.extraction import ExtractionOptions
    from audiogen_metrics.embedding.sides import FolderSide

    backbones = create_backbones(recipes, resolve_device(device), weights)
    options = ExtractionOptions(batch_size, workers, cache, verify, progress)
    side = FolderSide.extract(name, found, recipes, backbones, options)
    if strict:
        side.require_all()
    return side, backbones


def open_reference(ref: str | Path, suffixes: str | Iterable[str] = ()) -> AudioFolder | ReferenceStatistics:
    """Return the reference set behind a path: the clips of a folder, or the content of a statistics file."""
    if not as_path(ref).is_file():
        return scan(ref, suffixes)
    from audiogen_metrics.embedding.reference import ReferenceStatistics

    return ReferenceStatistics.load(ref)


def _opened(ref: str | Path | GivenFeatures, suffixes: str | Iterable[str]) -> Known:
    if isinstance(ref, (str, Path)):
        return open_reference(ref, suffixes)  # of a folder without importing torch
    from audiogen_metrics.embedding.reference import GivenFeatures
    from audiogen_metrics.embedding.sides import GivenSide

    return GivenSide(ref) if isinstance(ref, GivenFeatures) else open_reference(ref, suffixes)


def _computable(protocol: Protocol, metrics: str | Sequence[str] | None, ref: object) -> list[Recipe]:
    """Return the recipes that were asked for; without a reference those that need none."""
    recipes = protocol.select(metrics)
    needy = [recipe.score_id for recipe in recipes if "ref" in recipe.definition.sides]
    if ref is not None or not needy:
        return recipes
    if metrics is not None:
        raise UsageError(f"{', '.join(needy)}: no reference is given", fix="Pass a folder or a statistics file as ref")
    recipes = [recipe for recipe in recipes if recipe.score_id not in needy]
    if not recipes:
        raise UsageError(f"all scores of {protocol.name} need a reference", fix="Pass a folder or a statistics file")
    return recipes


def _limited(
    gen: AudioFolder,
    ref: Known | None,
    limit: int | None,
    prompts: Mapping[str, str] | None,
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
    pairs = pair((clip.clip_id for clip in gen.clips), (clip.clip_id for clip in ref.clips), prompts)
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
        return [clip.clip_id for clip in known.clips]
    summary = known.summary() if callable(known.summary) else known.summary
    return [*known.clip_ids, *(entry["clip"] for entry in summary.skipped)]


def _require_partners(pairs: Pairing) -> None:
    """Raise DataError unless every clip that is there has a partner."""
    if pairs.gen_only or pairs.ref_only:
        raise DataError(pairs.unmatched(), fix="Give both files of a pair one name, or use pairing auto")
