"""Clips divided among processes by what they cost."""

from __future__ import annotations

import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics.audio.files import open_clips
from audiogen_metrics.embedding import shares
from audiogen_metrics.embedding.extraction import RECALLED_SECONDS
from audiogen_metrics.embedding.shares import claimed_seconds, divide


def loads(pieces: list[list[list[int]]], costs: list[float]) -> list[float]:
    return [sum(costs[place] for piece in share for place in piece) for share in pieces]


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(5))
def test_every_clip_has_one_process_and_none_has_much_more_than_its_share(processes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    costs = (generator.lognormal(1, 1.5, size=400)).tolist()
    divided = divide(costs, [None] * 400, processes, 16)
    assert sorted(place for share in divided for piece in share for place in piece) == list(range(400))
    fair = sum(costs) / processes
    assert max(loads(divided, costs)) <= max(1.01 * fair, fair + min(costs), max(costs))
    assert len({len(share) for share in divided}) == 1


def test_one_long_clip_outweighs_many_short_ones() -> None:
    costs = [600.0] + [1.0] * 600
    divided = divide(costs, [None] * 601, 2, 256)
    assert divided[0] == [[0], [], []]
    assert [len(piece) for piece in divided[1]] == [200, 200, 200]


def test_pieces_of_one_process_cost_the_same() -> None:
    costs = [float(1 + place % 7) for place in range(700)]
    for share in divide(costs, [None] * 700, 2, 50):
        each = [sum(costs[place] for place in piece) for piece in share]
        assert max(each) - min(each) <= 2 * max(costs)


def test_what_is_cached_is_spread_like_the_rest() -> None:
    costs = [RECALLED_SECONDS] * 100
    assert [sum(map(len, share)) for share in divide(costs, [None] * 100, 4, 256)] == [25] * 4


def test_nothing_to_do_is_a_piece_without_clips() -> None:
    assert divide([1.0], [None], 3, 256) == [[[0]], [[]], [[]]]
    assert divide([0.0, 0.0], [None] * 2, 2, 256) == [[[0]], [[1]]]


def test_archives_stay_whole_where_there_are_enough_of_them() -> None:
    archives = [Path(f"{place // 10:02d}.tar") for place in range(120)]
    for share in divide([1.0] * 120, archives, 2, 256):
        found = [archives[place] for piece in share for place in piece]
        assert all(found.count(archive) == 10 for archive in set(found))


def test_a_large_archive_is_cut_into_runs_of_its_clips() -> None:
    archives = [Path("one.tar")] * 100
    divided = divide([1.0] * 100, archives, 4, 256)
    assert loads(divided, [1.0] * 100) == pytest.approx([25.0] * 4, abs=6)
    for share in divided:
        places = [place for piece in share for place in piece]
        breaks = sum(after != before + 1 for before, after in pairwise(places))
        assert breaks <= shares.RUNS_PER_PROCESS


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_file_says_its_length_in_its_header(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"clip.{suffix}", np.zeros(24_000), 8_000)
    (clip,) = open_clips(tmp_path).clips
    assert claimed_seconds(clip) == pytest.approx(3.0, abs=0.1)


def test_what_cannot_say_its_length_is_taken_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"x" * 2 * shares.BYTES_PER_SECOND)
    (clip,) = open_clips(tmp_path).clips
    assert claimed_seconds(clip) == 2.0
    clip.path.unlink()
    assert claimed_seconds(clip) == 0.0


def test_members_of_an_archive_are_taken_by_their_size_and_not_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.zeros(16_000), 16_000, subtype="PCM_16")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(tmp_path / "clip.wav", "clip.wav")
    (clip,) = open_clips(tmp_path / "set.tar").clips
    (tmp_path / "set.tar").unlink()
    assert claimed_seconds(clip) == pytest.approx(1.0, abs=0.01)


def test_arrays_say_their_length() -> None:
    (clip,) = open_clips({"a": (np.zeros(8_000, dtype=np.float32), 16_000)}).clips
    assert claimed_seconds(clip) == 0.5
