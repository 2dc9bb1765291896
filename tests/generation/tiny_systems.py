"""AudioLDM 2, Stable Audio Open and MusicGen in their real architectures, tiny and random, built from configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.audioldm.tiny import _make_audible, _networks
from audiogen_metrics.backbones.transformers import quiet

require()  # before diffusers is imported by itself

TEXT_SIZE = 32


def write(name: str, folder: Path, **changes: Any) -> Path:
    """Write the tiny model of a system as its repository on the hub is laid out, and return the folder."""
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        {"audioldm2": _audioldm2, "stable_audio": _stable_audio, "musicgen": _musicgen}[name](folder, **changes)
    return folder


def _t5() -> tuple[Any, Any]:
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    letters = [(character, -3.0) for character in "abcdefghijklmnopqrstuvwxyz,.'"]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *letters]
    tokenizer = T5TokenizerFast(vocab=vocab, extra_ids=0, model_max_length=64)
    config = T5Config(vocab_size=64, d_model=TEXT_SIZE, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return tokenizer, T5EncoderModel(config)


def _audioldm2(folder: Path, *, rate: int = 16_000) -> None:
    """Write AudioLDM 2: CLAP, T5, projection, GPT-2 as the class that it is published with, UNet, VAE, HiFi-GAN."""
    import transformers
    from diffusers import AudioLDM2Pipeline, AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel

    parts = _networks((8, 16))
    parts.pop("unet")
    clap = parts.pop("clap")
    parts.pop("text_encoder")
    tokenizer, t5 = _t5()
    sizes = {"vocab_size": 99, "n_positions": 128, "n_embd": 16, "n_layer": 2, "n_head": 4, "max_new_tokens": 8}
    gpt2 = transformers.GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)
    unet = AudioLDM2UNet2DConditionModel(
        sample_size=256,
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=((None, 16, TEXT_SIZE), (None, 16, TEXT_SIZE)),
    )
    _make_audible(parts)
    parts["vocoder"].config.sampling_rate = rate
    pipe = AudioLDM2Pipeline(
        **parts,
        unet=unet,
        text_encoder=clap,
        text_encoder_2=t5,
        tokenizer_2=tokenizer,
        projection_model=AudioLDM2ProjectionModel(clap.config.projection_dim, TEXT_SIZE, gpt2.n_embd),
        language_model=transformers.GPT2Model(gpt2),
        feature_extractor=transformers.ClapFeatureExtractor(),
    )
    pipe.save_pretrained(folder)


def _stable_audio(folder: Path, *, rate: int = 44_100, scheduler: str = "EDMDPMSolverMultistepScheduler") -> None:
    """Write Stable Audio Open: T5, the projection of text and seconds, the transformer, the stereo codec.

    Its own scheduler is ``CosineDPMSolverMultistepScheduler``, which needs torchsde; the one that is written otherwise
    takes the same settings and needs nothing.
    """
    import diffusers

    tokenizer, t5 = _t5()
    codec = diffusers.AutoencoderOobleck(
        encoder_hidden_size=4,
        downsampling_ratios=[4, 8, 16],
        channel_multiples=[1, 1, 1],
        decoder_channels=4,
        decoder_input_channels=8,
        audio_channels=2,
        sampling_rate=rate,
    )
    transformer = diffusers.StableAudioDiTModel(
        sample_size=256,
        in_channels=8,
        out_channels=8,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        num_key_value_attention_heads=2,
        cross_attention_dim=TEXT_SIZE,
        cross_attention_input_dim=TEXT_SIZE,
        global_states_input_dim=2 * TEXT_SIZE,
        time_proj_dim=8,
    )
    sampling = {"sigma_min": 0.3, "sigma_max": 500, "sigma_data": 1.0, "sigma_schedule": "exponential"}
    projection = diffusers.StableAudioProjectionModel(TEXT_SIZE, TEXT_SIZE, min_value=0, max_value=512)
    diffusers.StableAudioPipeline(
        vae=codec,
        text_encoder=t5,
        projection_model=projection,
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=getattr(diffusers, scheduler)(solver_order=2, prediction_type="v_prediction", **sampling),
    ).save_pretrained(folder)


def _musicgen(folder: Path, *, rate: int = 32_000, channels: int = 1) -> None:
    """Write MusicGen: T5, the language model over delayed codebooks, EnCodec."""
    from transformers import EncodecConfig, GenerationConfig, MusicgenConfig, MusicgenForConditionalGeneration, T5Config
    from transformers.models.musicgen import MusicgenDecoderConfig

    tokenizer, t5 = _t5()
    codec = EncodecConfig(
        sampling_rate=rate,
        audio_channels=1,
        upsampling_ratios=[8, 5, 4, 4],
        num_filters=2,
        hidden_size=8,
        codebook_size=64,
        codebook_dim=8,
        num_lstm_layers=1,
        target_bandwidths=[1.2],
        use_causal_conv=False,
    )
    books = 4 * channels
    decoder = MusicgenDecoderConfig(
        vocab_size=64,
        max_position_embeddings=256,
        num_hidden_layers=2,
        ffn_dim=32,
        num_attention_heads=4,
        hidden_size=16,
        num_codebooks=books,
        initializer_factor=0.5,  # 0.02 would drown the prompt in what is the same for all
        audio_channels=channels,
        pad_token_id=64,
        bos_token_id=64,
    )
    assert isinstance(t5.config, T5Config)
    model = MusicgenForConditionalGeneration(
        MusicgenConfig(text_encoder=t5.config, audio_encoder=codec, decoder=decoder)
    )
    for layer in model.audio_encoder.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed)  # zeros, before training: every sequence would sound the same
    model.generation_config = GenerationConfig(
        bos_token_id=64,
        decoder_start_token_id=64,
        pad_token_id=64,
        do_sample=True,
        guidance_scale=3.0,
        max_length=1500,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
