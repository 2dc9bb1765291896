"""Rows of clips: the same numbers in memory and in a file, in any order, whole and in blocks; nothing is left over."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from audiogen_metrics.embedding import rows as module
from audiogen_metrics.embedding.cache import ClipFeatures
from audiogen_metrics.embedding.rows import Rows
from audiogen_metrics.embedding.sets import EmbeddingSet
from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional.statistics import GaussianStatistics
from tests.memory import LINUX_ONLY, printed

COUNTS = [3, 1, 0, 5, 2, 4, 1]


def clips(seed: int = 0, counts: list[int] = COUNTS) -> dict[str, ClipFeatures]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    return {
        f"clip{place}": {"embeddings": normal(4), "windows": normal(count, 3), "logits": normal(5)}
        for place, count in enumerate(counts)
    }


@pytest.fixture(params=["memory", "file"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Keep rows in memory, or all of them in files; read them a clip or two at a time."""
    monkeypatch.setattr(module, "BLOCK_BYTES", 30)
    monkeypatch.setattr(module, "CLIPS_AT_ONCE", 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if request.param == "file":
        monkeypatch.setattr(module, "IN_MEMORY", 0)
    return str(request.param)


def assert_is(found: EmbeddingSet, expected: dict[str, ClipFeatures]) -> None:
    """Compare a set with the clips that it should have, one by one, joined, and in blocks."""
    assert found.clip_ids == tuple(expected)
    for name, clip in found.features.items():
        assert clip.keys() == expected[name].keys()
        assert all(torch.equal(clip[output], expected[name][output]) for output in clip)
    for output in ("embeddings", "windows", "logits"):
        several = output == "windows"
        parts = [clip[output] if several else clip[output][None] for clip in expected.values()]
        assert torch.equal(found.rows(output), torch.cat(parts))
        assert found.counts(output) == [len(part) for part in parts]
        blocks = [*found.blocks(output)]
        assert torch.equal(torch.cat([rows for rows, _ in blocks]), torch.cat(parts))
        assert [count for _, counts in blocks for count in counts] == [len(part) for part in parts]
        assert all(len(rows) == sum(counts) for rows, counts in blocks)
        assert len(blocks) > 1


def test_a_set_has_what_it_was_given(kept: str) -> None:
    given = clips()
    found = EmbeddingSet(given)
    assert_is(found, given)
    assert isinstance(found._rows._columns["windows"]._file, type(None)) == (kept == "memory")


@pytest.mark.usefixtures("kept")
def test_sets_of_some_clips_in_another_order() -> None:
    given = clips()
    order = ["clip4", "clip0", "clip3", "clip1"]
    found = EmbeddingSet(given).select(order)
    assert_is(found, {name: given[name] for name in order})
    assert torch.equal(
        found.logits(["clip3", "clip4"]), torch.stack([given[name]["logits"] for name in ("clip3", "clip4")])
    )
    assert_is(found.select(["clip1", "clip3"]), {name: given[name] for name in ("clip1", "clip3")})


@pytest.mark.usefixtures("kept")
def test_clips_without_rows() -> None:
    given = clips(counts=[0, 2, 0])
    found = EmbeddingSet(given)
    assert found.select(["clip2", "clip0"]).rows("windows").shape == (0, 3)
    assert [counts for _, counts in found.select(["clip0"]).blocks("windows")] == [[0]]
    assert found.select([]).counts("windows") == []
    with pytest.raises(InsufficientDataError, match="no clip is left"):
        found.select([]).rows("windows")


@pytest.mark.usefixtures("kept")
def test_a_clip_under_several_names() -> None:
    given = clips()
    renamed = EmbeddingSet(given).renamed({"x": "clip3", "y": "clip0", "z": "clip3"})
    assert_is(renamed, {"x": given["clip3"], "y": given["clip0"], "z": given["clip3"]})


@pytest.mark.usefixtures("kept")
def test_some_clips_as_they_are_in_another_set() -> None:
    given, other = clips(), clips(seed=1, counts=[2, 2, 2, 2, 2, 2, 2])
    mixed = EmbeddingSet(given).mixed(EmbeddingSet(other), {"clip1", "clip5"})
    assert_is(mixed, given | {name: other[name] for name in ("clip1", "clip5")})


@pytest.mark.usefixtures("kept")
def test_rows_that_came_in_another_order_are_arranged() -> None:
    given = clips()
    rows = Rows()
    rows.add(given.values())
    places = np.array([5, 0, 3, 3], dtype=np.int64)
    found = EmbeddingSet.of_rows("abcd", rows.arranged(places), np.arange(4))
    assert_is(found, dict(zip("abcd", [[*given.values()][place] for place in places], strict=True)))
    assert rows.arranged(np.arange(len(rows))) is rows, "nothing is copied where the order is right"


@pytest.mark.usefixtures("kept")
def test_rows_travel_and_join() -> None:
    given, more = clips(), clips(seed=2)
    rows, others = Rows(), Rows()
    rows.add(given.values())
    others.add(more.values())
    rows.extend(pickle.loads(pickle.dumps(others)))
    rows.extend(Rows())
    every = [*given.values(), *more.values()]
    names = [f"clip{place:02d}" for place in range(len(every))]
    assert_is(EmbeddingSet.of_rows(names, rows, np.arange(len(rows))), dict(zip(names, every, strict=True)))


@pytest.mark.usefixtures("kept")
def test_clips_that_come_after_some_were_read() -> None:
    given = clips()
    rows = Rows()
    rows.add([given["clip0"]])
    assert torch.equal(rows.whole("logits")[0], given["clip0"]["logits"])
    rows.add([given["clip1"]])
    assert torch.equal(rows.whole("logits"), torch.stack([given["clip0"]["logits"], given["clip1"]["logits"]]))


@pytest.mark.usefixtures("kept")
def test_statistics_are_those_of_all_rows() -> None:
    given = clips(counts=[4] * 30)
    found, rows = EmbeddingSet(given), torch.cat([clip["windows"] for clip in given.values()])
    expected = GaussianStatistics.from_embeddings(rows)
    torch.testing.assert_close(found.statistics("windows").mean, expected.mean, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.statistics("windows").covariance, expected.covariance, rtol=1e-12, atol=1e-14)
    assert found.statistics("windows").count == 120


def test_clips_of_different_kinds_are_refused() -> None:
    rows = Rows()
    rows.add(clips().values())
    with pytest.raises(DataError, match="a clip has embeddings, where others have embeddings, logits, windows"):
        rows.add([{"embeddings": torch.zeros(4, dtype=torch.float32, device="cpu")}])
    wide = clips()["clip0"] | {"logits": torch.zeros(6, dtype=torch.float32, device="cpu")}
    with pytest.raises(DataError, match="do not go with others"):
        rows.add([wide])
    with pytest.raises(InsufficientDataError, match="there are no ratings"):
        EmbeddingSet(clips()).rows("ratings")


def test_no_room_for_the_file_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(DataError, match="cannot be kept") as caught:
        EmbeddingSet(clips())
    assert str(tmp_path / "missing") in str(caught.value)
    assert "TMPDIR" in str(caught.value)


@pytest.mark.parametrize("end", ["pass", "raise KeyboardInterrupt", "os.kill(os.getpid(), 9)"])
@pytest.mark.skipif(sys.platform == "win32", reason="an open file has a name there, until it is closed")
def test_nothing_is_left_behind(tmp_path: Path, end: str) -> None:
    program = f"""
import os, tempfile, torch
from audiogen_metrics.embedding import rows
tempfile.tempdir, rows.IN_MEMORY = {str(tmp_path)!r}, 0
kept = rows.Rows()
kept.add([{{"embeddings": torch.ones(9)}}])
assert kept._columns["embeddings"]._file is not None
{end}
"""
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, cwd=Path(__file__).parents[2])
    assert [*tmp_path.iterdir()] == []


@LINUX_ONLY
def test_memory_does_not_follow_the_number_of_clips() -> None:
    """Five times as many rows, 400 MB more in a file: what is in memory is a block, and up to 70 MB by allocation."""
    program = """
    import numpy as np
    from audiogen_metrics.embedding.rows import Rows
    from audiogen_metrics.embedding.sets import EmbeddingSet
    from audiogen_metrics.functional.statistics import GaussianStatistics
    def fill(clips):
        rows = Rows()
        for start in range(0, clips, 100):
            rows.add({"windows": block} for block in torch.randn(100, 100, 50))
        found = EmbeddingSet.of_rows(map(str, range(clips)), rows, np.arange(clips))
        return found.select([*found.clip_ids][::-1]).statistics("windows")
    fill(5_000)
    before = peak()
    forget()
    fill(25_000)
    print(before, peak())
    """
    before, after = printed(program)
    assert after < before + 150
