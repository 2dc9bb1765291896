"""Kernel distances and neighbourhoods against torch-fidelity and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional import distances as blocks
from audiogen_metrics.functional import kernel, kernel_audio_distance, kernel_distance, manifold


def rows(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1 * seed


@pytest.mark.parametrize(("subsets", "size"), [(20, 50), (3, 12), (5, 120)])
def test_kid_equals_torch_fidelity(subsets: int, size: int) -> None:
    """With the kernel between all rows computed once, by subset, and where one set is a subset."""
    from torch_fidelity.metric_kid import kid_features_to_metric

    gen, ref = rows(120, 16, 0), rows(150, 16, 3)
    theirs = kid_features_to_metric(gen, ref, kid_subsets=subsets, kid_subset_size=size, rng_seed=7, verbose=False)
    ours = kernel_distance(gen, ref, subsets=subsets, subset_size=size, seed=7)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert ours.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)


def test_kid_is_unbiased_where_fd_is_not() -> None:
    values = [kernel_distance(rows(20, 8, 0)[i::2], rows(20, 8, 0)[i - 1 :: 2]).value for i in (1,)]
    values += [kernel_distance(rows(15, 8, 10 * s) - s, rows(15, 8, 10 * s + 1) - s - 0.1).value for s in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_kad_equals_a_plain_loop() -> None:
    gen, ref = rows(30, 5, 0).numpy(), rows(25, 5, 4).numpy()
    pairs = [np.linalg.norm(ref[i] - ref[j]) for i in range(25) for j in range(i)]
    width = np.median(pairs)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.exp(-np.sum((x - y) ** 2) / (2 * width**2)))

    own = np.mean([kernel(gen[i], gen[j]) for i in range(30) for j in range(30) if i != j])
    theirs = np.mean([kernel(ref[i], ref[j]) for i in range(25) for j in range(25) if i != j])
    cross = np.mean([kernel(x, y) for x in gen for y in ref])
    assert kernel_audio_distance(gen, ref).value == pytest.approx(100 * (own + theirs - 2 * cross), rel=1e-9)
    # The ruler is the reference's: exchanged, it is another number.
    assert kernel_audio_distance(3 * ref, gen).value != pytest.approx(
        kernel_audio_distance(gen, 3 * ref).value, rel=1e-2
    )


def test_precision_and_recall_equal_torch_fidelity() -> None:
    from torch_fidelity.metric_prc import prc_features_to_metric

    gen, ref = rows(80, 6, 0), 1.3 * rows(70, 6, 2)
    theirs = prc_features_to_metric(gen, ref, prc_neighborhood=3, prc_batch_size=100, save_cpu_ram=False, verbose=False)
    ours = manifold(gen, ref, nearest=3)
    assert ours.precision == pytest.approx(theirs["precision"])
    assert ours.recall == pytest.approx(theirs["recall"])
    assert 0 < ours.precision < 1
    assert 0 < ours.recall < 1


def test_density_and_coverage_equal_plain_loops() -> None:
    gen, ref = rows(40, 4, 0).numpy(), rows(35, 4, 3).numpy()
    radii = [sorted(np.linalg.norm(row - ref, axis=1))[5] for row in ref]
    inside = np.array([[np.linalg.norm(g - r) <= radius for r, radius in zip(ref, radii, strict=True)] for g in gen])
    found = manifold(gen, ref)
    assert found.density == pytest.approx(inside.sum() / (5 * 40))
    assert found.coverage == pytest.approx(inside.any(0).mean())


def test_mode_collapse_has_precision_without_recall() -> None:
    ref = rows(100, 8, 0)
    collapsed = ref[:1] + 1e-3 * rows(100, 8, 5)
    found = manifold(collapsed, ref)
    assert found.precision == 1.0
    assert found.recall < 0.05
    assert found.coverage < 0.2


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gen, ref = rows(50, 6, 0), rows(45, 6, 2)
    whole = (manifold(gen, ref), kernel_audio_distance(gen, ref).value)
    monkeypatch.setattr(blocks, "BLOCK", 7)
    again = (manifold(gen, ref), kernel_audio_distance(gen, ref).value)
    assert again[0] == whole[0]
    assert again[1] == pytest.approx(whole[1], rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("d", [2, 32, 1024])
def test_copies_are_equal_wherever_the_sets_lie(d: int, offset: float) -> None:
    """As in exact arithmetic: with itself a set covers all, and a neighbour at the radius is inside."""
    ref = rows(60, d, 0) + offset
    assert manifold(ref, ref) == (1.0, 1.0, 1.2, 1.0)
    # Six copies of each row: every radius is 0.
    assert manifold(ref.repeat(6, 1), ref.repeat(6, 1)) == (1.0, 1.0, 1.2, 1.0)
    assert manifold(ref.repeat(6, 1)[torch.randperm(360)], ref.repeat(6, 1)) == (1.0, 1.0, 1.2, 1.0)


def test_one_far_row_costs_the_others_no_digits() -> None:
    ref = rows(60, 16, 0)
    ref[0] += 1e9
    assert manifold(ref[1:], ref[1:]).coverage == manifold(ref, ref).coverage == 1.0
    near = torch.cat([ref[1:], ref[1:] + 1e-3])
    assert manifold(ref, near).coverage == 1.0


def test_kad_does_not_depend_on_where_the_sets_lie() -> None:
    gen, ref = rows(60, 128, 0), rows(50, 128, 3)
    value = kernel_audio_distance(gen, ref).value
    # The sum with 2^20 has 32 bits left for the rows: the distances of the shifted rows themselves are exact.
    far = (gen + 2**20, ref + 2**20)
    assert kernel_audio_distance(*far).value == pytest.approx(
        kernel_audio_distance(*(side - 2**20 for side in far)).value, abs=1e-10
    )
    assert kernel_audio_distance(*far).value == pytest.approx(value, abs=1e-6)


def test_kad_without_a_bandwidth_is_refused_though_copies_lie_far_apart() -> None:
    """Two groups of copies, of 30 and 20: more than half of all pairs are equal."""
    centres = 1e3 * rows(2, 64, 5)
    with pytest.raises(DataError, match="no bandwidth"):
        kernel_audio_distance(rows(9, 64, 0), centres.repeat_interleave(torch.tensor([30, 15]), 0))


def test_kid_on_all_rows_equals_a_plain_loop() -> None:
    gen, ref = rows(30, 5, 0).numpy(), rows(45, 5, 4).numpy()

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 5 + 1) ** 3)

    own = np.mean([kernel(gen[i], gen[j]) for i in range(30) for j in range(30) if i != j])
    theirs = np.mean([kernel(ref[i], ref[j]) for i in range(45) for j in range(45) if i != j])
    cross = np.mean([kernel(x, y) for x in gen for y in ref])
    found = kernel_distance(gen, ref)
    assert found.value == pytest.approx(own + theirs - 2 * cross, rel=1e-9)
    assert (found.std, found.subset_size) == (None, 30)
    # The order of the rows and further rows of the larger set count for what they are.
    assert kernel_distance(gen[::-1].copy(), ref[::-1].copy()).value == pytest.approx(found.value, rel=1e-9)
    assert kernel_distance(gen, ref[:30]).value == pytest.approx(
        kernel_distance(gen, ref[:30], subsets=1).value, rel=1e-9
    )


def test_what_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="dimension 3 and 4"):
        kernel_distance(rows(9, 3, 0), rows(9, 4, 0))
    with pytest.raises(DataError, match="dimension 3 and 4"):
        manifold(rows(9, 3, 0), rows(9, 4, 0))
    with pytest.raises(InsufficientDataError, match="gen has 1 row"):
        kernel_audio_distance(rows(1, 3, 0), rows(9, 3, 0))
    with pytest.raises(InsufficientDataError, match="no 5th neighbour"):
        manifold(rows(5, 3, 0), rows(9, 3, 0))
    with pytest.raises(DataError, match="no bandwidth"):
        kernel_audio_distance(rows(9, 3, 0), torch.ones(9, 3))


@pytest.mark.parametrize("count", [2, 3, 40, 41, 500])
@pytest.mark.parametrize("kind", ["spread", "equal", "two values", "many zeros", "wide"])
def test_middle_values_are_those_of_a_sorted_list(monkeypatch: pytest.MonkeyPatch, count: int, kind: str) -> None:
    """Found by their leading bits, however few of them may be kept."""
    monkeypatch.setattr(kernel, "LISTED_PAIRS", 3)
    values = rows(count, 1, 3)[:, 0].square()
    if kind == "equal":
        values = torch.full_like(values, 0.7)
    elif kind == "two values":
        values = torch.where(torch.arange(count, device="cpu") < count // 2, 1.0, 1.0 + 2**-52).double()
    elif kind == "many zeros":
        values[: count // 2 + 1] = 0
    elif kind == "wide":
        values = values.pow(100)
    ordered = values.sort().values
    expected = float(ordered[(count - 1) // 2]), float(ordered[count // 2])
    assert kernel.middle_values(lambda: values.split(7), count) == expected


def test_a_bandwidth_does_not_depend_on_how_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    ref = rows(90, 5, 1)
    listed = kernel.gaussian(ref)
    monkeypatch.setattr(kernel, "LISTED_PAIRS", 10)
    assert kernel.gaussian(ref) == listed


def test_fewer_rows_at_a_time_where_there_are_many_others(monkeypatch: pytest.MonkeyPatch) -> None:
    gen, ref = rows(60, 5, 0), rows(50, 5, 2)
    expected = kernel_distance(gen, ref).value, kernel_audio_distance(gen, ref).value, *manifold(gen, ref)
    monkeypatch.setattr(blocks, "NUMBERS", 150)
    assert blocks.rows_at_once(50) == 3
    assert blocks.rows_at_once(10**9) == 1
    found = kernel_distance(gen, ref).value, kernel_audio_distance(gen, ref).value, *manifold(gen, ref)
    assert found == pytest.approx(expected, rel=1e-11)
