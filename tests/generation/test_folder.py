"""A folder of clips: whole, resumable, pairing with its references."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.generation.base import FunctionGenerator, Generated, Request
from audiogen_metrics.generation.folder import MANIFEST, AudioFormat, generate_folder, read_manifest

REQUESTS = [Request(name, "a hum", seconds=0.25) for name in ("a/1", "a/2", "b/ä 'x'", "-dash")]


class Hums:
    """A generator that counts what it makes, and dies where it is told to."""

    sample_rate = 16_000
    batch_size = 2

    def __init__(self, pitch: float = 50.0, dies_at: int = 10**9, loud: float = 0.5) -> None:
        self.settings: dict[str, Any] = {"pitch": pitch}
        self.made: list[str] = []
        self._dies_at, self._loud = dies_at, loud

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        if len(self.made) >= self._dies_at:
            raise KeyboardInterrupt
        self.made += [request.clip_id for request in requests]
        time = np.arange(4000) / 16_000
        return [
            Generated((self._loud * np.sin(time * request.stream() % 1e4)).astype(np.float32)) for request in requests
        ]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.wav")}


def test_clips_pair_by_id_and_the_manifest_tells_all(tmp_path: Path) -> None:
    summary = generate_folder(Hums(), REQUESTS, tmp_path / "out")
    assert (summary.made, summary.kept) == (4, 0)
    entries = read_manifest(tmp_path / "out")
    assert set(entries) == {request.clip_id for request in REQUESTS}
    entry = entries["a/1"]
    assert entry["prompt"] == "a hum"
    assert entry["settings"] == {"pitch": 50.0}
    assert entry["peak"] == pytest.approx(0.5, rel=1e-2)
    assert soundfile.info(tmp_path / "out" / entry["file"]).frames == entry["samples"] == 4000


def test_ids_are_composed_whatever_the_folder_was_begun_with(tmp_path: Path) -> None:
    decomposed, composed = "cafe\u0301", "caf\u00e9"
    generate_folder(Hums(), [Request(decomposed, "a hum", seconds=0.25)], tmp_path)
    assert [path.stem for path in tmp_path.glob("*.wav")] == [composed]
    manifest = tmp_path / MANIFEST
    entry = {**json.loads(manifest.read_text(encoding="utf-8")), "clip_id": decomposed, "request_digest": "another"}
    manifest.write_text(json.dumps(entry) + "\n", encoding="utf-8")  # as versions wrote it that did not compose ids
    with pytest.raises(UsageError, match="1 clips were asked for differently"):
        generate_folder(Hums(), [Request(composed, "a hum", seconds=0.25)], tmp_path, resume=True)


def test_killed_and_resumed_it_makes_only_what_is_missing(tmp_path: Path) -> None:
    generate_folder(Hums(), REQUESTS, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        generate_folder(Hums(dies_at=2), REQUESTS, tmp_path / "out")
    # As a kill in the middle of a line leaves it; the clip itself was written.
    with (tmp_path / "out" / MANIFEST).open("ab") as file:
        file.write(b'{"clip_id": "b/')
    again = Hums()
    summary = generate_folder(again, REQUESTS, tmp_path / "out", resume=True)
    assert (summary.made, summary.kept) == (2, 2)
    assert again.made == ["b/ä 'x'", "-dash"]
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")
    assert set(read_manifest(tmp_path / "out")) == {request.clip_id for request in REQUESTS}


def test_a_changed_or_missing_clip_is_made_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate_folder(Hums(), REQUESTS, out)
    whole = contents(out)
    (out / "a/1.wav").write_bytes(b"RIFF")
    (out / "a/2.wav").unlink()
    again = Hums()
    summary = generate_folder(again, REQUESTS, out, resume=True)
    assert again.made == ["a/1", "a/2"]
    assert "2 clips were missing or changed" in summary.warnings[0]
    assert contents(out) == whole


def test_settings_and_requests_are_never_mixed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate_folder(Hums(), REQUESTS, out)
    with pytest.raises(UsageError, match="not empty"):
        generate_folder(Hums(), REQUESTS, out)
    with pytest.raises(UsageError, match="other settings"):
        generate_folder(Hums(pitch=60), REQUESTS, out, resume=True)
    with pytest.raises(UsageError, match="other settings"):
        generate_folder(Hums(), REQUESTS, out, resume=True, audio_format="flac")
    changed = [Request("a/1", "another hum", seconds=0.25), *REQUESTS[1:]]
    with pytest.raises(UsageError, match="asked for differently, 'a/1' first"):
        generate_folder(Hums(), changed, out, resume=True)


def test_a_folder_from_before_a_setting_goes_on(tmp_path: Path) -> None:
    """Manifests without spacing were made as published."""
    old, new = Hums(), Hums()
    new.settings = {**new.settings, "spacing": "as_published"}
    generate_folder(old, REQUESTS[:1], tmp_path)
    assert generate_folder(new, REQUESTS, tmp_path, resume=True).kept == 1
    assert read_manifest(tmp_path)["-dash"]["settings"] == {"pitch": 50.0, "spacing": "as_published"}
    new.settings["spacing"] = "original"
    with pytest.raises(UsageError, match="other settings"):
        generate_folder(new, REQUESTS, tmp_path, resume=True)


@pytest.mark.parametrize(("audio_format", "gain"), [("wav", 1 / 1.5), ("flac", 1 / 1.5), ("wav-float", 1.0)])
def test_peaks_beyond_full_scale(tmp_path: Path, audio_format: AudioFormat, gain: float) -> None:
    """Sixteen bits would wrap or clip: the clip is scaled and the gain noted; float files keep it."""
    generate_folder(Hums(loud=1.5), REQUESTS[:1], tmp_path / "out", audio_format=audio_format)
    (entry,) = read_manifest(tmp_path / "out").values()
    samples, _ = soundfile.read(tmp_path / "out" / entry["file"])
    assert entry["gain"] == pytest.approx(gain, rel=1e-3)
    assert np.abs(samples).max() == pytest.approx(entry["peak"] * entry["gain"], rel=1e-3)


def test_processes_share_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    made = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        hums = Hums()
        generate_folder(hums, REQUESTS, tmp_path / "out")
        made.append(hums.made)
    assert made == [["a/1", "-dash"], ["a/2"], ["b/ä 'x'"]]
    assert len(read_manifest(tmp_path / "out")) == 4


def test_a_share_is_said_and_can_be_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training script's first process generates alone: a quarter of the clips must not look like all."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="RANK is not set, but WORLD_SIZE is 4"):
        generate_folder(Hums(), REQUESTS, tmp_path / "out")
    monkeypatch.setenv("RANK", "0")
    assert "process 0 of 4 makes 1 of 4 clips" in generate_folder(Hums(), REQUESTS, tmp_path / "out").warnings[0]
    summary = generate_folder(Hums(), REQUESTS, tmp_path / "all", processes=1)
    assert (summary.made, summary.warnings) == (4, ())


def test_a_function_is_a_generator(tmp_path: Path) -> None:
    generate_folder(
        FunctionGenerator(lambda _: np.full(100, 0.1), 8000, {"system": "constant"}), REQUESTS, tmp_path / "out"
    )
    assert json.loads((tmp_path / "out" / MANIFEST).read_text().splitlines()[0])["settings"] == {"system": "constant"}
    with pytest.raises(DataError, match="a/1: the generator returned shape"):
        generate_folder(FunctionGenerator(lambda _: [float("nan")], 8000, {}), REQUESTS, tmp_path / "other")


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        generate_folder(Hums(), REQUESTS, tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match=r"not empty\. Choose a new folder"):
        generate_folder(Hums(), REQUESTS, tmp_path / "full")
