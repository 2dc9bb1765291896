"""Two systems against one reference: which is better, how sure is that, and how many clips would it take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiogen_metrics.audio.files import scan
from audiogen_metrics.audio.pairing import pair
from audiogen_metrics.embedding.extraction import ExtractionOptions
from audiogen_metrics.embedding.sides import FolderSide, between, mixed_forms
from audiogen_metrics.errors import InsufficientDataError, UsageError
from audiogen_metrics.evaluation import create_backbones, require_weights, tool_versions
from audiogen_metrics.functional.uncertainty import Z95
from audiogen_metrics.metrics.measured import Measured
from audiogen_metrics.options import as_path, whole
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.results import InputSummary
from audiogen_metrics.settings import resolve_device
from audiogen_metrics.text import escaped

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.metrics.recipe import Recipe

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
        Of the difference, by the jackknife over clips; shared prompts are left out of both systems together. None for a
        metric whose standard error is not known.
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
    metric: str
    backbone: str
    higher_is_better: bool
    a: float
    b: float
    difference: float
    standard_error: float | None
    ci95: tuple[float, float] | None
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
                "95 %": "–" if found.ci95 is None else "{:.3g} to {:.3g}".format(*found.ci95),
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
    """What stands behind a comparison: both systems and the reference with their features, and each score of both."""

    a: FolderSide
    b: FolderSide
    ref: FolderSide
    measured: tuple[tuple[Measured, Measured], ...]

    def prompts(self) -> list[Prompt]:
        """Return the prompts with their KL, those where A is ahead most first; none without KL or common prompts."""
        found = next((pair for pair in self.measured if pair[0].measurement.by_clip is not None), None)
        if found is None:
            return []
        by_clip = [measured.measurement.by_clip or {} for measured in found]
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
        Names; None takes those of the protocol for which there are enough clips and pairs. A metric whose standard
        error is not known needs the same clip ids in both systems and ``permutations``.
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
        A statistics file as reference, whose sampling the interval could not have.
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
    recipes = chosen.select(metrics)
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
    differences, compared = [], []
    for recipe in recipes:
        both = [Measured(recipe.definition, side.features(recipe), reference.features(recipe)) for side in (a, b)]
        try:
            differences.append(_difference(recipe, both[0], both[1], permutations, rng))
            compared.append((both[0], both[1]))
        except InsufficientDataError as error:
            if metrics is not None or (recipe is recipes[-1] and not differences):
                raise
            warnings.append(f"{recipe.score_id} is not compared: {error.what}")
    if observe is not None:
        observe(Systems(a, b, reference, tuple(compared)))
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
    if second.name == "ref" and any(recipe.definition.needs == "pairs" for recipe in recipes):
        return found + pairs.warnings(first.name, second.name)
    near = pairs.near_misses(first.name, second.name)
    return found + [f"clips of {first.name} and {second.name} do not pair: {near}"] * bool(near)


def _difference(recipe: Recipe, a: Measured, b: Measured, permutations: int, rng: np.random.Generator) -> Difference:
    kind = recipe.definition
    try:
        values = a.measurement.value, b.measurement.value
    except InsufficientDataError as lacking:
        raise InsufficientDataError(str(lacking), where=recipe.score_id) from lacking
    paired = a.gen.clip_ids == b.gen.clip_ids
    permutations = permutations if paired else 0
    difference, error = values[0] - values[1], kind.difference_error(a, b, paired)
    if error is None and not permutations:
        raise InsufficientDataError(
            f"the standard error of {kind.name} is not known, and there is no permutation test",
            where=recipe.score_id,
            fix="Give both systems the same clip ids, and permutations",
        )
    p = 1.0 if error is None else _normal_p(difference, error)
    if permutations:
        swapped = (kind.swapped_difference(a, b, rng) for _ in range(permutations))
        p = (1 + sum(abs(one) >= abs(difference) * (1 - 1e-12) for one in swapped)) / (1 + permutations)
    return Difference(
        recipe.score_id,
        recipe.metric,
        recipe.backbone,
        kind.higher_is_better,
        values[0],
        values[1],
        difference,
        error,
        None if error is None else (difference - Z95 * error, difference + Z95 * error),
        p,
        permutations,
        _verdict(difference, error, p, kind.higher_is_better, min(len(a.gen), len(b.gen))),
        paired,
    )


def _normal_p(difference: float, error: float) -> float:
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / error / math.sqrt(2))


def _verdict(difference: float, error: float | None, p: float, higher_is_better: bool, n: int) -> str:
    if difference == 0:
        return "equal"
    if p < SIGNIFICANT:
        return f"{'A' if (difference > 0) == higher_is_better else 'B'} better, p = {p:.2g}"
    if error is None:
        return "not separable at this n"
    needed = math.ceil(n * ((Z95 + _POWER) * error / difference) ** 2)
    if needed > 1000 * n:
        return "not separable at this n, nor at a thousand times as many clips"
    return f"not separable at this n; about {max(needed, n + 1)} clips would separate them"
