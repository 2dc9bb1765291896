"""Sounds and spectrograms that travel inside a page."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from audiogen_metrics.audio.decoding import decoded
from audiogen_metrics.audio.files import AudioFile
from audiogen_metrics.audio.resampling import resample
from audiogen_metrics.backbones.frontend import power_spectrogram
from audiogen_metrics.backbones.mel import htk_mel_filterbank
from audiogen_metrics.errors import AudioFileError

PLAYED_RATE = 32_000
BANDS, FRAMES = 64, 240
"""Size of a spectrogram in pixels."""

RANGE_DB = 80.0

# Dark to bright by lightness too, so that it reads in grey.
_PALETTE = np.array([[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]])


@dataclass(frozen=True)
class Media:
    """What a page holds of one clip: an MP3 copy and a picture as data URIs, None where left out."""

    audio: str | None
    picture: str | None
    seconds: float
    problem: str | None = None


@dataclass
class Album:
    """Media of clips, each once, up to a total size.

    Parameters
    ----------
    capacity
        Bytes of audio at most; clips that come later have a picture only.
    seconds
        Longest copy of a clip.
    """

    capacity: int
    seconds: int
    used: int = 0
    left_out: int = 0
    _known: dict[tuple[AudioFile, float], Media] = field(default_factory=dict)

    def of(self, clip: AudioFile, start: float = 0.0) -> Media:
        """Return the media of a clip, from a second of it on."""
        if (clip, start) not in self._known:
            self._known[clip, start] = self._make(clip, start)
        return self._known[clip, start]

    def _make(self, clip: AudioFile, start: float) -> Media:
        try:
            audio = decoded(clip)
            mono = torch.from_numpy(audio.samples.mean(axis=1))[round(start * audio.sample_rate) :]
            seconds = len(mono) / audio.sample_rate
            mono = mono[: self.seconds * audio.sample_rate]
            wave = resample(mono, audio.sample_rate, PLAYED_RATE, "torchaudio")
        except (OSError, AudioFileError) as error:
            reason = error.what if isinstance(error, AudioFileError) else f"cannot be read ({error.strerror})"
            return Media(None, None, 0.0, reason)
        sound = _mp3(wave.clamp(-1, 1).numpy())
        fits = self.used + len(sound) <= self.capacity
        self.used, self.left_out = self.used + len(sound) * fits, self.left_out + (not fits)
        picture = _uri("image/png", png(spectrogram(wave)))
        return Media(_uri("audio/mpeg", sound) if fits else None, picture, seconds)


def spectrogram(wave: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Return the log-mel spectrogram of ``(time,)`` at `PLAYED_RATE`, 0–255, low frequencies in the last row."""
    fft = 1024
    wave = torch.nn.functional.pad(wave, (0, max(0, fft - len(wave))))
    power = power_spectrogram(wave[None], fft, max(64, len(wave) // FRAMES))[0]
    mel = power @ htk_mel_filterbank(fft // 2 + 1, PLAYED_RATE, BANDS, 50.0, PLAYED_RATE / 2)
    level = 10 * mel.clamp(min=1e-20).log10()
    # A fixed floor: silence must look silent, not like amplified rounding.
    top = max(float(level.max()), -20.0)
    scaled = ((level - top) / RANGE_DB + 1).clamp(0, 1) * 255
    return np.ascontiguousarray(scaled.T.flip(0).to(torch.uint8).numpy())


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an 8-bit image ``(height, width)`` in the page's colours as PNG."""
    height, width = pixels.shape
    steps = np.linspace(0, len(_PALETTE) - 1, 256)
    channels = [np.interp(steps, np.arange(len(_PALETTE)), channel) for channel in _PALETTE.T]
    palette = np.stack(channels, axis=1).astype(np.uint8)
    rows = np.pad(pixels, ((0, 0), (1, 0)))  # filter type 0 before each row
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def _mp3(samples: npt.NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, PLAYED_RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.6)
    return file.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
