"""Two systems, mostly against one reference: which is better, how sure is that, what difference could be found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from audiogen_metrics.audio.files import AudioFile, AudioFolder, ClipSet, open_clips
from audiogen_metrics.audio.pairing import pair, read_pairs
from audiogen_metrics.declaring import takes
from audiogen_metrics.embedding.extraction import ExtractionOptions
from audiogen_metrics.embedding.sides import EmbeddedSide, FolderSide, StatisticsSide, between, mixed_forms
from audiogen_metrics.errors import InsufficientDataError, UsageError, spoken
from audiogen_metrics.evaluation.evaluation import backbone_settings
from audiogen_metrics.evaluation.matching import SIGNIFICANT, MatchedSystems, abreast, better, matched, unseparated
from audiogen_metrics.evaluation.networks import added, find_networks
from audiogen_metrics.evaluation.opening import computable, open_reference, require_named
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.file_hashes import hashing_as_asked
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.prompts import Captions, captions_of
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.rendering import Renderable, records_to_markdown
from audiogen_metrics.results import InputSummary
from audiogen_metrics.run_options import CompareOptions
from audiogen_metrics.text import escaped
from audiogen_metrics.writing import written

if TYPE_CHECKING:
    from audiogen_metrics.metrics.recipe import Recipe

__all__ = ["Comparison", "ScoreDifference", "Systems", "compare"]

FEWEST_PERMUTATIONS = 20
"""Below these p is never under 0.05."""


@dataclass(frozen=True)
class ScoreDifference:
    """One score of two systems.

    Attributes
    ----------
    id, metric, backbone, higher_is_better
        The score, what it is computed by, and its direction.
    a, b, difference
        Both values on ``n`` clips each, and ``a − b``.
    n
        Clips of each system: those that both have, or as many of the larger system as the smaller one has.
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
        In words: which system is better, that they are not separable, or why there is no verdict.
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

    @property
    def better(self) -> Literal["A", "B"] | None:
        """The better system, if ``p`` is below 0.05 *and* the interval does not hold 0; else None."""
        if self.p is None or self.ci95 is None or self.p >= SIGNIFICANT or self.ci95[0] <= 0 <= self.ci95[1]:
            return None
        return ("A", "B")[better(self.difference, self.higher_is_better)]

    @property
    def equal(self) -> bool:
        """Whether both systems have exactly the same score."""
        return self.difference == 0 and self.p == 1


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
    differences: tuple[ScoreDifference, ...]
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


@takes(CompareOptions)
@hashing_as_asked
def compare(
    gen_a: ClipSet,
    gen_b: ClipSet,
    ref: ClipSet | None = None,
    *,
    observe: Callable[[Systems], None] | None = None,
    **options: Unpack[CompareOptions],
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
    >>> from audiogen_metrics import compare
    >>> found = compare("a", "b", "reference", protocol="yamnet")  # doctest: +SKIP
    >>> found.differences[0].verdict  # doctest: +SKIP
    'A better, p = 0.005'
    """
    given = CompareOptions(**options)
    metrics, protocol, prompts, pairs = given["metrics"], given["protocol"], given["prompts"], given["pairs"]
    permutations, seed, suffixes, rate = given["permutations"], given["seed"], given["suffixes"], given["sample_rate"]
    if ref is None and pairs is not None:
        where = spoken("pairs", "--pairs")
        raise UsageError("clips have no partners without a reference", where=where, fix="Pass ref, or leave it out")
    chosen = get_protocol(protocol)
    recipes = computable(chosen, metrics, ref=ref is not None, prompts=prompts is not None, backbone=given["backbone"])
    folders = [open_clips(gen, suffixes, sample_rate=rate, name=name) for name, gen in (("A", gen_a), ("B", gen_b))]
    opened = None if ref is None else open_reference(ref, suffixes, rate, trust_reference=given["trust_reference"])
    ids = [{*known.clip_ids} for known in (*folders, *([] if opened is None else [opened]))]
    if opened is not None and not isinstance(opened, AudioFolder):
        require_named(opened, "auto", pairs)
        opened.check(recipes, protocol)
        for recipe in recipes if metrics is not None else ():
            opened.require(recipe)
    partners = None if pairs is None else read_pairs(pairs, ids[0] | ids[1], ids[2])
    captions: list[Captions | None] = [None, None]
    if prompts is not None:
        captions = [captions_of(prompts, own, partners, name) for own, name in zip(ids, "AB", strict=False)]
    networks = find_networks(recipes, given["device"], given["weights"], added(recipes) if metrics is None else ())
    backbones, gone = networks.backbones, [recipe for recipe in recipes if recipe.backbone in networks.missing]
    recipes = [recipe for recipe in recipes if recipe not in gone]
    how = ExtractionOptions.of(given)
    a, b = (
        FolderSide.extract(name, folder, recipes, backbones, how, captions=own)
        for name, folder, own in zip("AB", folders, captions, strict=True)
    )
    reference: FolderSide | StatisticsSide | None = None
    if isinstance(opened, AudioFolder):
        reference = FolderSide.extract("ref", opened, recipes, backbones, how)
    elif opened is not None:
        settings = {name: backbone.settings for name, backbone in backbones.items()}
        opened.check(recipes, protocol, settings)
        reference = StatisticsSide(opened, protocol, settings)
        reference.require_width(a)
    sides = (a, b) if reference is None else (a, b, reference)
    couples: list[tuple[FolderSide, EmbeddedSide]] = [(a, b)]
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
        chosen.caveat_of(recipes),
        a.summary(),
        b.summary(),
        None if reference is None else reference.summary(),
        tuple(differences),
        tuple(warnings),
        backbone_settings(recipes, backbones),
        tool_versions(),
    )


def _together(
    first: FolderSide, second: EmbeddedSide, recipes: Sequence[Recipe], prompts: Mapping[str, str] | None
) -> list[str]:
    """Return what to know of two of the three sets together."""
    if second.name == "ref" and any(recipe.definition.needs == "pairs" for recipe in recipes):
        found = between(first, second) + mixed_forms(first, second)
        return found + pair(first.clip_ids, second.clip_ids, prompts).warnings(first.name, second.name)
    return abreast(first, second)


def _difference(recipe: Recipe, match: MatchedSystems, permutations: int, seed: int) -> ScoreDifference:
    kind, first, (a, b) = recipe.definition, match.rivals[0], match.values()
    known = ScoreDifference(
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
    found = replace(
        known,
        standard_error=bounds.standard_error,
        ci95=(bounds.low, bounds.high),
        p=bounds.p(known.difference) if known.p is None else known.p,
        detectable=bounds.detectable,
    )
    return replace(
        found,
        verdict=unseparated(bounds) if found.better is None else f"{found.better} better, p = {found.p:.2g}",
    )
