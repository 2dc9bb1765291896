"""Score features that are there already, against others or against statistics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, Unpack

from audiogen_metrics.audio.pairing import pair
from audiogen_metrics.declaring import takes
from audiogen_metrics.embedding.foreign import ForeignStatistics, open_foreign
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.embedding.reference import (
    MACHINE_SETTINGS,
    ReferenceStatistics,
    is_statistics,
    machine_differences,
)
from audiogen_metrics.embedding.sides import shared_content
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError, option
from audiogen_metrics.evaluation.external.reading import ImportedFeatures, read_features
from audiogen_metrics.evaluation.external.recipes import IMPORTED, gives_window_logits, known_recipes, made_like
from audiogen_metrics.evaluation.one_score import score_warnings, scored
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.metrics import catalogue, metric_names
from audiogen_metrics.metrics.definition import FeatureSource
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.results import ScoreReport
from audiogen_metrics.run_options import FeatureOptions

CAVEAT = "the features were computed by another run or tool: their preprocessing and weights are not known here"

Statistics: TypeAlias = ReferenceStatistics | ForeignStatistics


@takes(FeatureOptions)
def score_features(gen: str | Path, ref: str | Path, **options: Unpack[FeatureOptions]) -> ScoreReport:
    """Score features that are there already; see `read_features` for what can be read.

    Score ids, and the options of metrics, are those of the protocol that ``agm embed`` was asked for.

    Parameters
    ----------
    gen, ref
        Features of the generated and of the reference set; ``ref`` may be statistics, as in `audiogen_metrics.score`.

    Returns
    -------
    ScoreReport
        Of the protocol ``imported``: which audio, network and weights are behind it, only the other tool knows.

    Raises
    ------
    DataError
        As `read_features`; sets without a backbone in common, or of one with other weights or preprocessing.
    UsageError
        A metric that does not exist, or whose features are not there; statistics that the user must vouch for.
    InsufficientDataError
        A metric that was asked for and has too little data.

    Examples
    --------
    >>> from audiogen_metrics.evaluation.external import score_features
    >>> score_features("gen/embeddings/vggish", "ref/embeddings/vggish")["fad_vggish"].value  # doctest: +SKIP
    5.12
    """
    given = FeatureOptions(**options)
    metrics, backbone, ci = given["metrics"], given["backbone"], given["ci"]
    ours = read_features(gen, backbone)
    theirs = _reference(ref, backbone, given["trust_reference"])
    if isinstance(theirs, ImportedFeatures):
        _require_same_making(ours, theirs)
    recipes = _recipes(ours, theirs, metrics)
    against = _against(ours, theirs, recipes, by_name=metrics is not None)
    scores = {}
    for recipe, source in against.items():
        computed = scored(recipe, Measured(recipe.definition, ours.sources[recipe.backbone], source), ci=ci)
        if computed.reason is not None and metrics is not None:
            raise InsufficientDataError(computed.reason, where=recipe.score_id)
        scores[recipe.score_id] = computed
    pairs = pair(ours.files, theirs.files if isinstance(theirs, ImportedFeatures) else theirs.clip_ids)
    found = _warnings(ours, theirs)
    counted = isinstance(theirs, ImportedFeatures) or theirs.summary.scored is not None
    if any(recipe.definition.needs == "pairs" for recipe in against):
        found += pairs.warnings()
    devices = {
        str(stamp["settings"]["device_type"])
        for side in (ours, theirs)
        if isinstance(side, ImportedFeatures)
        for stamp in side.stamps.values()
    }
    return ScoreReport(
        scores=scores,
        protocol=IMPORTED,
        gen=ours.summary(),
        ref=theirs.summary() if isinstance(theirs, ImportedFeatures) else theirs.summary,
        caveat=CAVEAT,
        pairing={
            "mode": "auto",
            "paired": len(pairs.paired),
            "gen_only": list(pairs.gen_only) if counted else [],
            "ref_only": list(pairs.ref_only),
        },
        backbones={name: stamp["settings"] for name, stamp in ours.stamps.items()},
        device=", ".join(sorted(devices)) or "unknown",
        warnings=(*found, *(text for recipe in against for text in score_warnings(recipe, scores[recipe.score_id]))),
        versions=tool_versions(),
    )


def _reference(ref: str | Path, backbone: str | None, trust_reference: bool) -> ImportedFeatures | Statistics:
    """Return the features or the statistics behind a path."""
    if _is_embedded(ref):
        return read_features(ref, backbone)
    foreign = open_foreign(ref, trust_reference)
    if foreign is not None:
        return foreign
    return ReferenceStatistics.load(ref) if is_statistics(ref) else read_features(ref, backbone)


def _is_embedded(ref: str | Path) -> bool:
    """Tell whether an archive holds what agm embed writes, which statistics do not."""
    import zipfile

    path = Path(ref)
    if path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "description.npy" in archive.namelist()


def _warnings(gen: ImportedFeatures, ref: ImportedFeatures | Statistics) -> list[str]:
    """Return what to know of both sets."""
    found = [f"gen: {note}" for note in gen.notes]
    if not isinstance(ref, ImportedFeatures):
        made = [stamp["settings"] for stamp in gen.stamps.values()]
        return found + [*ref.warnings] + (ref.machine_differences(made) if made else [])
    found = shared_content("gen", gen.files, "ref", ref.files, what="features") + found
    found += [f"ref: {note}" for note in ref.notes]
    common = sorted(gen.stamps.keys() & ref.stamps.keys())
    made, other = ([side.stamps[name]["settings"] for name in common] for side in (gen, ref))
    return found + machine_differences(made, other, "gen was embedded", "ref")


def _against(
    gen: ImportedFeatures, ref: ImportedFeatures | Statistics, recipes: Sequence[Recipe], *, by_name: bool
) -> dict[Recipe, FeatureSource]:
    """Return what each recipe is computed against; without recipes that statistics hold nothing for."""
    if isinstance(ref, ImportedFeatures):
        return {recipe: ref.sources[recipe.backbone] for recipe in recipes}
    if isinstance(ref, ForeignStatistics):
        ref.require_one_kind([recipe for recipe in recipes if recipe.definition.needs == "moments"])
    found: dict[Recipe, FeatureSource] = {}
    lacking: InsufficientDataError | None = None
    for recipe in recipes:
        if "ref" not in recipe.definition.sides:
            found[recipe] = gen.sources[recipe.backbone]
            continue
        protocol, like = made_like(gen, recipe)
        _require_told(gen, ref, recipe, like, protocol)
        same_tool = isinstance(ref, ForeignStatistics) and ref.is_of(gen.tool, recipe)
        try:
            if not same_tool:
                ref.require(like)
        except InsufficientDataError as error:
            if by_name:
                raise
            lacking = lacking or error
            continue
        found[recipe] = _selected(gen, ref, recipe, like, protocol or IMPORTED)
    if lacking is not None and not any("ref" in recipe.definition.sides for recipe in found):
        raise lacking
    return found


def _selected(gen: ImportedFeatures, ref: Statistics, recipe: Recipe, like: Recipe, protocol: str) -> GivenFeatures:
    """Return what statistics hold for a recipe, which is computed ``like`` another one of a protocol."""
    settings = gen.stamps[recipe.backbone]["settings"] if gen.protocol else None
    if isinstance(ref, ReferenceStatistics):
        return ref.select(like, protocol, settings)
    found = ref.of_same_tool(recipe) if ref.is_of(gen.tool, recipe) else ref.select(like, protocol, settings)
    ref.require_width(like, gen.sources[recipe.backbone].statistics(recipe.definition.output).dimension)
    return found


def _require_told(gen: ImportedFeatures, ref: Statistics, recipe: Recipe, like: Recipe, protocol: str) -> None:
    """Raise DataError where statistics say how they were made, and features do not, or were made otherwise."""
    if isinstance(ref, ReferenceStatistics) and protocol:
        ref.check([like], protocol)
    elif isinstance(ref, ReferenceStatistics):
        raise DataError(
            f"these statistics say how they were made, and features of {recipe.backbone} by {gen.tool} do not",
            where=ref.path,
            fix="Pass features of the reference by the same tool",
        )


def _require_same_making(gen: ImportedFeatures, ref: ImportedFeatures) -> None:
    """Raise DataError where both sides say how they were made, and differ."""
    if gen.protocol and ref.protocol and gen.protocol != ref.protocol:
        raise DataError(
            f"gen was embedded for protocol {gen.protocol}, ref for {ref.protocol}", fix="Embed both for one protocol"
        )
    for name in gen.stamps.keys() & ref.stamps.keys():
        for part, made in gen.stamps[name].items():
            other = ref.stamps[name].get(part, {})
            for key in sorted({*made, *other} - MACHINE_SETTINGS):
                if made.get(key) != other.get(key):
                    raise DataError(
                        f"gen was embedded with {name} {key} {made.get(key)}, ref with {other.get(key)}",
                        fix="Embed both with one protocol and the same weights",
                    )


def _recipes(
    gen: ImportedFeatures, ref: ImportedFeatures | Statistics, metrics: str | Sequence[str] | None
) -> list[Recipe]:
    """Return what can be computed, or what was asked for."""
    features = ref if isinstance(ref, ImportedFeatures) else None
    common = [name for name in gen.sources if features is None or name in features.sources]
    if not common:
        raise DataError(
            f"gen has features of {', '.join(gen.sources)}, ref of {', '.join(features.sources if features else ())}",
            fix=f"Import two sets of one backbone; name the network of .npy files with {option('backbone', 'NAME')}",
        )
    known = [recipe for name in common for recipe in known_recipes(gen, name)]
    possible = [recipe for recipe in known if all(_has(side, recipe) for side in (gen, features) if side is not None)]
    places = {name: place for place, name in enumerate(catalogue())}
    if metrics is None:
        own = get_protocol(gen.protocol or "audioldm").recipes
        return sorted(
            (recipe for recipe in possible if recipe.metric in {each.metric for each in own.values()}),
            key=lambda recipe: places[recipe.metric],
        )
    asked = metric_names(metrics, dict.fromkeys([*places, *(recipe.score_id for recipe in known)]))
    for name in asked:
        if not any(name in (recipe.metric, recipe.score_id) for recipe in possible):
            kind = catalogue()[name] if name in places else next(r.definition for r in known if r.score_id == name)
            needed = "windows that are class logits" if kind.window_logits else kind.output
            raise UsageError(f"{name} needs {needed}, which both sets must have", where="metrics")
    found = [recipe for recipe in possible if recipe.metric in asked or recipe.score_id in asked]
    return sorted(found, key=lambda recipe: places[recipe.metric])


def _has(features: ImportedFeatures, recipe: Recipe) -> bool:
    """Tell whether a set has what a recipe's metric is computed on."""
    kind = recipe.definition
    return (
        not kind.prompted
        and kind.output in features.outputs[recipe.backbone]
        and (kind.output != "windows" or kind.window_logits == gives_window_logits(recipe.backbone))
    )
