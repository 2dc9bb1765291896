"""Published network weights: files, licences, citations, and which networks share them. Data only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from audiogen_metrics.registry import Registry

__all__ = ["WEIGHTS", "WeightsEntry"]


@dataclass(frozen=True)
class WeightsEntry:
    """One published weights file.

    Parameters
    ----------
    name
        Name of the backbone that uses it.
    file_name
        Name of the published file, in its own folder if others may have that name too.
    urls
        Where to download it: the authors' own place first, then mirrors.
    sha256
        SHA-256 of the file, hex; None if it was not published: the first file that is used is then trusted, and its
        digest is recorded on this machine.
    licence, citation
        Licence of the weights, and the citation that their authors ask for.
    size
        Size in bytes; None if it was not published.
    limit
        Largest size of a download, in bytes, if the size is not known.
    code
        Licence of the code of the network, and whose code it is; empty if unknown.
    commercial
        Whether these licences allow commercial use; None if this is not known.
    """

    name: str
    file_name: str
    urls: tuple[str, ...]
    sha256: str | None
    licence: str
    citation: str
    size: int | None = None
    limit: int = 2**30
    code: str = ""
    commercial: bool | None = None


PANNS_CITATION = (
    "Kong et al., PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition, "
    "IEEE/ACM TASLP 28, 2020; doi:10.5281/zenodo.3987831"
)
AUDIOBOX_CITATION = (
    "Tjandra et al., Meta Audiobox Aesthetics: Unified Automatic Quality Assessment for Speech, Music, and Sound, "
    "2025; arXiv 2502.05139"
)
AUDIOBOX_AT = "https://huggingface.co/facebook/audiobox-aesthetics/resolve/9b1dd8e5df9af7216e836a98974fe3b82c56ded6"
VGGISH_CITATION = "Hershey et al., CNN Architectures for Large-Scale Audio Classification, ICASSP 2017"

CLAP_CITATION = (
    "Wu et al., Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption "
    "Augmentation, ICASSP 2023"
)
PASST_CITATION = "Koutini et al., Efficient Training of Audio Transformers with Patchout, Interspeech 2022"
ROBERTA_CITATION = "Liu et al., RoBERTa: A Robustly Optimized BERT Pretraining Approach, arXiv 1907.11692"
_LAION = "https://huggingface.co/lukewys/laion_clap/resolve/b3708341862f581175dba5c356a4ebf74a9b6651/"
_PASST = "https://github.com/kkoutini/PaSST/releases/download/"
_ROBERTA = "https://huggingface.co/FacebookAI/roberta-base/resolve/e2da8e2f811d1448a5b465c236feacd80ffbac7b/"

# The digests were published by people who downloaded the files, not by the authors: VGGish's begins with the
# digits that the authors put into its name, and two projects give the same 64 (a d3m primitive, an installer).
WEIGHTS: Registry[WeightsEntry] = Registry("weights")
"""All published weights, by backbone."""

for _entry in (
    WeightsEntry(
        name="panns-cnn14-16k",
        file_name="Cnn14_16k_mAP=0.438.pth",
        urls=("https://zenodo.org/record/3987831/files/Cnn14_16k_mAP%3D0.438.pth",),
        sha256="e2ee543a27919542c2ea03eabaa70b24dcd4e6c8e05621de6b67a94e4c5058e6",
        size=358_668_570,
        licence="CC-BY-4.0 (Zenodo record 3987831)",
        code="MIT (panns-inference)",
        commercial=True,
        citation=PANNS_CITATION,
    ),
    WeightsEntry(
        name="panns-cnn14-32k",
        file_name="Cnn14_mAP=0.431.pth",
        urls=(
            "https://zenodo.org/record/3987831/files/Cnn14_mAP%3D0.431.pth",
            "https://huggingface.co/thelou1s/panns-inference/resolve/main/Cnn14_mAP%3D0.431.pth",
        ),
        sha256="0dc499e40e9761ef5ea061ffc77697697f277f6a960894903df3ada000e34b31",
        size=327_428_481,
        licence="CC-BY-4.0 (Zenodo record 3987831)",
        code="MIT (panns-inference)",
        commercial=True,
        citation=PANNS_CITATION,
    ),
    WeightsEntry(
        name="vggish",
        file_name="vggish-10086976.pth",
        urls=("https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",),
        sha256="10086976245803799d9194e9a73d9b6c1549c71d1b80106f5cade5608a561f4b",
        licence="Apache-2.0",
        code="Apache-2.0 (torchvggish)",
        commercial=True,
        citation=VGGISH_CITATION,
    ),
    WeightsEntry(
        name="audiobox-aesthetics",
        file_name="audiobox-aesthetics/model.safetensors",
        urls=(f"{AUDIOBOX_AT}/model.safetensors",),
        sha256="a5a3c2412649cc2384ec525ffd5180ce6c4778f43bed6108e0a1303de04d014e",
        size=415_472_992,
        licence="CC-BY-4.0; its WavLM part MIT",
        code="MIT (this library)",
        commercial=True,
        citation=AUDIOBOX_CITATION,
    ),
    WeightsEntry(
        name="audiobox-aesthetics-config",
        file_name="audiobox-aesthetics/config.json",
        urls=(f"{AUDIOBOX_AT}/config.json",),
        sha256="0b8eabc5ced92cefed116a3aca8f1e59d2a33dc4d376b9e86dfb9c072e1d280d",
        size=492,
        licence="CC-BY-4.0",
        code="MIT (this library)",
        commercial=True,
        citation=AUDIOBOX_CITATION,
    ),
    WeightsEntry(
        name="clap-laion-music-speech",
        file_name="music_speech_audioset_epoch_15_esc_89.98.pt",
        urls=(_LAION + "music_speech_audioset_epoch_15_esc_89.98.pt",),
        sha256="51c68f12f9d7ea25fdaaccf741ec7f81e93ee594455410f3bca4f47f88d8e006",
        size=2_352_471_003,
        licence="CC0-1.0",
        code="Apache-2.0 (transformers)",
        commercial=True,
        citation=CLAP_CITATION,
    ),
    WeightsEntry(
        name="clap-laion-music",
        file_name="music_audioset_epoch_15_esc_90.14.pt",
        urls=(_LAION + "music_audioset_epoch_15_esc_90.14.pt",),
        sha256="fae3e9c087f2909c28a09dc31c8dfcdacbc42ba44c70e972b58c1bd1caf6dedd",
        size=2_352_471_003,
        licence="CC0-1.0",
        code="Apache-2.0 (transformers)",
        commercial=True,
        citation=CLAP_CITATION,
    ),
    WeightsEntry(
        name="clap-laion-630k",
        file_name="630k-audioset-best.pt",
        urls=(_LAION + "630k-audioset-best.pt",),
        sha256=None,
        size=1_863_587_645,
        licence="CC0-1.0",
        code="Apache-2.0 (transformers)",
        commercial=True,
        citation=CLAP_CITATION,
    ),
    WeightsEntry(
        name="clap-laion-630k-fusion",
        file_name="630k-audioset-fusion-best.pt",
        urls=(_LAION + "630k-audioset-fusion-best.pt",),
        sha256=None,
        limit=2**32,
        licence="CC0-1.0",
        code="Apache-2.0 (transformers)",
        commercial=True,
        citation=CLAP_CITATION,
    ),
    WeightsEntry(
        name="roberta-base-vocab",
        file_name="roberta-base-vocab.json",
        urls=(_ROBERTA + "vocab.json",),
        sha256="9e7f63c2d15d666b52e21d250d2e513b87c9b713cfa6987a82ed89e5e6e50655",
        size=898_823,
        licence="MIT",
        code="Apache-2.0 (transformers)",
        commercial=True,
        citation=ROBERTA_CITATION,
    ),
    WeightsEntry(
        name="roberta-base-merges",
        file_name="roberta-base-merges.txt",
        urls=(_ROBERTA + "merges.txt",),
        sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
        size=456_318,
        licence="MIT",
        code="Apache-2.0 (transformers)",
        commercial=True,
        citation=ROBERTA_CITATION,
    ),
    WeightsEntry(
        name="passt",
        file_name="passt-s-f128-p16-s10-ap.476-swa.pt",
        urls=(_PASST + "v0.0.1-audioset/passt-s-f128-p16-s10-ap.476-swa.pt",),
        sha256="302903fa8c4aee817b11dc982da0b29aaf8d11a3e722420476d0a12c9db70c2c",
        size=344_665_734,
        licence="Apache-2.0",
        code="MIT (this library)",
        commercial=True,
        citation=PASST_CITATION,
    ),
    WeightsEntry(
        name="panns-wavegram-logmel-cnn14",
        file_name="Wavegram_Logmel_Cnn14_mAP=0.439.pth",
        urls=("https://zenodo.org/record/3987831/files/Wavegram_Logmel_Cnn14_mAP%3D0.439.pth",),
        sha256=None,  # people who downloaded it give MD5 alone: 17fa9ab65af3c0eb5ffbc5f65552c4e1
        licence="CC-BY-4.0 (Zenodo record 3987831)",
        code="MIT (this library)",
        commercial=True,
        citation=PANNS_CITATION,
    ),
):
    WEIGHTS.add(_entry.name, _entry)

_SHARED = {
    "vggish-float16": "vggish",
    "vggish-overlapping": "vggish",
    "clap-laion-music-hop1": "clap-laion-music",
    "clap-laion-music-hop10": "clap-laion-music",
    "passt-kadtk": "passt",
    "passt-hop5": "passt",
    "passt-segments": "passt",
}


OF_THE_PAPER = {"panns-cnn14-16k", "panns-cnn14-32k", "vggish"}
"""Weights for which YAMNet can be used instead."""

BESIDE = {"audiobox-aesthetics": "audiobox-aesthetics-config"}
"""Small files that weights need. They are in the folder of given weights, or are given too."""

_TOKENIZER = ("roberta-base-vocab", "roberta-base-merges")


def beside(name: str) -> tuple[str, ...]:
    """Return the names of small files that may be given for a network besides its weights."""
    if name.startswith("clap-laion"):
        return _TOKENIZER
    return (BESIDE[name],) if name in BESIDE else ()


def with_what_is_beside(names: Iterable[str]) -> set[str]:
    """Return names of weights, and the names of the small files that these need."""
    return {each for name in names for each in (name, BESIDE.get(name, name))}


def weights_name(backbone: str) -> str:
    """Return the name of a backbone's weights: its own name, unless it shares the weights of another."""
    return _SHARED.get(backbone, backbone)
