"""``agm embed DIR``: embeddings, windows and logits of a folder as one file of arrays."""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from audiogen_metrics.cli.common import (
    Subparsers,
    say,
    say_warning,
)
from audiogen_metrics.cli.flags import add_options, arguments_of
from audiogen_metrics.cli.parsing import output_file
from audiogen_metrics.errors import UsageError
from audiogen_metrics.evaluation import embed_folder
from audiogen_metrics.run_options import SetOptions
from audiogen_metrics.writing import write_result

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.embedding.extraction import EmbeddingSet

FORMATS = (".safetensors", ".npz")


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "embed",
        description="Write the outputs of a protocol's backbones for each clip, float32, under names such as "
        "yamnet.embeddings, yamnet.windows with yamnet.window_counts, yamnet.logits; clip ids are yamnet.ids "
        "(.npz) or in the metadata (.safetensors).",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="folder of audio")
    parser.add_argument(
        "-o", "--output", type=output_file, metavar="FILE", required=True, help="FILE.safetensors or FILE.npz"
    )
    add_options(parser, SetOptions)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Embed a folder and write the arrays."""
    if arguments.output.suffix not in FORMATS:
        raise UsageError(f"unknown format {arguments.output.suffix!r}", where="-o", fix=f"Use {' or '.join(FORMATS)}")
    side, backbones = embed_folder(arguments.folder, **arguments_of(arguments, SetOptions))
    arrays: dict[str, torch.Tensor] = {}
    ids: dict[str, list[str]] = {}
    described: dict[str, Any] = {"protocol": arguments.protocol, "backbones": {}}
    for recipe, embedded in side.sets.items():
        if recipe.backbone not in ids:
            arrays |= {f"{recipe.backbone}.{name}": array for name, array in _arrays(embedded).items()}
            ids[recipe.backbone] = list(embedded.clip_ids)
            stamp = {"preprocessing": asdict(recipe.preprocessing), "settings": backbones[recipe.backbone].settings}
            described["backbones"][recipe.backbone] = stamp
    write_result(arguments.output, _serialise(arguments.output.suffix, arrays, ids, described))
    for warning in side.warnings() + side.problems():
        say_warning(warning)
    say(f"{arguments.output}: {len(side.clip_ids)} of {len(side.folder.clips)} clips")
    return 0


def _arrays(embedded: EmbeddingSet) -> dict[str, torch.Tensor]:
    import torch

    arrays = {str(name): embedded.rows(name) for name in embedded.outputs}
    if "windows" in arrays:
        arrays["window_counts"] = torch.tensor(embedded.counts("windows"), dtype=torch.int64, device="cpu")
    return arrays


def _serialise(
    suffix: str, arrays: dict[str, torch.Tensor], ids: dict[str, list[str]], described: dict[str, Any]
) -> bytes:
    if suffix == ".safetensors":
        from safetensors.torch import save

        return save(arrays, {"description": json.dumps(described), "ids": json.dumps(ids)})
    import numpy as np

    file = io.BytesIO()
    content: dict[str, Any] = {name: array.numpy() for name, array in arrays.items()}
    content |= {f"{name}.ids": np.array(clips, dtype=np.str_) for name, clips in ids.items()}
    np.savez(file, **content, description=np.array(json.dumps(described)))
    return file.getvalue()
