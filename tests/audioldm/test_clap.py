"""CLAP as a backbone, and the CLAP score, on the tiny model's CLAP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from audiogen_metrics import score
from audiogen_metrics.audioldm.clap import CLAP, clap_score
from audiogen_metrics.audioldm.conditioning import CLAP_SAMPLES
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, MissingWeightsError, UsageError
from tests.conftest import write_tone
from tests.places import GENERATED, REFERENCE

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*random weights"
)

REF = REFERENCE


@pytest.fixture
def clap(tiny: Path) -> str:
    return str(tiny / "clap")


@pytest.mark.slow
def test_the_backbone_hears_ten_seconds(clap: str) -> None:
    backbone = CLAP("cpu", weights=clap)
    long = 0.1 * torch.randn(2, CLAP_SAMPLES + 48_000, generator=torch.Generator().manual_seed(0))
    whole, first = backbone(long).embeddings, backbone(long[:, :CLAP_SAMPLES]).embeddings
    assert whole is not None
    assert first is not None
    assert torch.equal(whole, first)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(2))
    assert backbone.usable_samples(10**6) == CLAP_SAMPLES


def test_equals_the_towers_of_the_audio_condition(clap: str, model: AudioLDM) -> None:
    """Beyond five seconds, below which this one repeats clips, as published, and the condition does not."""
    waveforms = 0.1 * torch.randn(2, 6 * 48_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(CLAP("cpu", weights=clap)(waveforms).embeddings, model.clap.embed(waveforms))


def test_short_clips_are_repeated(clap: str) -> None:
    backbone = CLAP("cpu", weights=clap)
    short = 0.1 * torch.randn(1, 3 * 48_000, generator=torch.Generator().manual_seed(0))
    repeated = F.pad(short.repeat(1, 3), (0, 48_000))
    torch.testing.assert_close(backbone(short).embeddings, backbone(repeated).embeddings)


def test_texts_equal_the_text_condition(clap: str, model: AudioLDM) -> None:
    texts = ["a dog barks", "rain"]
    rows = CLAP("cpu", weights=clap).embed_text(texts)
    torch.testing.assert_close(rows, model.text.embed(texts).cpu())


@pytest.mark.slow
def test_fd_on_clap(clap: str) -> None:
    report = score(GENERATED, REF, protocol="clap", weights={"clap": clap}, device="cpu")
    assert set(report.scores) == {"fd_clap"}
    assert report["fd_clap"].value is not None
    assert report["fd_clap"].value > 0
    assert "not comparable" in report.caveat
    with pytest.raises(UsageError, match="unknown metric 'kl'"):
        score(GENERATED, REF, protocol="clap", metrics=["kl"], weights={"clap": clap})


@pytest.mark.slow
def test_the_score_is_the_mean_cosine_of_pairs(
    clap: str, model: AudioLDM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = sorted(path.relative_to(REF).with_suffix("").as_posix() for path in REF.rglob("*") if path.is_file())
    prompts = tmp_path / "prompts.csv"
    rows = [f"{clip},a sound of {clip}" for clip in clips[:6]]
    prompts.write_text("clip_id,prompt\n" + "\n".join([*rows, "none,nothing"]) + "\n")
    found = clap_score(REF, prompts, clap=clap, device="cpu")
    assert found.n == 6
    assert found.prompts_only == ("none",)
    assert len(found.gen_only) == len(clips) - 6
    assert found.value == pytest.approx(np.mean(list(found.per_clip.values())))
    assert found.ci95[0] < found.value < found.ci95[1]
    # The text side is the tower inside the checkpoint.
    text = model.text.embed([f"a sound of {clips[0]}"])[0]
    backbone = CLAP("cpu", weights=clap)
    assert abs(found.per_clip[clips[0]]) <= 1
    assert text.shape == backbone(torch.zeros(1, 48_000)).embeddings[0].shape  # type: ignore[index]
    assert main(["clap", str(REF), str(prompts), "--clap", clap, "--format", "json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["value"] == pytest.approx(found.value, abs=1e-6)
    assert "1 has no clip: 'none'" in shown.err
    prompts.write_text("clip_id,prompt\nx,y\n")
    with pytest.raises(DataError, match="no clip of gen has a prompt"):
        clap_score(REF, prompts, clap=clap, device="cpu")


def test_ids_in_other_forms_pair_and_in_other_case_are_named(clap: str, tmp_path: Path) -> None:
    for name in ("caf\u00e9", "b", "Dog"):
        write_tone(tmp_path / "gen" / f"{name}.flac")
        (tmp_path / "gen" / f"{name}.mp4").write_bytes(b"video")
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("clip_id,prompt\ncafe\u0301,a machine\nb,rain\ndog,a dog\n", encoding="utf-8")
    found = clap_score(tmp_path / "gen", prompts, clap=clap, device="cpu", suffixes=".flac")
    assert (found.n, found.gen_only) == (2, ("Dog",))
    note = "prompts: 1 differs only in case (gen 'Dog', prompts 'dog'); 1 of 3 clips of gen has none: 'Dog'; "
    assert f"{note}1 has no clip: 'dog'" in found.warnings
    with pytest.raises(DataError, match="choose: suffixes="):
        clap_score(tmp_path / "gen", prompts, clap=clap, device="cpu")
    assert main(["clap", str(tmp_path / "gen"), str(prompts), "--clap", clap, "--suffix", "flac"]) == 0


def test_without_weights_it_says_where_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGM_OFFLINE", "1")
    with pytest.raises(MissingWeightsError, match="hf download laion/clap-htsat-unfused"):
        score(GENERATED, REF, protocol="clap")


GENERATION = ("diffusers", "accelerate", "peft", "tensorboard")

AGM = "from audiogen_metrics.cli.main import main; sys.exit(main(sys.argv[1:]))"


def run_without(packages: Sequence[str], code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run code where these packages are not: whoever imports one, or looks whether it is there, finds nothing."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({packages!r})); {code}"
    command = [sys.executable, "-W", "ignore", "-c", blocked, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_clap_needs_transformers_alone(clap: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.csv"
    clips = sorted(path.relative_to(REF).with_suffix("").as_posix() for path in REF.rglob("*") if path.is_file())
    prompts.write_text("clip_id,prompt\n" + "\n".join(f"{clip},a sound" for clip in clips))
    done = run_without(GENERATION, AGM, "clap", REF, prompts, "--clap", clap, "--device", "cpu", "--no-cache")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("clap_score")
    scoring = "from audiogen_metrics import score; "
    scoring += "print(*score(*sys.argv[1:3], protocol='clap', weights={'clap': sys.argv[3]}, device='cpu'))"
    done = run_without(GENERATION, scoring, GENERATED, REF, clap)
    assert done.stdout == "fd_clap\n", done.stderr


@pytest.mark.slow
def test_the_error_names_the_extra_that_is_enough(clap: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("clip_id,prompt\na,b\n")
    done = run_without(["transformers"], AGM, "clap", REF, prompts, "--clap", clap)
    assert done.returncode == 4
    assert "CLAP needs transformers. Install the extra: pip install 'audiogen-metrics[clap]'" in done.stderr
    done = run_without(
        GENERATION, AGM, "generate", "--model", "tiny-random", "--prompts", prompts, "-o", tmp_path / "out"
    )
    assert done.returncode == 4
    assert "AudioLDM needs diffusers, accelerate, peft" in done.stderr
    assert "audiogen-metrics[audioldm]" in done.stderr
