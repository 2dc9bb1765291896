"""From the nearest training clips to a verdict on each generated clip, with what limits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from audiogen_metrics.audio.files import printable
from audiogen_metrics.copies.alignment import SECONDS_PER_FRAME
from audiogen_metrics.copies.calibration import FALSE_ALARMS, Threshold, calibrate, chance
from audiogen_metrics.copies.result import ClipMatches, Copies, Files, Kind, Match
from audiogen_metrics.copies.searching import NOT_FOUND, Search
from audiogen_metrics.embedding.extraction import Extraction
from audiogen_metrics.embedding.sides import LENGTHS_APART, FolderSide, shared_content
from audiogen_metrics.errors import InsufficientDataError, remedies
from audiogen_metrics.evaluation.versions import tool_versions

Pairs = list[tuple[str, str, float]]


def judged(
    search: Search,
    used: Mapping[str, Extraction],
    rate: float | None,
    *,
    drawn: bool,
    protocol: str,
    backbones: Mapping[str, Mapping[str, str | int]],
    seed: int,
) -> Copies:
    """Return the result of a search.

    Parameters
    ----------
    search
        Search over the whole training set.
    used
        Extractions of the sets ``gen``, ``train`` and ``held-out``.
    rate
        Rate of false alarms that was asked for.
    drawn
        Whether the held-out clips come from the training set.
    protocol, backbones, seed
        What the result records.
    """
    kinds: list[Kind] = ["mel", "embedding"] if protocol else ["mel"]
    held_out = {kind: _held_out(search, kind) for kind in kinds}
    thresholds, lacking = _thresholds(search, held_out, rate)
    sides = {name: FolderSide(name, each.folder, {}, (each,), 0.0) for name, each in used.items()}
    clips = [_clip(search, row, thresholds, held_out) for row in range(search.generated)]
    files = {name.replace("-", "_"): {clip.clip_id: clip for clip in each.folder.clips} for name, each in used.items()}
    return Copies(
        clips=tuple(sorted(clips, key=_surest_first)),
        thresholds={str(kind): each for kind, each in thresholds.items()},
        gen=sides["gen"].summary(),
        train=sides["train"].summary(),
        held_out=None if drawn else sides["held-out"].summary(),
        protocol=protocol,
        backbones=backbones,
        seed=seed,
        warnings=(*lacking, *_warnings(search, used, thresholds, rate, drawn=drawn)),
        versions=tool_versions(),
        _files=cast("Files", files),
    )


def _held_out(search: Search, kind: Kind) -> Pairs:
    """Return the held-out clips with their nearest training clips, without clips that are in the training set twice."""
    nearest = search.nearest[kind]
    return [
        (search.asked.clip_ids[row], nearest.clip_id[row], nearest.similarity[row])
        for row in range(search.generated, len(search.asked))
        if row not in search.identical and nearest.similarity[row] > NOT_FOUND
    ]


def _thresholds(
    search: Search, held_out: Mapping[Kind, Pairs], rate: float | None
) -> tuple[dict[Kind, Threshold], list[str]]:
    """Return the threshold of each measure for which there are enough clips, and a reason for each of the others.

    Raises
    ------
    InsufficientDataError
        A measure has too few held-out clips for the rate that was asked for; or all measures lack a threshold, and
        no clip is identical.
    """
    found: dict[Kind, Threshold] = {}
    lacking: list[InsufficientDataError] = []
    for kind, pairs in held_out.items():
        values = [value for value in search.nearest[kind].similarity[: search.generated] if value > NOT_FOUND]
        try:
            found[kind] = calibrate(pairs, values, rate)
        except InsufficientDataError as error:
            lacking.append(InsufficientDataError(error.what, where=f"{kind} similarity", fix=error.fix))
    identical = any(row < search.generated for row in search.identical)
    if lacking and (rate is not None or not (found or identical)):
        raise lacking[0]
    return found, [f"not used: {error}" for error in lacking]


def _clip(
    search: Search, row: int, thresholds: Mapping[Kind, Threshold], held_out: Mapping[Kind, Pairs]
) -> ClipMatches:
    clip_id = search.asked.clip_ids[row]
    identical, identical_to = search.identical.get(row, (None, None))
    matches, reasons = {}, dict(search.asked.reasons.get(clip_id, {}))
    for kind, threshold in thresholds.items():
        nearest = search.nearest[kind]
        value = nearest.similarity[row]
        if value == NOT_FOUND:
            reasons.setdefault(kind, "no training clip can be compared")
            continue
        p = chance(value, [pair[2] for pair in held_out[kind]])
        timing = {}
        if kind == "mel":
            timing = {
                "offset_seconds": nearest.lag[row] * SECONDS_PER_FRAME,
                "overlap_seconds": nearest.overlap[row] * SECONDS_PER_FRAME,
            }
        is_copy = value > threshold.similarity
        matches[kind] = Match(nearest.clip_id[row], value, p, is_copy, nearest.other[row], **timing)
    return ClipMatches(clip_id, identical, identical_to, matches.get("mel"), matches.get("embedding"), reasons)


def _surest_first(clip: ClipMatches) -> tuple[object, ...]:
    order = {"bytes": 0, "audio": 1, None: 2}
    sure = (1.0, 0.0, 0.0)
    if clip.is_copy:
        values = [0.0 if match is None else -match.similarity for match in (clip.mel, clip.embedding)]
        sure = (min((match.p for match in clip.matches.values()), default=1.0), values[0], values[1])
    return not clip.is_copy, order[clip.identical], sure, clip.clip_id


def _warnings(
    search: Search,
    used: Mapping[str, Extraction],
    thresholds: Mapping[Kind, Threshold],
    rate: float | None,
    *,
    drawn: bool,
) -> list[str]:
    found = []
    for name, each in used.items():
        if name != "held-out" or not drawn:
            found += [f"{name}: skipped {printable(failure.path)}: {failure.reason}" for failure in each.failures]
            found += [f"{name}: {line}" for line in remedies(failure.fix for failure in each.failures)]
            if each.folder.lost:
                found.append(f"{name}: {len(each.folder.lost)} links lead nowhere: {', '.join(each.folder.lost[:3])}")
    if not drawn:
        found += shared_content("gen", used["gen"].digests, "held-out", used["held-out"].digests)
    again = sum(row >= search.generated for row in search.identical)
    if drawn:
        found.append(
            "no held-out clips were given: training clips, each compared with all others, take the place of real clips "
            "that were not trained on; near-duplicates among them raise the threshold, so that copies are missed, "
            "never invented"
        )
    if again:
        kind = "have an identical twin in the training set" if drawn else "are in the training set too"
        found.append(f"{again} held-out clips {kind} and are left out")
    if rate is None:
        found += [
            f"{kind}: {each.held_out} held-out clips cannot show 1 % of false alarms, so the rate is "
            f"{each.false_alarms:.2%}; 99 or more clips can"
            for kind, each in thresholds.items()
            if each.false_alarms > FALSE_ALARMS
        ]
    return found + _lengths(used, thresholds)


def _lengths(used: Mapping[str, Extraction], thresholds: Mapping[Kind, Threshold]) -> list[str]:
    """Return a warning if held-out clips are longer or shorter than generated ones."""
    gen, held_out = (_mean([fact.seconds for fact in used[name].facts.values()]) for name in ("gen", "held-out"))
    if max(gen, held_out) <= LENGTHS_APART * min(gen, held_out):
        return []
    said = f"generated clips last {gen:.3g} s on average, held-out clips {held_out:.3g} s: "
    if gen > held_out:
        return [
            f"{said}the thresholds come from shorter clips, which are alike to something more often; copies are missed"
        ]
    cuts = "held-out clips are cut to the generated clips' lengths for mel similarity"
    if "embedding" not in thresholds:
        return [said + cuts]
    return [f"{said}{cuts}, but not for the embedding, whose rate of false alarms is not known here"]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
