"""How a checkpoint of AudioLDM is opened: options declared once for Python and for every command that opens one.

Importing this module imports nothing heavy.
"""

# Without the future import of annotations: what is written in the brackets is read when this module is imported.
from pathlib import Path
from typing import Annotated, Literal, TypedDict, get_args

from audiogen_metrics.declaring import Option, declared
from audiogen_metrics.shared_options import Device

Dtype = Literal["float32", "float16", "bfloat16"]
Heads = Literal["original", "as_published"]


@declared
class ModelOptions(TypedDict, total=False):
    """How a checkpoint of AudioLDM is opened."""

    device: Device
    dtype: Annotated[
        "Dtype",
        Option(
            "float32",
            "Of the UNet; the other parts stay in float32.",
            help="of the UNet",
            choices=get_args(Dtype),
        ),
    ]
    heads: Annotated[
        "Heads",
        Option(
            "original",
            '``"original"`` gives the attention heads that the network was trained with; ``"as_published"`` those of '
            "the published configuration, as diffusers reads it.",
            help="attention heads as trained, or as diffusers reads the published configuration",
            choices=get_args(Heads),
        ),
    ]
    clap: Annotated[
        "str | Path | None",
        Option(
            None,
            "Folder or hub name of the full CLAP, for recordings as condition and for candidates. It is loaded when "
            "first needed.",
            help="its full CLAP, folder or hub name",
            unset="the one known to fit",
            metavar="DIR",
        ),
    ]
