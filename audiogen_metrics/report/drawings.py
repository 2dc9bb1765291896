"""Small drawings as SVG text for pages, coloured by the page's style sheet; no library needed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audiogen_metrics.report.projection import Cloud, Projection

WIDTH, HEIGHT, MARGIN = 640, 420, 36


def scatter(projection: Projection, describe: str) -> str:
    """Return both sets in the plane: gen as discs, ref as squares, each with its ellipse of two deviations."""
    clouds = {"ref": projection.ref, "gen": projection.gen}
    places = [place for cloud in clouds.values() for place in (*cloud.points, *_corners(cloud))]
    xs, ys = zip(*places, strict=True)
    # One scale for both axes: distances in the drawing are distances in the plane.
    scale = min(
        (WIDTH - 2 * MARGIN) / max(max(xs) - min(xs), 1e-12), (HEIGHT - 2 * MARGIN) / max(max(ys) - min(ys), 1e-12)
    )
    middle = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2

    def at(place: tuple[float, float]) -> tuple[float, float]:
        return WIDTH / 2 + (place[0] - middle[0]) * scale, HEIGHT / 2 - (place[1] - middle[1]) * scale

    drawn = []
    for name, cloud in clouds.items():
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, _outline(cloud)))
        drawn.append(f'<polygon class="{name} ellipse" points="{outline}"/>')
    for name, cloud in clouds.items():
        for clip_id, place in zip(cloud.clip_ids, cloud.points, strict=True):
            drawn.append(_mark(name, clip_id, *at(place)))
        x, y = at(cloud.centre)
        drawn.append(f'<path class="{name} centre" d="M{x - 7:.1f} {y:.1f}h14M{x:.1f} {y - 7:.1f}v14"/>')
    return _svg(WIDTH, HEIGHT, describe, drawn)


def _mark(name: str, clip_id: str, x: float, y: float) -> str:
    title = f"<title>{name}: {escape(clip_id)}</title>"
    if name == "gen":
        return f'<circle class="gen" cx="{x:.1f}" cy="{y:.1f}" r="3.5">{title}</circle>'
    return f'<rect class="ref" x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6">{title}</rect>'


def _outline(cloud: Cloud) -> list[tuple[float, float]]:
    from math import cos, pi, sin

    (x, y), ((ax, ay), (bx, by)) = cloud.centre, cloud.axes
    turns = [2 * pi * step / 48 for step in range(48)]
    return [(x + ax * cos(t) + bx * sin(t), y + ay * cos(t) + by * sin(t)) for t in turns]


def _corners(cloud: Cloud) -> list[tuple[float, float]]:
    return _outline(cloud)[::6]


def histogram(values: Sequence[float], unit: str, describe: str) -> str:
    """Return how often values occur, in up to 30 bins from the least to the greatest."""
    low, high = min(values), max(values)
    counts, width = bins(values)
    tall, base, left = 204, 172, 56
    step, peak = (WIDTH - 2 * left) / len(counts), max(counts)
    drawn = [f'<path class="axis" d="M{left} {base}H{WIDTH - left}"/>']
    for place, count in enumerate(counts):
        height = 140 * count / peak
        title = f"<title>{low + place * width:.3g} to {low + (place + 1) * width:.3g} {escape(unit)}: {count}</title>"
        drawn.append(
            f'<rect class="bar" x="{left + place * step + 0.5:.1f}" y="{base - height:.1f}" '
            f'width="{step - 1:.1f}" height="{height:.1f}">{title}</rect>'
        )
    middle = sorted(values)[len(values) // 2]
    x = left + (middle - low) / (high - low or 1) * step * len(counts)
    drawn.append(f'<path class="median" d="M{x:.1f} 24V{base}"/>')
    drawn.append(f'<text x="{x:.1f}" y="18" text-anchor="middle">median {middle:.3g}</text>')
    drawn.append(f'<text x="{left}" y="{base + 20}">{low:.3g}</text>')
    drawn.append(f'<text x="{WIDTH - left}" y="{base + 20}" text-anchor="end">{high:.3g} {escape(unit)}</text>')
    drawn.append(f'<text x="{left - 6}" y="36" text-anchor="end">{peak}</text>')
    return _svg(WIDTH, tall, describe, drawn)


def bins(values: Sequence[float]) -> tuple[list[int], float]:
    """Return counts in equal bins, and their width; one bin if all values are equal."""
    low, high = min(values), max(values)
    if high <= low:
        return [len(values)], 0.0
    counts = [0] * max(5, min(30, round(2 * len(values) ** 0.5)))
    for value in values:
        counts[min(int((value - low) / (high - low) * len(counts)), len(counts) - 1)] += 1
    return counts, (high - low) / len(counts)


def bars(gen: float, ref: float, largest: float) -> str:
    """Return two bars of shares, ref above gen; decoration, as the numbers stand beside them."""
    return (
        '<svg class="pair" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="ref" x="0" y="1" width="{100 * ref / largest:.2f}" height="5"/>'
        f'<rect class="gen" x="0" y="8" width="{100 * gen / largest:.2f}" height="5"/></svg>'
    )


def interval(value: float, low: float, high: float) -> str:
    """Return an interval around its value beside 0, which is in the middle; decoration."""
    reach = max(abs(low), abs(high)) or 1.0
    left, middle, right = (50 + 48 * place / reach for place in (low, value, high))
    return (
        '<svg class="pair" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="median" d="M50 0V14"/><path class="axis" d="M{left:.2f} 7H{right:.2f}"/>'
        f'<rect class="gen" x="{middle - 1:.2f}" y="3" width="2" height="8"/></svg>'
    )


def intervals(rows: Sequence[tuple[str, float, tuple[float, float] | None]], describe: str) -> str:
    """Return values with their intervals below each other on one scale, a row each; the numbers stand in a table."""
    ends = [end for _, value, bounds in rows for end in (value, *(bounds or ()))]
    low, high = min(ends), max(ends)
    wide, left, right, step = 352, 142, 340, 26  # as wide as a phone, so that text keeps its size there
    scale = (right - left) / ((high - low) or 1.0)
    base = 12 + step * len(rows)
    drawn = [f'<path class="axis" d="M{left} {base}H{right}"/>']
    for row, (label, value, bounds) in enumerate(rows):
        y, x = 12 + step * row + step / 2, left + (value - low) * scale
        shown = label if len(label) <= 20 else f"…{label[-19:]}"
        title = f"<title>{escape(label)}: {value:.4g}</title>"
        drawn.append(f'<text x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(shown)}</text>')
        if bounds is not None:
            one, other = (left + (end - low) * scale for end in bounds)
            drawn.append(
                f'<path class="axis" d="M{one:.1f} {y}H{other:.1f}M{one:.1f} {y - 5}v10M{other:.1f} {y - 5}v10"/>'
            )
        drawn.append(f'<circle class="gen" cx="{x:.1f}" cy="{y}" r="5">{title}</circle>')
    drawn.append(f'<text x="{left}" y="{base + 20}">{low:.3g}</text>')
    drawn.append(f'<text x="{right}" y="{base + 20}" text-anchor="end">{high:.3g}</text>')
    return _svg(wide, base + 26, describe, drawn)


def _svg(width: int, height: int, describe: str, drawn: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(describe)}">{"".join(drawn)}</svg>'
