"""Families of options: which function, and which command, has which; signatures, docstrings and flags follow."""

# Without the future import of annotations: what is written in the brackets is read when this module is imported.
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, TypedDict

from audiogen_metrics.declaring import But, Option, declared
from audiogen_metrics.shared_options import (
    Backbone,
    Cache,
    Ci,
    Device,
    FirstClips,
    GivenPrompts,
    Limit,
    Metrics,
    Pairs,
    Protocol,
    Seed,
    Strict,
    TrustReference,
    Weights,
)

if TYPE_CHECKING:
    from audiogen_metrics.audio.pairing import PairingMode
    from audiogen_metrics.evaluation.evaluation import Evaluation

__all__ = ["ScoreOptions", "SystemOptions"]


@declared
class SelectionOptions(TypedDict, total=False):
    """What is computed, and on which network."""

    metrics: Metrics
    protocol: Protocol
    backbone: Backbone


@declared
class NetworkOptions(TypedDict, total=False):
    """Where networks run, and their files."""

    device: Device
    weights: Weights


@declared
class DecodingOptions(TypedDict, total=False):
    """How files are decoded."""

    workers: Annotated[
        "int | None",
        Option(
            None,
            "Decoding threads; 0 decodes in the calling thread.",
            help="decoding threads; 0 decodes in the calling thread",
            unset="one per core, at most 8",
            least=0,
            metavar="N",
        ),
    ]
    progress: Annotated["bool", Option(False, "Show progress bars on stderr.", flag="")]


@declared
class EmbeddingOptions(DecodingOptions, total=False):
    """How files are found, decoded and embedded."""

    batch_size: Annotated["int", Option(16, "Clips per forward pass, at most.", least=1, metavar="N")]
    cache: Cache
    verify: Annotated[
        "bool",
        Option(
            False,
            "Read every file again to make sure that it is the one that was cached.",
            help="read every file again instead of trusting its size, times and inode",
        ),
    ]
    suffixes: Annotated[
        "str | Iterable[str]",
        Option(
            (),
            'Take files with one of these suffixes only, such as ``".flac"``, from folders where one clip is there in '
            "several formats; empty takes all audio. A folder must have one of them, not all.",
            help="take files with these suffixes only, such as flac or flac,wav, where a folder has clips in several "
            "formats",
            flag="--suffix",
            metavar="LIST",
            repeated=True,
        ),
    ]


@declared
class FolderOptions(NetworkOptions, EmbeddingOptions, total=False):
    """How folders are embedded, and where."""


@declared
class GivenOptions(TypedDict, total=False):
    """What sets need that are given in place of folders."""

    sample_rate: Annotated[
        "int | None", Option(None, "Sample rate of arrays that come without their own, in Hz.", flag="")
    ]


@declared
class SetOptions(SelectionOptions, FolderOptions, GivenOptions, total=False):
    """The options of one set that is embedded."""

    limit: FirstClips
    strict: Strict


@declared
class RunOptions(EmbeddingOptions, GivenOptions, total=False):
    """The options of `audiogen_metrics.score` that say how to score, whatever is scored."""

    pairing: Annotated[
        "PairingMode",
        Option(
            "auto",
            '``"auto"`` pairs what matches, ``"id"`` requires that every clip matches, ``"none"`` does not pair.',
            help="auto: pair what matches; id: every clip must match; none: no KL",
            choices=("auto", "id", "none"),
        ),
    ]
    pairs: Pairs
    prompts: GivenPrompts
    trust_reference: TrustReference
    limit: Limit
    strict: Strict
    ci: Ci
    draws: Annotated[
        "int | None",
        Option(
            None,
            "Random deals of the clips behind p, which is then at least 1 / (draws + 1); 0 leaves p out.",
            help="random deals of the clips behind p; 0: no p",
            unset="99, or 0 above 2000 clips",
            least=0,
            metavar="N",
        ),
    ]
    extrapolate: Annotated[
        "bool",
        Option(
            False,
            "Add what FD and FAD would be at infinite n of gen, by a line in 1 / n.",
            flag="",  # agm score --extrapolate takes the file of a plot as well
        ),
    ]
    seed: Annotated[
        Seed,
        But(
            meaning="Seed of all that is drawn: deals, halves, groups, and the subsets of the extrapolation.",
            help="seed of all that is drawn: for p, for intervals, for --extrapolate",
        ),
    ]
    distributed: Annotated[
        "bool",
        Option(
            False,
            "All processes of `torch.distributed`'s process group call this together. Each embeds its share of the "
            "clips, on its own device; the first one scores, and all get the report.",
            flag="",
        ),
    ]


@declared
class ScoreOptions(RunOptions, total=False):
    """The options of metric objects: those of a run, and who gets what stands behind the report."""

    observe: Annotated[
        "Callable[[Evaluation], None] | None",
        Option(
            None,
            "Called once with the whole `Evaluation` when all is computed: what a page or one's own analysis needs.",
            flag="",
        ),
    ]


@declared
class SystemOptions(SelectionOptions, NetworkOptions, RunOptions, total=False):
    """The options of several systems: those of a run, and what is computed for all of them."""


@declared
class RankingOptions(SystemOptions, total=False):
    """The options of `audiogen_metrics.score_systems`."""

    permutations: Annotated[
        "int | None",
        Option(
            None,
            "Exchanges of clips behind the verdict on each pair; 0 takes p from the width of the interval.",
            help="of several systems: exchanges of clips behind the verdict on each pair; 0: p comes from the "
            "interval's width",
            unset="100 for each pair of systems, at least 199",
            least=0,
            metavar="N",
        ),
    ]


@declared
class CompareOptions(SelectionOptions, FolderOptions, GivenOptions, total=False):
    """The options of `audiogen_metrics.compare`."""

    pairs: Pairs
    prompts: GivenPrompts
    trust_reference: TrustReference
    permutations: Annotated[
        "int",
        Option(
            199,
            "Permutations of the test; p is at least 1 / (permutations + 1). 0 makes none.",
            help="permutations of the test; 0 makes none",
            least=0,
            metavar="N",
        ),
    ]
    seed: Annotated[
        Seed,
        But(meaning="Seed of the permutations, and of the parts of a larger system.", help="seed of all that is drawn"),
    ]


@declared
class SweepOptions(FolderOptions, GivenOptions, total=False):
    """The options of `audiogen_metrics.evaluation.protocol_sweep.compare_protocols`."""

    base: Annotated[
        "str",
        Option(
            "audioldm",
            "Protocol that the others and the options are compared with. Its weights must be here; scores on other "
            "backbones are left out, with the reason, where theirs are not.",
            help="protocol to compare with",
            metavar="NAME",
        ),
    ]
    prompts: GivenPrompts


@declared
class StudyOptions(SelectionOptions, FolderOptions, total=False):
    """The options of `audiogen_metrics.studies.sanity`, but for what its probes do."""

    repeats: Annotated["int", Option(5, "Times that the choice of clips is drawn.", least=1, metavar="N")]
    seed: Seed
    redraw_parameters: Annotated[
        "bool",
        Option(
            False,
            "Draw the corruption itself anew for each repeat too, for one extraction each.",
            help="draw the corruption anew for each repeat too",
        ),
    ]
    prompts: Annotated[
        GivenPrompts,
        But(
            meaning="What the recordings sound like, for CLAP, as in `audiogen_metrics.score`. Clips without a "
            "prompt are left out of all scores.",
            help="what the recordings sound like, for CLAP: .csv, .tsv, .jsonl or .json with clip_id and prompt, "
            "several lines for several captions; or .txt as agm generate takes it",
        ),
    ]
    limit: FirstClips


@declared
class CopiesOptions(FolderOptions, GivenOptions, total=False):
    """The options of `audiogen_metrics.find_copies`, but for what tells copies apart."""

    protocol: Annotated[Protocol, But(meaning="Protocol whose embeddings for FD are compared.")]
    backbone: Annotated[Backbone, But(meaning="Another backbone for these embeddings, as in `audiogen_metrics.score`.")]
    limit: Annotated[
        Limit,
        But(
            meaning="Take the first ``limit`` clips of each folder only.",
            help="take the first N clips of each folder only",
        ),
    ]
    seed: Annotated[
        Seed,
        But(
            meaning="Seed of the draw of the held-out clips, and of the cuts that bring them to the generated clips' "
            "lengths.",
            help="seed of all that is drawn",
        ),
    ]


@declared
class RepetitionOptions(DecodingOptions, total=False):
    """The options of `audiogen_metrics.verify`; all others are those of the report."""

    device: Device
    weights: Annotated[
        Weights,
        But(meaning="Where given weights are now, if not where the report says.", help="where given weights are now"),
    ]
    cache: Annotated[
        Cache,
        But(
            default=False,
            meaning="Trust cached embeddings instead of computing all again.",
            help="trust cached embeddings, where the files are the same",
            flag="--cached",
        ),
    ]


@declared
class SelftestOptions(DecodingOptions, total=False):
    """The options of `audiogen_metrics.selftest.selftest`."""

    device: Device
    weights: Annotated[Weights, But(help="use this file for a network; answers hold with the published one alone")]


@declared
class FeatureOptions(TypedDict, total=False):
    """The options of `audiogen_metrics.evaluation.external.score_features`."""

    metrics: Annotated[
        Metrics,
        But(
            meaning="Names of metrics or scores; None takes those of the protocol that ``agm "
            "embed`` was asked for, and for "
            "features of other tools FD, FAD, IS and KL, where the outputs that they need are there.",
        ),
    ]
    backbone: Annotated[
        Backbone,
        But(
            meaning="As in `audiogen_metrics.evaluation.external.read_features`.",
            help="what to call the network behind .npy files (default: the folder's name)",
        ),
    ]
    trust_reference: TrustReference
    ci: Ci
