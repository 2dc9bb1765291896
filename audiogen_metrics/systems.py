"""Two systems against one reference: which is better, how sure is that, and how many clips would it take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audiogen_metrics.audio.files import scan
from audiogen_metrics.audio.pairing import pair
from audiogen_metrics.confidence import clip_rows, inception_parts, pair_divergences
from audiogen_metrics.embedding.extraction import ExtractionOptions
from audiogen_metrics.embedding.sides import FolderSide, between, mixed_forms
from audiogen_metrics.errors import InsufficientDataError, UsageError
from audiogen_metrics.evaluation import compute, create_backbones, require_weights, tool_versions
from audiogen_metrics.functional import GaussianStatistics, frechet_distance, inception_score
from audiogen_metrics.functional.uncertainty import (
    Z95,
    frechet_leave_one_out,
    inception_error,
    inception_leave_one_out,
    jackknife_error,
    mean_error,
)
from audiogen_metrics.options import as_path, whole
from audiogen_metrics.protocols import METRICS, MetricName, Recipe, get_protocol, split_names
from audiogen_metrics.results import InputSummary
from audiogen_metrics.settings import resolve_device
from audiogen_metrics.text import escaped

if TYPE_CHECKING:
    from audiogen_metrics.embedding.extraction import EmbeddingSet

COMPARABLE: tuple[MetricName, ...] = ("fd", "fad", "is", "kl")

SIGNIFICANT = 0.05
_POWER = 0.8416212335729143
"""Of a normal distribution: to find a difference with 80 % chance it must be 1.96 + 0.84 standard errors."""


@dataclass(frozen=True)
class Difference:
    """One score of two systems.

    Attributes
    ----------
    id, metric, backbone, higher_is_better
        The score, what it is computed by, and its direction.
    a, b, difference
        Both values, and ``a − b``.
    standard_error, ci95
        Of the difference, by the jackknife over clips; shared prompts are left out of both systems together.
    p
        Chance of a difference as large if both were alike: by permutation where there was one, else from the standard
        error, two-sided.
    permutations
        How many; 0 if the prompts differ or none were asked for.
    verdict
        In words: which is better, or how many clips would separate them.
    paired
        Whether both have the same clip ids.
    """

    id: str
    metric: MetricName
    backbone: str
    higher_is_better: bool
    a: float
    b: float
    difference: float
    standard_error: float
    ci95: tuple[float, float]
    p: float
    permutations: int
    verdict: str
    paired: bool


@dataclass(frozen=True)
class Comparison:
    """Two systems against one reference, score by score.

    Attributes
    ----------
    protocol, caveat
        Its name, and what must be said beside its scores.
    a, b, ref
        What was found, scored and skipped of each set.
    differences
        By score.
    warnings
        What to know before they are believed.
    backbones, versions
        Settings of the networks, with the digests of their weights, and versions of the tools.
    """

    protocol: str
    caveat: str
    a: InputSummary
    b: InputSummary
    ref: InputSummary
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
    backbones: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return asdict(self)

    def rows(self) -> list[dict[str, str]]:
        """Return a record per score, as text for people."""
        return [
            {
                "score": found.id,
                "A": f"{found.a:.4g}",
                "B": f"{found.b:.4g}",
                "A − B": f"{found.difference:.3g}",
                "95 %": "{:.3g} to {:.3g}".format(*found.ci95),
                "p": f"{found.p:.2g}",
                "verdict": found.verdict,
            }
            for found in self.differences
        ]

    def __str__(self) -> str:
        rows = [tuple(self.rows()[0]), *(tuple(map(escaped, row.values())) for row in self.rows())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        head = [
            f"protocol {self.protocol}",
            *(
                f"{name:4} {summary.path}: {summary.scored} of {summary.found} clips{summary.length}"
                for name, summary in (("A", self.a), ("B", self.b), ("ref", self.ref))
            ),
            "",
        ]
        table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        notes = [f"note: {self.caveat}"] if self.caveat else []
        lines = [*head, *table, *notes, *(f"warning: {warning}" for warning in self.warnings)]
        return "\n".join(map(escaped, lines))


@dataclass(frozen=True)
class Prompt:
    """One clip id that both systems and the reference have."""

    clip_id: str
    a: Path
    b: Path
    ref: Path
    kl_a: float
    kl_b: float


@dataclass(frozen=True, eq=False)
class Systems:
    """What stands behind a comparison: both systems and the reference with their features."""

    a: FolderSide
    b: FolderSide
    ref: FolderSide
    recipes: tuple[Recipe, ...]

    def prompts(self) -> list[Prompt]:
        """Return the prompts with their KL, those where A is ahead most first; none without KL or common prompts."""
        recipe = next((recipe for recipe in self.recipes if recipe.metric == "kl"), None)
        if recipe is None:
            return []
        try:
            by_clip = [
                dict(zip(ids, values.tolist(), strict=True))
                for ids, values in (
                    pair_divergences(recipe, side.features(recipe), self.ref.features(recipe))
                    for side in (self.a, self.b)
                )
            ]
        except InsufficientDataError:
            return []
        paths = [{clip.clip_id: clip.path for clip in side.folder.clips} for side in (self.a, self.b, self.ref)]
        common = sorted(
            by_clip[0].keys() & by_clip[1].keys(), key=lambda clip: (by_clip[0][clip] - by_clip[1][clip], clip)
        )
        return [
            Prompt(clip, paths[0][clip], paths[1][clip], paths[2][clip], by_clip[0][clip], by_clip[1][clip])
            for clip in common
        ]


def compare(
    gen_a: str | Path,
    gen_b: str | Path,
    ref: str | Path,
    *,
    metrics: str | Sequence[str] | None = None,
    protocol: str = "audioldm",
    permutations: int = 199,
    seed: int = 0,
    suffixes: str | Iterable[str] = (),
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    cache: bool = True,
    verify: bool = False,
    progress: bool = False,
    observe: Callable[[Systems], None] | None = None,
) -> Comparison:
    """Say which of two systems is better, score by score.

    The difference has a jackknife standard error over clips. Where both systems have the same clip ids, each clip
    leaves both together, which takes the difficulty of a prompt out of the comparison, and a permutation test swaps
    them.

    Parameters
    ----------
    gen_a, gen_b, ref
        Folders.
    metrics
        Of fd, fad, is and kl; None takes those of the protocol for which there are enough clips and pairs.
    permutations
        Of the test; p is at least 1 / (permutations + 1). 0 makes none.
    seed
        Of the permutations.
    protocol, suffixes, device, weights, batch_size, workers, cache, verify, progress
        As in `score`.
    observe
        Called with the sets and their features when all is computed.

    Raises
    ------
    UsageError
        A metric that cannot be compared; a statistics file as reference, whose sampling the interval could not have.
    DataError, InsufficientDataError
        As in `score`.

    Examples
    --------
    >>> from audiogen_metrics.systems import compare
    >>> found = compare("a", "b", "reference", protocol="yamnet")  # doctest: +SKIP
    >>> found.differences[0].verdict  # doctest: +SKIP
    'A better, p = 0.005'
    """
    if as_path(ref).is_file():
        raise UsageError(
            "a comparison needs the reference's clips, not statistics of them", where=ref, fix="Pass the folder"
        )
    permutations, seed = whole("permutations", permutations, 0), whole("seed", seed, 0)
    chosen = get_protocol(protocol)
    recipes = [recipe for recipe in chosen.select(metrics) if recipe.metric in COMPARABLE]
    if not recipes or (metrics is not None and len(recipes) < len(split_names(metrics))):
        raise UsageError("a metric cannot be compared here", "metrics", f"Choose from {', '.join(COMPARABLE)}")
    folders = [scan(folder, suffixes) for folder in (gen_a, gen_b, ref)]
    require_weights(recipes, weights or {})
    backbones = create_backbones(recipes, resolve_device(device), weights)
    options = ExtractionOptions(batch_size, workers, cache, verify, progress)
    a, b, reference = (
        FolderSide.extract(name, folder, recipes, backbones, options)
        for name, folder in zip(("A", "B", "ref"), folders, strict=True)
    )
    warnings = [
        warning for one, other in ((a, b), (a, reference), (b, reference)) for warning in _between(one, other, recipes)
    ]
    warnings += [warning for side in (a, b, reference) for warning in side.warnings()]
    if len(a.clip_ids) != len(b.clip_ids):
        warnings.append(f"A has {len(a.clip_ids)} clips and B {len(b.clip_ids)}: Fréchet distances and IS depend on n")
    rng = np.random.default_rng(seed)
    differences, lacking = [], {}
    for recipe in recipes:
        ours, theirs, refs = a.features(recipe), b.features(recipe), reference.features(recipe)
        try:
            differences.append(_difference(recipe, ours, theirs, refs, permutations, rng))
        except InsufficientDataError as error:
            lacking[recipe] = error
            if metrics is not None or len(lacking) == len(recipes):
                raise
    warnings += [f"{recipe.score_id} is not compared: {error.what}" for recipe, error in lacking.items()]
    recipes = [recipe for recipe in recipes if recipe not in lacking]
    if observe is not None:
        observe(Systems(a, b, reference, tuple(recipes)))
    return Comparison(
        protocol,
        chosen.caveat,
        a.summary(),
        b.summary(),
        reference.summary(),
        tuple(differences),
        tuple(warnings),
        {name: backbone.settings for name, backbone in backbones.items()},
        tool_versions(),
    )


def _between(first: FolderSide, second: FolderSide, recipes: Sequence[Recipe]) -> list[str]:
    """Return what to know of two of the sets together."""
    found = between(first, second) + mixed_forms(first, second)
    pairs = pair(first.clip_ids, second.clip_ids)
    if second.name == "ref" and any(recipe.metric == "kl" for recipe in recipes):
        return found + pairs.warnings(first.name, second.name)
    near = pairs.near_misses(first.name, second.name)
    return found + [f"clips of {first.name} and {second.name} do not pair: {near}"] * bool(near)


def _difference(
    recipe: Recipe, a: EmbeddingSet, b: EmbeddingSet, ref: EmbeddingSet, permutations: int, rng: np.random.Generator
) -> Difference:
    values = []
    for source in (a, b):
        score = compute(recipe, source, ref)
        if score.value is None:
            raise InsufficientDataError(str(score.reason), where=recipe.score_id)
        values.append(score.value)
    paired = a.clip_ids == b.clip_ids
    test = _METHODS[recipe.metric](recipe, a, b, ref, paired)
    difference, error = values[0] - values[1], test.error()
    p = _normal_p(difference, error)
    if not paired:
        permutations = 0
    if permutations:
        extreme = sum(abs(test.permuted(rng)) >= abs(difference) * (1 - 1e-12) for _ in range(permutations))
        p = (1 + extreme) / (1 + permutations)
    metric = METRICS[recipe.metric]
    return Difference(
        recipe.score_id,
        recipe.metric,
        recipe.backbone,
        metric.higher_is_better,
        values[0],
        values[1],
        difference,
        error,
        (difference - Z95 * error, difference + Z95 * error),
        p,
        permutations,
        _verdict(difference, error, p, metric.higher_is_better, min(len(a), len(b))),
        paired,
    )


class _Frechet:
    """FD and FAD of two systems."""

    def __init__(self, recipe: Recipe, a: EmbeddingSet, b: EmbeddingSet, ref: EmbeddingSet, paired: bool) -> None:
        self.output, self.paired = METRICS[recipe.metric].output, paired
        self.sides = [clip_rows(source, self.output) for source in (a, b)]
        self.ref = clip_rows(ref, self.output)
        self.statistics = [source.statistics(self.output) for source in (a, b, ref)]
        self.blocks = [rows.split(counts) for rows, counts in self.sides]

    def error(self) -> float:
        """Return the standard error of the difference."""
        without = [frechet_leave_one_out(rows, self.statistics[2], counts) for rows, counts in self.sides]
        rows, counts = self.ref
        changes = [frechet_leave_one_out(rows, statistics, counts) for statistics in self.statistics[:2]]
        return math.hypot(_joint_error(without, self.paired), jackknife_error(changes[0] - changes[1]))

    def permuted(self, rng: np.random.Generator) -> float:
        """Return the difference with clips of some prompts swapped."""
        swapped = rng.random(len(self.blocks[0])) < 0.5
        values = []
        for own, other in (self.blocks, self.blocks[::-1]):
            rows = torch.cat([other[i] if swap else own[i] for i, swap in enumerate(swapped)])
            values.append(frechet_distance(GaussianStatistics.from_embeddings(rows), self.statistics[2]).value)
        return values[0] - values[1]


class _Inception:
    """IS of two systems."""

    def __init__(self, recipe: Recipe, a: EmbeddingSet, b: EmbeddingSet, _ref: EmbeddingSet, paired: bool) -> None:
        self.recipe, self.paired = recipe, paired
        self.logits = [source.logits() for source in (a, b)]
        self.parts = [inception_parts(recipe, len(logits)) for logits in self.logits]

    def error(self) -> float:
        """Return the standard error of the difference."""
        without = [
            inception_leave_one_out(logits, parts) for logits, parts in zip(self.logits, self.parts, strict=True)
        ]
        if self.paired:
            return inception_error(without[0] - without[1], self.parts[0])
        return math.hypot(*(inception_error(*own) for own in zip(without, self.parts, strict=True)))

    def permuted(self, rng: np.random.Generator) -> float:
        """Return the difference with clips of some prompts swapped."""
        swapped = torch.from_numpy(rng.random(len(self.logits[0])) < 0.5)[:, None]
        first, second = torch.where(swapped, self.logits[1], self.logits[0]), torch.where(swapped, *self.logits)
        scores = [
            inception_score(logits, splits=self.recipe.splits, seed=self.recipe.seed).mean for logits in (first, second)
        ]
        return scores[0] - scores[1]


class _Divergence:
    """KL of two systems."""

    def __init__(self, recipe: Recipe, a: EmbeddingSet, b: EmbeddingSet, ref: EmbeddingSet, paired: bool) -> None:
        (ids_a, self.a), (ids_b, self.b) = pair_divergences(recipe, a, ref), pair_divergences(recipe, b, ref)
        self.paired = paired and ids_a == ids_b

    def error(self) -> float:
        """Return the standard error of the difference."""
        if self.paired:
            return mean_error(self.a - self.b)
        return math.hypot(mean_error(self.a), mean_error(self.b))

    def permuted(self, rng: np.random.Generator) -> float:
        """Return the difference with clips of some prompts swapped."""
        signs = torch.from_numpy(np.where(rng.random(len(self.a)) < 0.5, -1.0, 1.0))
        return float(((self.a - self.b) * signs).mean())


_METHODS: Mapping[MetricName, type[_Frechet | _Inception | _Divergence]] = {
    "fd": _Frechet,
    "fad": _Frechet,
    "is": _Inception,
    "kl": _Divergence,
}


def _joint_error(without: Sequence[torch.Tensor], paired: bool) -> float:
    if paired:
        return jackknife_error(without[0] - without[1])
    return math.hypot(*map(jackknife_error, without))


def _normal_p(difference: float, error: float) -> float:
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / error / math.sqrt(2))


def _verdict(difference: float, error: float, p: float, higher_is_better: bool, n: int) -> str:
    if difference == 0:
        return "equal"
    if p < SIGNIFICANT:
        return f"{'A' if (difference > 0) == higher_is_better else 'B'} better, p = {p:.2g}"
    needed = math.ceil(n * ((Z95 + _POWER) * error / difference) ** 2)
    if needed > 1000 * n:
        return "not separable at this n, nor at a thousand times as many clips"
    return f"not separable at this n; about {max(needed, n + 1)} clips would separate them"
