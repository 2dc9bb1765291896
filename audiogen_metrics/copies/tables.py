"""The result as text, Markdown and records."""

from __future__ import annotations

from audiogen_metrics.copies.calibration import Threshold
from audiogen_metrics.copies.result import ClipMatches, Copies, Kind
from audiogen_metrics.rendering import markdown, records_to_markdown
from audiogen_metrics.text import escaped

NAMES = {"mel": "mel similarity", "embedding": "embedding similarity"}


def records(found: Copies) -> list[dict[str, object]]:
    """Return one flat record per generated clip."""
    return [_record(clip, found) for clip in found.clips]


def _record(clip: ClipMatches, found: Copies) -> dict[str, object]:
    row: dict[str, object] = {
        "clip_id": clip.clip_id,
        "copy": "yes" if clip.is_copy else "no",
        "found_by": ", ".join(clip.found_by),
        "identical_to": clip.identical_to,
    }
    for kind, other in (("mel", "embedding"), ("embedding", "mel")):
        match, threshold = getattr(clip, kind), found.thresholds.get(kind)
        row[f"{kind}_nearest"] = None if match is None else match.clip_id
        row[f"{kind}_similarity"] = None if match is None else match.similarity
        row[f"{kind}_threshold"] = None if threshold is None else threshold.similarity
        row[f"{kind}_p"] = None if match is None else match.p
        row[f"{kind}_nearest_{other}"] = None if match is None else match.other
    row["offset_seconds"] = None if clip.mel is None else clip.mel.offset_seconds
    row["overlap_seconds"] = None if clip.mel is None else clip.mel.overlap_seconds
    row["reason"] = "; ".join(f"{kind}: {reason}" for kind, reason in clip.reasons.items())
    return row


def headline(found: Copies) -> str:
    """Return the result in one sentence."""
    same = len(found.identical)
    count = len(found.copies)
    said = f"{count} of {len(found.clips)} generated clips are called copies of training clips"
    if same:
        said += f", {same} of them identical to one"
    if not found.beyond_chance:
        said += "; no more than false alarms explain" if count else ""
    else:
        said += f"; beyond chance: {', '.join(found.beyond_chance)}"
    return said


def promise(threshold: Threshold) -> str:
    """Return what a threshold says, in words."""
    return (
        f"above {threshold.similarity:.4f}, where at most {threshold.false_alarms:.2%} of real clips lie that were not "
        f"trained on ({threshold.held_out} held-out clips; with 95 % confidence at most {threshold.upper:.2%})"
    )


def verdict(threshold: Threshold) -> str:
    """Return how many clips lie above a threshold, and how many would by chance."""
    return (
        f"{threshold.flagged} of {threshold.clips} clips above, {threshold.expected:.1f} expected by chance, "
        f"p = {threshold.p:.2g}"
    )


def pairs_of(clip: ClipMatches, found: Copies) -> dict[str, str]:
    """Return in words how a clip is alike to its nearest training clips, by training clip; both measures of each."""
    said: dict[str, list[str]] = {}
    if clip.identical_to is not None:
        said[clip.identical_to] = [f"identical {clip.identical}"]
    for kind, match in clip.matches.items():
        words = said.setdefault(match.clip_id, [])
        words.append(f"{_value(kind, match.similarity, found)}, p = {match.p:.2g}")
        if match.offset_seconds is not None:
            words.append(f"begins at {match.offset_seconds:+.2f} s of it, {match.overlap_seconds:.2f} s compared")
        other: Kind = "embedding" if kind == "mel" else "mel"
        beside = clip.matches.get(other)
        if match.other is not None and (beside is None or beside.clip_id != match.clip_id):
            words.append(_value(other, match.other, found))
    return {clip_id: "; ".join(words) for clip_id, words in said.items()}


def _value(kind: Kind, similarity: float, found: Copies) -> str:
    threshold = found.thresholds[kind].similarity
    return f"{kind} {similarity:.4f} ({'above' if similarity > threshold else 'not above'} {threshold:.4f})"


def notes(found: Copies) -> list[str]:
    """Return what limits the result."""
    lacking = {f"{kind}: {reason}": 0 for clip in found.clips for kind, reason in clip.reasons.items()}
    for clip in found.clips:
        for kind, reason in clip.reasons.items():
            lacking[f"{kind}: {reason}"] += 1
    return [f"{count} clips cannot be compared by {what}" for what, count in lacking.items()] + [*found.warnings]


def to_text(found: Copies) -> str:
    """Return the result for a terminal."""
    lines = [headline(found), ""]
    for kind, threshold in found.thresholds.items():
        lines += [f"{NAMES[kind]}: a copy is {promise(threshold)}", f"  {verdict(threshold)}"]
    if found.copies:
        lines.append("")
    for clip in found.copies:
        lines.append(f"{clip.clip_id}: {', '.join(clip.found_by)}")
        lines += [f"    {name}: {words}" for name, words in pairs_of(clip, found).items()]
    said = notes(found)
    lines += ["", *(f"note: {note}" for note in said)] if said else []
    return "\n".join(map(escaped, lines))


def to_markdown(found: Copies) -> str:
    """Return the result as GitHub's Markdown."""
    text = f"{markdown(headline(found))}.\n\n"
    text += records_to_markdown(
        [
            {
                "measure": NAMES[kind],
                "threshold": each.similarity,
                "false alarms": each.false_alarms,
                "held-out clips": each.held_out,
                "above": f"{each.flagged} of {each.clips}",
                "expected": each.expected,
                "p": each.p,
            }
            for kind, each in found.thresholds.items()
        ]
    )
    if found.copies:
        names = ("clip_id", "found_by", "identical_to", "mel_nearest", "mel_similarity", "offset_seconds")
        shown = [_record(clip, found) for clip in found.copies]
        picked = (*names, "embedding_nearest", "embedding_similarity")
        text += "\n" + records_to_markdown([{name: row[name] for name in picked} for row in shown])
    said = notes(found)
    return text + ("\n" + "".join(f"- {markdown(note)}\n" for note in said) if said else "")
