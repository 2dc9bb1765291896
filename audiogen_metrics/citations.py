"""Whom to cite for a score: its metric, its backbone, its protocol, this library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


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
_FRECHET = Citation(
    "heusel2017gans",
    "Heusel, Martin and Ramsauer, Hubert and Unterthiner, Thomas and Nessler, Bernhard and Hochreiter, Sepp",
    "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    "NeurIPS",
    2017,
    f"{_ARXIV}1706.08500",
)
_FAD = Citation(
    "kilgour2019frechet",
    "Kilgour, Kevin and Zuluaga, Mauricio and Roblek, Dominik and Sharifi, Matthew",
    "Fréchet Audio Distance: A Reference-Free Metric for Evaluating Music Enhancement Algorithms",
    "Interspeech",
    2019,
    f"{_ARXIV}1812.08466",
)
_INCEPTION = Citation(
    "salimans2016improved",
    "Salimans, Tim and Goodfellow, Ian and Zaremba, Wojciech and Cheung, Vicki and Radford, Alec and Chen, Xi",
    "Improved Techniques for Training GANs",
    "NeurIPS",
    2016,
    f"{_ARXIV}1606.03498",
)
_DIVERGENCE = Citation(
    "kullback1951information",
    "Kullback, Solomon and Leibler, Richard A.",
    "On Information and Sufficiency",
    "The Annals of Mathematical Statistics 22 (1)",
    1951,
    "https://doi.org/10.1214/aoms/1177729694",
)
_KID = Citation(
    "binkowski2018demystifying",
    "Bińkowski, Mikołaj and Sutherland, Danica J. and Arbel, Michael and Gretton, Arthur",
    "Demystifying MMD GANs",
    "ICLR",
    2018,
    f"{_ARXIV}1801.01401",
)
_KAD = Citation(
    "chung2025kad",
    "Chung, Yoonjin and Eu, Pilsun and Lee, Junwon and Choi, Keunwoo and Nam, Juhan and Chon, Ben Sangbae",
    "KAD: No More FAD! An Effective and Efficient Evaluation Metric for Audio Generation",
    "arXiv",
    2025,
    f"{_ARXIV}2502.15602",
)
_PRECISION = Citation(
    "kynkaanniemi2019improved",
    "Kynkäänniemi, Tuomas and Karras, Tero and Laine, Samuli and Lehtinen, Jaakko and Aila, Timo",
    "Improved Precision and Recall Metric for Assessing Generative Models",
    "NeurIPS",
    2019,
    f"{_ARXIV}1904.06991",
)
_COVERAGE = Citation(
    "naeem2020reliable",
    "Naeem, Muhammad Ferjad and Oh, Seong Joon and Uh, Youngjung and Choi, Yunjey and Yoo, Jaejun",
    "Reliable Fidelity and Diversity Metrics for Generative Models",
    "ICML",
    2020,
    f"{_ARXIV}2002.09797",
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

BY_METRIC: Mapping[str, Citation] = MappingProxyType(
    {
        "fd": _FRECHET,
        "fad": _FAD,
        "is": _INCEPTION,
        "kl": _DIVERGENCE,
        "kl_sigmoid": _DIVERGENCE,
        "kid": _KID,
        "kad": _KAD,
        "precision": _PRECISION,
        "recall": _PRECISION,
        "density": _COVERAGE,
        "coverage": _COVERAGE,
    }
)
BY_BACKBONE: Mapping[str, Citation] = MappingProxyType({"panns": _PANNS, "vggish": _VGGISH, "yamnet": _YAMNET})
"""By the first part of a backbone's name."""

BY_PROTOCOL: Mapping[str, Citation] = MappingProxyType({"audioldm": _BENCHMARK, "fadtk": _FADTK})


def citations(scores: Iterable[tuple[str, str]], protocol: str, version: str) -> tuple[Citation, ...]:
    """Return the works behind scores, each once: for the protocol, each metric and backbone, and this library.

    Parameters
    ----------
    scores
        Metric and backbone of each.
    protocol
        Its name.
    version
        Of this library.

    Examples
    --------
    >>> [work.key for work in citations([("fd", "yamnet")], "yamnet", "0.1.0")]
    ['heusel2017gans', 'plakal2020yamnet', 'audiogenmetrics']
    """
    works = [BY_PROTOCOL.get(protocol)]
    for metric, backbone in scores:
        works += [BY_METRIC.get(metric), BY_BACKBONE.get(backbone.partition("-")[0])]
    own = Citation(
        "audiogenmetrics",
        "{The audiogen-metrics developers}",
        "audiogen-metrics",
        f"Software, version {version}",
        2026,
        "",
    )
    return tuple(dict.fromkeys(work for work in [*works, own] if work is not None))
