"""Why the scores are what they are: where the sets lie, which classes differ, which clips are to blame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch

from audiogen_metrics.audio.files import AudioFile
from audiogen_metrics.backbones.base import Output
from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.evaluation.evaluation import Evaluation
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.report.chance import LEVEL, Variety, class_chances, variety
from audiogen_metrics.report.reading import in_sentence

MAX_POINTS = 1500
"""Points of one set in the projection, so that the page stays light; axes are fitted to all clips."""

ROWS_AT_ONCE = 1024
"""Rows of the distance matrix held in memory at a time."""

TINY = 1e-300

FEWEST_CLIPS = 6
"""Clips from which on an exchange of clips can be told from chance."""


@dataclass(frozen=True)
class Cloud:
    """One set in the plane: points with their clip ids, and the ellipse of two standard deviations.

    Parameters
    ----------
    clip_ids, points
        Clips that are drawn, and where; empty for a set known by statistics only.
    centre
        Mean of all clips.
    axes
        Half-axes of the ellipse as two vectors.
    total
        Clips or rows that mean and ellipse stand for; None if that is not known.
    """

    clip_ids: tuple[str, ...]
    points: tuple[tuple[float, float], ...]
    centre: tuple[float, float]
    axes: tuple[tuple[float, float], tuple[float, float]]
    total: int | None


@dataclass(frozen=True)
class Projection:
    """Both sets on the two principal axes of their pooled distribution; ``shares`` of variance by axis."""

    backbone: str
    gen: Cloud
    ref: Cloud
    shares: tuple[float, float]
    spread: float
    """Total variance of gen relative to ref."""
    variety: Variety | None
    """How sure that is; None where the clips of a set are not known, or too few."""


@dataclass(frozen=True)
class ClassShare:
    """Mean probability (sigmoid) of one class in both sets, and how often chance makes any class differ as much."""

    label: str
    gen: float
    ref: float
    p: float


@dataclass(frozen=True)
class Classes:
    """The classes in which the sets differ.

    Parameters
    ----------
    beyond_chance
        Those that differ beyond chance: most missed first, most invented last.
    gen, ref
        Clips of each set.
    paired
        Whether pairs of clips were compared; then both sets are those of the pairs.
    """

    beyond_chance: tuple[ClassShare, ...]
    gen: int
    ref: int
    paired: bool


@dataclass(frozen=True)
class Neighbour:
    """The reference clip nearest to a generated one, by Euclidean distance of embeddings."""

    clip_id: str
    distance: float
    file: AudioFile


@dataclass(frozen=True)
class ClipDiagnosis:
    """One generated clip: what is heard in it and in its reference, how far it is off, what it does, its prompts."""

    clip_id: str
    file: AudioFile
    ref_file: AudioFile | None
    value: float
    gen_classes: tuple[tuple[str, float], ...]
    ref_classes: tuple[tuple[str, float], ...]
    nearest: Neighbour | None
    influence: float | None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Influence:
    """What each generated clip does to a score where lower is better.

    Parameters
    ----------
    score_id
        Which one.
    by_clip
        How much more a clip raises the score than the average clip does: the mean of the scores without one clip,
        minus the score without this one. Most harmful first; the sum is 0.
    """

    score_id: str
    by_clip: Mapping[str, float]


Order = Literal["divergence", "rating", "distance"]


@dataclass(frozen=True)
class Diagnosis:
    """Everything a page shows beside the scores.

    Parameters
    ----------
    projection
        Both sets in the plane; None if there are no embeddings.
    classes
        In which the sets differ; None if no classes are known.
    order
        What clips are ordered by: their ``divergence`` from the reference, their ``rating`` by a metric that needs
        none, their ``distance`` to the nearest reference clip, or None.
    rated_by
        Title of the metric that rates them, where they are ordered by that.
    values
        That number for every clip, ascending.
    worst, best
        Clips, the most extreme first.
    influence
        Of each clip on the first score that it is known for; None if there is none, or too few clips.
    notes
        What cannot be shown, and why.
    """

    projection: Projection | None
    classes: Classes | None
    order: Order | None
    rated_by: str
    values: tuple[float, ...]
    worst: tuple[ClipDiagnosis, ...]
    best: tuple[ClipDiagnosis, ...]
    influence: Influence | None
    notes: tuple[str, ...]


def diagnose(evaluation: Evaluation, clips: int = 20) -> Diagnosis:
    """Return where the sets lie, in which classes they differ, and the ``clips`` worst and best clips."""
    notes: list[str] = []
    projection: Projection | None = None
    classes: Classes | None = None
    nearest: dict[str, Neighbour] | None = None
    if evaluation.ref is None:
        text = "There is no reference: no map of the sets, no classes missed or invented, no clips by distance or KL."
        notes.append(text)
    else:
        try:
            projection = _projection(evaluation)
        except InsufficientDataError as error:
            notes.append(f"No map of the sets: {error.what}.")
        try:
            classes = _classes(evaluation)
        except InsufficientDataError as error:
            notes.append(f"No class view: {error.what}.")
        nearest = _nearest(evaluation)
        if nearest is None:
            notes.append("No nearest reference clips: the reference set's own embeddings are not at hand.")
    values, order, rated_by, sign = evaluation.divergences, cast("Order | None", "divergence"), "", -1
    if not values:
        lacking = "No KL by clip: it needs pairs and logits."
        if evaluation.rating is not None:
            recipe, values = evaluation.rating
            order, rated_by = "rating", recipe.definition.title
            sign = 1 if recipe.definition.higher_is_better else -1
            lacking += f" Clips are ordered by {in_sentence(rated_by)}."
        else:
            values = {clip_id: neighbour.distance for clip_id, neighbour in (nearest or {}).items()}
            order = "distance" if values else None
            lacking += " Clips are ordered by distance." * bool(values)
        notes += [lacking] * (evaluation.ref is not None)
    ranked = sorted(values, key=lambda clip_id: (sign * values[clip_id], clip_id))
    # Of few clips, none is both among the worst and among the best.
    count = min(clips, -(-len(ranked) // 2))
    best = ranked[::-1][: min(count, len(ranked) - count)]
    influence = _influence(evaluation)
    describe = _Describer(evaluation, values, nearest or {}, influence)
    return Diagnosis(
        projection,
        classes,
        order,
        rated_by,
        tuple(sorted(values.values())),
        tuple(map(describe, ranked[:count])),
        tuple(map(describe, best)),
        influence,
        tuple(notes),
    )


def _clip_rows(features: EmbeddingSet) -> torch.Tensor:
    """Return one float64 row per clip: its embedding, or the mean of its windows."""
    if not len(features):
        raise InsufficientDataError("no clip is left")
    if "embeddings" in features.outputs:
        return features.rows("embeddings").double()
    return torch.stack(
        [clip.mean(dim=0) for rows, counts in features.blocks("windows") for clip in rows.split(counts)]
    ).double()


def _embedding_recipe(evaluation: Evaluation) -> Recipe:
    recipe = evaluation.recipe("embeddings") or evaluation.recipe("windows")
    if recipe is None:
        raise InsufficientDataError("no backbone of this run gives embeddings")
    return recipe


def _projection(evaluation: Evaluation) -> Projection:
    recipe = _embedding_recipe(evaluation)
    if evaluation.ref is None:
        raise InsufficientDataError("there is no reference")
    output: Output = "embeddings" if "embeddings" in evaluation.backbones[recipe.backbone].outputs else "windows"
    gen, ref = evaluation.gen.features(recipe), evaluation.ref.features(recipe)
    gen_gauss, ref_gauss = gen.statistics(output), ref.statistics(output)
    for gauss in (gen_gauss, ref_gauss):
        gauss.require_covariance()
    pooled = gen_gauss.merge(ref_gauss)
    _, sizes, axes = torch.linalg.svd(pooled.factor, full_matrices=False)
    if len(axes) < 2:
        raise InsufficientDataError("it needs at least three clips")
    # The sign of a principal axis is arbitrary: the same one on every machine.
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(dim=1, keepdim=True)).sign()
    shares = (sizes[:2].square() / sizes.square().sum().clamp(min=TINY)).tolist()
    clouds = (_cloud(gen, gen_gauss, pooled.mean, axes), _cloud(ref, ref_gauss, pooled.mean, axes))
    spread = float(gen_gauss.factor.square().sum() / ref_gauss.factor.square().sum().clamp(min=TINY))
    return Projection(recipe.backbone, *clouds, (shares[0], shares[1]), spread, _variety(evaluation, recipe, output))


def _variety(evaluation: Evaluation, recipe: Recipe, output: Output) -> Variety | None:
    """Return how sure the sets' variances are; of the pairs only where all clips of a set have one."""
    sides = evaluation.gen.features(recipe), evaluation.ref.features(recipe) if evaluation.ref is not None else None
    if not all(isinstance(side, EmbeddingSet) and len(side) >= FEWEST_CLIPS for side in sides):
        return None
    gen, ref = sides
    assert isinstance(gen, EmbeddingSet)
    assert isinstance(ref, EmbeddingSet)
    paired = bool(evaluation.paired) and gen.clip_ids == ref.clip_ids and evaluation.asked.prompts is None
    rows = (gen.rows(output).double(), ref.rows(output).double())
    if not all(bool((side - side[0]).any()) for side in rows):
        return None
    return variety(*rows, (gen.counts(output), ref.counts(output)), paired=paired)


def _cloud(
    features: EmbeddingSet | GivenFeatures, gauss: GaussianStatistics, origin: torch.Tensor, axes: torch.Tensor
) -> Cloud:
    """Return one set in the plane of two axes ``(2, d)``."""
    clip_ids: tuple[str, ...] = ()
    points: list[list[float]] = []
    if isinstance(features, EmbeddingSet):
        step = max(1, -(-len(features) // MAX_POINTS))
        clip_ids = features.clip_ids[::step]
        points = ((_clip_rows(features)[::step] - origin) @ axes.T).tolist()
    _, lengths, directions = torch.linalg.svd(gauss.factor @ axes.T)
    half = 2 * torch.nn.functional.pad(lengths, (0, 2 - len(lengths)))[:, None] * directions
    (x, y), ((ax, ay), (bx, by)) = ((gauss.mean - origin) @ axes.T).tolist(), half.tolist()
    return Cloud(clip_ids, tuple((x, y) for x, y in points), (x, y), ((ax, ay), (bx, by)), gauss.count)


def _classes(evaluation: Evaluation) -> Classes:
    recipe = evaluation.recipe("logits")
    labels = None if recipe is None else evaluation.backbones[recipe.backbone].labels
    if recipe is None or labels is None:
        raise InsufficientDataError("no backbone of this run names classes")
    if evaluation.ref is None:
        raise InsufficientDataError("there is no reference")
    sides = evaluation.gen.features(recipe), evaluation.ref.features(recipe)
    gen_ids, ref_ids = (set(side.clip_ids) for side in sides)
    samples: dict[str, list[str]] = {}
    for clip in evaluation.paired:
        partner = evaluation.links.partner(clip)
        if clip in gen_ids and partner in ref_ids:
            samples.setdefault(partner, []).append(clip)
    # Few pairs among many clips would leave most of the sets out.
    paired = 2 * len(samples) >= min(len(gen_ids), len(ref_ids))
    # Sigmoid: AudioSet clips have several classes at once, so the classes do not compete.
    if paired:
        clips = [clip for made in samples.values() for clip in made]
        parts = sides[0].logits(clips).double().sigmoid().split([len(made) for made in samples.values()])
        gen, ref = torch.stack([part.mean(0) for part in parts]), sides[1].logits([*samples]).double().sigmoid()
    else:
        gen, ref = (side.logits().double().sigmoid() for side in sides)
    if min(len(gen), len(ref)) < 2:
        raise InsufficientDataError("one clip says nothing of chance")
    chances = class_chances(gen, ref, paired=paired).tolist()
    found = zip(labels, gen.mean(0).tolist(), ref.mean(0).tolist(), chances, strict=True)
    shares = [ClassShare(*each) for each in found if each[-1] <= LEVEL]
    shares.sort(key=lambda share: (share.gen - share.ref, share.label))
    return Classes(tuple(shares), len(gen), len(ref), paired)


def _nearest(evaluation: Evaluation) -> dict[str, Neighbour] | None:
    """Return the nearest reference clip of each generated one; None if the reference has no embeddings by clip."""
    if not isinstance(evaluation.ref, FolderSide):
        return None
    try:
        recipe = _embedding_recipe(evaluation)
        gen, ref = evaluation.gen.features(recipe), evaluation.ref.features(recipe)
        gen_rows, ref_rows = _clip_rows(gen), _clip_rows(ref)
    except InsufficientDataError:
        return None
    files = _files(evaluation.ref)
    found = {}
    for start in range(0, len(gen_rows), ROWS_AT_ONCE):
        part = gen_rows[start : start + ROWS_AT_ONCE]
        places = torch.cdist(part, ref_rows).argmin(dim=1)
        # Once more without the matrix product, whose rounding would part a clip from its own copy.
        distances = (part - ref_rows[places]).norm(dim=1)
        for offset, (place, distance) in enumerate(zip(places.tolist(), distances.tolist(), strict=True)):
            ref_id = ref.clip_ids[place]
            found[gen.clip_ids[start + offset]] = Neighbour(ref_id, distance, files[ref_id])
    return found


def _influence(evaluation: Evaluation) -> Influence | None:
    kinds = {recipe: recipe.definition for recipe in evaluation.recipes}
    recipe = next((r for r, kind in kinds.items() if kind.leaves_one_out() and not kind.higher_is_better), None)
    if recipe is None:
        return None
    try:
        measured = evaluation.measured(recipe)
        without = measured.without("gen")
    except InsufficientDataError:
        return None
    ids = measured.gen.clip_ids
    changes: dict[str, float] = {}
    # Copies and samples of one prompt leave together: each has an equal share in what they do.
    for unit, change in zip(measured.units("gen").values(), (without.mean() - without).tolist(), strict=True):
        changes |= {ids[place]: change / len(unit) for place in unit}
    return Influence(recipe.score_id, {clip: changes[clip] for clip in sorted(changes, key=lambda c: (-changes[c], c))})


class _Describer:
    """Gathers what is known of single clips."""

    def __init__(
        self,
        evaluation: Evaluation,
        values: Mapping[str, float],
        nearest: dict[str, Neighbour],
        influence: Influence | None,
    ) -> None:
        self.values, self.nearest = values, nearest
        self.influence = {} if influence is None else influence.by_clip
        self.captions = {} if evaluation.asked.captions is None else evaluation.asked.captions.by_clip
        self.gen_files = _files(evaluation.gen)
        self.ref_files = _files(evaluation.ref) if isinstance(evaluation.ref, FolderSide) else {}
        self.paired = set(evaluation.paired)
        self.recipe = evaluation.recipe("logits")
        self.evaluation = evaluation
        self.labels = None if self.recipe is None else evaluation.backbones[self.recipe.backbone].labels

    def __call__(self, clip_id: str) -> ClipDiagnosis:
        partner = self.evaluation.links.partner(clip_id)
        return ClipDiagnosis(
            clip_id,
            self.gen_files[clip_id],
            self.ref_files.get(partner) if clip_id in self.paired else None,
            self.values[clip_id],
            self.heard("gen", clip_id),
            self.heard("ref", partner) if clip_id in self.paired else (),
            self.nearest.get(clip_id),
            self.influence.get(clip_id),
            self.captions.get(clip_id, ()),
        )

    def heard(self, name: Literal["gen", "ref"], clip_id: str) -> tuple[tuple[str, float], ...]:
        """Return the three most probable classes of a clip."""
        if self.recipe is None or self.labels is None:
            return ()
        side = self.evaluation.gen if name == "gen" else self.evaluation.ref
        if side is None:
            return ()
        features = side.features(self.recipe)
        if clip_id not in features.clip_ids:
            return ()
        top = features.logits([clip_id])[0].double().sigmoid().topk(min(3, len(self.labels)))
        return tuple(
            (self.labels[place], value) for place, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        )


def _files(side: FolderSide) -> dict[str, AudioFile]:
    return {clip.clip_id: clip for clip in side.folder.clips}
