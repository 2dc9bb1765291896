"""A corrupted copy of a folder, with a manifest of what was done to every clip."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scipy.io import wavfile
from tqdm import tqdm

from audiogen_metrics import __version__
from audiogen_metrics.audio.decoding import DECODER_VERSION, decode
from audiogen_metrics.audio.files import AudioFolder, scan
from audiogen_metrics.audio.preflight import PROBE_MANIFEST
from audiogen_metrics.errors import (
    NO_MEMORY,
    AudioFileError,
    DataError,
    UsageError,
    is_out_of_memory,
    remedies,
    with_names,
)
from audiogen_metrics.options import as_path
from audiogen_metrics.probes.base import Clip, Probe, clip_rng
from audiogen_metrics.probes.configuration import configure, refuse_unused
from audiogen_metrics.probes.pool import Pool, folder_labels, read_labels
from audiogen_metrics.probes.sequences import EventSequence, event_sequences
from audiogen_metrics.writing import below, json_text, writing

__all__ = ["CopyOptions", "corrupt_folder"]

MANIFEST_VERSION = 1


@dataclass(frozen=True)
class CopyOptions:
    """How a folder is corrupted.

    Parameters
    ----------
    probe
        Name of the probe.
    severity
        In [0, 1].
    seed
        Seed of every clip's random stream and of the order of the set; 0 or more.
    settings
        Settings of the probe, as text by name.
    labels
        CSV file with the columns ``clip_id`` and ``label``; None takes the first sub-folder as the class.
    events
        Events in a sequence, for a probe that needs sequences; None takes 4.
    workers
        Threads; None takes one per core, at most 8. They change only the time.
    progress
        Show a progress bar on stderr.
    suffixes
        Take files with one of these suffixes only; empty takes all audio.
    """

    probe: str
    severity: float = 1.0
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    labels: str | Path | None = None
    events: int | None = None
    workers: int | None = None
    progress: bool = False
    suffixes: str | Iterable[str] = ()


@dataclass(frozen=True)
class Skipped:
    """A clip that is not in the copy: its file below the source, the reason, and what would help, with IN for it."""

    clip_id: str
    file: str
    reason: str
    fix: str = ""


def corrupt_folder(source: str | Path, target: str | Path, options: CopyOptions) -> dict[str, Any]:
    """Write a corrupted copy of every clip below ``source`` and return the manifest, which is written last.

    Clips keep their ids and become mono (the mean of their channels) float32 WAV files, in which nothing is clipped.
    A probe that needs sequences of events writes these instead, under ids of their own; at severity 0 they are in
    their original order. Files that cannot be used are skipped and named in the manifest with the reason.

    Parameters
    ----------
    source
        Folder of audio.
    target
        New or empty folder, not within ``source``.
    options
        Probe, severity, seed and so on.

    Raises
    ------
    UsageError
        A target that is in use or within the source; an unknown probe or setting; a value out of range; labels or
        events for a probe that cannot use them.
    DataError
        No usable clip, or a set that the probe cannot take, such as one without classes.
    """
    folder, root = scan(source, options.suffixes), as_path(target)
    _check_target(root, folder.root)
    # A wrong setting is reported before any file is read.
    kind = configure(options.probe, options.settings)
    refuse_unused([options.probe], options.labels, options.events)
    files = _Files(folder)
    workers = min(8, os.cpu_count() or 1) if options.workers is None else max(1, options.workers)
    with ThreadPoolExecutor(workers, thread_name_prefix="probe") as threads:
        # The order of the set must not depend on files that turn out to be broken.
        problems = list(threads.map(files.problem, files.paths)) if kind.needs_pool or kind.needs_events else []
        broken = [problem for problem in problems if problem]
        usable = tuple(sorted(files.paths.keys() - {problem.clip_id for problem in broken}))
        labels = folder_labels(usable) if options.labels is None else read_labels(options.labels)
        pool = Pool(usable, files.load, labels, options.seed)
        jobs = [EventSequence(clip_id, (clip_id,)) for clip_id in usable]
        if kind.needs_events and usable:
            jobs = event_sequences(pool, options.events)
        copying = _Copying(configure(options.probe, options.settings, pool), files, root, options)
        done = list(tqdm(threads.map(copying.copy, jobs), total=len(jobs), unit="clip", disable=not options.progress))
    return copying.finish(
        [entry for entry in done if isinstance(entry, dict)],
        broken + [entry for entry in done if isinstance(entry, Skipped)],
    )


def _check_target(target: Path, source: Path) -> None:
    if target.resolve().is_relative_to(source.resolve()):
        raise UsageError("lies within the folder that is copied", where=target, fix="Choose a folder elsewhere")
    if target.exists() and not target.is_dir():
        raise UsageError("is a file, not a folder", where=target, fix="Choose a new folder")
    if target.is_dir() and any(target.iterdir()):
        fix = "Choose a new folder: nothing is overwritten"
        if not (target / PROBE_MANIFEST).exists():
            fix += "; a copy without manifest.json is one that was interrupted"
        raise UsageError("is not empty", where=target, fix=fix)


class _Files:
    """The files of a folder by clip id."""

    def __init__(self, folder: AudioFolder) -> None:
        self.root = folder.root
        self.paths = {clip.clip_id: clip.path for clip in folder.clips}

    def read(self, clip_id: str) -> tuple[Clip, str]:
        """Return a clip and the SHA-256 of its file."""
        path = self.paths[clip_id]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise AudioFileError(f"cannot be read ({error.strerror})", path) from error
        return Clip.from_audio(clip_id, decode(path, content)), hashlib.sha256(content).hexdigest()

    def load(self, clip_id: str) -> Clip:
        """Return a clip."""
        return self.read(clip_id)[0]

    def skip(self, clip_id: str, error: DataError) -> Skipped:
        """Return the record of a clip that is skipped."""
        file = self.paths[clip_id].relative_to(self.root).as_posix() if clip_id in self.paths else ""
        return Skipped(clip_id, file, error.what, error.fix or "")

    def problem(self, clip_id: str) -> Skipped | None:
        """Return why a file cannot be used, or None."""
        try:
            self.read(clip_id)
        except AudioFileError as error:
            return self.skip(clip_id, error)
        except MemoryError:
            return self.skip(clip_id, AudioFileError(NO_MEMORY))
        return None


@dataclass(frozen=True)
class _Copying:
    """What all clips of a run share."""

    probe: Probe[Any]
    files: _Files
    target: Path
    options: CopyOptions

    def copy(self, job: EventSequence) -> dict[str, Any] | Skipped:
        """Write one corrupted clip and return its entry, or why it is skipped.

        Any other error concerns the set and ends the run.
        """
        probe, options = self.probe, self.options
        try:
            members = [self.files.read(clip_id) for clip_id in job.members]
            clip = job.join([member for member, _ in members]) if probe.needs_events else members[0][0]
            parameters = probe.sample(clip_rng(options.seed, clip.clip_id, probe.name), clip, options.severity)
            corrupted = probe.apply(clip, parameters)
            measured = {} if parameters is None else probe.measure(clip, parameters, corrupted)
        except AudioFileError as error:
            return self.files.skip(job.clip_id, error)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return self.files.skip(job.clip_id, AudioFileError(NO_MEMORY))
        write_clip(self.target, corrupted)
        return {
            "clip_id": clip.clip_id,
            "sources": [{"clip_id": member.clip_id, "sha256": digest} for member, digest in members],
            "sample_rate": {"in": clip.sample_rate, "out": corrupted.sample_rate},
            "samples": {"in": len(clip.waveform), "out": len(corrupted.waveform)},
            "events": {"in": clip.events, "out": corrupted.events},
            "parameters": None if parameters is None else asdict(parameters),
            "measured": measured,
        }

    def finish(self, entries: list[dict[str, Any]], skipped: list[Skipped]) -> dict[str, Any]:
        """Write the manifest and return it as it reads back; DataError if every clip was skipped."""
        if not entries:
            raise DataError(
                f"none of {len(self.files.paths)} audio files can be used ({skipped[0].file}: {skipped[0].reason})",
                where=self.files.root,
                fix=skipped[0].fix or "Repair the files or pass another folder",
            )
        manifest = {
            "manifest_version": MANIFEST_VERSION,
            "audiogen_metrics": __version__,
            "decoder": DECODER_VERSION,
            "probe": self.probe.name,
            "probe_version": self.probe.version,
            "severity": self.options.severity,
            "seed": self.options.seed,
            "settings": self.probe.settings,
            "clips": {entry.pop("clip_id"): entry for entry in entries},
            "skipped": [
                asdict(skip) | {"fix": with_names(skip.fix, self.files.root / skip.file) if skip.file else skip.fix}
                for skip in sorted(skipped, key=lambda skip: skip.clip_id)
            ],
            "remedies": remedies(skip.fix for skip in skipped),
        }
        text = json_text(manifest) + "\n"
        _write(self.target / PROBE_MANIFEST, text.encode())
        written: dict[str, Any] = json.loads(text)
        return written


def write_clip(folder: Path, clip: Clip) -> None:
    """Write a clip as float32 WAV under its id; equal clips give equal bytes. UsageError if it cannot be written."""
    # Not by libsndfile, which writes the time of day into float files.
    file = io.BytesIO()
    wavfile.write(file, clip.sample_rate, clip.waveform)
    _write(below(folder, clip.clip_id, ".wav"), file.getvalue())


def _write(path: Path, content: bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
