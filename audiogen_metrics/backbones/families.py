"""Kinds of transformers' audio networks: the window of each, and where its rows come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from audiogen_metrics.errors import MissingWeightsError, UsageError

Family = Literal["speech", "ast", "whisper", "encodec", "dac"]

_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        (
            *("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "sew", "sew-d", "data2vec-audio"),
            *("wav2vec2-conformer", "mert_model"),
        ),
        "speech",
    ),
    "audio-spectrogram-transformer": "ast",
    "whisper": "whisper",
    "encodec": "encodec",
    "dac": "dac",
}
"""Families by ``model_type``. All networks that turn a waveform into a sequence of frames are speech."""

_HEADS = ("ForAudioClassification", "ForSequenceClassification")


def family_of(config: Mapping[str, Any]) -> Family | None:
    """Return the family of a network that transformers knows; None for networks with their own code."""
    kind = config.get("model_type")
    # MERT is HuBERT, unless it adds a constant-Q transform or scales its residuals.
    if kind == "mert_model" and (config.get("feature_extractor_cqt") or config.get("deepnorm")):
        return None
    return _FAMILIES.get(str(kind))


@dataclass(frozen=True)
class Hearing:
    """Input and output of a network, as its configuration describes them.

    Parameters
    ----------
    family
        See `family_of`; ``speech`` for a network with its own code.
    sample_rate
        Rate in Hz.
    minimum_samples
        Shortest waveform that gives a row.
    window, hop
        Samples of a window, and from one window to the next; 0 for the whole clip.
    samples_per_frame
        Samples of a frame, to tell sound from padding in a window; 0 if windows are not padded.
    layers
        Number of hidden layers that can be chosen.
    labels
        Names of the classes; None without a classification head.
    """

    family: Family
    sample_rate: int
    minimum_samples: int = 1
    window: int = 0
    hop: int = 0
    samples_per_frame: int = 0
    layers: int = 0
    labels: tuple[str, ...] | None = None


def hearing_of(config: Mapping[str, Any], extractor: Mapping[str, Any], where: str) -> Hearing:
    """Return the input and output of a network.

    Raises
    ------
    UsageError
        The kind of network is not supported.
    MissingWeightsError
        The configuration files lack something that is needed.
    """
    family = family_of(config)
    if family is None and "auto_map" not in config:
        raise UsageError(
            f"networks of the kind {config.get('model_type')!r} are not supported",
            where=where,
            fix=f"Supported: {', '.join(sorted(_FAMILIES))}; wrap others with audiogen_metrics.backbones.from_callable",
        )
    try:
        rate = int(extractor["sampling_rate"])
        labels = _labels(config) if family in ("speech", "ast", "whisper") else None
        if family == "ast":
            frame, shift = 25 * rate // 1000, 10 * rate // 1000
            window = frame + (int(extractor["max_length"]) - 1) * shift
            return Hearing("ast", rate, frame, window, window, 0, int(config["num_hidden_layers"]), labels)
        if family == "whisper":
            window = int(extractor["chunk_length"]) * rate
            frame = 2 * int(extractor["hop_length"])
            return Hearing("whisper", rate, 1, window, window, frame, int(config["encoder_layers"]), labels)
        if family == "encodec":
            frame = math.prod(config["upsampling_ratios"])
            if config.get("chunk_length_s") is None:
                return Hearing("encodec", rate, frame)
            window = int(config["chunk_length_s"] * rate)
            hop = max(1, int((1.0 - (config.get("overlap") or 0.0)) * window))
            return Hearing("encodec", rate, frame, window, hop, frame)
        if family == "dac":
            return Hearing("dac", rate, math.prod(config["downsampling_ratios"]))
        return Hearing("speech", rate, _shortest(config), layers=int(config["num_hidden_layers"]), labels=labels)
    except (KeyError, TypeError, ValueError) as error:
        raise MissingWeightsError(
            f"its configuration files do not say how it is fed ({type(error).__name__}: {error})", where=where
        ) from error


def _shortest(config: Mapping[str, Any]) -> int:
    """Return the samples that give one frame at the end of a stack of convolutions."""
    kernels, strides = config.get("conv_kernel"), config.get("conv_stride")
    if kernels is None or strides is None:
        return 1600  # the network's own code checks the length itself
    samples = int(config.get("squeeze_factor") or 1)
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * int(stride) + int(kernel)
    return samples


def _labels(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the classes of a network with a classification head."""
    if not any(str(name).endswith(_HEADS) for name in config.get("architectures") or ()):
        return None
    by_id = {int(index): str(name) for index, name in (config.get("id2label") or {}).items()}
    count = len(by_id) or int(config.get("num_labels", 2))
    return tuple(by_id.get(index, f"LABEL_{index}") for index in range(count))
