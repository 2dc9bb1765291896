"""Write a folder of clips with a manifest: whole files, resumable, split over processes."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.io import wavfile
from tqdm import tqdm

from audiogen_metrics import __version__
from audiogen_metrics import distributed as _processes
from audiogen_metrics.audio.files import canonical_id
from audiogen_metrics.errors import DataError, UsageError, option
from audiogen_metrics.generation.base import Generated, Generator, Request, clips_of
from audiogen_metrics.options import as_path, whole
from audiogen_metrics.writing import below, is_temporary, write_atomically, writing

__all__ = ["Summary", "generate_folder", "read_manifest"]

MANIFEST = "manifest.jsonl"

_ADDED = {"spacing": "as_published"}
"""Settings that older manifests lack, with what they were: folders of before go on."""

AudioFormat = Literal["wav", "wav-float", "flac"]
"""16-bit WAV, float32 WAV, 16-bit FLAC."""


@dataclass(frozen=True)
class Summary:
    """What a run did: clips it made, clips that were there already, and its warnings."""

    made: int
    kept: int
    warnings: tuple[str, ...] = ()


def generate_folder(
    generator: Generator,
    requests: Sequence[Request],
    target: str | Path,
    *,
    audio_format: AudioFormat = "wav",
    resume: bool = False,
    progress: bool = False,
    distributed: bool = False,
    processes: tuple[int, int] | Literal[1] | None = None,
) -> Summary:
    """Make every clip and write it below ``target``, with a line in manifest.jsonl.

    A clip is written whole, then noted in the manifest; both are flushed to the disk. Killed and started again with
    ``resume``, the run makes what is missing, or is not what the manifest says, and nothing else. In 16-bit formats a
    clip beyond full scale is scaled down to a peak of 1, never clipped; peak and gain are noted.

    Parameters
    ----------
    generator
        What makes the clips.
    requests
        What to make; clip ids are distinct.
    target
        New or empty folder, unless ``resume``.
    audio_format
        ``"wav"`` and ``"flac"`` have 16 bits; ``"wav-float"`` is float32.
    resume
        Continue a folder that was begun with the same requests and settings.
    progress
        Show a progress bar on stderr.
    distributed
        All processes of `torch.distributed`'s process group, or those that ``torchrun`` has started, call this
        together, and each makes its share. Without it all clips are made here, whatever the environment says.
    processes
        This process's number, from 0, and how many share the work, where no group and no environment says it. 1 is what
        there is without it.

    Raises
    ------
    UsageError
        A folder that is in use, or was begun with other settings or requests, or cannot be written.
    DataError
        The generator returned something else than a waveform for each request, or a recording cannot be read.
    """
    folder = as_path(target)
    told = dict(setting for setting in generator.settings.items() if setting not in _ADDED.items())
    digest = _digest({"settings": told, "sample_rate": generator.sample_rate, "format": audio_format})
    manifest = _Manifest(folder, digest)
    number, count = _place(distributed, processes)
    share = requests[number::count]
    if not resume and distributed and _processes.is_joined():
        _processes.from_first(lambda: _refuse_used(folder))
    elif not resume:
        # Processes that cannot ask each other look for what none of the others can have written.
        others = [request for place, request in enumerate(requests) if place % count != number]
        _refuse_used(folder, [below(folder, request.clip_id, _suffix(audio_format)) for request in others])
    done = manifest.open()
    wanted = {request.clip_id: _digest(_described(request)) for request in requests}
    changed = sorted(name for name in done.keys() & wanted.keys() if done[name]["request_digest"] != wanted[name])
    if changed:
        raise UsageError(
            f"{len(changed)} clips were asked for differently, {changed[0]!r} first", folder, "Choose a new folder"
        )
    manifest.warnings += _remark(number, count, len(share), len(requests), distributed or processes is not None)
    kept = sum(request.clip_id in done for request in share)
    with tqdm(total=len(share), initial=kept, unit="clip", disable=not progress) as bar:
        # A batch that a kill has cut is made again whole, so that its clips have had the same company, to the last bit.
        for batch in _batches(share, generator.batch_size):
            if all(request.clip_id in done for request in batch):
                continue
            for request, clip in zip(batch, clips_of(generator, batch), strict=True):
                if request.clip_id in done:
                    continue
                entry = _write(folder, request, clip, generator.sample_rate, audio_format)
                manifest.add(entry | {"request_digest": wanted[request.clip_id], "settings": dict(generator.settings)})
                bar.update()
    return Summary(len(share) - kept, kept, tuple(manifest.warnings))


def read_manifest(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Return the entries of a folder's manifest by clip id, the last one of each; a line cut by a kill is left out."""
    path = Path(folder) / MANIFEST
    entries = {}
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
            entries[canonical_id(str(entry["clip_id"]))] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return entries


def _place(distributed: bool, processes: tuple[int, int] | Literal[1] | None) -> tuple[int, int]:
    """Return this process's number and how many there are."""
    if distributed and processes is not None:
        raise UsageError("and distributed say the same twice", where="processes", fix="Pass one of them")
    if distributed:
        return (_processes.rank(), _processes.count()) if _processes.is_joined() else _processes.place()
    if processes is None or processes == 1:
        return 0, 1
    number, count = processes
    return whole("processes[0]", number, 0, whole("processes[1]", count, 1) - 1), count


def _remark(number: int, count: int, share: int, total: int, said: bool) -> list[str]:
    """Return what the user should know about who makes what."""
    if count > 1:
        return [f"process {number} of {count} makes {share} of {total} clips"]
    if not said and (world := os.environ.get("WORLD_SIZE", "1")) not in ("", "1"):
        return [
            f"this process makes all {total} clips, though WORLD_SIZE is {world}: {option('distributed')} shares them, "
            "processes=1 says that it is meant"
        ]
    return []


def _refuse_used(folder: Path, expected: Collection[Path] = ()) -> None:
    """Raise UsageError unless a folder is empty, but for what other processes of this run may have written."""
    if folder.exists() and not folder.is_dir():
        raise UsageError("is a file, not a folder", folder, "Choose a new folder")
    try:
        found = list(folder.rglob("*")) if folder.exists() else []
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", where=folder) from error
    if expected:
        known = {folder / MANIFEST, *expected}
        found = [path for path in found if path not in known and not is_temporary(path) and not path.is_dir()]
    if found:
        entries = read_manifest(folder)
        fix = f"Add {option('resume')} to continue it, or choose a new folder" if entries else "Choose a new folder"
        raise UsageError("is not empty", folder, fix)


class _Manifest:
    """The manifest of one run."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder, self.digest = folder, digest
        self.path = folder / MANIFEST
        self.warnings: list[str] = []

    def open(self) -> dict[str, dict[str, Any]]:
        """Return the entries whose clips are there and unchanged; UsageError for a folder of something else."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            entries = read_manifest(self.folder)
            # A line that a kill has cut must not swallow the next one.
            if self.path.exists() and not self.path.read_bytes().endswith(b"\n"):
                self._append(b"\n")
        other = next((entry for entry in entries.values() if entry.get("run_digest") != self.digest), None)
        if other is not None:
            raise UsageError(
                f"was made with other settings ({other['clip_id']!r}; see {MANIFEST})",
                self.folder,
                "Choose a new folder",
            )
        whole = {name: entry for name, entry in entries.items() if self._is_whole(entry)}
        if len(whole) < len(entries):
            self.warnings.append(f"{len(entries) - len(whole)} clips were missing or changed and are made again")
        return whole

    def add(self, entry: Mapping[str, Any]) -> None:
        """Note one clip that is on the disk."""
        line = json.dumps({"run_digest": self.digest} | dict(entry), ensure_ascii=False, allow_nan=False)
        self._append(line.encode() + b"\n")

    def _append(self, line: bytes) -> None:
        # One write in append mode: lines of several processes do not mix.
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)

    def _is_whole(self, entry: Mapping[str, Any]) -> bool:
        try:
            return str(entry["sha256"]) == hashlib.sha256((self.folder / entry["file"]).read_bytes()).hexdigest()
        except (OSError, KeyError):
            return False


def _write(
    folder: Path, request: Request, clip: Generated, sample_rate: int, audio_format: AudioFormat
) -> dict[str, Any]:
    peak = float(np.abs(clip.waveform).max())
    gain = 1.0 if audio_format == "wav-float" or peak <= 1.0 else 1.0 / peak
    path = below(folder, request.clip_id, _suffix(audio_format))
    content = encode(clip.waveform * np.float32(gain), sample_rate, audio_format)
    with writing(path, f"Free space, then go on with {option('resume')}"):
        write_atomically(path, content)
    return {
        **_described(request),
        "file": path.relative_to(folder).as_posix(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "sample_rate": sample_rate,
        "samples": len(clip.waveform),
        "peak": peak,
        "gain": gain,
        "notes": dict(clip.notes),
        "audiogen_metrics": __version__,
    }


def encode(waveform: npt.NDArray[np.float32], sample_rate: int, audio_format: AudioFormat) -> bytes:
    """Return a mono file's bytes; equal waveforms give equal bytes."""
    file = io.BytesIO()
    if audio_format == "wav-float":
        # Not by libsndfile, which writes the time of day into float files.
        wavfile.write(file, sample_rate, waveform.astype(np.float32))
    else:
        soundfile.write(file, waveform, sample_rate, format=audio_format.upper(), subtype="PCM_16")
    return file.getvalue()


def _described(request: Request) -> dict[str, Any]:
    described: dict[str, Any] = {"clip_id": request.clip_id, "seconds": request.seconds, "seed": request.seed}
    if request.audio is None:
        return described | {"prompt": request.prompt}
    try:
        content = request.audio.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=request.audio) from error
    return described | {"audio": request.audio.name, "audio_sha256": hashlib.sha256(content).hexdigest()}


def _suffix(audio_format: AudioFormat) -> str:
    return f".{audio_format.partition('-')[0]}"


def _batches(requests: Sequence[Request], size: int) -> Iterator[list[Request]]:
    """Yield requests of one length together, in order of first appearance."""
    lengths = dict.fromkeys(request.seconds for request in requests)
    for seconds in lengths:
        group = [request for request in requests if request.seconds == seconds]
        yield from (group[start : start + size] for start in range(0, len(group), size))


def _digest(content: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        fix = "Use text, finite numbers, lists and mappings"
        raise UsageError(f"cannot be recorded ({error})", where="settings of the generator", fix=fix) from error
    return hashlib.sha256(text.encode()).hexdigest()
