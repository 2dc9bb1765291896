"""Compute a report's scores again from what it says it was made of, and say what differs."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from audiogen_metrics.audio.files import ClipSet, is_shard
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.published import weights_name
from audiogen_metrics.declaring import takes
from audiogen_metrics.embedding.foreign import place_of
from audiogen_metrics.errors import DataError, MissingDependencyError, MissingWeightsError, UsageError, option
from audiogen_metrics.evaluation.differences import NOTES, OF_DEALS, TOLERANCE, Difference, differences
from audiogen_metrics.evaluation.networks import find_networks
from audiogen_metrics.evaluation.run import score_named
from audiogen_metrics.options import as_path
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.records import load_json
from audiogen_metrics.results import SCHEMA_VERSION, Manifest, Score, ScoreReport
from audiogen_metrics.run_options import RepetitionOptions

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.evaluation import Evaluation
    from audiogen_metrics.metrics.recipe import Recipe

__all__ = ["Verification", "verify", "verify_systems"]


@dataclass(frozen=True)
class Verification:
    """A report, its repetition, and how they differ."""

    recorded: ScoreReport
    found: ScoreReport
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether all that the report states is found again; another machine or other versions alone do not count."""
        return all(difference.kind in NOTES for difference in self.differences)


@takes(RepetitionOptions)
def verify(
    path: str | Path,
    *,
    gen: ClipSet | None = None,
    ref: ClipSet | None = None,
    tolerance: float = TOLERANCE,
    **options: Unpack[RepetitionOptions],
) -> Verification:
    """Repeat the run behind a report, with its options, and compare all that the report states.

    Parameters
    ----------
    path
        A report as JSON.
    gen, ref
        Where the sets are now, if not where the report says. Relative paths of the report are looked for in the working
        folder.
    tolerance
        Relative difference up to which scores, and what goes with them, count as equal.

    Raises
    ------
    DataError
        No report, or a set that is not there any more.
    MissingWeightsError
        Weights that are not there any more.
    UsageError
        A report that does not say what it was made from, or a protocol that does not exist here.

    Examples
    --------
    >>> from audiogen_metrics import verify
    >>> verify("report.json").equal  # doctest: +SKIP
    True
    """
    return _verified(load_json(path), path, gen=gen, ref=ref, tolerance=tolerance, **options)


@takes(RepetitionOptions)
def verify_systems(
    path: str | Path,
    *,
    gen: Sequence[str | Path] | None = None,
    ref: ClipSet | None = None,
    tolerance: float = TOLERANCE,
    **options: Unpack[RepetitionOptions],
) -> dict[str, Verification]:
    """Repeat every run behind a file that `audiogen_metrics.ranking.Ranking.to_json` has written, by label.

    Scores, intervals and p of each system are compared as `verify` does. Differences between systems follow from the
    same features; they are not computed again.

    Parameters
    ----------
    path
        What ``agm score --format json`` has written of several systems.
    gen
        Where the systems are now, in the order of the file.
    ref, tolerance
        As in `verify`.

    Raises
    ------
    DataError
        Another file; and what `verify` raises.
    """
    content = load_json(path)
    if not is_several(content):
        raise DataError("holds no reports of several systems", where=path, fix="Pass it to audiogen_metrics.verify")
    labels, reports = content["systems"], content["reports"]
    if gen is not None and len(gen) != len(reports):
        raise UsageError(
            f"{len(gen)} folders are given, and the file has {len(reports)} systems",
            where="gen",
            fix=f"Pass one for each, in this order: {', '.join(labels)}",
        )
    places = [None] * len(reports) if gen is None else gen
    return {
        label: _verified(report, path, gen=place, ref=ref, tolerance=tolerance, **options)
        for label, report, place in zip(labels, reports, places, strict=True)
    }


def is_several(content: object) -> bool:
    """Tell whether JSON holds reports of several systems, each with its label."""
    if not isinstance(content, dict):
        return False
    labels, reports = content.get("systems"), content.get("reports")
    return (
        content.get("schema_version") == SCHEMA_VERSION
        and isinstance(labels, list)
        and isinstance(reports, list)
        and len({*map(str, labels)}) == len(labels) == len(reports) > 0
    )


def _verified(
    content: Any,
    path: str | Path,
    *,
    gen: ClipSet | None = None,
    ref: ClipSet | None = None,
    tolerance: float = TOLERANCE,
    **options: Unpack[RepetitionOptions],
) -> Verification:
    """Repeat the run behind one report, given as JSON values that come from ``path``."""
    given = RepetitionOptions(**options)
    weights = given["weights"] or {}
    recorded = ScoreReport.from_dict(content, path)
    manifest = _manifest(recorded, path)
    if not 0 <= tolerance < 1:
        raise UsageError(f"tolerance={tolerance}", fix="Use 0 or more, less than 1")
    if manifest.ref is None and ref is not None:
        raise UsageError("the report has no reference", where="ref", fix="Leave it out")
    _require_inputs(manifest, Path(path), {"gen": gen, "ref": ref}, weights)
    gone = {name: why for name, why in recorded.missing.items() if weights_name(name) not in weights}
    seen: list[Evaluation] = []
    found = score_named(
        manifest.gen if gen is None else gen,
        manifest.ref if ref is None else ref,
        metrics=manifest.metrics,
        protocol=recorded.protocol,
        by_name=False,  # a score that had no value has none again, or it is a difference
        missing=gone,
        device=given["device"],
        weights={**manifest.weights, **weights},
        batch_size=manifest.batch_size,
        sample_rate=manifest.sample_rate,
        workers=given["workers"],
        pairing=recorded.pairing.get("mode", "auto"),
        pairs=manifest.pairs or None,
        prompts=manifest.prompts or None,
        trust_reference=manifest.trust_reference,
        limit=manifest.limit,
        suffixes=manifest.suffixes,
        ci=_asked(manifest.ci, any(map(_has_uncertainty, recorded.scores.values()))),
        draws=manifest.draws,
        extrapolate=_asked(manifest.extrapolate, any(map(_is_extrapolated, recorded.scores.values()))),
        seed=manifest.seed,
        cache=given["cache"],
        verify=True,
        progress=given["progress"],
        observe=seen.append,
    )
    stated, now = copy.deepcopy(content), json.loads(found.to_json())
    for name, place in (("gen", gen), ("ref", ref)):
        if place is not None:
            _move(stated, now, name)
    stated["manifest"].setdefault("weights", {}).update({name: now["manifest"]["weights"][name] for name in weights})
    changes = differences(stated, now, tolerance, _rounding(seen[0]))
    return Verification(recorded, found, (*changes, *_come(seen[0].missing, given["device"])))


def _come(missing: Iterable[Recipe], device: str | torch.device) -> Iterator[Difference]:
    """Yield a note on each score that has no value because of a network that was missing then and is here now."""
    for recipe in missing:
        with contextlib.suppress(MissingWeightsError, MissingDependencyError):
            find_networks([recipe], device)
            what = f"has no value, as {recipe.backbone} was missing; it is here now: score again for a value"
            yield Difference("machine", recipe.score_id, what)


def _rounding(evaluation: Evaluation) -> dict[str, float]:
    """Return by score id how far rounding may move what random deals give."""
    return {
        recipe.score_id: recipe.definition.rounding(evaluation.measured(recipe).pool())
        for recipe in evaluation.recipes
        if OF_DEALS & evaluation.scores[recipe.score_id].details.keys()
    }


def _manifest(recorded: ScoreReport, path: str | Path) -> Manifest:
    if recorded.manifest is not None:
        _require_recipes(recorded.manifest, recorded.protocol)
        return recorded.manifest
    if recorded.protocol == "imported":
        raise UsageError(
            "was made by agm import, from features whose audio is not known",
            where=path,
            fix="Run agm import on them again and compare",
        )
    raise UsageError(
        "the report does not say which folders it was made from", where=path, fix="Only agm score's reports do"
    )


def _require_recipes(manifest: Manifest, protocol: str) -> None:
    """Raise UsageError for scores that the protocol does not have: a metric object on a backbone of one's own."""
    known = get_protocol(protocol)
    recipes = {recipe.score_id: recipe for recipe in known.every.values()}
    for name in manifest.metrics:
        _, _, backbone = name.partition("@")
        if backbone.startswith("hf:") or backbone in BACKBONES.names():
            recipes |= {recipe.score_id: recipe for recipe in known.select([name])}
    own = [
        f"{score_id}: protocol {protocol} does not have this score" for score_id in manifest.recipes.keys() - recipes
    ]
    for score_id in manifest.recipes.keys() & recipes:
        for name, value in recipes[score_id].definition.options.items():
            stated = manifest.recipes[score_id].get(name, value)
            if stated != value:
                own.append(f"{score_id} was computed with {name} {stated}; protocol {protocol} has {value}")
    if own:
        raise UsageError(
            "; ".join(sorted(own)), where="manifest", fix="Run it again from Python, with what it was made with"
        )


def _require_inputs(
    manifest: Manifest, report: Path, places: Mapping[str, ClipSet | None], weights: Mapping[str, str | Path]
) -> None:
    """Raise unless the sets and weights are where the report says, or where the caller says; names the option."""
    for name, place in places.items():
        stated = getattr(manifest, name)
        if place is None and name in manifest.given:
            fix = f"Pass them again: {option(name, 'PATH')}"
            raise UsageError(f"{name} was given clip by clip, not as a folder", where=stated, fix=fix)
        if place is None and stated is not None and not _is_there(stated):
            beside = as_path(report).parent / stated
            raise DataError(
                f"{name} does not exist{_looked(stated)}",
                where=stated,
                fix=f"Say where it is now: {option(name, str(beside) if beside.exists() else 'PATH')}",
            )
    for name, file in manifest.weights.items():
        if name not in weights and not as_path(file).exists():
            raise MissingWeightsError(
                f"weights of {name} do not exist{_looked(file)}",
                where=file,
                fix=f"Say where they are now: {option('weights', {name: 'FILE'})}",
            )


def _is_there(stated: str) -> bool:
    """Tell whether a set or statistics are where a report says."""
    if is_shard(stated):
        from audiogen_metrics.audio.shards import expanded  # numpy is not needed for folders

        return all(shard.exists() for shard in expanded(stated))
    return place_of(stated).exists()


def _looked(stated: str) -> str:
    return "" if as_path(stated).is_absolute() else f" below {Path.cwd()}, where this command runs"


def _asked(recorded: bool | None, seen: bool) -> bool:
    """Return whether an option was on: as recorded, or in reports of earlier versions, as seen in the scores."""
    return seen if recorded is None else recorded


def _is_extrapolated(score: Score) -> bool:
    return "extrapolated" in score.details


def _has_uncertainty(score: Score) -> bool:
    return bool(score.ci95 or score.remarks or {"standard_error", "noise_floor", "chance_p"} & score.details.keys())


def _move(stated: dict[str, Any], now: Mapping[str, Any], name: str) -> None:
    """Write into a report where a set is now, also in what it says of single files."""
    old, new = stated["inputs"][name], now["inputs"][name]
    stated["manifest"][name] = now["manifest"][name]
    for entry in chain(old.get("skipped", []), *old.get("left_out", {}).values()):
        if Path(entry["path"]).is_relative_to(old["path"]):
            before = entry["path"]
            entry["path"] = str(Path(new["path"], Path(before).relative_to(old["path"])))
            warnings = stated.get("warnings", [])
            stated["warnings"] = [warning.replace(before, entry["path"]) for warning in warnings]
    old["path"] = new["path"]
