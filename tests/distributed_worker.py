"""One process of `test_distributed`: score its share of the clips together with the other processes."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from audiogen_metrics import FAD, FD, IS, KL, MetricSuite
from audiogen_metrics.errors import AudiogenMetricsError


def suite() -> Any:
    return MetricSuite([metric(protocol="yamnet") for metric in (FD, FAD, IS, KL)], on_missing="raise")


def features(count: int = 30) -> Any:
    """Return rows of 6 windows per clip, and logits, for two sets; also the ids."""
    generator = torch.Generator().manual_seed(1)
    sides = {
        side: {
            "windows": torch.randn(count, 6, 12, generator=generator).double(),
            "logits": torch.randn(count, 9, generator=generator).double(),
        }
        for side in ("gen", "ref")
    }
    return sides, [f"clip/{index:02d} ö" for index in range(count)]


def update(metrics: Any, places: Any, with_ids: Any = True) -> None:
    sides, ids = features()
    for start in range(0, len(places), 4):
        part = list(places[start : start + 4])
        names = [ids[place] for place in part] if with_ids else None
        for side in ("gen", "ref"):
            windows, logits = sides[side]["windows"][part], sides[side]["logits"][part]
            metrics["fad_yamnet"].update(**{f"{side}_embeddings": windows}, ids=names)
            metrics["fd_yamnet"].update(**{f"{side}_embeddings": windows.mean(dim=1)}, ids=names)
            if side == "gen":
                metrics["is_yamnet"].update(gen_logits=logits, ids=names)
            metrics["kl_yamnet"].update(**{f"{side}_logits": logits}, ids=names)


def values(metrics: Any) -> Any:
    return {name: float(value) for name, value in metrics.compute().items()}


def message(call: Any) -> Any:
    try:
        call()
    except AudiogenMetricsError as error:
        return str(error)
    return ""


def audio_values(rank: int, root: Path) -> Any:
    """Score real audio, the first rank taking two clips of three, in batches of one clip."""
    import soundfile

    from audiogen_metrics.audio.files import scan

    metrics = suite()
    for side in ("gen", "ref"):
        folder = {"gen": "generated", "ref": "reference"}[side]
        clips = [clip for clip in scan(root / folder).clips if clip.clip_id.startswith(("bd/", "drum/", "elec/"))]
        for place, clip in enumerate(clips):
            if (place % 3 == 0) == (rank == 1):
                samples, rate = soundfile.read(clip.path, dtype="float32", always_2d=True)
                metrics.update(**{side: torch.from_numpy(samples).mean(dim=1)}, sample_rate=rate, ids=[clip.clip_id])
    return values(metrics)


def shared_reference(rank: int, folder: Path) -> Any:
    """Score against a folder that the metric was made with; tell how many clips of it this process embedded."""
    windows = features()[0]["gen"]["windows"]
    metric = FAD(protocol="yamnet", ref=folder)
    embedded = []
    network = metric.runner.backbone.network
    network.register_forward_hook(lambda _module, given, _found: embedded.append(len(given[0])))
    found = []
    for _ in range(2):
        rows = torch.zeros(30, 6, 1024, dtype=torch.float64, device="cpu")
        rows[..., :12] = windows
        metric.update(gen_embeddings=rows[rank::2], ids=features()[1][rank::2])
        found.append(float(metric.compute()))
    return {"values": found, "embedded": sum(embedded), "n_ref": metric.compute_score().n_ref}


def main(rank: int, rendezvous: Any, examples: Any) -> Any:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    results = {}
    for name, shares in {
        "uneven": [range(23), range(23, 30)],
        "empty": [range(30), range(0)],
        "swapped": [range(29, 9, -1), range(10)],
        # 31 clips over two processes: the sampler repeats the very first one at the end of the second share.
        "repeats": [range(0, 30, 2), [*range(1, 30, 2), 0]],
    }.items():
        metrics = suite()
        update(metrics, list(shares[rank])[:12])
        values(metrics)  # in between, as at the end of each epoch
        update(metrics, list(shares[rank])[12:])
        results[name] = values(metrics)

    nameless = suite()
    update(nameless, list([range(23), range(23, 30)][rank]), with_ids=False)
    results["nameless fd"] = float(nameless["fd_yamnet"].compute())
    results["nameless is"] = message(nameless["is_yamnet"].compute)
    results["nameless kl"] = message(nameless["kl_yamnet"].compute)
    update(nameless, [3], with_ids=False)
    results["goes on"] = [metric._is_synced for metric in nameless.members.values()]

    gathered = suite()  # what accelerate's gather_for_metrics hands to each process: all clips
    update(gathered, range(27), with_ids=False)
    results["gathered fd"] = message(gathered["fd_yamnet"].compute)
    results["gathered fad"] = message(gathered["fad_yamnet"].compute)
    single = FD(protocol="yamnet", ref=features()[0]["ref"]["windows"].mean(dim=1))
    for part in [[*range(10), 20, 20], [*range(10, 20), 20]][rank]:  # several times on one, once on the other
        single.update(gen_embeddings=features()[0]["gen"]["windows"][[part]].mean(dim=1))
    with warnings.catch_warnings(record=True, action="always") as caught:
        results["single repeat"] = single.compute_score().n_gen
    results["single repeat warns"] = [str(warning.message) for warning in caught]

    folded = FAD(protocol="yamnet")
    windows = features()[0]["gen"]["windows"]
    for repeat in range(2):  # a whole set on each process: most of it was folded away
        folded.update(gen_embeddings=windows, ref_embeddings=windows, ids=[f"{index}-{repeat}" for index in range(30)])
    results["folded repeats"] = message(folded.compute)

    widths = FD(protocol="yamnet")
    widths.update(gen_embeddings=torch.ones(2, 3 + rank))
    results["widths"] = message(widths.compute)
    if examples:
        results["audio"] = audio_values(rank, Path(examples))
        os.environ["AGM_CACHE_DIR"] = f"{rendezvous}-cache"
        results["folder"] = shared_reference(rank, Path(examples) / "reference")
    dist.destroy_process_group()
    return results


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2], sys.argv[3])))
