"""Whom to cite for a score: its metric, its backbone, its protocol, this library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["Citation"]


@dataclass(frozen=True)
class Citation:
    """One work.

    Parameters
    ----------
    key
        BibTeX key.
    author, title, venue, year
        As they are printed; authors in BibTeX's form, with ``and``.
    link
        Where to read it; empty if nowhere.
    """

    key: str
    author: str
    title: str
    venue: str
    year: int
    link: str

    def __str__(self) -> str:
        author = self.author.strip("{}").replace(" and ", "; ")
        return f"{author.rstrip('.')}. {self.title}. {self.venue}, {self.year}. {self.link}".rstrip()

    def bibtex(self) -> str:
        """Return the entry for a BibTeX file."""
        fields = {
            "author": self.author,
            "title": f"{{{self.title}}}",
            "howpublished": self.venue,
            "year": str(self.year),
            "url": self.link,
        }
        body = "".join(f"  {name:<12} = {{{value}}},\n" for name, value in fields.items() if value)
        return f"@misc{{{self.key},\n{body}}}\n"


_ARXIV = "https://arxiv.org/abs/"

_BENCHMARK = Citation(
    "yuan2023leveraging",
    "Yuan, Yi and Liu, Haohe and Liang, Jinhua and Liu, Xubo and Plumbley, Mark D. and Wang, Wenwu",
    "Leveraging Pre-trained AudioLDM for Sound Generation: A Benchmark Study",
    "EUSIPCO",
    2023,
    f"{_ARXIV}2303.03857",
)
_PANNS = Citation(
    "kong2020panns",
    "Kong, Qiuqiang and Cao, Yin and Iqbal, Turab and Wang, Yuxuan and Wang, Wenwu and Plumbley, Mark D.",
    "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
    "IEEE/ACM Transactions on Audio, Speech, and Language Processing 28",
    2020,
    f"{_ARXIV}1912.10211",
)
_VGGISH = Citation(
    "hershey2017cnn",
    "Hershey, Shawn and Chaudhuri, Sourish and Ellis, Daniel P. W. and Gemmeke, Jort F. and others",
    "CNN Architectures for Large-Scale Audio Classification",
    "ICASSP",
    2017,
    f"{_ARXIV}1609.09430",
)
_YAMNET = Citation(
    "plakal2020yamnet",
    "Plakal, Manoj and Ellis, Dan",
    "YAMNet",
    "TensorFlow Model Garden",
    2020,
    "https://github.com/tensorflow/models/tree/master/research/audioset/yamnet",
)
_FADTK = Citation(
    "gui2024adapting",
    "Gui, Azalea and Gamper, Hannes and Braun, Sebastian and Emmanouilidou, Dimitra",
    "Adapting Frechet Audio Distance for Generative Music Evaluation",
    "ICASSP",
    2024,
    f"{_ARXIV}2311.01616",
)

_PASST = Citation(
    "koutini2022passt",
    "Koutini, Khaled and Schlüter, Jan and Eghbal-zadeh, Hamid and Widmer, Gerhard",
    "Efficient Training of Audio Transformers with Patchout",
    "Interspeech",
    2022,
    f"{_ARXIV}2110.05069",
)
_CLAP = Citation(
    "wu2023large",
    "Wu, Yusong and Chen, Ke and Zhang, Tianyu and Hui, Yuchen and Berg-Kirkpatrick, Taylor and Dubnov, Shlomo",
    "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation",
    "ICASSP",
    2023,
    f"{_ARXIV}2211.06687",
)

BY_BACKBONE: Mapping[str, Citation] = MappingProxyType(
    {"panns": _PANNS, "vggish": _VGGISH, "yamnet": _YAMNET, "passt": _PASST, "clap": _CLAP}
)
"""By the first part of a backbone's name."""

BY_PROTOCOL: Mapping[str, Citation] = MappingProxyType({"audioldm": _BENCHMARK, "fadtk": _FADTK})


def citations(scores: Iterable[tuple[Citation | None, str]], protocol: str, version: str) -> tuple[Citation, ...]:
    """Return the works behind scores, each once: for the protocol, each metric and backbone, and this library.

    Parameters
    ----------
    scores
        The metric's work, None where it has none, and the backbone's name of each.
    protocol
        Its name.
    version
        Of this library.

    Examples
    --------
    >>> [work.key for work in citations([(None, "yamnet")], "audioldm", "0.1.0")]
    ['yuan2023leveraging', 'plakal2020yamnet', 'audiogenmetrics']
    """
    works = [BY_PROTOCOL.get(protocol)]
    for work, backbone in scores:
        works += [work, BY_BACKBONE.get(backbone.partition("-")[0])]
    own = Citation(
        "audiogenmetrics",
        "{The audiogen-metrics developers}",
        "audiogen-metrics",
        f"Software, version {version}",
        2026,
        "",
    )
    return tuple(dict.fromkeys(work for work in [*works, own] if work is not None))
