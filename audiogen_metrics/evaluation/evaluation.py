"""A finished run as one object: both sets, every score, and what stands behind them, each computed once."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from audiogen_metrics import distributed as processes
from audiogen_metrics.audio.pairing import Pairing, PairingMode, pair
from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.evaluation.one_score import blank, score_warnings, scored
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.metrics.kl import KLDivergence
from audiogen_metrics.metrics.measuring.cost import cost
from audiogen_metrics.metrics.measuring.links import Links
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.results import Manifest, Score, ScoreReport

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone, Output
    from audiogen_metrics.embedding.sides import EmbeddedSide, FolderSide
    from audiogen_metrics.metrics.recipe import Recipe
    from audiogen_metrics.prompts import Captions
    from audiogen_metrics.protocols import Protocol

__all__ = ["Asked", "Evaluation"]


@dataclass(frozen=True)
class Asked:
    """What a run is asked for beside its sets and recipes.

    Parameters
    ----------
    pairing
        How clips pair; see `audiogen_metrics.score`.
    by_name
        Whether the metrics were asked for by name: one that cannot be computed is then an error.
    strict
        Whether a file that had to be skipped is an error.
    ci, extrapolate
        With intervals and what chance alone gives; with values at infinite n.
    draws
        Random deals behind p; None takes the default.
    prompts
        The reference of each generated clip, where several may share one; None pairs equal ids.
    captions
        What generated clips should sound like; None if that was not given.
    seed
        Of all that is drawn.
    cache
        Whether draws that take long are kept in the cache folder.
    distributed
        Whether all processes of the process group are in this run together.
    trust_reference
        Whether the user vouches for what others' statistics do not say.
    """

    pairing: PairingMode = "auto"
    by_name: bool = False
    strict: bool = False
    ci: bool = False
    extrapolate: bool = False
    draws: int | None = None
    prompts: Mapping[str, str] | None = None
    captions: Captions | None = None
    seed: int = 0
    cache: bool = True
    distributed: bool = False
    trust_reference: bool = False


DEFAULTS = Asked()


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Two sets and everything that is computed from them; every report, page and plot reads this.

    `audiogen_metrics.evaluation.evaluate` returns it, and `audiogen_metrics.score` hands it to ``observe``.

    Parameters
    ----------
    gen, ref
        The sets; ``ref`` may be known by a statistics file only, or be None where all metrics look at gen only.
    recipes
        What is computed.
    backbones
        By name.
    protocol
        Whose recipes they are.
    asked
        What else the run is asked for.
    manifest
        How to run it again, for the report; None for sets that were not given as folders.
    missing
        Recipes that are not computed, as their network is missing, with the reason.
    """

    gen: FolderSide
    ref: EmbeddedSide | None
    recipes: tuple[Recipe, ...]
    backbones: Mapping[str, Backbone]
    protocol: Protocol
    asked: Asked = DEFAULTS
    manifest: Manifest | None = None
    missing: Mapping[Recipe, str] = field(default_factory=dict)
    _measured: dict[Recipe, Measured] = field(default_factory=dict, init=False, repr=False)

    def __repr__(self) -> str:
        sides = [f"{side.name}={side.summary().path!r}" for side in (self.gen, self.ref) if side is not None]
        return f"Evaluation({', '.join(sides)}, scores={[recipe.score_id for recipe in self.recipes]})"

    @cached_property
    def pairs(self) -> Pairing:
        """Which clips have a partner."""
        return pair(self.gen.clip_ids, () if self.ref is None else self.ref.clip_ids, self.asked.prompts)

    @property
    def clips_of_ref_known(self) -> bool:
        """Whether there is a reference, and how many clips are behind it is known."""
        return self.ref is not None and self.ref.summary().scored is not None

    @property
    def paired(self) -> tuple[str, ...]:
        """Ids of the generated clips that have a reference, in order; empty if pairing is off."""
        return self.pairs.paired if self.asked.pairing != "none" else ()

    @cached_property
    def links(self) -> Links:
        """Which clips belong together: pairs, samples of one prompt, copies."""
        sides = [side for side in (self.gen, self.ref) if side is not None]
        contents = {side.name: (side.summary().files,) for side in sides}
        return Links(self.asked.pairing != "none", self.asked.prompts, contents)  # type: ignore[arg-type]

    def measured(self, recipe: Recipe) -> Measured:
        """Return a recipe's metric on both sets: its value, standard error, fit, and the score without each clip."""
        if recipe not in self._measured:
            from audiogen_metrics.evaluation.kept import kept_chance

            known = of_reference(self.recipes)
            # A metric that does not look at the reference needs to know which clips are in it, for samples of a prompt.
            ref = None if self.ref is None else self.ref.features(recipe if recipe in known else known[0])
            told = recipe.definition.prompted and self.asked.captions
            self._measured[recipe] = Measured(
                recipe.definition,
                self.gen.features(recipe),
                ref,
                links=self.links.told(told.by_clip) if told else self.links,
                seed=self.asked.seed,
                draws=self.asked.draws,
                keep=kept_chance if self.asked.cache else None,
            )
        return self._measured[recipe]

    @cached_property
    def listed(self) -> tuple[Recipe, ...]:
        """All that was asked for in the protocol's order: what is computed, and what is `missing`."""
        order = [recipe.score_id for recipe in self.protocol.recipes.values()]
        known = {score_id: place for place, score_id in enumerate(order)}
        every = (*self.recipes, *self.missing)
        return (
            tuple(sorted(every, key=lambda recipe: known.get(recipe.score_id, len(known)))) if self.missing else every
        )

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The scores by id; InsufficientDataError for one that was asked for by name and cannot be computed."""
        found = {}
        for recipe in self.listed:
            if recipe in self.missing:
                found[recipe.score_id] = replace(blank(recipe), reason=self.missing[recipe])
                continue
            measured = self.measured(recipe)
            if said := cost(measured, ci=self.asked.ci):
                print(f"agm: {recipe.score_id}: {said}", file=sys.stderr, flush=True)
            if self.asked.by_name:
                try:
                    _ = measured.measurement
                except InsufficientDataError as error:
                    raise InsufficientDataError(error.what, where=recipe.score_id, fix=error.fix) from error
            found[recipe.score_id] = scored(recipe, measured, ci=self.asked.ci, extrapolate=self.asked.extrapolate)
        return found

    @cached_property
    def report(self) -> ScoreReport:
        """The report. In a distributed run the first process makes it, and all get it: all must ask for it."""
        return processes.from_first(self._report) if self.asked.distributed else self._report()

    def recipe(self, output: Output) -> Recipe | None:
        """Return the first recipe whose metric is computed on an output, else whose backbone gives it, else None.

        One on which both sets were embedded, if there is a reference.
        """
        known = self.recipes if self.ref is None else of_reference(self.recipes)
        using = [recipe for recipe in known if recipe.definition.output == output]
        giving = [recipe for recipe in known if output in self.backbones[recipe.backbone].outputs]
        # Statistics files hold nothing for metrics that look at gen only.
        using.sort(key=lambda recipe: "ref" not in recipe.definition.sides)
        return next(iter(using + giving), None)

    @cached_property
    def divergences(self) -> Mapping[str, float]:
        """KL of each pair by clip id, also where KL was not asked for; empty without pairs or logits."""
        own = next((recipe for recipe in self.recipes if isinstance(recipe.definition, KLDivergence)), None)
        giving = own or self.recipe("logits")
        if giving is None or self.ref is None or not self.paired:
            return {}
        try:
            features = self.gen.features(giving), self.ref.features(giving)
            known = (recipe.definition for recipe in self.protocol.recipes.values())
            kind = next((kind for kind in known if isinstance(kind, KLDivergence)), KLDivergence())
            measured = Measured(kind, *features, links=self.links) if own is None else self.measured(own)
            return measured.measurement.by_clip or {}
        except InsufficientDataError:
            return {}

    @cached_property
    def rating(self) -> tuple[Recipe, Mapping[str, float]] | None:
        """The first recipe that gives each generated clip a score without a reference, with those scores, or None."""
        for recipe in self.recipes:
            if recipe.definition.sides == ("gen",) and self.scores[recipe.score_id].value is not None:
                by_clip = self.measured(recipe).measurement.by_clip
                if by_clip:
                    return recipe, by_clip
        return None

    @cached_property
    def by_clip(self) -> Mapping[str, Mapping[str, float]]:
        """By score id, the score of each clip, of the scores that are a mean over clips."""
        found = {}
        for recipe in self.recipes:
            if self.scores[recipe.score_id].value is not None:
                found[recipe.score_id] = self.measured(recipe).measurement.by_clip or {}
        return {score_id: by_clip for score_id, by_clip in found.items() if by_clip}

    def _report(self) -> ScoreReport:
        sides = [side for side in (self.gen, self.ref) if side is not None]
        if self.asked.strict:
            for side in sides:
                side.require_all()
        if self.asked.pairing == "id" and self.ref is not None:
            _require_usable_partners(self.gen, self.ref)
        problems = dict.fromkeys(problem for side in sides for problem in side.problems())
        return ScoreReport(
            scores=self.scores,
            protocol=self.protocol.name,
            gen=self.gen.summary(),
            ref=None if self.ref is None else self.ref.summary(),
            caveat=self.protocol.caveat_of(self.recipes),
            pairing={
                "mode": self.asked.pairing,
                "paired": len(self.pairs.paired),
                "gen_only": list(self.pairs.gen_only) if self.clips_of_ref_known else [],
                "ref_only": list(self.pairs.ref_only),
            },
            backbones=backbone_settings(self.recipes, self.backbones),
            missing={recipe.backbone: why for recipe, why in self.missing.items()},
            device=str(next(iter(self.backbones.values())).device),
            warnings=tuple(self._warnings([*problems])),
            versions=tool_versions(),
            manifest=self.manifest,
            problems=tuple(problems),
        )

    def _warnings(self, problems: list[str]) -> list[str]:
        """Return what to know before the scores are believed: about the sets, their files, the numbers."""
        from audiogen_metrics.embedding.sides import between, mixed_forms

        if self.ref is None:
            return self.gen.warnings() + problems + self._about_scores()
        if not any("ref" in recipe.definition.sides for recipe in self.recipes):
            return self.gen.warnings() + problems + self._about_scores()
        found = between(self.gen, self.ref) + self.gen.warnings() + self.ref.warnings() + problems
        if not self.clips_of_ref_known:
            return found + self._about_scores()
        n_gen, n_ref = len(self.gen.clip_ids), len(self.ref.clip_ids)
        if n_gen != n_ref:
            found.append(f"gen has {n_gen} clips and ref {n_ref}: Fréchet distances depend on both")
        if self.asked.pairing != "none":
            found += mixed_forms(self.gen, self.ref)
        if self.asked.pairing == "auto" and any(recipe.definition.needs == "pairs" for recipe in self.recipes):
            gen_only, ref_only = set(self.pairs.gen_only), set(self.pairs.ref_only)
            skipped = self.ref.losses.keys() & gen_only | self.gen.losses.keys() & ref_only
            found += self.pairs.warnings(skipped=len(skipped))
        return found + self._about_scores()

    def _about_scores(self) -> list[str]:
        return [warning for recipe in self.recipes for warning in score_warnings(recipe, self.scores[recipe.score_id])]


def of_reference(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return the recipes on which a reference is embedded: those that look at it, and those whose rows a page shows.

    What is said of generated clips alone, such as ratings and what prompts ask for, needs no reference. Where there is
    nothing else, all do, so that a page has a map of both sets.
    """
    shown = ("embeddings", "windows", "logits")
    found = [each for each in recipes if "ref" in each.definition.sides or each.definition.output in shown]
    return found or [*recipes]


def backbone_settings(recipes: Iterable[Recipe], backbones: Mapping[str, Backbone]) -> dict[str, dict[str, str | int]]:
    """Return everything that shapes the numbers of each backbone, by name; of one that reads prompts, how it does."""
    reading = {recipe.backbone for recipe in recipes if recipe.definition.prompted}
    return {
        name: backbone.settings | (backbone.text_settings if name in reading else {})
        for name, backbone in backbones.items()
    }


def _require_usable_partners(gen: EmbeddedSide, ref: EmbeddedSide) -> None:
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
