"""Our decoder beside ffmpeg's, on files of four encoders: ``python -m benchmarks.decode_parity``.

Needs ffmpeg, sox with all its formats, and lame (Debian: ``ffmpeg sox libsox-fmt-all lame``); about five minutes.
Writes 1600 files with them and with libsndfile, decodes each here and with ``ffmpeg -f f32le``, and puts every file
into a class. A difference that no class explains is shown, and the exit code is 1. Writes the table in
docs/reliability.md and benchmarks/results/decode_parity.json.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.resampling import resample
from audiogen_metrics.errors import AudioFileError
from benchmarks.page import put_table

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
RESULT = Path(__file__).with_name("results") / "decode_parity.json"

Samples = npt.NDArray[np.float32]

# By container: suffix, arguments of ffmpeg, and what its encoders are called there.
FFMPEG = {
    "WAV": (".wav", "-f wav", "pcm_u8 pcm_s16le pcm_s24le pcm_s32le pcm_f32le pcm_f64le pcm_alaw pcm_mulaw adpcm_ms"),
    "WAV ": (".wav", "-f wav", "adpcm_ima_wav adpcm_yamaha libgsm_ms libmp3lame mp2 g722"),
    "RF64": (".wav", "-f wav -rf64 always", "pcm_s16le pcm_s24le pcm_f32le"),
    "W64": (".w64", "-f w64", "pcm_u8 pcm_s16le pcm_s24le pcm_f32le"),
    "AIFF": (".aiff", "-f aiff", "pcm_s8 pcm_s16be pcm_s24be pcm_s32be pcm_f32be pcm_alaw pcm_mulaw"),
    "CAF": (".caf", "-f caf", "pcm_s16le pcm_s16be pcm_s24be pcm_s32le pcm_f32le pcm_mulaw alac"),
    "AU": (".au", "-f au", "pcm_s16be pcm_s24be pcm_s32be pcm_f32be pcm_mulaw pcm_alaw"),
    "FLAC": (".flac", "-f flac", "flac"),
    "Ogg": (".ogg", "-f ogg", "libvorbis libopus flac libspeex"),
    "MP3": (".mp3", "-f mp3", "libmp3lame libmp3lame:-q:a:2 libmp3lame:-write_xing:0 libmp3lame:-abr:1 mp2"),
    "MP4": (".m4a", "-f ipod -movflags +empty_moov", "aac alac"),
    "Matroska": (".mka", "-f matroska", "libopus flac"),
    "ADTS": (".aac", "-f adts", "aac"),
    "ASF": (".wma", "-f asf", "wmav2"),
    "others": (".wv", "-f wv", "wavpack"),
    "others ": (".tta", "-f tta", "tta"),
    "others  ": (".ac3", "-f ac3", "ac3"),
}
SOX = {
    "WAV": (".wav", "-t wav", "-b8 -b16 -b24 -b32 -efloat_-b32 -efloat_-b64 -ea-law -emu-law -ems-adpcm -eima-adpcm"),
    "WAV ": (".wav", "-t wav", "-egsm"),
    "AIFF": (".aiff", "-t aiff", "-b8 -b16 -b24 -b32"),
    "AIFC": (".aifc", "-t aifc", "-b16 -b24"),
    "AU": (".au", "-t au", "-b16 -b24 -emu-law -ea-law -efloat_-b32"),
    "CAF": (".caf", "-t caf", "-b16 -b24"),
    "W64": (".w64", "-t w64", "-b16 -b24 -efloat_-b32"),
    "FLAC": (".flac", "-t flac", "-b16 -b24"),
    "Ogg": (".ogg", "-t ogg", "-C3"),
    "MP3": (".mp3", "-t mp3", "-C128 -C-4.2"),
}
SOUNDFILE = {
    "WAV": (".wav", "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW IMA_ADPCM MS_ADPCM GSM610 G721_32"),
    "WAVEX": (".wav", "PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE"),
    "RF64": (".rf64", "PCM_16 PCM_24 FLOAT"),
    "W64": (".w64", "PCM_16 PCM_24 PCM_32 FLOAT IMA_ADPCM"),
    "AIFF": (".aiff", "PCM_S8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW IMA_ADPCM DWVW_16"),
    "CAF": (".caf", "PCM_S8 PCM_16 PCM_24 PCM_32 FLOAT ALAC_16 ALAC_24"),
    "AU": (".au", "PCM_S8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW"),
    "FLAC": (".flac", "PCM_S8 PCM_16 PCM_24"),
    "OGG": (".ogg", "VORBIS OPUS"),
    "MP3": (".mp3", "MPEG_LAYER_III"),
}
LAME = ["-b 64", "-b 320", "--abr 96", "-V 2", "-V 7", "-t -b 128", "-t -V 4", "-t --abr 112", "-p -b 128"]

FORMS = ((16_000, 1), (44_100, 2))
"""Rates and channels."""
# Samples a channel, how the file comes about, and whether it has tags.
WAYS = ((1, "file", False), (1777, "file", True), (31_111, "pipe", False), (31_111, "file", False))
MORE = ((8000, 1), (11_127, 1), (48_000, 6), (96_000, 2))
"""Further rates and channels, in files of 31111 samples."""

TITLE = "a title with 日本"


@dataclass(frozen=True)
class Case:
    """One file: what writes it, in which container and codec, of what."""

    writer: str
    container: str
    codec: str
    suffix: str
    options: str
    rate: int
    channels: int
    length: int
    way: str
    tagged: bool

    def __str__(self) -> str:
        tags = ", tags" if self.tagged else ""
        what = f"{self.writer}: {self.container.strip()} {self.codec}"
        return f"{what}, {self.rate} Hz × {self.channels}, {self.length} samples, {self.way}{tags}"


def cases() -> Iterator[Case]:
    """Yield all cases."""
    kinds = [
        *(("ffmpeg", c, codec, s, o) for c, (s, o, codecs) in FFMPEG.items() for codec in codecs.split()),
        *(("sox", c, codec, s, o) for c, (s, o, codecs) in SOX.items() for codec in codecs.split()),
        *(("libsndfile", c, codec, s, "") for c, (s, codecs) in SOUNDFILE.items() for codec in codecs.split()),
        *(("lame", "MP3", options, ".mp3", "") for options in LAME),
    ]
    for kind in kinds:
        for rate, channels in FORMS:
            for length, way, tagged in WAYS:
                if way == "file" or kind[0] != "libsndfile":
                    yield Case(*kind, rate, channels, length, way, tagged)
            if kind[1] == "MP3":
                yield Case(*kind, rate, channels, 31_111, "cut out of a stream", False)
        for rate, channels in MORE:
            yield Case(*kind, rate, channels, 31_111, "file", False)


def sound(case: Case) -> Samples:
    """Return noise and tones, other ones in each channel, rounded to 16 bits."""
    rng, time = np.random.default_rng(case.length), np.arange(case.length)[:, None] / case.rate
    tones = 0.3 * np.sin(2 * np.pi * (200 + 170 * np.arange(case.channels)) * time) * np.cos(9 * time) ** 2
    noise = rng.normal(0, 0.02, tones.shape)
    return (np.rint((tones + noise) * 2**15) / 2**15).astype(np.float32)


def write(case: Case, folder: Path) -> bytes | None:
    """Return the bytes of the file; None where its writer does not write such a one."""
    source, target = folder / "in.wav", folder / f"out{case.suffix}"
    target.unlink(missing_ok=True)
    samples = sound(case)
    if case.writer == "libsndfile":
        if case.codec not in soundfile.available_subtypes(case.container):
            return None
        try:
            with soundfile.SoundFile(target, "w", case.rate, case.channels, case.codec, None, case.container) as file:
                if case.tagged:
                    file.title = TITLE
                file.write(samples)
        except (soundfile.LibsndfileError, RuntimeError, AttributeError):
            return None
        return _cut(case, target.read_bytes())
    soundfile.write(source, samples, case.rate, subtype="PCM_16")
    out = "-" if case.way == "pipe" else str(target)
    done = subprocess.run(_command(case, str(source), out), capture_output=True, check=False)
    if done.returncode:
        return None
    return _cut(case, done.stdout if case.way == "pipe" else target.read_bytes())


def _command(case: Case, source: str, target: str) -> list[str]:
    """Return the command that writes it."""
    if case.writer == "ffmpeg":
        codec, *more = case.codec.split(":", 1)
        # "name:-option:value", or "name:-q:a:2".
        pair = more[0].rsplit(":", 1) if more else []
        tags = ["-metadata", f"title={TITLE}"] if case.tagged else ["-map_metadata", "-1"]
        strict = ["-strict", "-2", "-c:a", codec, *pair, *tags]
        return ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", source, *strict, *case.options.split(), target]
    if case.writer == "sox":
        tags = ["--add-comment", f"TITLE={TITLE}"] if case.tagged else []
        codec = case.codec.replace("_", " ").split()
        return ["sox", "-D", "-R", source, *case.options.split(), *codec, *tags, target]
    tags = ["--tt", "a title", "--add-id3v2"] if case.tagged else []
    return ["lame", "--quiet", *case.codec.split(), *tags, source, target]


def _cut(case: Case, content: bytes) -> bytes:
    return content[len(content) // 3 :] if case.way == "cut out of a stream" else content


def theirs(path: Path, channels: int) -> Samples | None:
    """Return what ffmpeg decodes, None if nothing."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-map", "0:a:0", "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    found = np.frombuffer(done.stdout, "<f4")
    return found[: len(found) // channels * channels].reshape(-1, channels) if len(found) else None


@dataclass(frozen=True)
class Verdict:
    """The class of a file, and what is to be said of it alone."""

    name: str
    detail: str = ""


UNEXPLAINED = "unexplained"

_IMA4_GAP = 128 / 2**15
"""What 7 bits of 16 are."""

_LAME_GAP = 1e-4
"""LAME's decoder rounds to 16 bits."""

_LONGEST_DELAY = 2400
"""Samples that an encoder of MP3 may put before the sound."""

# What each class means, in the table's words.
CLASSES = {
    "equal": "the same samples to the bit",
    "rounding": "integers of 32 bits, doubles and lossy codecs: 2e-6 of full scale at most, Opus 1e-3 of the peak",
    "order of channels": "the same channels of 5.1, in the file's order here, in ffmpeg's own there",
    "Opus at its own rate": "libsndfile decodes at the rate that the header names, ffmpeg at 48 kHz: the same sound",
    "ADPCM": "SoX's decoder gives our samples, ffmpeg's others: it rounds otherwise on the way",
    "ADPCM in AIFF-C": "a block begins with 9 of a sample's 16 bits here; ffmpeg carries the others over (up to 0.004)",
    "MPEG-2 layer III": "LAME's decoder gives our samples, ffmpeg's others (rates up to 24 kHz)",
    "G.726": "ffmpeg's samples are not the sound that was written; ours are",
    "encoder's padding": "the length that was written here; ffmpeg keeps the encoder's padding at the end",
    "encoder's delay": "the length that was written here; ffmpeg keeps the encoder's delay at the beginning",
    "beginning of a cut stream": "MP3 frames that need bytes which are not there: silence here, partly sound there",
    "refused by us": "libsndfile does not decode it; named, with what converts it",
    "written to a pipe that cannot be": "SoX writes a second header behind the sound; named here",
    "refused by ffmpeg": "read to the end of the file here: sizes that were left open, and codecs ffmpeg lacks",
    "refused by both": "named, with the reason",
}


def classify(case: Case, content: bytes, folder: Path) -> Verdict:
    """Decode a file with both, and return its class."""
    path = folder / f"clip{case.suffix}"
    path.write_bytes(content)
    try:
        audio = decode(path, content)
    except AudioFileError as error:
        reason = str(error).partition(": ")[2]
        if "cannot be decoded" not in reason and "is empty" not in reason:
            is_double = case.writer == "sox" and case.way == "pipe" and "another" in reason
            return Verdict("written to a pipe that cannot be" if is_double else UNEXPLAINED, reason)
        return Verdict("refused by both" if theirs(path, 1) is None else "refused by us", reason)
    ours, other = audio.samples, theirs(path, audio.samples.shape[1])
    if other is None:
        return Verdict("refused by ffmpeg")
    if len(ours) != len(other):
        return _of_other_length(case, ours, other, audio.sample_rate, path)
    return _of_equal_length(case, ours, other, audio.sample_rate, path)


def _of_equal_length(case: Case, ours: Samples, other: Samples, rate: int, path: Path) -> Verdict:
    gap, peak = np.abs(ours - other), float(np.abs(ours).max())
    if not gap.any():
        return Verdict("equal")
    if gap.max() <= _tolerance(case, peak):
        return Verdict("rounding")
    if case.channels > 2 and _is_permuted(ours, other, _tolerance(case, peak)):
        return Verdict("order of channels")
    if _is_of_lame(case, ours, rate, path):
        return Verdict("MPEG-2 layer III")
    settled = gap[4 * 1152 :]
    if case.way.startswith("cut") and settled.max() <= _tolerance(case, peak):
        return Verdict("beginning of a cut stream")
    if "adpcm" in case.codec.lower() and _is_third(["sox", "-D", str(path), "-e", "float", "-b", "32"], ours, 0):
        return Verdict("ADPCM")
    if (case.container, case.codec) == ("AIFF", "IMA_ADPCM") and gap.max() <= _IMA4_GAP:
        return Verdict("ADPCM in AIFF-C")
    if case.codec == "G721_32" and (case.length == 1 or (_is_sound(case, ours) and not _is_sound(case, other))):
        return Verdict("G.726")
    return Verdict(UNEXPLAINED, f"{len(ours)} samples each, up to {gap.max():.2g} apart, of {peak:.2g}")


def _of_other_length(case: Case, ours: Samples, other: Samples, rate: int, path: Path) -> Verdict:
    if _codec(case) == "Opus" and len(other) * rate == len(ours) * 48_000:
        raised = resample(torch.from_numpy(ours[:, 0]), rate, 48_000, "torchaudio").numpy()
        if len(ours) < 100 or np.corrcoef(raised, other[:, 0])[0, 1] > 0.99:
            return Verdict("Opus at its own rate")
    written, tolerance = case.length * rate / case.rate, _tolerance(case, float(np.abs(ours).max()))
    # Where LAME changes the rate, its delay there may cost some samples.
    if abs(len(ours) - written) < 1 + 16 * (rate != case.rate) and len(other) > len(ours):
        for delay in range(min(_LONGEST_DELAY, len(other) - len(ours)) + 1):
            theirs_there = other[delay : delay + len(ours)]
            if np.abs(ours - theirs_there).max() <= tolerance:
                return Verdict("encoder's delay" if delay else "encoder's padding")
            if np.abs(ours - theirs_there).max() <= _LAME_GAP and _is_of_lame(case, ours, rate, path):
                return Verdict("MPEG-2 layer III", "and the encoder's delay or padding")
            if case.channels > 2 and _is_permuted(ours, theirs_there, tolerance):
                return Verdict("order of channels", "and the encoder's padding")
    if case.codec == "G721_32" and _is_sound(case, ours):
        return Verdict("G.726")
    return Verdict(UNEXPLAINED, f"{len(ours)} samples at {rate} Hz, ffmpeg {len(other)}")


def _codec(case: Case) -> str:
    return "Opus" if "opus" in case.codec.lower() else case.codec


def _tolerance(case: Case, peak: float) -> float:
    """Return how far two decoders may be apart by rounding alone."""
    if _codec(case) == "Opus":
        return 1e-3 * peak
    is_lossy = case.container in ("MP3", "Ogg", "OGG") or case.codec == "libmp3lame"
    return 2e-6 if is_lossy else 2**-23 * max(1.0, peak)


def _is_permuted(ours: Samples, other: Samples, tolerance: float) -> bool:
    """Tell whether each channel of one is some channel of the other."""
    pairs = itertools.product(ours.T, other.T)
    equal = np.array([np.abs(a - b).max() <= tolerance for a, b in pairs]).reshape(ours.shape[1], -1)
    return bool((equal.sum(0) == 1).all() and (equal.sum(1) == 1).all())


def _is_of_lame(case: Case, ours: Samples, rate: int, path: Path) -> bool:
    """Tell whether these are the samples of MP3 at a rate of MPEG-2 that LAME's decoder gives, too."""
    is_mp3 = case.container == "MP3" or case.codec == "libmp3lame"
    return is_mp3 and rate <= 24_000 and _is_third(["lame", "--quiet", "--decode", str(path)], ours, _LAME_GAP)


def _is_third(command: list[str], ours: Samples, tolerance: float) -> bool:
    """Tell whether a third decoder gives our samples; it may trim the beginning otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "third.wav"
        if subprocess.run([*command, str(target)], capture_output=True, check=False).returncode:
            return False
        third = soundfile.read(target, dtype="float32", always_2d=True)[0]
    if not tolerance:
        both = min(len(ours), len(third))
        return both > 0 and np.array_equal(ours[:both], third[:both])
    if len(ours) == len(third) and np.abs(ours - third).max() <= tolerance:
        return True
    for start in range(-2400, 2401):
        a, b = ours[max(0, start) :], third[max(0, -start) :]
        both = min(len(a), len(b)) - 1152
        middle = slice(both // 2, both // 2 + 50)
        if both > 0 and np.abs(a[middle] - b[middle]).max() <= tolerance:
            return bool(np.abs(a[4608:both] - b[4608:both]).max(initial=0) <= tolerance)
    return False


def _is_sound(case: Case, found: Samples) -> bool:
    """Tell whether samples are those that were written, as far as a codec of 4 bits can."""
    expected = sound(case)[: len(found)]
    if len(expected) < 2 or len(found) < len(expected):
        return len(found) >= len(expected)
    error = found[: len(expected)] - expected
    return bool(np.square(error).mean() < 0.05 * np.square(expected).mean())


def main() -> int:
    """Write and compare all files; 1 if a difference has no class."""
    if missing := [tool for tool in ("ffmpeg", "sox", "lame") if shutil.which(tool) is None]:
        sys.exit(f"needs {', '.join(missing)}: apt-get install ffmpeg sox libsox-fmt-all lame")
    counts: Counter[str] = Counter()
    formats: dict[str, dict[str, int]] = defaultdict(Counter)
    unwritten = 0
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            content = write(case, Path(folder))
            if content is None:
                unwritten += 1
                continue
            verdict = classify(case, content, Path(folder))
            counts[verdict.name] += 1
            formats[verdict.name][f"{case.writer}: {case.container.strip()} {case.codec}"] += 1
            if verdict.name == UNEXPLAINED:
                print(f"unexplained: {case}: {verdict.detail}", flush=True)
    total = counts.total()
    print(f"{total} files, {unwritten} that their writers do not write")
    for name, count in counts.most_common():
        print(f"{count:6} {name}: {', '.join(f'{what} ({n})' for what, n in formats[name].items())[:300]}")
    versions = {tool: _version(tool) for tool in ("ffmpeg", "sox", "lame")}
    versions["libsndfile"] = soundfile.__libsndfile_version__
    result = {"files": total, "not written": unwritten, "versions": versions, "classes": formats}
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    rows = [[name, str(counts[name]), meaning] for name, meaning in CLASSES.items() if counts[name]]
    rows += [["**unexplained**", str(counts[UNEXPLAINED]), ""], ["all", str(total), ""]]
    put_table("decoders", ["class", "files", "what it means"], rows, PAGE)
    return 1 if counts[UNEXPLAINED] else 0


def _version(tool: str) -> str:
    """Return what a program says of its version."""
    done = subprocess.run([tool, "-version" if tool == "ffmpeg" else "--version"], capture_output=True, text=True)
    return (done.stdout or done.stderr).splitlines()[0].strip()


if __name__ == "__main__":
    sys.exit(main())
