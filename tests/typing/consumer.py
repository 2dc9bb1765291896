"""What a user's code looks like to a type checker: never run, only checked, by mypy and pyright in strict mode.

The lines with an ignore are mistakes: a checker that finds none there says that the comment is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, assert_type

import numpy as np
import torch

import audiogen_metrics as agm
from audiogen_metrics import FAD, FD, IS, KAD, KID, KL, AudioMetric, MetricSuite, Score, ScoreReport, score
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.base import Backbone, Features
from audiogen_metrics.datasets import DATASETS
from audiogen_metrics.errors import AudiogenMetricsError, InsufficientDataError
from audiogen_metrics.evaluation.verify import Verification
from audiogen_metrics.functional import GaussianStatistics, frechet_distance
from audiogen_metrics.metrics import KL as KL_OF_METRICS
from audiogen_metrics.metrics import METRICS, Metric
from audiogen_metrics.objects import object_of
from audiogen_metrics.probes import PROBES
from audiogen_metrics.probes.base import Clip, Probe, setting
from audiogen_metrics.report.tables import to_csv

if TYPE_CHECKING:  # former places warn when they are used
    from audiogen_metrics.metrics.base import AudioMetric as FormerAudioMetric
    from audiogen_metrics.verification import verify as former_verify


def folders(gen: Path, ref: str, files: Mapping[str, Path]) -> float | None:
    report = score(gen, ref, metrics=["fd", "kl"], protocol="yamnet", weights=files, limit=10, pairs={"a_1": "a"})
    assert_type(report, ScoreReport)
    assert_type(report["fd_yamnet"], Score)
    assert_type(report.scores["fd_yamnet"].ci95, tuple[float, float] | None)
    assert_type(report.gen.skipped, tuple[dict[str, str], ...])
    assert_type(list(report), list[str])
    assert_type("fd" in report, bool)
    assert_type(report.to_json(), str)
    assert_type(report.to_csv("scores.csv"), str)
    assert_type(report.to_markdown(gen / "scores.md"), str)
    assert_type(report.to_latex(), str)
    assert_type(report.to_html(path="scores.html"), str)
    assert_type(to_csv(report, report), str)
    assert_type(ScoreReport.load("report.json"), ScoreReport)
    for work in report.citations():
        assert_type(work.bibtex(), str)
    statistics = agm.reference_statistics(ref, protocol="yamnet")
    assert_type(statistics, agm.ReferenceStatistics)
    assert_type(agm.verify("report.json").equal, bool)
    assert_type(agm.verify_systems("several.json")["ours"].equal, bool)
    assert_type(agm.score_systems((gen for _ in range(2)), ref, metrics=["fd"], ci=False), agm.Ranking)
    assert_type(agm.compare("a", "b", ref).differences[0].p, float | None)
    assert_type(agm.__version__, str)
    return report["fd"].value


def objects(batch: torch.Tensor, names: list[str]) -> dict[str, torch.Tensor]:
    fad = FAD(protocol="yamnet", ref="reference", streaming=True)
    fad.update(gen=batch, sample_rate=16_000, ids=names)
    fad.update(gen=list(batch), ref=batch.numpy(), sample_rate=16_000)
    fad.update(gen_embeddings=np.zeros((4, 8)))
    assert_type(fad.compute(), torch.Tensor)
    assert_type(fad.compute_score(), Score)
    assert_type(fad.score("generated", ci=False), Score)
    assert_type(fad.score_id, str)
    divergence = KL(ref={"a": batch[0]})
    divergence.update(gen_logits=batch)
    suite = MetricSuite([fad, FD(), IS(), KID(subset_size=100), KAD(), divergence], prefix="val/")
    suite.update(gen=batch, sample_rate=16_000)
    assert_type(suite.members, dict[str, AudioMetric])
    assert_type(suite.compute_scores(), dict[str, Score])
    assert_type(suite.score("generated", "reference"), ScoreReport)
    assert_type(suite["fd_panns"], AudioMetric)
    assert_type(suite.clone(), MetricSuite)
    assert_type(suite.compute(), dict[str, torch.Tensor])
    assert_type(fad.clone(), FAD)
    suite.reset()
    assert_type(object_of("recall"), type[AudioMetric])
    written_before: list[type[AudioMetric]] = [KL_OF_METRICS, FormerAudioMetric]
    assert written_before
    assert_type(former_verify("report.json"), Verification)
    return {name: metric.compute() for name, metric in suite.members.items()}


class Mean(Backbone):
    name: ClassVar[str] = "mean"
    sample_rate: ClassVar[int] = 16_000
    outputs = frozenset({"embeddings"})

    def load(self) -> torch.nn.Module:
        return torch.nn.Identity()

    @property
    def weights_sha256(self) -> str:
        return ""

    def usable_samples(self, samples: int) -> int:
        return samples


def backbones(network: torch.nn.Module) -> AudioMetric:
    assert_type(BACKBONES.get("vggish"), type[Backbone])
    features: Features = Mean()(torch.zeros(1, 16_000))
    assert_type(features.embeddings, torch.Tensor | None)
    ours = agm.from_callable("ours", lambda waveforms: waveforms.mean(dim=1, keepdim=True), sample_rate=16_000)
    other = agm.from_callable("other", network, sample_rate=16_000, outputs=["embeddings", "logits"])
    assert isinstance(other, Backbone)
    return FD(backbone=ours)


@dataclass(frozen=True)
class Quiet(Probe[float]):
    name: ClassVar[str] = "quiet"
    share: float = setting(0.5, "share", low=0, high=1)

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> float:  # noqa: ARG002
        return self.share * severity

    def corrupt(self, clip: Clip, parameters: float) -> Clip:
        return clip.sounding(clip.waveform * (1 - parameters))


def probes(clip: Clip) -> Clip:
    assert_type(Quiet()(clip, 0.5, seed=1), Clip)
    assert_type(PROBES.names(), list[str])
    return PROBES.get("noise")()(clip, 0.3)


def numbers(rows: torch.Tensor, root: Path) -> float:
    gaussian = GaussianStatistics.from_embeddings(rows)
    assert_type(METRICS.get("fd"), type[Metric])
    for clip in DATASETS.get("esc50").read(root).clips:
        assert_type(clip.clip_id, str)
    try:
        return frechet_distance(gaussian, gaussian).value
    except InsufficientDataError as error:
        assert_type(error.what, str)
        assert_type(error.fix, str | None)
        raise RuntimeError(error.remedy) from error
    except AudiogenMetricsError as error:
        assert_type(error.exit_code, int)
        raise


def mistakes(batch: torch.Tensor, report: ScoreReport) -> None:
    from audiogen_metrics import Fad  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    from audiogen_metrics.backbones import from_calable  # type: ignore[attr-defined]  # pyright: ignore
    from audiogen_metrics.metrics import FDA  # type: ignore[attr-defined]  # pyright: ignore
    from audiogen_metrics.objects import Fad as Other  # type: ignore[attr-defined]  # pyright: ignore
    from audiogen_metrics.studies import Studdy  # type: ignore[attr-defined]  # pyright: ignore

    print(Fad, Other, FDA, Studdy, from_calable)
    agm.scroe("a", "b")  # type: ignore[attr-defined]  # pyright: ignore
    score("a", "b", protocl="yamnet")  # type: ignore[call-arg]  # pyright: ignore
    agm.score_systems(["a", "b"], "c", protocl="yamnet")  # type: ignore[call-arg]  # pyright: ignore
    agm.compare("a", "b", batch_size="8")  # type: ignore[arg-type]  # pyright: ignore
    agm.verify("report.json", chache=True)  # type: ignore[call-arg]  # pyright: ignore
    score(1, "b")  # type: ignore[arg-type]  # pyright: ignore
    FAD().update(generated=batch)  # type: ignore[call-arg]  # pyright: ignore
    MetricSuite([FAD()]).update(generated=batch)  # type: ignore[call-arg]  # pyright: ignore
    FAD().update(gen_logits=batch)  # type: ignore[call-arg]  # pyright: ignore
    FD(protocol=1)  # type: ignore[arg-type]  # pyright: ignore
    print(report.scors)  # type: ignore[attr-defined]  # pyright: ignore
    print(report["fd"].value + 1)  # type: ignore[operator]  # pyright: ignore  # it may be None
