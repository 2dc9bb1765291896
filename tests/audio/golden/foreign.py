"""Sound in forms that libsndfile does not decode, as ffmpeg writes them: ``python -m tests.audio.golden.foreign``.

``foreign.zip`` was written with ffmpeg 5.1.9 (Debian 12), but for ``flac32.flac`` and ``speech.amr``, which that ffmpeg
cannot write, with 9.0.2.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ARCHIVE = Path(__file__).with_name("foreign.zip")

FILES: dict[str, str] = {
    "clip.m4a": "-c:a aac",
    "clip.mp4": "-c:a aac",
    "clip.3gp": "-c:a aac",
    "clip.mov": "-c:a pcm_s16le",
    "clip.aac": "-c:a aac",
    "clip.loas": "-c:a aac -f latm",
    "clip.webm": "-c:a libopus",
    "clip.mka": "-c:a flac",
    "clip.wma": "-c:a wmav2",
    "clip.avi": "-c:a mp3",
    "clip.flv": "-c:a mp3 -ar 11025",
    "clip.rm": "-c:a ac3 -ar 48000",
    "clip.mpg": "-c:a mp2 -ar 32000",
    "clip.ts": "-c:a aac",
    "clip.m2ts": "-c:a ac3 -ar 48000",
    "clip.wv": "-c:a wavpack",
    "clip.ac3": "-c:a ac3 -ar 48000",
    "clip.eac3": "-c:a eac3 -ar 48000",
    "clip.tta": "-c:a tta",
    "clip.dts": "-c:a dca -strict -2 -ac 2 -ar 48000",
    "clip.thd": "-c:a truehd -strict -2 -ar 48000",
    "clip.spx": "-c:a libspeex",
    "clip.oga": "-c:a flac",
    "aac.wav": "-c:a aac",
    "ac3.wav": "-c:a ac3 -ar 48000",
    "wma.wav": "-c:a wmav2",
    "flac.wav": "-c:a flac",
    "vorbis.wav": "-c:a libvorbis",
    "g726.wav": "-c:a g726",
    "int64.wav": "-c:a pcm_s64le",
    "ac3.w64": "-c:a ac3 -ar 48000",
    "flac32.flac": "-c:a flac -strict experimental -sample_fmt s32 -bits_per_raw_sample 32",
    "speech.amr": "-c:a libopencore_amrnb -ac 1",
    "layer2.mp2": "-c:a mp2 -ar 32000",
}
"""Options of ffmpeg by name of the file."""


def write(ffmpeg: str, *names: str) -> None:
    """Write these files, all by default, into the archive."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(ARCHIVE, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in names or FILES:
            path = Path(folder) / name
            source = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000:duration=0.05", "-bitexact"]
            subprocess.run([ffmpeg, "-loglevel", "error", *source, *FILES[name].split(), str(path)], check=True)
            archive.write(path, name)


if __name__ == "__main__":
    write(*sys.argv[1:])
