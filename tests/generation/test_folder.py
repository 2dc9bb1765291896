"""A folder of clips: whole, resumable, pairing with its references."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

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
        summary = generate_folder(hums, REQUESTS, tmp_path / "out", distributed=True)
        assert summary.warnings == (f"process {rank} of 3 makes {2 - bool(rank)} of 4 clips",)
        made.append(hums.made)
    assert made == [["a/1", "-dash"], ["a/2"], ["b/ä 'x'"]]
    assert len(read_manifest(tmp_path / "out")) == 4
    for rank in range(3):
        hums = Hums()
        generate_folder(hums, REQUESTS, tmp_path / "pairs", processes=(rank, 3))
        assert hums.made == made[rank]


def test_one_process_of_four_makes_all_unless_it_is_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training script's first process generates alone: a quarter of the clips must not look like all."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="RANK is not set, but WORLD_SIZE is 4"):
        generate_folder(Hums(), REQUESTS, tmp_path / "out", distributed=True)
    summary = generate_folder(Hums(), REQUESTS, tmp_path / "all")
    assert (summary.made, len(summary.warnings)) == (4, 1)
    assert "makes all 4 clips, though WORLD_SIZE is 4: distributed=True shares them" in summary.warnings[0]
    meant = generate_folder(Hums(), REQUESTS, tmp_path / "meant", processes=1)
    assert (meant.made, meant.warnings) == (4, ())
    monkeypatch.delenv("WORLD_SIZE")
    assert generate_folder(Hums(), REQUESTS, tmp_path / "alone").warnings == ()


@pytest.mark.parametrize("processes", [(2, 2), (-1, 2), (0, 0), ("0", 2)])
def test_impossible_processes(tmp_path: Path, processes: Any) -> None:
    with pytest.raises(UsageError, match="processes"):
        generate_folder(Hums(), REQUESTS, tmp_path / "out", processes=processes)
    with pytest.raises(UsageError, match="processes: and distributed say the same twice"):
        generate_folder(Hums(), REQUESTS, tmp_path / "out", distributed=True, processes=(0, 1))
    assert not (tmp_path / "out").exists()


def test_a_share_of_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    """Once: made 0, and 30 of another run were there."""
    generate_folder(Hums(), REQUESTS, tmp_path)
    for number in range(2):
        with pytest.raises(UsageError, match=r"is not empty\. Add resume=True"):
            generate_folder(Hums(), REQUESTS, tmp_path, processes=(number, 2))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match=r"is not empty\. Choose a new folder"):
        generate_folder(Hums(), REQUESTS, tmp_path / "new", processes=(0, 2))
    assert generate_folder(Hums(), REQUESTS, tmp_path, processes=(0, 2), resume=True).kept == 2


def test_a_refused_folder_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(b'{"clip_id": "a')
    with pytest.raises(UsageError, match="is not empty"):
        generate_folder(Hums(), REQUESTS, tmp_path)
    assert (tmp_path / MANIFEST).read_bytes() == b'{"clip_id": "a'


def test_a_function_is_a_generator(tmp_path: Path) -> None:
    generate_folder(
        FunctionGenerator(lambda _: np.full(100, 0.1), 8000, {"system": "constant"}), REQUESTS, tmp_path / "out"
    )
    assert json.loads((tmp_path / "out" / MANIFEST).read_text().splitlines()[0])["settings"] == {"system": "constant"}
    with pytest.raises(DataError, match="a/1: the generator returned no waveform"):
        generate_folder(FunctionGenerator(lambda _: [float("nan")], 8000, {}), REQUESTS, tmp_path / "other")


@pytest.mark.parametrize(
    "sound",
    [
        np.full(100, 0.25),
        np.full(100, 0.25, np.float16),
        np.full((1, 100), 0.25, np.float32),
        np.full((100, 1), 0.25, np.float32),
        [0.25] * 100,
        torch.full((100,), 0.25, dtype=torch.bfloat16),
        torch.full((1, 1, 100), 0.25, requires_grad=True),
        torch.nn.Parameter(torch.full((100,), 0.25, dtype=torch.float64)),
    ],
)
def test_whatever_holds_floats_is_a_waveform(tmp_path: Path, sound: Any) -> None:
    for generator in (FunctionGenerator(lambda _: sound, 8000, {}), Raw([sound])):
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            generate_folder(generator, REQUESTS[:1], folder, audio_format="wav-float")
            samples, _ = soundfile.read(Path(folder) / "a/1.wav")
        np.testing.assert_array_equal(samples, np.full(100, 0.25))


class Raw:
    """A generator that returns what it is given."""

    sample_rate, batch_size = 8000, 4

    def __init__(self, sounds: Sequence[Any]) -> None:
        self.sounds, self.settings = sounds, {}  # type: Sequence[Any], dict[str, Any]

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        assert requests
        return [Generated(sound) for sound in self.sounds]


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (np.full(1000, 3277, "int16"), r"a/1: the generator returned values of type int16\. .*int16 / 32768"),
        (torch.full((1000,), 3277, dtype=torch.int16), r"values of type int16\. .*int16 / 32768"),
        (np.full(1000, -32768, "int16"), "values of type int16"),
        ([0, 1, 0], "values of type int64"),
        (np.zeros(100, bool), "values of type bool"),
        (np.zeros(100, complex), "values of type complex128"),
        (torch.zeros(100, dtype=torch.complex64).conj(), "Return a waveform"),
        (np.zeros((2, 100)), r"shape \(2, 100\)\. .*of 2 channels their mean\(0\)"),
        (np.zeros((100, 2)), r"shape \(100, 2\)\. .*of 2 channels their mean\(1\)"),
        (torch.zeros(16, 100), r"shape \(16, 100\)\. Return a waveform \(time,\) for each request; .*batch_size=N"),
        (np.zeros((2, 2, 100)), "batches with batch_size=N"),
        (np.zeros((0, 100)), r"no waveform but shape \(0, 100\)"),
        (np.float32(0.5), r"no waveform but shape \(\)"),
        (np.full(100, 1e300), "not finite"),
        (np.full(1000, 3277.0), r"values of up to 3277, where full scale is 1\. .*int16 / 32768"),
        (np.ma.masked_greater(np.ones(100), 0), "a MaskedArray"),
        (torch.zeros(100).to_sparse(), "Return a waveform"),
        (torch.zeros(100, device="meta"), "Return a waveform"),
        (None, "returned a NoneType"),
        ("sound", "returned a str"),
        ([[0.1], [0.2, 0.3]], "returned a list"),
        ({"audio": np.zeros(100)}, "returned a dict"),
    ],
)
def test_what_is_no_waveform(tmp_path: Path, sound: Any, message: str) -> None:
    for generator in (FunctionGenerator(lambda _: sound, 8000, {}), Raw([sound])):
        with pytest.raises(DataError, match=message):
            generate_folder(generator, REQUESTS[:1], tmp_path / "out", resume=True)
    assert not list(tmp_path.rglob("*.wav"))


@pytest.mark.parametrize("sounds", [[], [np.zeros(9)], [np.zeros(9)] * 3])
def test_a_clip_for_each_request(tmp_path: Path, sounds: list[Any]) -> None:
    with pytest.raises(DataError, match=f"Raw: returned {len(sounds)} clips for 2 requests"):
        generate_folder(Raw(sounds), REQUESTS[:2], tmp_path)

    class Bare(Raw):
        def generate(self, requests: Sequence[Request]) -> list[Any]:
            return [np.zeros(9) for _ in requests]

    with pytest.raises(DataError, match=r"Bare: returned a ndarray\. .* one Generated for each"):
        generate_folder(Bare([]), REQUESTS[:2], tmp_path, resume=True)


def test_a_function_of_several_requests(tmp_path: Path) -> None:
    sizes = []

    def several(requests: list[Request]) -> torch.Tensor:
        sizes.append(len(requests))
        levels = torch.tensor([request.stream() % 100 / 200 for request in requests])
        return levels[:, None].expand(-1, 50).clone().requires_grad_()

    function = FunctionGenerator(several, 8000, {}, batch_size=3)
    generate_folder(function, REQUESTS, tmp_path, audio_format="wav-float")
    assert sizes == [3, 1]
    for request in REQUESTS:
        samples, _ = soundfile.read(tmp_path / read_manifest(tmp_path)[request.clip_id]["file"])
        np.testing.assert_array_equal(samples, np.full(50, np.float32(request.stream() % 100 / 200)))
    assert len(function.generate(REQUESTS * 2)) == 8
    assert sizes == [3, 1, 3, 3, 2]
    for wrong, message in ((torch.zeros(2, 50), "2 waveforms"), (None, "a NoneType"), (torch.tensor(0.0), "a Tensor")):
        with pytest.raises(DataError, match=f"a/1: the generator returned {message} for 3 requests"):
            FunctionGenerator(lambda _, made=wrong: made, 8000, {}, batch_size=3).generate(REQUESTS[:3])
    mixed = FunctionGenerator(lambda _: [np.zeros(9), np.zeros(9, "int16")], 8000, {}, batch_size=2)
    with pytest.raises(DataError, match="a/2: the generator returned values of type int16"):
        mixed.generate(REQUESTS[:2])


@pytest.mark.parametrize("wrong", [{"sample_rate": 0}, {"sample_rate": "16 kHz"}, {"batch_size": 0}])
def test_functions_that_are_no_generator(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        FunctionGenerator(**{"function": lambda _: np.zeros(9), "sample_rate": 8000, "settings": {}, **wrong})


@pytest.mark.parametrize("setting", [Path("model"), float("nan"), np.float32(1)])
def test_settings_that_cannot_be_recorded(tmp_path: Path, setting: Any) -> None:
    with pytest.raises(UsageError, match="settings of the generator: cannot be recorded"):
        generate_folder(FunctionGenerator(lambda _: np.zeros(9), 8000, {"a": setting}), REQUESTS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        generate_folder(Hums(), REQUESTS, tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match=r"not empty\. Choose a new folder"):
        generate_folder(Hums(), REQUESTS, tmp_path / "full")
