"""Small random networks of transformers, saved as the hub has them, for machines without the published ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
SPEECH = {
    **SMALL,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 4, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
AST = {**SMALL, "num_mel_bins": 32, "max_length": 128, "patch_size": 16}
WHISPER = {
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": 100,
    "max_source_positions": 100,
    "max_target_positions": 16,
    "num_mel_bins": 80,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
CODEC = {"num_filters": 4, "hidden_size": 16, "codebook_dim": 16, "codebook_size": 64, "num_residual_layers": 1}


def _speech(kind: str, head: str = "Model", normalised: bool = True, **options: Any) -> tuple[Any, Any]:
    import transformers

    config = getattr(transformers, f"{kind}Config")(**SPEECH, **options)
    mask = config.feat_extract_norm == "layer" if hasattr(config, "feat_extract_norm") else False
    extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalised, return_attention_mask=mask)
    return getattr(transformers, f"{kind}{head}")(config), extract


def _ast(head: str = "ForAudioClassification", classes: int = 527) -> tuple[Any, Any]:
    import transformers

    config = transformers.ASTConfig(**AST, num_labels=classes)
    extract = transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=128)
    return getattr(transformers, f"AST{head}")(config), extract


def _whisper(head: str = "Model", **options: Any) -> tuple[Any, Any]:
    import transformers

    config = transformers.WhisperConfig(**WHISPER, **options)
    return getattr(transformers, f"Whisper{head}")(config), transformers.WhisperFeatureExtractor(chunk_length=2)


def _encodec(stereo: bool = False) -> tuple[Any, Any]:
    import transformers

    rate = 48_000 if stereo else 24_000
    chunks = {"chunk_length_s": 1.0, "overlap": 0.01} if stereo else {}
    shape = {"audio_channels": 2, "normalize": True, "norm_type": "time_group_norm", "use_causal_conv": False}
    bandwidths = [rate * 6 / 320 / 1000]
    config = transformers.EncodecConfig(
        **CODEC, sampling_rate=rate, target_bandwidths=bandwidths, **chunks, **(shape if stereo else {})
    )
    extract = transformers.EncodecFeatureExtractor(1 + stereo, rate, **chunks)
    return transformers.EncodecModel(config), extract


def _dac() -> tuple[Any, Any]:
    import transformers

    config = transformers.DacConfig(
        encoder_hidden_size=4, decoder_hidden_size=64, hidden_size=64, n_codebooks=2, codebook_size=64, codebook_dim=4
    )
    config.sampling_rate = 16_000
    return transformers.DacModel(config), transformers.DacFeatureExtractor(sampling_rate=16_000, hop_length=512)


NETWORKS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "ast": _ast,
    "ast-headless": lambda: _ast("Model"),
    "wav2vec2": lambda: _speech("Wav2Vec2"),
    "wav2vec2-pretraining": lambda: _speech(
        "Wav2Vec2", "ForPreTraining", num_codevectors_per_group=4, codevector_dim=8
    ),
    "wav2vec2-large": lambda: _speech("Wav2Vec2", do_stable_layer_norm=True, feat_extract_norm="layer"),
    "wav2vec2-classes": lambda: _speech("Wav2Vec2", "ForSequenceClassification", num_labels=5),
    "hubert": lambda: _speech("Hubert"),
    "hubert-large": lambda: _speech("Hubert", do_stable_layer_norm=True, feat_extract_norm="layer"),
    "wavlm": lambda: _speech("WavLM", num_buckets=32, max_bucket_distance=80, normalised=False),
    "unispeech-sat": lambda: _speech("UniSpeechSat"),
    "data2vec": lambda: _speech("Data2VecAudio", conv_pos_kernel_size=5, num_conv_pos_embeddings_=2),
    "sew": lambda: _speech("SEW", squeeze_factor=2),
    "whisper": _whisper,
    "whisper-classes": lambda: _whisper("ForAudioClassification", num_labels=7),
    "encodec": _encodec,
    "encodec-stereo": lambda: _encodec(stereo=True),
    "dac": _dac,
}
"""By name, what makes a network and its feature extractor."""


def write_network(folder: Path, name: str, seed: int = 0, **options: Any) -> Path:
    """Write a seeded random network with its feature extractor, and return the folder.

    ``mert`` is a HuBERT under MERT's name, as its authors' checkpoints have it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, extract = NETWORKS["hubert" if name == "mert" else name]()
        with torch.no_grad():
            # Fresh networks hear next to nothing: equality of their outputs would prove little.
            for key, parameter in network.named_parameters():
                still = "embed_positions" in key or parameter.ndim < 2
                parameter.mul_(1.0 if still else 3.0 if name in ("dac", "whisper", "whisper-classes") else 2.0)
    network.eval().save_pretrained(folder, **options)
    extract.save_pretrained(folder)
    if name == "mert":
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "mert_model", "architectures": ["MERTModel"], "feature_extractor_cqt": False}
        config |= {"deepnorm": False, "attention_relax": -1.0, "auto_map": {"AutoModel": "modeling_MERT.MERTModel"}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "modeling_MERT.py").write_text("raise RuntimeError('code of a checkpoint was run')\n")
    return folder
