"""What cannot be decoded is named."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import re
import shlex
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.files import AMBIGUOUS, DECODABLE, UNDECODABLE, scan
from audiogen_metrics.errors import AudioFileError, DataError, with_names
from tests.audio.golden.foreign import ARCHIVE

with zipfile.ZipFile(ARCHIVE) as archive:
    FOREIGN = {name: archive.read(name) for name in archive.namelist() if name not in ("layer2.mp2", "clip.oga")}
    LAYER_2, OGG_FLAC = archive.read("layer2.mp2"), archive.read("clip.oga")

NAMES = {
    "clip.m4a": "MPEG-4 audio",
    "clip.mp4": r"MPEG-4 \(MP4\)",
    "clip.3gp": "3GP",
    "clip.mov": "QuickTime",
    "clip.aac": r"AAC \(ADTS",
    "clip.loas": r"AAC \(LATM",
    "clip.webm": "WebM",
    "clip.mka": "Matroska",
    "clip.wma": r"ASF \(WMA",
    "clip.avi": "AVI",
    "clip.flv": r"Flash video \(FLV",
    "clip.rm": "RealAudio",
    "clip.mpg": "MPEG video",
    "clip.ts": "MPEG transport stream",
    "clip.m2ts": "MPEG transport stream",
    "clip.wv": "WavPack",
    "clip.ac3": "AC-3",
    "clip.eac3": "E-AC-3",
    "clip.tta": r"True Audio \(TTA",
    "clip.dts": "DTS",
    "clip.thd": "TrueHD",
    "clip.spx": "Ogg with Speex",
    "aac.wav": "WAV with AAC",
    "ac3.wav": "WAV with AC-3",
    "wma.wav": "WAV with WMA",
    "flac.wav": "WAV with FLAC",
    "vorbis.wav": "WAV with Vorbis",
    "g726.wav": r"WAV with G\.726",
    "int64.wav": "WAV of 64-bit integers",
    "ac3.w64": "W64 with AC-3",
    "flac32.flac": "FLAC of 32 bits",
    "speech.amr": "AMR",
}


def error_of(path: Path, content: bytes) -> AudioFileError:
    with pytest.raises(AudioFileError) as caught:
        decode(path, content)
    return caught.value


@pytest.mark.parametrize("name", FOREIGN)
def test_sound_that_libsndfile_does_not_decode(name: str) -> None:
    """Whatever it is called; the command that converts it has the name of the file, and does not write over it."""
    for suffix in (Path(name).suffix, ".wav", ".mp3", ".flac"):
        path = Path("some folder", name).with_suffix(suffix)
        error = error_of(path, FOREIGN[name])
        assert re.match(f"cannot be decoded: it is (an )?{NAMES[name]}", error.what), error
        command = shlex.split(str(error).rpartition(": ")[2])
        made = next(word for word in command if word.endswith(".wav") and word != str(path))
        if name == "flac32.flac":
            assert command == ["flac", "-d", "-o", made, str(path)]
        else:
            assert command == ["ffmpeg", "-i", str(path), "-c:a", "pcm_f32le", made]


def wav(tag: int, bits: int, extension: bytes = b"") -> bytes:
    """A WAV file whose header says this of its sound."""
    described = struct.pack("<HHIIHH", tag, 1, 16_000, 16_000 * bits // 8, bits // 8, bits) + extension
    chunks = b"fmt " + struct.pack("<I", len(described)) + described + b"data" + struct.pack("<I", 64) + bytes(64)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def extensible(identifier: str) -> bytes:
    return struct.pack("<HHI", 22, 16, 4) + bytes.fromhex(identifier)


def caf(codec: bytes) -> bytes:
    return b"caff\0\1\0\0desc" + struct.pack(">qd4sIIIII", 32, 16_000.0, codec, 0, 0, 1024, 1, 0) + bytes(64)


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, samples=np.zeros(9))
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(9))
    return file.getvalue()


def checkpoint() -> bytes:
    file = io.BytesIO()
    torch.save({"audio": torch.zeros(9, dtype=torch.float32, device="cpu")}, file)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clip.wav", b"RIFF")
    return file.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea423c2713d436b5ee50593a9640e0018c\n"
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'


@pytest.mark.parametrize(
    ("content", "name", "fix"),
    [
        (LFS, "Git LFS pointer", "git lfs pull"),
        (b"/annex/objects/SHA256E-s31390--f50d7ac4c6b9.wav\n", "git-annex pointer", "git annex get clip.wav"),
        (b"\n<!doctype html><html><head><title>404</title>", "HTML page", "Download it again"),
        (b"\xef\xbb\xbf<html lang=en>", "HTML page", "Download it again"),
        (S3, "XML", "Download it again"),
        (b"<Error><Code>NoSuchKey</Code></Error>", "XML", "Download it again"),
        (b'{"detail": "Not Found"}', "JSON", "Download it again"),
        (b"Entry not found", r"text \('Entry not found'\)", "remove it"),
        ("Zugriff verweigert: fünf Sekunden warten".encode(), "text", "remove it"),
        (b"#EXTM3U\na.wav\n", "playlist", "names"),
        (bytes(5000), "nothing but zeros", "interrupted"),
        (zipped(), "ZIP", "Unpack"),
        (gzip.compress(b"RIFF", mtime=0), "gzip", "Unpack"),
        (npy(), "NumPy array", r"soundfile\.write"),
        (npz(), "NumPy arrays", r"soundfile\.write"),
        (checkpoint(), "PyTorch", r"soundfile\.write"),
        (pickle.dumps({"a": 1}), "pickle", r"soundfile\.write"),
        (pickle.dumps([1], protocol=2), "pickle", r"soundfile\.write"),
        (b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk", "MIDI", "fluidsynth"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "image", "remove it"),
        (b"%PDF-1.7\n\xb5\xb5", "PDF", "remove it"),
        (b"MAC \x96\x0f" + bytes(70), "Monkey's Audio", "ffmpeg -i"),
        (b"DSD \x1c" + bytes(80), "DSD", "ffmpeg -i"),
        (b"FRM8\0\0\0\0\0\0\1\0DSD FVER" + bytes(80), "DSD", "ffmpeg -i"),
        (b"MPCK" + bytes(80), "Musepack", "ffmpeg -i"),
        (b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + FOREIGN["clip.aac"], "ADTS", "ffmpeg -i"),
        (wav(0x0270, 16), "WAV with ATRAC3", "ffmpeg -i"),
        (wav(0xFFFE, 16, extensible("bfaa23e958cb7144a119fffa01e4ce62")), "WAV with ATRAC3plus", "ffmpeg -i"),
        (wav(0xFFFE, 16, extensible("6101000000001000800000aa00389b71")), "WAV with WMA", "ffmpeg -i"),
        (wav(0x4242, 16), r"WAV with a codec .* \(0x4242\)", "ffmpeg -i"),
        (wav(0x0003, 16), "WAV of 16-bit floating-point", "ffmpeg -i"),
        (caf(b"aac "), "CAF with AAC", "ffmpeg -i"),
    ],
)
def test_what_is_no_sound_or_unknown(content: bytes, name: str, fix: str) -> None:
    error = error_of(Path("clip.wav"), content)
    assert str(error).startswith("clip.wav: cannot be decoded: it is ")
    with pytest.raises(AudioFileError, match=f"it is .*{name}.*{fix}"):
        raise error


def test_an_empty_file_has_a_fix() -> None:
    assert error_of(Path("clip.wav"), b"").fix == "Write or download it again"


@pytest.mark.parametrize("cut", [0.3, 0.9])
@pytest.mark.parametrize(("suffix", "options"), [(".wav", {}), (".flac", {}), (".ogg", {}), (".mp3", {})])
def test_damage_is_not_taken_for_something_else(suffix: str, options: dict[str, str], cut: float) -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    soundfile.write(file, noise, 16_000, format=suffix[1:].upper(), **options)
    content = file.getvalue()
    error = error_of(Path(f"clip{suffix}"), content[: int(len(content) * cut)])
    assert "it is" not in error.what


def test_names_in_commands_stand_in_quotes() -> None:
    names = [
        "it's.m4a",
        "two words.m4a",
        "-i.m4a",
        "a:b.m4a",
        "$(rm).m4a",
        "line\nfeed.m4a",
        "bell\x07'.m4a",
        "IN OUT.m4a",
    ]
    for name in names:
        command = with_names("printf '%s\\0' IN OUT.wav", f"{name}.m4a")
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
        given, made, rest = done.stdout.decode().split("\0")
        assert given.removeprefix("./") == f"{name}.m4a"
        assert made.removeprefix("./") == f"{name}.wav"
        assert not given.startswith("-")
        assert rest == ""


def test_files_of_every_suffix_are_found(tmp_path: Path) -> None:
    for suffix in DECODABLE | UNDECODABLE:
        (tmp_path / f"clip-{suffix[1:]}{suffix}").touch()
    assert len(scan(tmp_path).clips) == len(DECODABLE | UNDECODABLE)
    for suffix in (".mkv", ".mov", ".avi", ".flv", ".3gp", ".eac3", ".m4b", ".mpg", ".wmv", ".dsf", ".spx"):
        assert suffix in UNDECODABLE


def test_source_code_is_no_transport_stream(tmp_path: Path) -> None:
    """The suffix .ts is TypeScript's too, .mts its modules', .dts the device tree's, .asf a skeleton's."""
    for suffix in AMBIGUOUS:
        (tmp_path / f"code{suffix}").write_text('export const sound = "GGG";\n' * 30)
        (tmp_path / f"empty{suffix}").touch()
    (tmp_path / "a.ts").write_bytes(FOREIGN["clip.ts"])
    (tmp_path / "b.mts").write_bytes(FOREIGN["clip.m2ts"])
    (tmp_path / "c.dts").write_bytes(FOREIGN["clip.dts"])
    (tmp_path / "d.asf").write_bytes(FOREIGN["clip.wma"])
    folder = scan(tmp_path)
    assert [clip.path.name for clip in folder.clips] == ["a.ts", "b.mts", "c.dts", "d.asf"]
    assert folder.ignored == 2 * len(AMBIGUOUS)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_pipe_of_an_ambiguous_suffix_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "live.ts")
    (tmp_path / "a.wav").touch()
    assert scan(tmp_path).ignored == 1


def test_layer_2_is_decoded() -> None:
    assert ".mp2" in DECODABLE
    audio = decode(Path("layer2.mp2"), LAYER_2)
    assert audio.sample_rate == 32_000
    assert np.abs(audio.samples).max() == pytest.approx(0.125, rel=0.1)


def test_flac_in_ogg_is_decoded() -> None:
    assert len(decode(Path("clip.oga"), OGG_FLAC).samples) > 0


def test_a_folder_without_audio_says_what_is_there(tmp_path: Path) -> None:
    """MIDI is notes, and often lies beside recordings of its name: it is no clip, but it is named."""
    for name in ("a.mid", "b.mid", "c.json"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"no audio files \(3 other files: 2 \.mid, 1 \.json\)"):
        scan(tmp_path)
    (tmp_path / "a.wav").touch()
    assert [clip.clip_id for clip in scan(tmp_path).clips] == ["a"]


def test_json_of_numbers_is_text() -> None:
    assert "text" in error_of(Path("clip.wav"), json.dumps([0.5] * 9).encode()).what


BEYOND_FFMPEG = {"clip.loas", "clip.wma", "wma.wav", "clip.eac3", "clip.dts", "clip.thd", "vorbis.wav"}
"""Of these it wants more than 50 ms; its own Vorbis in WAV it never reads."""


@pytest.mark.skipif(not (shutil.which("ffmpeg") and shutil.which("flac")), reason="there is nothing to convert with")
@pytest.mark.parametrize("name", sorted(FOREIGN.keys() - BEYOND_FFMPEG))
def test_the_command_makes_a_file_that_decodes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "it's" / name
    path.parent.mkdir()
    path.write_bytes(FOREIGN[name])
    command = str(error_of(path, FOREIGN[name])).rpartition(": ")[2]
    subprocess.run(["bash", "-c", command], check=True, cwd="/", capture_output=True)
    (made,) = set(path.parent.iterdir()) - {path}
    samples = decode(made, made.read_bytes()).samples
    assert 0.05 < np.abs(samples).max() < 0.3
