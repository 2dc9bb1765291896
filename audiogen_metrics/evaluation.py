"""Score one folder against another: audio to embeddings to numbers to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from audiogen_metrics import distributed as processes
from audiogen_metrics.audio.files import AudioFile, AudioFolder, parse_suffixes, printable, scan
from audiogen_metrics.audio.pairing import Pairing, PairingMode, pair
from audiogen_metrics.confidence import extrapolated, with_interval
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.options import as_path, whole
from audiogen_metrics.protocols import METRICS, ON_REQUEST, MetricName, Protocol, Recipe, get_protocol, metric_names
from audiogen_metrics.results import Manifest, Score, ScoreReport
from audiogen_metrics.settings import resolve_device

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.embedding.evidence import Evidence
    from audiogen_metrics.embedding.extraction import ExtractionOptions
    from audiogen_metrics.embedding.reference import FeatureSource, ReferenceStatistics
    from audiogen_metrics.embedding.sides import FolderSide, Side


NEAREST = 5
"""Neighbour that bounds a neighbourhood, for precision, recall, density and coverage."""


def score(
    gen: str | Path,
    ref: str | Path,
    *,
    metrics: str | Sequence[str] | None = None,
    protocol: str = "audioldm",
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    pairing: PairingMode = "auto",
    limit: int | None = None,
    suffixes: str | Iterable[str] = (),
    strict: bool = False,
    ci: bool = True,
    extrapolate: bool = False,
    cache: bool = True,
    verify: bool = False,
    progress: bool = False,
    distributed: bool = False,
    observe: Callable[[Evidence], None] | None = None,
) -> ScoreReport:
    """Score a folder of generated audio against a folder of references, or their statistics.

    Parameters
    ----------
    gen, ref
        Folders of audio files, searched recursively. Clips pair by clip id: the path below the folder without
        its suffix. ``ref`` may be a statistics file.
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
    limit
        Score the first ``limit`` clips of each set only, paired ones first.
    suffixes
        Take files with one of these suffixes only, such as ``".flac"``, from folders where one clip is there in
        several formats; empty takes all audio. A folder must have one of them, not all.
    strict
        Raise if any file must be skipped.
    ci
        With standard error and 95 % interval of FD, FAD, IS and KL, and the reference's own noise floor for FD and FAD;
        False leaves them out, which saves about three times the cost of a Fréchet distance.
    extrapolate
        Add what FD and FAD would be at infinite n of gen, by a line in 1 / n.
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
        Called once with both sets and their features when all is computed: what a page or one's own analysis needs.

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
        An unknown name, or ``distributed`` without a process group.
    LostProcessError
        Another process of a distributed run has gone.

    Examples
    --------
    >>> from audiogen_metrics import score
    >>> report = score("examples/generated", "examples/reference", protocol="yamnet")  # doctest: +SKIP
    >>> report["kl_yamnet"].n_gen  # doctest: +SKIP
    40
    """
    chosen = get_protocol(protocol)
    recipes = chosen.select(metrics)
    _check_options(batch_size=batch_size, workers=workers, limit=limit, pairing=pairing)
    gen_set, ref_set = _limited(scan(gen, suffixes), open_reference(ref, suffixes), limit)
    if not isinstance(ref_set, AudioFolder):
        ref_set.check(recipes, chosen.name)
    if extrapolate and any(recipe.metric in ("fd", "fad") for recipe in recipes):
        from audiogen_metrics.functional.extrapolation import require_clips

        require_clips(len(gen_set.clips))
    require_weights(recipes, weights or {})

    from audiogen_metrics.embedding.extraction import ExtractionOptions

    report = evaluate(
        gen_set,
        ref_set,
        recipes,
        create_backbones(recipes, resolve_device(device), weights),
        chosen,
        ExtractionOptions(batch_size, workers, cache, verify, progress, distributed),
        by_name=metrics is not None,
        pairing=pairing,
        strict=strict,
        ci=ci,
        extrapolate=extrapolate,
        observe=observe,
    )
    manifest = Manifest(
        gen=printable(gen),
        ref=printable(ref),
        metrics=tuple(recipe.metric for recipe in recipes),
        limit=limit,
        suffixes=parse_suffixes(suffixes),
        weights={name: printable(path) for name, path in (weights or {}).items()},
        batch_size=batch_size,
        recipes={recipe.score_id: recipe.options() for recipe in recipes},
        ci=ci,
        extrapolate=extrapolate,
    )
    return replace(report, manifest=manifest)


def evaluate(
    gen: AudioFolder,
    ref: AudioFolder | ReferenceStatistics,
    recipes: Sequence[Recipe],
    backbones: Mapping[str, Backbone],
    protocol: Protocol,
    options: ExtractionOptions,
    *,
    by_name: bool = False,
    pairing: PairingMode = "auto",
    strict: bool = False,
    ci: bool = False,
    extrapolate: bool = False,
    observe: Callable[[Evidence], None] | None = None,
) -> ScoreReport:
    """Score two sets by recipes and backbones that are there already; `score` finds them by name.

    With ``by_name``, a score that cannot be computed is an error; else it is None with its reason.
    """
    from audiogen_metrics.embedding.sides import FolderSide, StatisticsSide

    if pairing == "id":
        _require_partners(pair(_found_ids(gen), _found_ids(ref)))
    settings = {name: backbone.settings for name, backbone in backbones.items()}
    ref_side: Side
    if isinstance(ref, AudioFolder):
        gen_side = FolderSide.extract("gen", gen, recipes, backbones, options)
        ref_side = FolderSide.extract("ref", ref, recipes, backbones, options)
    else:
        ref_side = StatisticsSide(ref, protocol.name, settings)
        ref.check(recipes, protocol.name, settings)
        gen_side = FolderSide.extract("gen", gen, recipes, backbones, options)
    report = partial(
        _report, gen_side, ref_side, recipes, backbones, protocol, by_name, pairing, strict, ci, extrapolate, observe
    )
    return processes.from_first(report) if options.distributed else report()


def _report(
    gen_side: FolderSide,
    ref_side: Side,
    recipes: Sequence[Recipe],
    backbones: Mapping[str, Backbone],
    protocol: Protocol,
    by_name: bool,
    pairing: PairingMode,
    strict: bool,
    ci: bool,
    extrapolate: bool,
    observe: Callable[[Evidence], None] | None,
) -> ScoreReport:
    """Score the features of two sets."""
    if strict:
        gen_side.require_all()
        ref_side.require_all()
    pairs = pair(gen_side.clip_ids, ref_side.clip_ids)
    if pairing == "id":
        _require_usable_partners(gen_side, ref_side)
    scores = {}
    for recipe in recipes:
        gen_features, ref_features = gen_side.features(recipe), ref_side.features(recipe)
        computed = compute(recipe, gen_features, ref_features, paired=pairing != "none")
        if computed.reason is not None and by_name:
            raise InsufficientDataError(computed.reason, where=recipe.score_id)
        if ci:
            computed = with_interval(recipe, computed, gen_features, ref_features)
        if extrapolate:
            computed = extrapolated(recipe, computed, gen_features, ref_features)
        scores[recipe.score_id] = computed
    if observe is not None:
        from audiogen_metrics.embedding.evidence import Evidence

        paired = pairs.paired if pairing != "none" else ()
        observe(Evidence(gen_side, ref_side, tuple(recipes), backbones, paired))
    return ScoreReport(
        scores=scores,
        protocol=protocol.name,
        gen=gen_side.summary(),
        ref=ref_side.summary(),
        caveat=protocol.caveat,
        pairing={
            "mode": pairing,
            "paired": len(pairs.paired),
            "gen_only": list(pairs.gen_only),
            "ref_only": list(pairs.ref_only),
        },
        backbones={name: backbone.settings for name, backbone in backbones.items()},
        device=str(next(iter(backbones.values())).device),
        warnings=tuple(_warnings(gen_side, ref_side, pairs, pairing, scores)),
        versions=tool_versions(),
        problems=tuple(dict.fromkeys(gen_side.problems() + ref_side.problems())),
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
    names = [] if metrics is None else metric_names(metrics, [*METRICS])
    if names == ["is"]:
        raise UsageError("IS needs no reference", fix="Name other metrics too")
    needy = [name for name in names if name in ON_REQUEST]
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
    from audiogen_metrics.embedding.reference import ReferenceStatistics

    return ReferenceStatistics.collect(
        protocol=protocol,
        summary=side.summary(),
        warnings=side.warnings(),
        clip_ids=side.clip_ids,
        sources={recipe: features for recipe, features in side.sets.items() if recipe.metric != "is"},
        outputs={recipe: METRICS[recipe.metric].output for recipe in side.sets},
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


def require_weights(recipes: Sequence[Recipe], given: Mapping[str, str | Path]) -> None:
    """Raise MissingWeightsError unless the recipes' published weights are here; needs no torch, so it is quick.

    UsageError for a file that no recipe needs.
    """
    from audiogen_metrics.backbones.weights import WEIGHTS, find_all, weights_name

    check_weights_names(recipes, given)
    needed = {weights_name(recipe.backbone) for recipe in recipes} - given.keys()
    find_all([WEIGHTS.get(name) for name in sorted(needed & set(WEIGHTS.names()))])


def check_weights_names(recipes: Sequence[Recipe], given: Mapping[str, str | Path]) -> None:
    """Raise UsageError for a weights file that no recipe needs."""
    from audiogen_metrics.backbones.weights import weights_name

    needed = {weights_name(recipe.backbone) for recipe in recipes}
    for name in given:
        if name not in needed:
            raise UsageError(
                f"weights for {name!r}, which is not used here", fix=f"In use: {', '.join(sorted(needed))}"
            )


def create_backbones(
    recipes: Sequence[Recipe], device: torch.device, weights: Mapping[str, str | Path] | None = None
) -> dict[str, Backbone]:
    """Return one instance of each backbone that the recipes need; weights are found, not yet loaded."""
    from audiogen_metrics.backbones import BACKBONES
    from audiogen_metrics.backbones.weights import weights_name

    backbones = {}
    for recipe in recipes:
        if recipe.backbone not in backbones:
            given = (weights or {}).get(weights_name(recipe.backbone))
            options = {} if given is None else {"weights": given}
            backbone = BACKBONES.get(recipe.backbone)(device, **options)  # type: ignore[arg-type]
            require_output(recipe, backbone)
            _ = backbone.weights_sha256
            backbones[recipe.backbone] = backbone
    return backbones


def require_output(recipe: Recipe, backbone: Backbone | type[Backbone]) -> None:
    """Raise UsageError unless the backbone gives the output that the recipe's metric is computed on."""
    output = METRICS[recipe.metric].output
    if output not in backbone.outputs:
        raise UsageError(
            f"{recipe.metric} needs {output}, which {recipe.backbone} does not give",
            where=recipe.score_id,
            fix=f"It gives {', '.join(sorted(backbone.outputs))}",
        )


def compute(recipe: Recipe, gen: FeatureSource, ref: FeatureSource | None, paired: bool = True) -> Score:
    """Return one score of two sets of features; without a value but with a reason where there is too little data.

    ``ref`` may be None for a metric that looks at the generated set only.
    """
    metric = METRICS[recipe.metric]
    blank = Score(
        id=recipe.score_id,
        metric=recipe.metric,
        backbone=recipe.backbone,
        value=None,
        higher_is_better=metric.higher_is_better,
        n_gen=len(gen),
        n_ref=None if recipe.metric == "is" or ref is None else len(ref),
    )
    try:
        return _COMPUTE[recipe.metric](recipe, blank, gen, ref, paired)
    except InsufficientDataError as error:
        return replace(blank, reason=str(error))


def _frechet(recipe: Recipe, blank: Score, gen: FeatureSource, ref: FeatureSource | None, _paired: bool) -> Score:
    from audiogen_metrics.functional import frechet_distance

    output = METRICS[recipe.metric].output
    gen_statistics, ref_statistics = gen.statistics(output), _required(ref).statistics(output)
    distance = frechet_distance(gen_statistics, ref_statistics)
    details = {
        "rows_gen": gen_statistics.count,
        "rows_ref": ref_statistics.count,
        "dimension": gen_statistics.dimension,
        "mean_term": distance.mean_term,
        "covariance_term": distance.covariance_term,
    }
    return replace(blank, value=distance.value, details=details)


def _inception(recipe: Recipe, blank: Score, gen: FeatureSource, _ref: FeatureSource | None, _paired: bool) -> Score:
    from audiogen_metrics.functional import inception_score

    result = inception_score(gen.logits(), splits=recipe.splits, seed=recipe.seed)
    return replace(blank, value=result.mean, std=result.std, details={"splits": recipe.splits, "seed": recipe.seed})


def _divergence(recipe: Recipe, blank: Score, gen: FeatureSource, ref: FeatureSource | None, paired: bool) -> Score:
    from audiogen_metrics.functional import kl_divergence

    if not paired:
        raise InsufficientDataError("KL compares pairs, and pairing is off", fix="Use pairing auto or id")
    ref = _required(ref)
    pairs = pair(gen.clip_ids, ref.clip_ids)
    common = pairs.paired
    if not common:
        shown = pairs.near_misses() or f"{_first_id('gen', gen)}, {_first_id('ref', ref)}"
        raise InsufficientDataError(
            f"no clip id is in both sets ({shown})",
            fix="Give each generated file the name of its reference",
        )
    activation: Literal["softmax", "sigmoid_positive"] = "softmax" if recipe.metric == "kl" else "sigmoid_positive"
    result = kl_divergence(gen.logits(common), ref.logits(common), activation=activation, eps=recipe.eps)
    return replace(blank, value=result.mean, details={"pairs": len(common), "eps": recipe.eps})


def _kernel(recipe: Recipe, blank: Score, gen: FeatureSource, ref: FeatureSource | None, _paired: bool) -> Score:
    from audiogen_metrics.functional import kernel_audio_distance, kernel_distance

    output = METRICS[recipe.metric].output
    distance = kernel_distance if recipe.metric == "kid" else kernel_audio_distance
    result = distance(gen.rows(output), _required(ref).rows(output))
    return replace(blank, value=result.value, std=result.std, details={"subset_size": result.subset_size})


def _manifold(recipe: Recipe, blank: Score, gen: FeatureSource, ref: FeatureSource | None, _paired: bool) -> Score:
    from audiogen_metrics.functional import manifold

    output = METRICS[recipe.metric].output
    result = manifold(gen.rows(output), _required(ref).rows(output), nearest=NEAREST)
    return replace(blank, value=getattr(result, recipe.metric), details={"nearest": NEAREST})


def _required(ref: FeatureSource | None) -> FeatureSource:
    if ref is None:
        raise InsufficientDataError("there is no reference set", fix="Pass ref")
    return ref


def _first_id(name: str, source: FeatureSource) -> str:
    return f"{name} has {source.clip_ids[0]!r}" if source.clip_ids else f"{name} is empty"


_COMPUTE: Mapping[MetricName, Callable[[Recipe, Score, FeatureSource, FeatureSource | None, bool], Score]] = {
    "fd": _frechet,
    "fad": _frechet,
    "is": _inception,
    "kl": _divergence,
    "kl_sigmoid": _divergence,
    "kid": _kernel,
    "kad": _kernel,
    "precision": _manifold,
    "recall": _manifold,
    "density": _manifold,
    "coverage": _manifold,
}


def _limited(
    gen: AudioFolder, ref: AudioFolder | ReferenceStatistics, limit: int | None
) -> tuple[AudioFolder, AudioFolder | ReferenceStatistics]:
    """Cut both sets to ``limit`` clips, paired ones first, so that every metric sees the same files."""
    if limit is None:
        return gen, ref
    if not isinstance(ref, AudioFolder):
        raise UsageError(
            "a statistics file cannot be limited", where=ref.path, fix="Pass the folder, or build it with --limit"
        )
    paired = set(pair((clip.clip_id for clip in gen.clips), (clip.clip_id for clip in ref.clips)).paired)

    def first(clips: tuple[AudioFile, ...]) -> tuple[AudioFile, ...]:
        return tuple(sorted(sorted(clips, key=lambda clip: clip.clip_id not in paired)[:limit]))

    return replace(gen, clips=first(gen.clips)), replace(ref, clips=first(ref.clips))


def _check_options(batch_size: int, workers: int | None, limit: int | None, pairing: str) -> None:
    whole("batch_size", batch_size, 1)
    if workers is not None:
        whole("workers", workers, 0)
    if limit is not None:
        whole("limit", limit, 1)
    if pairing not in ("auto", "id", "none"):
        raise UsageError(f"unknown pairing {pairing!r}", fix="Use auto, id or none")


def _found_ids(folder: AudioFolder | ReferenceStatistics) -> list[str]:
    """Return the ids of all clips that are there, whether they can be used or not."""
    if isinstance(folder, AudioFolder):
        return [clip.clip_id for clip in folder.clips]
    return [*folder.clip_ids, *(entry["clip"] for entry in folder.summary.skipped)]


def _require_partners(pairs: Pairing) -> None:
    """Raise DataError unless every clip that is there has a partner."""
    if pairs.gen_only or pairs.ref_only:
        raise DataError(pairs.unmatched(), fix="Give both files of a pair one name, or use pairing auto")


def _require_usable_partners(gen: Side, ref: Side) -> None:
    """Raise DataError if a clip was lost and its partner was not; names the lost one, and why."""
    lost = [
        f"{name} {clip!r}: {reason}, so {other.name} {clip!r} has no partner"
        for name, side, other in (("gen", gen, ref), ("ref", ref, gen))
        for clip, reason in sorted(side.losses.items())
        if clip not in other.losses
    ]
    if lost:
        raise DataError(
            f"{len(lost)} pairs are broken: {'; '.join(lost[:3])}{'; …' if len(lost) > 3 else ''}",
            fix="Repair these files, remove both of a pair, or use pairing auto",
        )


def _warnings(
    gen: FolderSide, ref: Side, pairs: Pairing, pairing: PairingMode, scores: Mapping[str, Score]
) -> list[str]:
    """Return what to know before the scores are believed: about the sets, their files, the numbers."""
    from audiogen_metrics.embedding.sides import between, mixed_forms

    found = between(gen, ref) + gen.warnings() + ref.warnings()
    found += dict.fromkeys(gen.problems() + ref.problems())
    n_gen, n_ref = len(gen.clip_ids), len(ref.clip_ids)
    if n_gen != n_ref:
        found.append(f"gen has {n_gen} clips and ref {n_ref}: Fréchet distances depend on both")
    if pairing != "none":
        found += mixed_forms(gen, ref)
    if pairing == "auto" and any(score.metric in ("kl", "kl_sigmoid") for score in scores.values()):
        skipped = ref.losses.keys() & set(pairs.gen_only) | gen.losses.keys() & set(pairs.ref_only)
        found += pairs.warnings(skipped=len(skipped))
    return found + [warning for score in scores.values() for warning in score_warnings(score)]


def score_warnings(score: Score) -> list[str]:
    details = score.details
    rows = min(details.get("rows_gen", 0), details.get("rows_ref", 0))
    if score.value is not None and rows < details.get("dimension", 0):
        return [
            f"{score.id}: {rows} rows for {details['dimension']} dimensions: the distance is biased upwards; "
            "compare it at equal n only"
        ]
    if score.metric == "is" and score.value is not None and score.n_gen // details["splits"] < 100:
        return [
            f"{score.id}: splits of {score.n_gen // details['splits']} clips: the score grows with their size; "
            "compare it at equal n and splits only"
        ]
    return []


def tool_versions() -> dict[str, str]:
    """Return the versions of everything that takes part in a number."""
    import platform
    from importlib.metadata import version

    from audiogen_metrics.audio.decoding import DECODER_VERSION

    packages = ("audiogen-metrics", "torch", "numpy", "soundfile")
    return {name: version(name) for name in packages} | {
        "decoder": DECODER_VERSION,
        "python": platform.python_version(),
    }
