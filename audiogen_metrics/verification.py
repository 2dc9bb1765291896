"""Compute a report's scores again from what it says it was made of, and say what differs."""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Unpack

from audiogen_metrics.audio.files import ClipSet, is_shard
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.weights import weights_name
from audiogen_metrics.declaring import takes
from audiogen_metrics.embedding.foreign import place_of
from audiogen_metrics.errors import HELPS, DataError, MissingDependencyError, MissingWeightsError, UsageError, option
from audiogen_metrics.evaluation import find_networks
from audiogen_metrics.evaluation.run import score_named
from audiogen_metrics.metrics import catalogue
from audiogen_metrics.options import as_path
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.records import load_json
from audiogen_metrics.results import SCHEMA_VERSION, Manifest, Score, ScoreReport, later_fields
from audiogen_metrics.run_options import RepetitionOptions

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.evaluation import Evaluation
    from audiogen_metrics.metrics.recipe import Recipe

TOLERANCE = 1e-5
"""Relative difference up to which scores count as equal: what batch shape and device may change."""

OF_DEALS = frozenset({"chance_expected", "halves_gen", "halves_ref"})
"""Numbers of a score that a metric's ``scorer`` gives: exact up to its ``rounding``, also where they are nearly 0."""

ROUNDING = 1e-9
"""Absolute difference that counts as none: the distance of a set to itself has no digits to compare."""

NAMED = 5
"""Entries that a difference names."""

LATER = later_fields()
"""Fields that reports of earlier versions do not have."""

EARLIER_OPTIONS = frozenset({"splits", "seed", "eps"})
"""Options of metrics that earlier versions wrote into every recipe, whatever its metric; they wrote no others."""


IN_UNITS = frozenset(
    {"value", "std", "ci95", "mean_term", "covariance_term", "standard_error", "extrapolated"}
    | {"chance_expected", "halves_gen", "halves_ref", "extrapolated_low", "extrapolated_high"}
)
"""Numbers of a score that are in its own unit: they are as exact as its value, however small they are beside it."""

UNCERTAINTY = frozenset(
    {"ci95", "ci95_ref", "standard_error", "remarks", "noise_floor", "noise_floor_n", "subset_size", "subsets"}
    | {"chance_p", "chance_expected", "chance_draws", "halves_gen", "halves_ref", "halves_n"}
    | {"extrapolated_low", "extrapolated_high"}
)
"""What version 0.1 said of a score's uncertainty in another way."""

MACHINE = frozenset({"device", "device_type", "tf32", "cudnn", "products", "transformers", "problems"})
"""What says where the networks ran, and how that went: the scores are what counts."""

VERSIONS = frozenset({"numerics_version"})
"""Versions of code beside ``versions``: the scores tell whether they matter."""

TEXTS = frozenset({"caveat", "reason", "remarks", "warnings"})
"""What another version of this library may word in another way."""

Kind = Literal["files", "backbone", "recipe", "run", "score", "warning", "version", "machine"]

NOTES: tuple[Kind, ...] = ("version", "machine")
"""Kinds of difference that do not count."""

_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """One thing in which a report and its repetition differ.

    Parameters
    ----------
    kind
        ``files``, ``backbone`` (weights, precision), ``recipe``, ``run`` (protocol, options), ``score``, ``warning``,
        ``version`` of a tool and what another version of this library says otherwise, or ``machine`` (its device).
    what
        Which set, backbone, score or tool.
    text
        In what, recorded before found.
    """

    kind: Kind
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.what}: {self.text}"


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
    >>> from audiogen_metrics.verification import verify
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


def differences(
    recorded: Mapping[str, Any],
    found: Mapping[str, Any],
    tolerance: float = TOLERANCE,
    rounding: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[Difference]:
    """Yield in what a repetition differs from a report, causes before scores; both as JSON values.

    All that either of them states is compared, also what a later version of this library adds to a report. ``rounding``
    says by score id how far apart what random deals give may be.
    """
    was = _library(recorded)
    compare = _Comparison(was != _library(found), (was or "").startswith("0.1."), tolerance)
    old, new = ({**report, "manifest": {**report["manifest"]}} for report in (recorded, found))
    inputs = [report.pop("inputs") for report in (old, new)]
    for name, was, now in _by_name(*inputs):
        if was is not None and now is not None:
            yield from compare.inputs(name, was, now)
    yield from compare.fields("files", "pairing", old.pop("pairing", {}), new.pop("pairing"))
    yield from compare.named("backbone", old.pop("backbones", {}), new.pop("backbones"))
    recipes = old["manifest"].pop("recipes", {}), new["manifest"].pop("recipes")
    yield from compare.named("recipe", *recipes)
    yield from compare.fields("run", "manifest", old.pop("manifest"), new.pop("manifest"))
    scores, versions = ([report.pop(part, {}) for report in (old, new)] for part in ("scores", "versions"))
    warnings = [_about_sets(report) for report in (old, new)]
    for report in (old, new):
        report.pop("warnings", None)
    yield from compare.fields("run", "", old, new)
    for score_id, was, now in _by_name(*scores):
        yield from compare.score(score_id, was, now, rounding.get(score_id, 0.0))
    yield from compare.warnings(*warnings)
    yield from compare.fields("version", "version of", *versions)
    if compare.early:
        yield Difference("version", "uncertainty", "version 0.1 told it in another way: only values are compared")


@dataclass(frozen=True)
class _Comparison:
    """How a report is compared: whether another version of this library has written it, or 0.1, and how exactly."""

    foreign: bool
    early: bool
    tolerance: float

    def inputs(self, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
        """Compare what is said of one set; the hash of the list of files is a consequence of the files."""
        changes = list(_files(name, old.get("files", {}), new["files"]))
        yield from changes
        was, now = ({key: value for key, value in side.items() if key != "files"} for side in (old, new))
        if changes:
            was["digest"] = now["digest"]
        if math.isclose(was["seconds"], now["seconds"]):
            was["seconds"] = now["seconds"]
        for side in (was, now):
            # What would mend a file follows from the reason; reports of earlier versions do not have it.
            side["skipped"] = [{**entry, "fix": ""} for entry in side.get("skipped", [])]
        left_out = was.pop("left_out", {}), now.pop("left_out")
        for backbone, before, after in _by_name(*left_out):
            was[f"left out by {backbone}"], now[f"left out by {backbone}"] = before or [], after or []
        yield from self.fields("files", name, was, now)

    def named(self, kind: Kind, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
        """Compare settings by name."""
        for name, was, now in _by_name(old, new):
            if was is None or now is None:
                yield Difference(kind, name, _one_sided(was))
            else:
                was = {key: value for key, value in was.items() if key in now or key not in EARLIER_OPTIONS}
                yield from self.fields(kind, name, was, now)

    def fields(self, kind: Kind, what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
        """Compare settings one by one."""
        for key, was, now in _by_key(old, new):
            if not _same(was, now):
                yield Difference(self.kind(kind, key, was), f"{what} {key}".strip(), _change(was, now))

    def score(
        self, score_id: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, rounding: float
    ) -> Iterator[Difference]:
        """Compare all that is said of one score, its value first."""
        if old is None or new is None:
            yield Difference("score", score_id, _one_sided(old))
            return
        unit = max(abs(one["value"] or 0.0) for one in (old, new))
        scales = {**dict.fromkeys(IN_UNITS, unit), "extrapolation_slope": unit * new["n_gen"]}
        fields = [{key: value for key, value in one.items() if key != "details"} for one in (old, new)]
        found: dict[Kind, list[str]] = {}
        for side in fields:
            side["reason"] = _first_clause(side.get("reason"))
        for key, was, now in [*_by_key(*fields), *_by_key(old.get("details", {}), new["details"])]:
            least = max(ROUNDING, rounding * (key in OF_DEALS))
            if not (self.early and key in UNCERTAINTY) and not self.close(was, now, scales.get(key), least):
                text = _change(was, now) if key == "value" else f"{key} {_change(was, now)}"
                texts = found.setdefault(self.kind("score", key, was), [])
                texts.insert(0 if key == "value" else len(texts), text)
        for kind, texts in found.items():
            yield Difference(kind, score_id, "; ".join(texts))

    def warnings(self, old: Counter[str], new: Counter[str]) -> Iterator[Difference]:
        """Compare the warnings about the sets and scores."""
        kind = self.kind("warning", "warnings", None)
        for name, texts in (("in the report only", old - new), ("now only", new - old)):
            for text in texts.elements():
                yield Difference(kind, "warnings", f"{name}: {text}")

    def close(self, was: Any, now: Any, scale: float | None, least: float) -> bool:
        """Tell whether two values of a score are equal, numbers within the tolerance.

        Where there is a ``scale``, that of the value, numbers may also be ``least`` apart.
        """
        if scale is not None and isinstance(was, list) and isinstance(now, list):
            return len(was) == len(now) and all(map(partial(self.close, scale=scale, least=least), was, now))
        if _is_number(was) and _is_number(now) and isinstance(was + now, float):
            allowed = self.tolerance * max(abs(was), abs(now), scale or 0.0)
            return bool(abs(now - was) <= allowed + (0.0 if scale is None else least))
        return _same(was, now)

    def kind(self, kind: Kind, key: str, was: object) -> Kind:
        """Return the kind of a difference in a field."""
        if key in MACHINE:
            return "machine"
        unsaid = was is _ABSENT and (self.foreign or key in (_later_options() if kind == "recipe" else LATER))
        return "version" if unsaid or key in VERSIONS or (self.foreign and key in TEXTS) else kind


def _later_options() -> set[str]:
    """Return the names of all options that earlier versions did not write."""
    return {name for kind in catalogue().values() for name in kind().options} - EARLIER_OPTIONS


def _library(report: Mapping[str, Any]) -> str | None:
    version: str | None = report.get("versions", {}).get("audiogen-metrics")
    return version


def _about_sets(report: Mapping[str, Any]) -> Counter[str]:
    problems = {*report.get("problems", [])}
    said = (warning for warning in report.get("warnings", []) if f": {HELPS} " not in warning)
    return Counter(warning for warning in said if warning not in problems)


def _files(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    groups = {
        "changed": [clip for clip, digest in old.items() if new.get(clip, digest) != digest],
        "missing or no longer usable": sorted(old.keys() - new.keys()),
        "added": sorted(new.keys() - old.keys()),
    }
    for what, clips in groups.items():
        if clips:
            yield Difference("files", name, f"{len(clips)} files {what}: {_named(clips)}")


def _by_name(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield what both have under each name; None where one has nothing."""
    for name in dict.fromkeys([*old, *new]):
        yield name, old.get(name), new.get(name)


def _by_key(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each field of both."""
    for key in sorted({*old, *new}):
        yield key, old.get(key, _ABSENT), new.get(key, _ABSENT)


def _one_sided(old: object) -> str:
    return "not in the report, but now" if old is None else "in the report, but not now"


def _same(was: Any, now: Any) -> bool:
    """Tell whether two JSON values say the same: lists in any order; a field that is not there says nothing."""
    if was is _ABSENT:
        return bool(now in (None, "", [], {}))
    if isinstance(was, list) and isinstance(now, list):
        one, other = (Counter(json.dumps(value, sort_keys=True) for value in values) for values in (was, now))
        return one == other
    return isinstance(was, bool) == isinstance(now, bool) and bool(was == now)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _change(was: Any, now: Any) -> str:
    if isinstance(was, list) and isinstance(now, list) and not all(map(_is_number, was + now)):
        old, new = Counter(map(_text, was)), Counter(map(_text, now))
        groups = (("in the report only", old - new), ("now only", new - old))
        return "; ".join(f"{name}: {_named([*texts.elements()])}" for name, texts in groups if texts)
    change = f" ({now - was:+.3g})" if _is_number(was) and _is_number(now) else ""
    return f"{_text(was)}, now {_text(now)}{change}"


def _text(value: Any) -> str:
    if value is _ABSENT:
        return "not there"
    if isinstance(value, str):
        return value or "empty"
    if isinstance(value, dict):
        return ": ".join(_text(value[key]) for key in sorted(value))
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return f"{value:.9g}" if isinstance(value, float) else json.dumps(value)


def _first_clause(reason: str | None) -> str | None:
    """Return what a reason says without what would help, which the command line once said in flags."""
    return None if reason is None else reason.partition(". ")[0]


def _named(texts: Sequence[str]) -> str:
    return ", ".join(texts[:NAMED]) + ", …" * (len(texts) > NAMED)
