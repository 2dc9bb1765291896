"""Two systems, mostly against one reference: which is better, how sure is that, what difference could be found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from audiogen_metrics.audio.files import AudioFile, AudioFolder, ClipSet, open_clips
from audiogen_metrics.audio.pairing import pair, read_pairs
from audiogen_metrics.embedding.extraction import EmbeddingSet, ExtractionOptions
from audiogen_metrics.embedding.sides import FolderSide, Side, StatisticsSide, between, mixed_forms
from audiogen_metrics.errors import InsufficientDataError, UsageError, spoken
from audiogen_metrics.evaluation import added, find_networks, tool_versions
from audiogen_metrics.evaluation.evaluation import backbone_settings
from audiogen_metrics.evaluation.run import computable, open_reference
from audiogen_metrics.file_hashes import hashing_as_asked
from audiogen_metrics.metrics.measuring.chance import rows_apart
from audiogen_metrics.metrics.measuring.links import Links
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.measuring.rivals import Rivals
from audiogen_metrics.options import whole
from audiogen_metrics.prompts import Captions, Prompts, captions_of
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.rendering import Renderable, records_to_markdown
from audiogen_metrics.results import EXACT, InputSummary
from audiogen_metrics.text import escaped
from audiogen_metrics.writing import written

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.embedding.foreign import ForeignStatistics
    from audiogen_metrics.embedding.reference import ReferenceStatistics
    from audiogen_metrics.metrics.recipe import Recipe

SIGNIFICANT = 0.05

POWER = 0.8416212335729143
"""Of a normal distribution: what is found with 80 % chance lies this many standard errors beyond the interval."""

FEWEST_PERMUTATIONS = 20
"""Below these p is never under 0.05."""

SUBSAMPLES = 5
"""Random parts of the larger of two systems without common clips."""

SHARED = 0.5
"""Share of the smaller system's clips that the other must have too, for the systems to be compared on those."""


@dataclass(frozen=True)
class Difference:
    """One score of two systems.

    Attributes
    ----------
    id, metric, backbone, higher_is_better
        The score, what it is computed by, and its direction.
    a, b, difference
        Both values on ``n`` clips each, and ``a − b``.
    n
        ClipSet of each system: those that both have, or as many of the larger system as the smaller one has.
    paired
        Whether these are clips of the same ids.
    subsamples
        Random parts of the larger system that all numbers are means of; 1 where both are as large or paired.
    standard_error, ci95
        Of the difference, over clips; shared prompts are left out of both systems together. None where none is known.
    p
        Chance of a difference as large, in standard errors, if the names of the systems meant nothing: by permutation,
        or as the width of the interval gives it where none was asked for. None where the systems cannot be compared.
    permutations
        How many were made.
    detectable
        The difference that this many clips would find with 80 % chance; None without a standard error.
    verdict
        In words. One system is better if p is below 0.05 *and* the interval does not hold 0.
    """

    id: str
    metric: str
    backbone: str
    higher_is_better: bool
    a: float
    b: float
    difference: float
    n: int
    paired: bool
    subsamples: int
    standard_error: float | None
    ci95: tuple[float, float] | None
    p: float | None
    permutations: int
    detectable: float | None
    verdict: str


@dataclass(frozen=True)
class Comparison(Renderable):
    """Two systems, score by score.

    Attributes
    ----------
    protocol, caveat
        Its name, and what must be said beside its scores.
    a, b, ref
        What was found, scored and skipped of each set; ``ref`` is None where there was none.
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
    ref: InputSummary | None
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
    backbones: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]

    def inputs(self) -> dict[str, InputSummary]:
        """Return the sets that there are, by what they are called."""
        sets = {"A": self.a, "B": self.b}
        return sets if self.ref is None else {**sets, "ref": self.ref}

    def rows(self) -> list[dict[str, str]]:
        """Return a record per score, as text for people."""
        return [
            {
                "score": found.id,
                "A": f"{found.a:.4g}",
                "B": f"{found.b:.4g}",
                "n": str(found.n),
                "A − B": f"{found.difference:.3g}",
                "95 %": "–" if found.ci95 is None else "{:.3g} to {:.3g}".format(*found.ci95),
                "p": "–" if found.p is None else f"{found.p:.2g}",
                "verdict": found.verdict,
            }
            for found in self.differences
        ]

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return a line per score as a table in GitHub's Markdown."""
        return written(records_to_markdown(self.rows()), path)

    def to_html(self, path: str | Path | None = None, systems: Systems | None = None) -> str:
        """Return the verdicts as a page, and write it to ``path`` if one is given.

        Players of the clips that differ most need ``systems``, which `compare` gives to ``observe``.
        """
        from audiogen_metrics.report.versus import comparison_page

        return written(comparison_page(self, systems), path)

    def __str__(self) -> str:
        rows = [tuple(self.rows()[0]), *(tuple(map(escaped, row.values())) for row in self.rows())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        head = [
            f"protocol {self.protocol}",
            *(f"{name:4} {summary.path}: {summary.share}{summary.length}" for name, summary in self.inputs().items()),
            *["ref  none: only what looks at the generated sets alone is compared"] * (self.ref is None),
            "",
        ]
        table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        notes = [f"note: {self.caveat}"] if self.caveat else []
        lines = [*head, *table, *notes, *(f"warning: {warning}" for warning in self.warnings)]
        return "\n".join(map(escaped, lines))


@dataclass(frozen=True)
class Prompt:
    """One clip id that both systems have, the clips, and what each scores; ``ref`` is None without a reference."""

    clip_id: str
    a: AudioFile
    b: AudioFile
    ref: AudioFile | None
    value_a: float
    value_b: float
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Systems:
    """What stands behind a comparison: all sets with their features, and each score of both systems."""

    a: FolderSide
    b: FolderSide
    ref: FolderSide | StatisticsSide | None
    measured: tuple[tuple[Measured, Measured], ...]

    @property
    def telling(self) -> tuple[Measured, Measured] | None:
        """The first score that each clip has by itself, of both systems; None if there is none."""
        return next((pair for pair in self.measured if pair[0].measurement.by_clip is not None), None)

    def prompts(self) -> list[Prompt]:
        """Return the prompts with that score, those where A is ahead most first; none without common prompts."""
        if self.telling is None:
            return []
        kind, links = self.telling[0].metric, self.telling[0].links
        a, b = (measured.measurement.by_clip or {} for measured in self.telling)
        sides = (self.a, self.b, *([self.ref] if isinstance(self.ref, FolderSide) else []))
        files = [{clip.clip_id: clip for clip in side.folder.clips} for side in sides]
        references = files[2] if len(files) > 2 else {}
        captions = {} if self.a.captions is None else self.a.captions.by_clip
        sign = -1 if kind.higher_is_better else 1
        common = sorted(a.keys() & b.keys(), key=lambda clip: (sign * (a[clip] - b[clip]), clip))
        return [
            Prompt(
                clip,
                files[0][clip],
                files[1][clip],
                references.get(links.partner(clip)),
                a[clip],
                b[clip],
                captions.get(clip, ()),
            )
            for clip in common
        ]


@hashing_as_asked
def compare(
    gen_a: ClipSet,
    gen_b: ClipSet,
    ref: ClipSet | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    protocol: str = "audioldm",
    backbone: str | None = None,
    permutations: int = 199,
    pairs: str | Path | Mapping[str, str] | None = None,
    prompts: Prompts | None = None,
    trust_reference: bool = False,
    seed: int = 0,
    suffixes: str | Iterable[str] = (),
    sample_rate: int | None = None,
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

    Both are compared on the clip ids that both have; each prompt then leaves both together, which takes its difficulty
    out. Systems without common ids are cut to equal size. One is called better only if a studentised permutation test
    says so *and* the 95 % interval of the difference does not hold 0.

    Parameters
    ----------
    gen_a, gen_b, ref
        Folders; without ``ref``, metrics that look at the generated sets alone are compared. ``ref`` may be statistics,
        as in `score`: it is then taken as exact, its own sampling is not in the intervals.
    metrics
        Names; None takes those of the protocol for which there are enough clips and pairs.
    permutations
        Of the test; p is at least 1 / (permutations + 1). 0 makes none.
    pairs
        As in `score`, where several clips of a system were made for one reference.
    prompts
        As in `score`: what the clips of both systems should sound like.
    trust_reference
        As in `score`, for others' statistics.
    seed
        Of the permutations, and of the parts of a larger system.
    protocol, backbone, suffixes, sample_rate, device, weights, batch_size, workers, cache, verify, progress
        As in `score`.
    observe
        Called with the sets and their features when all is computed.

    Raises
    ------
    UsageError
        A metric asked for by name that needs a reference, or ``pairs``, without one.
    DataError, InsufficientDataError
        As in `score`.

    Examples
    --------
    >>> from audiogen_metrics.systems import compare
    >>> found = compare("a", "b", "reference", protocol="yamnet")  # doctest: +SKIP
    >>> found.differences[0].verdict  # doctest: +SKIP
    'A better, p = 0.005'
    """
    permutations, seed = whole("permutations", permutations, 0), whole("seed", seed, 0)
    if ref is None and pairs is not None:
        where = spoken("pairs", "--pairs")
        raise UsageError("clips have no partners without a reference", where=where, fix="Pass ref, or leave it out")
    chosen = get_protocol(protocol)
    recipes = computable(chosen, metrics, ref=ref is not None, prompts=prompts is not None, backbone=backbone)
    folders = [
        open_clips(given, suffixes, sample_rate=sample_rate, name=name) for name, given in (("A", gen_a), ("B", gen_b))
    ]
    opened = None if ref is None else open_reference(ref, suffixes, sample_rate, trust_reference=trust_reference)
    ids = [{*known.clip_ids} for known in (*folders, *([] if opened is None else [opened]))]
    if opened is not None and not isinstance(opened, AudioFolder):
        _check(opened, recipes, protocol, by_name=metrics is not None, pairs=pairs)
    partners = None if pairs is None else read_pairs(pairs, ids[0] | ids[1], ids[2])
    captions: list[Captions | None] = [None, None]
    if prompts is not None:
        captions = [captions_of(prompts, own, partners, name) for own, name in zip(ids, "AB", strict=False)]
    networks = find_networks(recipes, device, weights, added(recipes) if metrics is None else ())
    backbones, gone = networks.backbones, [recipe for recipe in recipes if recipe.backbone in networks.missing]
    recipes = [recipe for recipe in recipes if recipe not in gone]
    options = ExtractionOptions(batch_size, workers, cache, verify, progress)
    a, b = (
        FolderSide.extract(name, folder, recipes, backbones, options, captions=own)
        for name, folder, own in zip("AB", folders, captions, strict=True)
    )
    reference: FolderSide | StatisticsSide | None = None
    if isinstance(opened, AudioFolder):
        reference = FolderSide.extract("ref", opened, recipes, backbones, options)
    elif opened is not None:
        settings = {name: backbone.settings for name, backbone in backbones.items()}
        opened.check(recipes, protocol, settings)
        reference = StatisticsSide(opened, protocol, settings)
        reference.require_width(a)
    sides = (a, b) if reference is None else (a, b, reference)
    couples: list[tuple[FolderSide, Side]] = [(a, b)]
    if reference is not None:
        couples += [(a, reference), (b, reference)]
    warnings = [warning for couple in couples for warning in _together(*couple, recipes, partners)]
    warnings = [*dict.fromkeys(warnings)]  # what both systems lack of the reference is said once
    warnings += [warning for side in sides for warning in side.warnings()]
    if 0 < permutations < FEWEST_PERMUTATIONS:
        warnings.append(f"{permutations} permutations: p cannot be below 0.05, so that there is no verdict")
    warnings += [f"{recipe.score_id} is not compared: {networks.missing[recipe.backbone]}" for recipe in gone]
    differences, compared = [], []
    lacking: InsufficientDataError | None = None
    for recipe in recipes:
        try:
            match = matched(recipe, a, b, reference, partners, seed)
            differences.append(_difference(recipe, match, permutations, seed))
            compared.append((match.rivals[0].a, match.rivals[0].b))
            warnings += [note for note in match.notes if note not in warnings]
        except InsufficientDataError as error:
            if metrics is not None:
                raise InsufficientDataError(str(error), where=recipe.score_id) from error
            lacking = error
            warnings.append(f"{recipe.score_id} is not compared: {error.what}")
    if lacking is not None and not differences:
        raise lacking
    if observe is not None:
        observe(Systems(a, b, reference, tuple(compared)))
    return Comparison(
        protocol,
        chosen.caveat,
        a.summary(),
        b.summary(),
        None if reference is None else reference.summary(),
        tuple(differences),
        tuple(warnings),
        backbone_settings(recipes, backbones),
        tool_versions(),
    )


def _check(
    ref: ReferenceStatistics | ForeignStatistics, recipes: Sequence[Recipe], protocol: str, *, by_name: bool, pairs: Any
) -> None:
    """Raise where statistics cannot be the reference of these recipes, before anything is embedded."""
    if pairs is not None and ref.summary.scored is None:
        where = spoken("pairs", "--pairs")
        raise UsageError("the reference's statistics do not name clips to pair with", where=where, fix="Leave it out")
    ref.check(recipes, protocol)
    for recipe in recipes if by_name else ():
        ref.require(recipe)


def _together(
    first: FolderSide, second: Side, recipes: Sequence[Recipe], prompts: Mapping[str, str] | None
) -> list[str]:
    """Return what to know of two of the three sets together."""
    if second.name == "ref" and any(recipe.definition.needs == "pairs" for recipe in recipes):
        found = between(first, second) + mixed_forms(first, second)
        return found + pair(first.clip_ids, second.clip_ids, prompts).warnings(first.name, second.name)
    return abreast(first, second)


def abreast(first: FolderSide, second: Side) -> list[str]:
    """Return what to know of two sets together before they are compared clip by clip."""
    near = pair(first.clip_ids, second.clip_ids).near_misses(first.name, second.name)
    unpaired = [f"clips of {first.name} and {second.name} do not pair: {near}"] * bool(near)
    return between(first, second) + mixed_forms(first, second) + unpaired


@dataclass(frozen=True)
class Match:
    """One score of two systems cut to equal size, once or several times, and what was done for that.

    Parameters
    ----------
    recipe
        The score.
    names
        What the systems are called.
    rivals
        The systems; several where parts of the larger one were drawn.
    notes
        What to know of it.
    """

    recipe: Recipe
    names: tuple[str, str]
    rivals: tuple[Rivals, ...]
    notes: tuple[str, ...]

    @property
    def lengths(self) -> str:
        """Why a difference would be one of lengths, or nothing."""
        first, output = self.rivals[0], self.recipe.definition.output
        counts = [each.gen.counts(output) for each in (first.a, first.b)]
        if not rows_apart(*counts):
            return ""
        means = [float(np.mean(side)) for side in counts]
        a, b = self.names
        return f"{a} has {means[0]:.3g} rows a clip and {b} {means[1]:.3g}, so it would compare lengths"

    @property
    def equal(self) -> bool:
        """Whether both have one score."""
        return self.rivals[0].difference == 0 and len(self.rivals) == 1

    def values(self) -> tuple[float, float]:
        """Return both scores."""
        a, b = (np.mean([getattr(each, side).measurement.value for each in self.rivals]) for side in "ab")
        return float(a), float(b)

    def permutation(self, permutations: int, seed: int) -> tuple[float, int]:
        """Return p, and how many permutations were made."""
        tests = [each.permutation(permutations, seed) for each in self.rivals]
        return float(np.median([p for p, _ in tests])), min(made for _, made in tests)

    def bounds(self, level: float = 0.95) -> Bounds:
        """Return the interval of the difference; InsufficientDataError where none is known."""
        intervals = [each.at(level).interval for each in self.rivals]
        error, half = (
            float(np.sqrt(np.mean(np.square(part))))
            for part in (
                [each.standard_error for each in intervals],
                [(each.high - each.low) / 2 for each in intervals],
            )
        )
        # Of one interval its ends, which need not be as far from the middle; of several the same width around the mean.
        if len(intervals) == 1:
            return Bounds(error, intervals[0].low, intervals[0].high, half, level)
        a, b = self.values()
        return Bounds(error, a - b - half, a - b + half, half, level)


@dataclass(frozen=True)
class Bounds:
    """The interval of a difference, at a level, with its standard error and half of its width."""

    standard_error: float
    low: float
    high: float
    half: float
    level: float

    @property
    def apart(self) -> bool:
        """Whether 0 lies outside."""
        return not self.low <= 0 <= self.high

    @property
    def detectable(self) -> float:
        """The difference that would be found with 80 % chance."""
        return self.half + POWER * self.standard_error

    def p(self, difference: float) -> float:
        """Return the two-sided p of a difference as the width of the interval gives it."""
        if self.standard_error == 0:
            return 1.0 if difference == 0 else 0.0
        reach = NormalDist().inv_cdf((1 + self.level) / 2)
        return math.erfc(abs(difference) / self.half * reach / math.sqrt(2))


def matched(
    recipe: Recipe,
    a: FolderSide,
    b: FolderSide,
    ref: Side | None,
    prompts: Mapping[str, str] | None,
    seed: int,
    pairing: bool = True,
) -> Match:
    """Take the clips that both systems have; where these are few, random parts of the larger system.

    Parameters
    ----------
    recipe
        The score.
    a, b, ref
        The systems, whose names stand in notes, and the reference; None for a score that needs none.
    prompts, seed
        As in `compare`.
    pairing
        False takes no notice of clip ids.
    """
    sets, files = [side.features(recipe) for side in (a, b)], [side.summary().files for side in (a, b)]
    common = sorted({*sets[0].clip_ids} & {*sets[1].clip_ids})
    sizes = [len(each) for each in sets]
    paired = pairing and len(common) >= max(2, SHARED * min(sizes))
    had = f"{a.name} has {sizes[0]} clips and {b.name} {sizes[1]}"
    notes: list[str] = []
    if paired:
        # A set as it is keeps the Gaussian that was fitted to it.
        parts = [[each if [*each.clip_ids] == common else each.select(common) for each in sets]]
        if len(common) < max(sizes):
            notes.append(f"{had}: compared on the {len(common)} that both have")
    elif sizes[0] == sizes[1]:
        parts = [sets]
    else:
        rng, size = np.random.default_rng(seed), min(sizes)
        parts = [[_part(each, size, rng) for each in sets] for _ in range(SUBSAMPLES)]
        notes.append(f"{had}: numbers are means over {SUBSAMPLES} random parts of {size} clips of the larger one")
    own = {} if ref is None else {"ref": (ref.summary().files,)}
    links = [
        Links(pairing, prompts, {**own, "gen": tuple(files) if paired else (each,)})  # type: ignore[dict-item]
        for each in files
    ]
    if recipe.definition.prompted:
        links = [
            one.told(side.captions.by_clip) if side.captions else one for one, side in zip(links, (a, b), strict=True)
        ]

    def measured(number: int, part: EmbeddingSet) -> Measured:
        reference = None if ref is None else ref.features(recipe)
        return Measured(recipe.definition, part, reference, links=links[number], seed=seed)

    rivals = tuple(Rivals(measured(0, first), measured(1, second), paired) for first, second in parts)
    if ref is not None and rivals[0].exact is not None:
        notes.append(f"{recipe.score_id}: {EXACT}: its own sampling is not in the intervals of differences")
    return Match(recipe, (a.name, b.name), rivals, tuple(notes))


def _part(source: EmbeddingSet, size: int, rng: np.random.Generator) -> EmbeddingSet:
    if len(source) == size:
        return source
    return source.select([source.clip_ids[place] for place in np.sort(rng.permutation(len(source))[:size])])


def _difference(recipe: Recipe, match: Match, permutations: int, seed: int) -> Difference:
    kind, first, (a, b) = recipe.definition, match.rivals[0], match.values()
    known = Difference(
        recipe.score_id,
        recipe.metric,
        recipe.backbone,
        kind.higher_is_better,
        a,
        b,
        a - b,
        len(first.a.gen),
        first.paired,
        len(match.rivals),
        None,
        None,
        None,
        0,
        None,
        "",
    )
    if match.lengths:
        return replace(known, verdict=f"none: {match.lengths}")
    if match.equal:
        return replace(known, p=1.0, verdict="equal")
    if permutations:
        p, made = match.permutation(permutations, seed)
        known = replace(known, p=p, permutations=made)
    try:
        bounds = match.bounds()
    except InsufficientDataError as reason:
        return replace(known, verdict=f"none: {reason.what}; p alone does not say which is better")
    p = bounds.p(known.difference) if known.p is None else known.p
    verdict = unseparated(bounds)
    if p < SIGNIFICANT and bounds.apart:
        verdict = f"{match.names[better(known.difference, kind.higher_is_better)]} better, p = {p:.2g}"
    return replace(
        known,
        standard_error=bounds.standard_error,
        ci95=(bounds.low, bounds.high),
        p=p,
        detectable=bounds.detectable,
        verdict=verdict,
    )


def better(difference: float, higher_is_better: bool) -> int:
    """Return 0 if the first of two systems has the better score, else 1."""
    return 0 if (difference > 0) == higher_is_better else 1


def unseparated(bounds: Bounds) -> str:
    """Return the verdict on two systems that cannot be told apart."""
    return f"not separable at this n, which would find a difference of {bounds.detectable:.2g} with 80 % chance"
