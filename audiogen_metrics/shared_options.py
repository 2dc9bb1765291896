"""Options that several families of `audiogen_metrics.run_options` have, each declared once."""

# Without the future import of annotations: what is written in the brackets is read when this module is imported.
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from audiogen_metrics.declaring import But, Option

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.prompts import Prompts

Metrics = Annotated[
    "str | Sequence[str] | None",
    Option(
        None,
        'Names such as ``["fd", "kl"]``. None computes all of the protocol; one that cannot be computed is then None '
        "with its reason, where a metric asked for by name raises. The same holds for scores that were added to the "
        "protocol, where their network is missing; its other networks must be here. "
        '``"fd@NAME"`` is a metric on another backbone than the protocol\'s.',
        flag="",  # agm score takes "all" as well
    ),
]
Protocol = Annotated["str", Option("audioldm", "Named recipe; see ``agm list protocols``.", flag="")]
Backbone = Annotated[
    "str | None",
    Option(
        None,
        "Another backbone than the protocol's, for all metrics that do not name their own: a "
        "registered name, or a network of "
        'transformers such as ``"hf:facebook/wav2vec2-base@layer=9"``. Score ids then end in its name. Without '
        "``metrics``, those of the protocol that it can serve are computed.",
        help="another backbone than the protocol's, of agm list backbones, or a network of transformers: "
        "hf:OWNER/NAME, hf:OWNER/NAME@revision=SHA@layer=9 or hf:/FOLDER. For one metric alone: -m fd@NAME",
        metavar="NAME",
    ),
]
Device = Annotated[
    "str | torch.device",
    Option(
        "auto",
        'Where networks run: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …',
        help="where networks run: auto, cpu, cuda, cuda:1, …",
    ),
]
Weights = Annotated[
    "Mapping[str, str | Path] | None",
    Option(
        None,
        "Files to use for backbones by name, in the published format; whatever their digest, it goes into the report. "
        "The default is the published files, found on this machine and verified.",
        help="use this file for a backbone, whatever its digest, which goes into the report",
        metavar="NAME=FILE",
        repeated=True,
    ),
]
Cache = Annotated[
    "bool",
    Option(
        True,
        "Keep embeddings in the cache folder and reuse them.",
        help="neither read nor write cached embeddings",
    ),
]
Pairs = Annotated[
    "str | Path | Mapping[str, str] | None",
    Option(
        None,
        'Where several clips were made for one reference: a pattern such as ``"{ref}_{sample}"``, a CSV file with the '
        "columns ``gen`` and ``ref``, or the reference's id by generated id. The prompt is then the unit of intervals.",
        help="where several clips were made for one reference: a CSV file with the columns gen and ref, or a pattern "
        "such as '{ref}_{sample}' or 'sample_{sample}/{ref}' (default: equal names pair)",
        metavar="FILE",
    ),
]
GivenPrompts = Annotated[
    "Prompts | None",
    Option(
        None,
        "What the generated clips should sound like, for CLAP and for the page: a file with the columns ``clip_id`` "
        "and ``prompt``, as `audiogen_metrics.generation.prompts.requests_from_file` takes it, or a text or several by "
        "clip id. With ``pairs``, a clip without a prompt of its own has that of its reference.",
        help="what the generated clips should sound like, for CLAP and for the page: .csv, .tsv, .jsonl or .json with "
        "clip_id and prompt, several lines for several captions; or .txt as agm generate takes it",
        metavar="FILE",
    ),
]
TrustReference = Annotated[
    "bool",
    Option(
        False,
        "Take others' statistics that do not say their network, or whose audio was prepared otherwise: you vouch for "
        "it.",
        help="take others' statistics as REF that do not say their network, or whose audio was prepared otherwise: "
        "you vouch for it",
    ),
]
Limit = Annotated[
    "int | None",
    Option(
        None,
        "Score the first ``limit`` clips of each set only, paired ones first.",
        help="score the first N clips of each set only, paired ones first",
        least=1,
        metavar="N",
    ),
]
FirstClips = Annotated[
    Limit,
    But(meaning="Take the first ``limit`` clips only.", help="take the first N clips only"),
]
Strict = Annotated[
    "bool",
    Option(False, "Raise if any file must be skipped.", help="a file that must be skipped is an error"),
]
Ci = Annotated[
    "bool",
    Option(
        True,
        "Compute the standard error and the 95 % interval, and for metrics that compare two distributions what chance "
        "alone gives: p, and the score to expect if gen and ref were one distribution. False leaves them out.",
        help="leave out 95 % intervals and what chance alone gives (p)",
    ),
]
Seed = Annotated["int", Option(0, "Seed of all that is drawn.", least=0, metavar="N")]
