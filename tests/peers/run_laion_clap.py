"""Run laion_clap's own code on clips and texts; runs in an environment of its own (laion_clap wants numpy 1).

``python run_laion_clap.py SIZE FUSION CHECKPOINT IN.npz OUT.npz`` reads ``clip…`` (one row each, 48 kHz), ``ids`` and
``mask`` (texts as padded token numbers), and writes ``audio``, ``text``, ``seconds`` (of the first call, clip by clip)
and ``together`` (all clips in one call). What is replaced in laion_clap, because it could not start otherwise: packages
of its training that are not installed, and tokenizers and RoBERTa's weights, which it downloads when imported. Where it
draws at random, the middle place is taken.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import time
import types
from typing import Any

import numpy as np
import torch
import transformers

TRAINING = ("h5py", "braceexpand", "webdataset", "wget", "ftfy", "wandb", "progressbar", "pandas")


class _Absent:
    @classmethod
    def from_pretrained(cls, *_args: object, **_options: object) -> _Absent:
        return cls()


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent


def load(size: str, fusion: bool, checkpoint: str) -> Any:
    """Return laion_clap's module with the checkpoint's weights, every key of which it has accounted for."""
    for name in TRAINING:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = _Module(name)
            sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
    configuration = transformers.RobertaConfig(vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1)
    configuration.layer_norm_eps = 1e-5  # as roberta-base's own configuration has it
    kind = transformers.RobertaModel
    for name in ("BertTokenizer", "BartTokenizer", "RobertaTokenizer"):
        getattr(transformers, name)
        setattr(transformers, name, _Absent)
    package = importlib.import_module("laion_clap")
    model = importlib.import_module("clap_module.model")
    model.RobertaModel = types.SimpleNamespace(from_pretrained=lambda _: kind(configuration))
    module = package.CLAP_Module(enable_fusion=fusion, amodel=f"HTSAT-{size}", device="cpu")
    module.load_ckpt(checkpoint, verbose=False)
    return module


def main(size: str, fusion: str, checkpoint: str, given: str, out: str) -> None:
    """Embed every clip by itself, all equally long ones together, and every text."""
    torch.set_num_threads(1)
    np.random.choice = lambda places: places[(len(places) - 1) // 2]
    module = load(size, fusion == "fusion", checkpoint)
    with np.load(given) as content:
        clips = [torch.from_numpy(content[name])[None] for name in content.files if name.startswith("clip")]
        text = {"input_ids": torch.from_numpy(content["ids"]), "attention_mask": torch.from_numpy(content["mask"])}
    with torch.no_grad():
        start = time.perf_counter()
        audio = [module.get_audio_embedding_from_data(clip, use_tensor=True)[0].numpy() for clip in clips]
        seconds = time.perf_counter() - start
        words = module.get_text_embedding(None, tokenizer=lambda _: text, use_tensor=True).numpy()
        start = time.perf_counter()
        module.get_audio_embedding_from_data([clip[0] for clip in clips], use_tensor=True)
        together = time.perf_counter() - start
    np.savez(out, audio=np.stack(audio), text=words, seconds=seconds, together=together)


if __name__ == "__main__":
    main(*sys.argv[1:])
