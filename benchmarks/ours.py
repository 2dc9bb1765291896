"""This library's side of each comparison: ``python ours.py TASK FILE…``."""

from __future__ import annotations

import numpy as np
import torch
from sides import Task, Values, main, warmed

from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.functional import GaussianStatistics, frechet_distance, inception_score, kernel_distance

BATCH = 16
"""The default of ``agm score``."""


def embed(name: str, output: str, clips: str, *weights: str) -> Task:
    """Run a backbone on clips ``(n, time)``."""
    backbone = BACKBONES.get(name)("cpu", **({"weights": weights[0]} if weights else {}))  # type: ignore[arg-type]
    waveforms = torch.from_numpy(np.load(clips))

    def task() -> Values:
        rows = torch.cat([backbone(batch).named()[output] for batch in waveforms.split(BATCH)])  # type: ignore[index]
        return {"mean": float(rows.mean()), "spread": float(rows.std())}

    return warmed(task)


def yamnet_on_patches(patches: str) -> Task:
    """Run YAMNet's network, without its front end, on patches ``(n, 96, 64)``."""
    network = BACKBONES.get("yamnet")("cpu").network
    batch = torch.from_numpy(np.load(patches))

    def task() -> Values:
        with torch.inference_mode():
            logits = torch.cat([network.classifier(network.embed(part)) for part in batch.split(32)])
        return {"mean": float(logits.mean()), "spread": float(logits.std())}

    return warmed(task)


def frechet(features: str) -> Task:
    """Fit both sets of ``(2, n, d)`` and take their distance."""

    def task(rows: np.ndarray) -> Values:
        gen, ref = map(GaussianStatistics.from_embeddings, rows)
        return {"distance": frechet_distance(gen, ref).value}

    loaded = np.load(features)
    task(loaded[:, :24, :8])
    return lambda: task(loaded)


def inception(logits: str) -> Task:
    """Take the inception score of ``(n, classes)``."""
    loaded = torch.from_numpy(np.load(logits))

    def task() -> Values:
        found = inception_score(loaded, splits=10, seed=2020)
        return {"mean": found.mean, "std": found.std}

    return warmed(task)


def kernel(features: str) -> Task:
    """Take the kernel distance of ``(2, n, d)``: 100 subsets of 1000 rows."""
    gen, ref = np.load(features)

    def task() -> Values:
        found = kernel_distance(gen, ref, subsets=100)  # as torch-fidelity; its default here is all rows
        return {"distance": found.value, "spread": found.std}

    return warmed(task)


TASKS = {task.__name__: task for task in (embed, yamnet_on_patches, frechet, inception, kernel)}

if __name__ == "__main__":
    main(TASKS)
