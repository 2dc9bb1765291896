"""Distances between parts of a pool, and scores without each clip, against computing each of them on its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from audiogen_metrics.functional import (
    GaussianStatistics,
    frechet_distance,
    kernel_audio_distance,
    kernel_distance,
)
from audiogen_metrics.functional.blocks import Places
from audiogen_metrics.functional.downdates import frechet_leave_one_out
from audiogen_metrics.functional.kernel import cubic, discrepancy, discrepancy_leave_one_out, gaussian
from audiogen_metrics.functional.pooled import PooledFrechet, PooledGaussian, PooledKernel


def drawn(n: int, d: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    scales = torch.logspace(0, -2, d, dtype=torch.float64) * spread
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scales


def frechet(gen: torch.Tensor, ref: torch.Tensor) -> float:
    return frechet_distance(*map(GaussianStatistics.from_embeddings, (gen, ref))).value


def variance(rows: torch.Tensor) -> float:
    return float(rows.var(0).sum())


def rows_of(clips: Places, rows: torch.Tensor, counts: list[int]) -> torch.Tensor:
    blocks = rows.split(counts)
    return torch.cat([blocks[clip] for clip in sorted(clips)])


def part_of(order: Places, start: int, stop: int) -> Places:
    return np.sort(order[start:stop])


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize(
    ("n", "m", "d"),
    [(20, 20, 64), (9, 40, 64), (40, 9, 64), (60, 60, 8), (60, 12, 30), (12, 60, 30), (3, 3, 2), (2, 2, 5)],
)
def test_distances_of_parts(n: int, m: int, d: int, offset: float) -> None:
    """Fewer and more clips than dimensions on either side, near the origin and far from it."""
    rows = torch.cat([drawn(n, d, 1), drawn(m, d, 2, 1.5) + 0.3]) + offset
    pooled, rng = PooledFrechet(rows, [1] * (n + m)), np.random.default_rng(0)
    for order in (np.arange(n + m), rng.permutation(n + m), rng.permutation(n + m)):
        gen, ref = part_of(order, 0, n), part_of(order, n, n + m)
        direct = frechet(rows[gen], rows[ref])
        assert pooled.value(gen, ref) == pytest.approx(direct, abs=1e-6 * variance(rows))
        assert pooled.value(ref, gen) == pytest.approx(direct, abs=1e-6 * variance(rows))


@pytest.mark.parametrize("counts", [[3] * 24, [1, 5, 2, 2, 7, 1] * 4])
@pytest.mark.parametrize("d", [4, 90])
def test_clips_keep_all_their_windows(counts: list[int], d: int) -> None:
    rows = drawn(sum(counts), d, 3)
    pooled, order = PooledFrechet(rows, counts), np.random.default_rng(1).permutation(len(counts))
    gen, ref = part_of(order, 0, 14), part_of(order, 14, 24)
    direct = frechet(rows_of(gen, rows, counts), rows_of(ref, rows, counts))
    assert pooled.value(gen, ref) == pytest.approx(direct, abs=1e-6 * variance(rows))
    # Parts may leave clips out.
    direct = frechet(rows_of(gen[:5], rows, counts), rows_of(ref[2:], rows, counts))
    assert pooled.value(gen[:5], ref[2:]) == pytest.approx(direct, abs=1e-6 * variance(rows))


@pytest.mark.parametrize("d", [5, 40])
def test_sets_on_a_plane_and_constant_sets(d: int) -> None:
    flat = drawn(30, 2, 4) @ torch.randn(2, d, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    gen, ref = np.arange(15), np.arange(15, 30)
    assert PooledFrechet(flat, [1] * 30).value(gen, ref) == pytest.approx(
        frechet(flat[:15], flat[15:]), abs=1e-6 * variance(flat)
    )
    half = torch.cat([torch.ones(15, d, dtype=torch.float64), flat[15:]])
    assert PooledFrechet(half, [1] * 30).value(gen, ref) == pytest.approx(
        frechet(half[:15], half[15:]), abs=1e-6 * variance(half)
    )


@pytest.mark.parametrize(("n", "d"), [(20, 6), (20, 80), (150, 100)])
def test_a_set_is_at_no_distance_from_its_copy_in_whatever_order(n: int, d: int) -> None:
    rows = drawn(n, d, 6)
    pooled = PooledFrechet(torch.cat([rows, rows[torch.randperm(n)]]), [1] * (2 * n))
    assert abs(pooled.value(np.arange(n), np.arange(n, 2 * n))) < 1e-6 * variance(rows)


@pytest.mark.parametrize("decay", [0.5, 0.8, 1.5])
def test_many_axes_with_a_long_tail(decay: float) -> None:
    """More principal axes than are always kept; what is left out takes part in the distance with those that stay."""
    scales = torch.arange(1, 601, dtype=torch.float64) ** -decay
    rows = torch.randn(800, 600, generator=torch.Generator().manual_seed(7), dtype=torch.float64) * scales
    gen, ref = np.arange(400), np.arange(400, 800)
    pooled, direct = PooledFrechet(rows, [1] * 800), frechet(rows[:400], rows[400:])
    assert 256 <= pooled.rows.shape[1] < 600
    assert pooled.value(gen, ref) == pytest.approx(direct, abs=5e-3 * variance(rows))


def weighted_frechet(gen: torch.Tensor, ref: torch.Tensor, weights: torch.Tensor) -> float:
    """Return the distance of two distributions of weighted rows, by matrix roots."""
    sides = []
    for rows, share in ((gen, weights), (ref, torch.full((len(ref),), 1 / len(ref), dtype=torch.float64))):
        mean = share @ rows
        sides.append((mean, ((rows - mean) * share[:, None]).T @ (rows - mean)))
    (mean, covariance), (other, covariance_other) = sides
    sizes, axes = torch.linalg.eigh(covariance)
    root = axes * sizes.clamp(min=0).sqrt() @ axes.T
    norm = torch.linalg.eigvalsh(root @ covariance_other @ root).clamp(min=0).sqrt().sum()
    return float((mean - other).square().sum() + covariance.trace() + covariance_other.trace() - 2 * norm)


@pytest.mark.parametrize("counts", [[1] * 40, [2, 1, 4, 1] * 10])
def test_influences_are_derivatives(counts: list[int]) -> None:
    """Of the distance, in the weight that a clip has: by central differences, where clips outnumber dimensions."""
    d, rows = 5, drawn(2 * sum(counts), 5, 9) + 0.2
    rows[sum(counts) :] *= 1.4
    pooled = PooledFrechet(rows, counts * 2)
    gen, ref = np.arange(len(counts)), np.arange(len(counts), 2 * len(counts))
    ours, theirs = rows[: sum(counts)], rows[sum(counts) :]
    assert len(ours) > d
    for clips, changed, other, found in zip(
        (gen, ref), (ours, theirs), (theirs, ours), pooled.influences(gen, ref), strict=True
    ):
        owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        for clip in (0, 2, 7, len(clips) - 1):
            step, values = 1e-5, []
            for sign in (1, -1):
                weights = torch.full((len(changed),), 1 / len(changed), dtype=torch.float64)
                weights[owner == clip] *= 1 + sign * step
                values.append(weighted_frechet(changed, other, weights / weights.sum()))
            derivative = (values[0] - values[1]) / (2 * step)
            # A clip of mean length has the share 1 / n of the weight.
            assert float(found[clip]) / len(clips) == pytest.approx(derivative, rel=1e-4, abs=1e-8), clip
        assert abs(float(found.mean())) < 1e-9 * variance(rows)


@pytest.mark.parametrize(("n", "m", "d"), [(12, 40, 64), (40, 12, 64), (15, 15, 64), (50, 50, 8)])
def test_influences_are_centred_and_ordered_as_the_clips_are(n: int, m: int, d: int) -> None:
    rows = torch.cat([drawn(n, d, 10), drawn(m, d, 11) + 0.1])
    rows[1] += 3.0
    pooled = PooledFrechet(rows, [1] * (n + m))
    gen, ref = np.arange(n), np.arange(n, n + m)
    for found in pooled.influences(gen, ref):
        assert bool(found.isfinite().all())
        assert abs(float(found.sum())) < 1e-6 * variance(rows) * len(found)
    assert int(pooled.influences(gen, ref)[0].abs().argmax()) == 1
    assert int(pooled.influences(gen[::-1].copy(), ref)[0].abs().argmax()) == n - 2


def test_influences_in_any_order_of_clips_of_several_rows() -> None:
    counts = [1, 4, 2, 3, 1, 2, 5, 1, 2, 2]
    rows = drawn(sum(counts), 3, 12)
    pooled, gen, ref = PooledFrechet(rows, counts), np.array([4, 0, 2, 1, 3]), np.array([9, 5, 6, 8, 7])
    for found, straight, clips in zip(
        pooled.influences(gen, ref), pooled.influences(np.sort(gen), np.sort(ref)), (gen, ref), strict=True
    ):
        torch.testing.assert_close(found, straight[torch.from_numpy(np.argsort(np.argsort(clips)))])


def test_influences_of_constant_sets_are_numbers() -> None:
    rows = torch.cat([torch.ones(8, 4, dtype=torch.float64), drawn(8, 4, 13)])
    for gen, ref in (
        (np.arange(8), np.arange(8, 16)),
        (np.arange(8, 16), np.arange(8)),
        (np.arange(4), np.arange(4, 8)),
    ):
        assert all(bool(found.isfinite().all()) for found in PooledFrechet(rows, [1] * 16).influences(gen, ref))


@pytest.mark.parametrize(
    ("pooled", "direct"),
    [
        (lambda rows: PooledKernel(cubic(rows, rows)), lambda gen, ref: kernel_distance(gen, ref).value),
        (PooledGaussian, lambda gen, ref: kernel_audio_distance(gen, ref).value / 100),
    ],
)
@pytest.mark.parametrize(("n", "m", "d"), [(20, 20, 6), (7, 31, 90), (31, 7, 3)])
def test_kernel_distances_of_parts(
    pooled: Callable[[torch.Tensor], PooledKernel | PooledGaussian],
    direct: Callable[[torch.Tensor, torch.Tensor], float],
    n: int,
    m: int,
    d: int,
) -> None:
    """KAD's bandwidth is that of each reference, so exchanged sides are another number."""
    rows = torch.cat([drawn(n, d, 14), 2 * drawn(m, d, 15) + 0.5])
    whole, rng = pooled(rows), np.random.default_rng(2)
    for order in (np.arange(n + m), rng.permutation(n + m), rng.permutation(n + m)):
        for gen, ref in ((order[:n], order[n:]), (order[n:], order[:n])):
            assert whole.value(gen, ref) == pytest.approx(direct(rows[gen], rows[ref]), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("counts", [[1] * 12, [3, 1, 2, 2, 1, 4, 1], [2] * 6])
@pytest.mark.parametrize("kind", ["cubic", "gaussian"])
def test_discrepancies_without_each_clip(counts: list[int], kind: str) -> None:
    gen, ref = drawn(sum(counts), 5, 16), drawn(17, 5, 17) + 0.3
    kernel = cubic if kind == "cubic" else gaussian(ref)
    blocks = gen.split(counts)
    expected = [
        discrepancy(torch.cat([*blocks[:clip], *blocks[clip + 1 :]]), ref, kernel) for clip in range(len(counts))
    ]
    found = discrepancy_leave_one_out(gen, ref, kernel, counts)
    assert found.tolist() == pytest.approx(expected, rel=1e-10, abs=1e-13)


def without_each(gen: torch.Tensor, ref: torch.Tensor, counts: list[int]) -> list[float]:
    blocks = gen.split(counts)
    return [frechet(torch.cat([*blocks[:clip], *blocks[clip + 1 :]]), ref) for clip in range(len(counts))]


@pytest.mark.parametrize("seed", [22, 26, 32, 55, 60, 70])
def test_clips_of_two_windows_never_give_nan(seed: int) -> None:
    """As VGGish has on 2 s. Rounding brought determinants of 0 below it: NaN for these seeds before version 0.2."""
    generator = torch.Generator().manual_seed(seed)
    gen, ref = (torch.randn(rows, 64, generator=generator, dtype=torch.float64) for rows in (12, 24))
    found = frechet_leave_one_out(gen, ref, [2] * 6)
    assert found.tolist() == pytest.approx(without_each(gen, ref, [2] * 6), abs=1e-6 * variance(ref))


@pytest.mark.parametrize("n", [2, 3, 5, 9])
@pytest.mark.parametrize("d", [2, 16, 300])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_clips_of_two_windows_at_every_scale(n: int, d: int, scale: float) -> None:
    """Also with features that are 0 for most clips, as those behind a ReLU are."""
    generator = torch.Generator().manual_seed(n)
    gen = torch.randn(2 * n, d, generator=generator, dtype=torch.float64).relu() * scale
    ref = torch.randn(30, d, generator=generator, dtype=torch.float64) * scale
    found = frechet_leave_one_out(gen, ref, [2] * n)
    assert found.tolist() == pytest.approx(without_each(gen, ref, [2] * n), abs=1e-6 * (variance(gen) + variance(ref)))


@pytest.mark.parametrize("counts", [[2, 2], [3, 2, 2], [1, 1, 1], [2, 2, 2, 2]])
@pytest.mark.parametrize("d", [1, 2, 50])
@pytest.mark.parametrize("copies", [False, True])
def test_few_clips_and_copies(counts: list[int], d: int, copies: bool) -> None:
    rows, ref = drawn(sum(counts), d, 18), drawn(25, d, 19) + 0.1
    if copies:
        rows = torch.cat([rows[: -(-len(rows) // 2)], rows[: len(rows) // 2]])
    found = frechet_leave_one_out(rows, ref, counts)
    assert bool(found.isfinite().all())
    scale = variance(rows) + variance(ref)
    assert found.tolist() == pytest.approx(without_each(rows, ref, counts), abs=1e-5 * scale)
