"""Run the peers' own code on two folders and write what they compute; runs in the peers' environment.

``python run_peers.py GEN REF PANNS VGGISH OUT`` writes ``OUT.json`` (scores, errors, versions) and ``OUT.npz``
(features by file name). What is replaced in the peers, because they could not start otherwise:

- downloads: torch.hub.load gives the packaged torchvggish's front end and network with the given checkpoint; CNN14's
  is put where audioldm_eval looks for it; laion_clap, which fetches a tokenizer when imported, is an empty module;
- torchaudio.load, which needs torchcodec, reads the same file with soundfile;
- LSD, PSNR, SSIM and their STFT, which fails on today's librosa, and KID, which needs 1000 clips, are left out of
  audioldm_eval's run;
- an exception inside a distance is recorded, not raised, so that the other scores are seen.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

PEERS = ("audioldm-eval", "frechet-audio-distance", "panns-inference", "torchvggish", "torch", "torchaudio", "scipy")


def main(gen: Path, ref: Path, panns: Path, vggish: Path, out: Path) -> None:
    """Run every peer on both folders."""
    importlib.import_module("torchaudio")
    torch.set_num_threads(1)
    home = Path.cwd()
    _place_weights(home, panns)
    torch.hub.load = lambda *_args, **_options: _vggish(vggish)
    sys.modules["torchaudio"].load = _load  # type: ignore[attr-defined]
    scores: dict[str, Any] = {"versions": {name: version(name) for name in PEERS}}
    features: dict[str, Any] = {}
    audioldm_eval(gen, ref, scores, features)
    frechet_audio_distance(gen, ref, scores)
    panns_inference(gen, panns, features)
    Path(f"{out}.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(f"{out}.npz", **features)


def audioldm_eval(gen: Path, ref: Path, scores: dict[str, Any], features: dict[str, Any]) -> None:
    """Run EvaluationHelper.main, recording its features on the way."""
    from audioldm_eval import eval as module
    from audioldm_eval.metrics import fad

    module.Audio.TacotronSTFT = lambda *_args: None
    helper = module.EvaluationHelper(16_000, torch.device("cpu"))
    helper.calculate_lsd = helper.calculate_psnr_ssim = lambda *_args, **_options: {}
    module.calculate_kid = lambda *_args, **_options: {}
    errors: dict[str, str] = {}

    def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            except Exception as error:
                errors[name] = f"{type(error).__name__}: {error}"
                return {name: float("nan")}

        return call

    module.calculate_fid = guarded("frechet_distance", module.calculate_fid)
    helper.frechet.calculate_frechet_distance = guarded("distance", helper.frechet.calculate_frechet_distance)
    folders = iter(["ref", "gen"])  # the order in which main extracts them
    extract = helper.get_featuresdict

    def recorded(loader: Any) -> Any:
        found, side = extract(loader), next(folders)
        for row, name in enumerate(found["file_path_"]):
            features[f"{side}/{name}/embedding"] = found["2048"][row].numpy()
            features[f"{side}/{name}/logits"] = found["logits"][row].numpy()
        return found

    helper.get_featuresdict = recorded
    loading, forward, current = fad.load_audio_task, helper.frechet.model.forward, [""]

    def load(path: str) -> Any:
        current[0] = f"{Path(path).parent.name}/{Path(path).name}"
        return loading(path)

    def embed(*args: Any) -> Any:
        rows = forward(*args)
        features[f"{current[0]}/vggish"] = rows.detach().numpy()
        return rows

    fad.load_audio_task, helper.frechet.model.forward = load, embed
    found = helper.main(str(gen), str(ref))
    if "distance" in errors:
        errors["frechet_audio_distance"] = errors.pop("distance")
    names = ("frechet_distance", "frechet_audio_distance", "inception_score_mean", "inception_score_std",
             "kullback_leibler_divergence_softmax", "kullback_leibler_divergence_sigmoid")  # fmt: skip
    # None for what is NaN: an exception above, or an inception score of fewer clips than splits.
    scores["audioldm_eval"] = {name: None if np.isnan(found[name]) else float(found[name]) for name in names}
    scores["errors"] = errors


def frechet_audio_distance(gen: Path, ref: Path, scores: dict[str, Any]) -> None:
    """Run the package's VGGish distance on 16-bit audio."""
    sys.modules["laion_clap"] = types.ModuleType("laion_clap")
    from frechet_audio_distance import FrechetAudioDistance

    peer = FrechetAudioDistance(model_name="vggish", use_pca=False, use_activation=False)
    value = float(np.real(peer.score(str(ref), str(gen), dtype="int16")))
    # Its failure value.
    scores["frechet_audio_distance"] = None if value == -1 else value


def panns_inference(gen: Path, panns: Path, features: dict[str, Any]) -> None:
    """Run AudioTagging on the generated clips, prepared as audioldm_eval prepares them."""
    from audioldm_eval.datasets.load_mel import WaveDataset
    from panns_inference import AudioTagging
    from panns_inference.models import Cnn14

    network = Cnn14(sample_rate=16_000, window_size=512, hop_size=160, mel_bins=64, fmin=50, fmax=8000, classes_num=527)
    tagging = AudioTagging(model=network, checkpoint_path=str(panns), device="cpu")
    clips = WaveDataset(str(gen), 16_000)
    # By index: this data set never says that it has ended.
    for waveform, name in map(clips.__getitem__, range(len(clips))):
        probabilities, embedding = tagging.inference(waveform.numpy())
        features[f"panns-inference/{name}/probabilities"] = probabilities[0]
        features[f"panns-inference/{name}/embedding"] = embedding[0]


def _place_weights(home: Path, panns: Path) -> None:
    (home / "ckpt").mkdir(exist_ok=True)
    for name in ("Cnn14_16k_mAP=0.438.pth", "Cnn14_mAP=0.431.pth"):
        link = home / "ckpt" / name
        if not link.exists():
            link.symlink_to(panns)


def _vggish(checkpoint: Path) -> Any:
    """Return torchvggish's network on waveforms, as its hub entry is, with torchvggish's own front end."""
    from torchvggish.torchvggish import VGG, make_layers
    from torchvggish.vggish_input import waveform_to_examples

    class VGGish(VGG):
        device = torch.device("cpu")

        def forward(self, samples: Any, rate: int) -> torch.Tensor:
            return super().forward(waveform_to_examples(samples, rate).detach())

    network = VGGish(make_layers(), postprocess=False)
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    return network.eval()


def _load(path: str, **_options: Any) -> tuple[torch.Tensor, int]:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


if __name__ == "__main__":
    os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    main(*(Path(argument).absolute() for argument in sys.argv[1:]))
