"""Why the scores are what they are: where the sets lie, which classes differ, which clips are to blame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch

from audiogen_metrics.audio.files import AudioFile
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.evaluation.evaluation import Evaluation
from audiogen_metrics.report.chance import LEVEL, class_chances
from audiogen_metrics.report.projection import Projection, clip_rows, embedding_recipe, projected
from audiogen_metrics.report.reading import in_sentence

ROWS_AT_ONCE = 1024
"""Rows of the distance matrix held in memory at a time."""


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
        The score.
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
        Classes in which the sets differ; None if no classes are known.
    order
        What clips are ordered by: their ``divergence`` from the reference, their ``rating`` by a metric without a
        reference, their ``distance`` to the nearest reference clip, or None.
    rated_by
        Title of the metric that rates them, where they are ordered by that.
    values
        That number for every clip, ascending.
    worst, best
        Clips, the most extreme first.
    influence
        What each clip does to the first score for which that is known; None if it is known for no score, or there are
        too few clips.
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
        text = (
            "Without a reference there are no map of the sets, no missed or invented classes, no distances and no KL."
        )
        notes.append(text)
    else:
        try:
            projection = projected(evaluation)
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
    # A clip is not both among the worst and among the best, however few there are.
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
        recipe = embedding_recipe(evaluation)
        gen, ref = evaluation.gen.features(recipe), evaluation.ref.features(recipe)
        gen_rows, ref_rows = clip_rows(gen), clip_rows(ref)
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
