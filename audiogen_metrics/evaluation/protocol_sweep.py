"""Score two folders under every protocol, and change one option at a time: why one number is not another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from audiogen_metrics.audio.files import AudioFolder, ClipSet, open_clips
from audiogen_metrics.audio.pairing import pair
from audiogen_metrics.declaring import takes
from audiogen_metrics.errors import MissingDependencyError, MissingWeightsError, option
from audiogen_metrics.evaluation import create_backbones
from audiogen_metrics.evaluation.networks import added, check_weights_names
from audiogen_metrics.evaluation.one_score import blank, compute
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.file_hashes import hashing_as_asked
from audiogen_metrics.prompts import Captions, captions_of
from audiogen_metrics.protocols import PROTOCOLS, get_protocol
from audiogen_metrics.rendering import Renderable, records_to_csv, records_to_markdown
from audiogen_metrics.results import InputSummary, Score
from audiogen_metrics.run_options import SweepOptions
from audiogen_metrics.settings import resolve_device
from audiogen_metrics.text import escaped
from audiogen_metrics.writing import written

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.embedding.extraction import ExtractionOptions
    from audiogen_metrics.embedding.sides import FolderSide
    from audiogen_metrics.metrics.recipe import Recipe

__all__ = ["ProtocolComparison", "Row", "compare_protocols"]


Kind = Literal["protocol", "option"]


@dataclass(frozen=True)
class Row:
    """One score under one recipe.

    Parameters
    ----------
    kind
        A whole protocol, or one option changed in the base protocol.
    name
        The protocol, or the option: ``channel mean``.
    score
        The score; its id says which of the base's scores it compares with.
    change
        Value minus the base's; None where either is missing.
    share
        For an option, ``|change|`` over the sum of all options' for this score; None where nothing changes.
    """

    kind: Kind
    name: str
    score: Score
    change: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class ProtocolComparison(Renderable):
    """Every protocol's scores of the same two folders, and what each option of the base does.

    ``missing`` says, by backbone, why its scores are not there; ``passes`` how often each backbone went over the
    two folders, once per preprocessing. Scores that need prompts have rows without a value where there are no prompts.
    """

    base: str
    rows: tuple[Row, ...]
    gen: InputSummary
    ref: InputSummary
    missing: Mapping[str, str]
    passes: Mapping[str, int]
    warnings: tuple[str, ...]
    versions: Mapping[str, str]

    def by_score(self) -> dict[str, list[Row]]:
        """Return the rows of each score id, in order."""
        grouped: dict[str, list[Row]] = {}
        for row in self.rows:
            grouped.setdefault(row.score.id, []).append(row)
        return grouped

    def records(self) -> list[dict[str, Any]]:
        """Return one flat record per row."""
        return [
            {
                "score": row.score.id,
                "kind": row.kind,
                "name": row.name,
                "value": row.score.value,
                "change": row.change,
                "share": row.share,
                "n_gen": row.score.n_gen,
                "n_ref": row.score.n_ref,
                "backbone": row.score.backbone,
                "reason": row.score.reason,
            }
            for row in self.rows
        ]

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return a line per row, behind a header; numbers in full."""
        return written(records_to_csv(self.records()), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return the rows as a table in GitHub's Markdown."""
        return written(records_to_markdown(self.records()), path)

    def __str__(self) -> str:
        lines = []
        for score_id, rows in self.by_score().items():
            lines.append(score_id)
            shown = ""
            for row in rows:
                if row.kind == "option" and shown != "option":
                    lines.append(f"  {self.base} with one option changed:")
                shown = row.kind
                n = row.score.n_gen, row.score.n_ref
                counts = ", ".join(f"n {side} {count}" for side, count in zip(("gen", "ref"), n, strict=True) if count)
                fewer = "" if n == (rows[0].score.n_gen, rows[0].score.n_ref) else f"  ({counts})"
                value = f"—  {row.score.reason}" if row.score.value is None else f"{row.score.value:<12.6g}"
                change = "" if row.change is None or row.name == self.base else f"{row.change:+.4g}"
                share = "" if row.share is None else f"{row.share:6.1%} of these changes"
                lines.append(f"    {row.name:<28} {value}{change:>12} {share}".rstrip() + fewer)
            lines.append("")
        lines += [f"not computed on {backbone}: {reason}" for backbone, reason in self.missing.items()]
        lines += ["what helps: agm doctor names the command for each network"] * bool(self.missing)
        lines += [f"note: {warning}" for warning in self.warnings]
        return "\n".join(map(escaped, lines)).rstrip()


@takes(SweepOptions)
@hashing_as_asked
def compare_protocols(gen: ClipSet, ref: ClipSet, **options: Unpack[SweepOptions]) -> ProtocolComparison:
    """Score two folders under every protocol, and under ``base`` with one option changed at a time.

    Each backbone runs once over each folder per distinct preprocessing, however many recipes share it.

    Parameters
    ----------
    gen, ref
        Folders of audio files.

    Raises
    ------
    DataError, MissingWeightsError, MissingDependencyError, UsageError
        As in `audiogen_metrics.score`.

    Examples
    --------
    >>> from audiogen_metrics.evaluation.protocol_sweep import compare_protocols
    >>> print(compare_protocols("examples/generated", "examples/reference", base="yamnet"))  # doctest: +SKIP
    """
    given = SweepOptions(**options)
    base, prompts, weights = given["base"], given["prompts"], given["weights"]
    chosen = get_protocol(base)
    recipes: list[tuple[Kind, str, Recipe]]
    recipes = [("protocol", p.name, recipe) for p in _base_first(base) for recipe in p.recipes.values()]
    recipes += [("option", name, changed) for recipe in chosen.select(None) for name, changed in variants(recipe)]
    unprompted = [each for each in recipes if prompts is None and each[2].definition.prompted]
    recipes = [each for each in recipes if each not in unprompted]
    gen_set, ref_set = (
        open_clips(place, given["suffixes"], sample_rate=given["sample_rate"], name=name)
        for name, place in (("gen", gen), ("ref", ref))
    )
    captions = None if prompts is None else captions_of(prompts, gen_set.clip_ids)
    check_weights_names([recipe for _, _, recipe in recipes], weights or {})
    own = [recipe for kind, name, recipe in recipes if (kind, name) == ("protocol", base)]
    required = {recipe.backbone for recipe in own} - added(own) or added(own)
    backbones, missing = _available(recipes, required, resolve_device(given["device"]), weights)

    from audiogen_metrics.embedding.extraction import ExtractionOptions

    usable = [entry for entry in recipes if entry[2].backbone in backbones]
    scores, gen_side, ref_side = _scores(
        gen_set, ref_set, [r for _, _, r in usable], backbones, ExtractionOptions.of(given), captions
    )
    rows = [Row(kind, name, score) for (kind, name, _), score in zip(usable, scores, strict=True)]
    lacking = [(name, blank(recipe)) for kind, name, recipe in unprompted if kind == "protocol"]
    rows += [Row("protocol", name, replace(score, reason="needs prompts")) for name, score in lacking]
    distinct = {(recipe.backbone, recipe.preprocessing) for _, _, recipe in usable}
    return ProtocolComparison(
        base=base,
        rows=_with_changes(base, rows),
        gen=gen_side.summary(),
        ref=ref_side.summary(),
        missing=missing,
        passes={name: sum(backbone == name for backbone, _ in distinct) for name in sorted(backbones)},
        warnings=tuple(_warnings(gen_side, ref_side)),
        versions=tool_versions(),
    )


def variants(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Yield the recipe with one option changed, under the option's name: the choices on which evaluators differ."""
    audio = recipe.preprocessing
    channel: Literal["first", "mean"] = "mean" if audio.channel == "first" else "first"
    yield f"channel {channel}", replace(recipe, preprocessing=replace(audio, channel=channel))
    yield (
        f"remove_dc {not audio.remove_dc}",
        replace(recipe, preprocessing=replace(audio, remove_dc=not audio.remove_dc)),
    )
    yield "resampler resampy", replace(recipe, preprocessing=replace(audio, resampler="resampy"))
    if audio.minimum_samples:
        yield "no padding", replace(recipe, preprocessing=replace(audio, minimum_samples=0))
    for name, definition in recipe.definition.variants().items():
        yield name, replace(recipe, definition=definition)
    if recipe.backbone == "panns-cnn14-16k":
        twice = replace(
            audio,
            sample_rate=2 * audio.sample_rate,
            minimum_samples=2 * audio.minimum_samples,
            maximum_samples=2 * audio.maximum_samples,
        )
        yield "32 kHz", replace(recipe, backbone="panns-cnn14-32k", preprocessing=twice)


def _base_first(base: str) -> list[Any]:
    return sorted(PROTOCOLS.values(), key=lambda protocol: protocol.name != base)


def _available(
    recipes: Sequence[tuple[Kind, str, Recipe]],
    required: set[str],
    device: torch.device,
    weights: Mapping[str, str | Path] | None,
) -> tuple[dict[str, Backbone], dict[str, str]]:
    """Return the backbones that can run here, and why the others cannot; those of the base must."""
    _require([recipe for _, _, recipe in recipes if recipe.backbone in required], weights or {})
    backbones: dict[str, Backbone] = {}
    missing: dict[str, str] = {}
    for _, _, recipe in recipes:
        if recipe.backbone in backbones or recipe.backbone in missing:
            continue
        try:
            backbones |= create_backbones([recipe], device, weights)
        except (MissingWeightsError, MissingDependencyError) as error:
            if recipe.backbone in required:
                raise
            missing[recipe.backbone] = error.what
    return backbones, missing


def _require(recipes: Sequence[Recipe], weights: Mapping[str, str | Path]) -> None:
    """Raise MissingWeightsError that names all files which the base lacks, and another base that does without."""
    from audiogen_metrics.backbones.published import beside, weights_name
    from audiogen_metrics.evaluation.networks import require_weights

    networks = {weights_name(recipe.backbone) for recipe in recipes}
    own = networks.union(*map(beside, networks)) & weights.keys()
    try:
        require_weights(recipes, {name: weights[name] for name in own})
    except MissingWeightsError as error:
        fix = (error.fix or "").replace(option("protocol", "yamnet"), option("base", "yamnet"))
        raise MissingWeightsError(error.what, where=error.where, fix=fix) from error


def _scores(
    gen: AudioFolder,
    ref: AudioFolder,
    recipes: Sequence[Recipe],
    backbones: Mapping[str, Backbone],
    options: ExtractionOptions,
    captions: Captions | None,
) -> tuple[list[Score], FolderSide, FolderSide]:
    from audiogen_metrics.embedding.sides import FolderSide

    gen_side = FolderSide.extract("gen", gen, recipes, backbones, options, captions=captions)
    ref_side = FolderSide.extract("ref", ref, recipes, backbones, options)
    computed = {recipe: compute(recipe, gen_side.features(recipe), ref_side.features(recipe)) for recipe in {*recipes}}
    return [computed[recipe] for recipe in recipes], gen_side, ref_side


def _warnings(gen: FolderSide, ref: FolderSide) -> list[str]:
    from audiogen_metrics.embedding.sides import between, mixed_forms

    found = between(gen, ref) + mixed_forms(gen, ref) + gen.warnings() + ref.warnings()
    return found + pair(gen.clip_ids, ref.clip_ids).warnings()


def _with_changes(base: str, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows with their change from the base's value, and the options with their share of all changes."""
    values = {row.score.id: row.score.value for row in rows if row.kind == "protocol" and row.name == base}
    changed = []
    for row in rows:
        value, before = row.score.value, values.get(row.score.id)
        changed.append(row if value is None or before is None else replace(row, change=value - before))
    totals: dict[str, float] = {}
    for row in changed:
        if row.kind == "option" and row.change is not None:
            totals[row.score.id] = totals.get(row.score.id, 0.0) + abs(row.change)
    return tuple(
        replace(row, share=abs(row.change) / totals[row.score.id])
        if row.kind == "option" and row.change is not None and totals[row.score.id]
        else row
        for row in changed
    )
