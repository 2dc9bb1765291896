"""Protocols as data: what each fixes, and that it reaches the waveform and the score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from audiogen_metrics import FD
from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.vggish import Float16VGGish, OverlappingVGGish, VGGishNetwork
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.citations import citations
from audiogen_metrics.errors import UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.evaluation.protocol_sweep import variants
from audiogen_metrics.functional import kl_divergence
from audiogen_metrics.protocols import PROTOCOLS, get_protocol
from tests.checkpoints import write_vggish

TIME = np.arange(48_000) / 48_000


def audio(samples: npt.NDArray[np.float64], rate: int) -> Audio:
    return Audio(samples.astype(np.float32).reshape(len(samples), -1), rate)


def prepared(protocol: str, metric: str, samples: npt.NDArray[np.float64], rate: int) -> torch.Tensor:
    return prepare(audio(samples, rate), get_protocol(protocol).select([metric])[0].preprocessing)


def test_what_differs_from_the_default() -> None:
    default = PROTOCOLS["audioldm"]
    assert default.differences(default) == {}
    assert PROTOCOLS["yamnet"].differences(default) == {}
    differs = PROTOCOLS["av-benchmark"].differences(default)
    assert differs["kl_panns"] == "eps 0.0, channel mean, minimum_samples 0, maximum_samples 128000"
    assert set(PROTOCOLS["audioldm-0.0.3"].differences(default)) == {"fad_vggish"}


def test_the_default_is_first_and_released_names_stay() -> None:
    assert next(iter(PROTOCOLS)) == "audioldm"
    released = {
        "audioldm", "audioldm-0.0.3", "audioldm-2023-02", "av-benchmark", "google-fad", "fadtk", "fadtk-clap",
        "clap-laion", "stable-audio", "audiocraft", "kadtk", "tango", "musegauge", "clap", "audiobox-aesthetics",
        "yamnet",
    }  # fmt: skip
    assert released <= PROTOCOLS.keys()


def test_february_2023_makes_32_khz_half_as_long_and_aliases_48_khz() -> None:
    high = 0.5 * np.sin(2 * np.pi * 11_000 * TIME)
    aliased = prepared("audioldm-2023-02", "fd", high, 48_000)
    assert aliased[:16_000].std() > 0.3  # the default leaves next to nothing of 11 kHz
    assert prepared("audioldm", "fd", high, 48_000)[200:15_800].std() < 0.01
    seconds = prepare(audio(np.ones(32_000 * 8), 32_000), Preprocessing(16_000, resampler="decimate"))
    assert len(seconds) == 16_000 * 4
    assert len(prepared("audioldm-2023-02", "fad", high[:32_000], 32_000)) == 16_000


def test_release_003_reads_fad_as_sixteen_bit_mean_with_its_dc() -> None:
    stereo = np.stack([np.full(16_000, 0.30001), np.full(16_000, 0.1)], axis=1)
    waveform = prepared("audioldm-0.0.3", "fad", stereo, 16_000)
    expected = (np.floor(0.30001 * 32768) + np.floor(0.1 * 32768)) / 65536
    np.testing.assert_allclose(waveform, expected, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_release_003_hears_lossy_files_as_the_integers_that_libsndfile_gives(
    tmp_path: Path, container: str, subtype: str
) -> None:
    """A WAV file of these integers is the same to it, as it reads every file as integers."""
    rng = np.random.default_rng(0)
    for folder, level in (("gen", 0.05), ("ref", 0.1)):
        for place in ("lossy", "integers"):
            (tmp_path / place / folder).mkdir(parents=True)
        for clip in range(4):
            path = tmp_path / "lossy" / folder / f"{clip}.{container.lower()}"
            soundfile.write(path, rng.normal(0, level, 48_000), 16_000, format=container, subtype=subtype)
            integers = soundfile.read(path, dtype="int16")[0]
            soundfile.write(tmp_path / "integers" / folder / f"{clip}.wav", integers, 16_000)
    weights = {"vggish": write_vggish(tmp_path / "vggish.pth")}
    lossy, integers = (
        score(root / "gen", root / "ref", protocol="audioldm-0.0.3", metrics=["fad"], weights=weights)["fad_vggish"]
        for root in (tmp_path / "lossy", tmp_path / "integers")
    )
    assert lossy.value == pytest.approx(integers.value, rel=1e-9)


def test_google_divides_by_the_largest_sample_but_not_by_less_than_a_tenth() -> None:
    loud, quiet = np.linspace(-1, 0.5, 16_000), np.linspace(-0.01, 0.01, 16_000)
    assert prepared("google-fad", "fad", loud, 16_000).max() == pytest.approx(1.0)
    assert prepared("google-fad", "fad", quiet, 16_000).max() == pytest.approx(0.1)


def test_fadtk_rounds_to_sixteen_bits_after_resampling_and_pads_to_a_second() -> None:
    waveform = prepared("fadtk", "fad", 0.5 * np.sin(2 * np.pi * 440 * TIME[:24_000]), 48_000)
    assert len(waveform) == 16_000
    assert torch.equal(waveform * 32768, (waveform * 32768).round())


def test_av_benchmark_cuts_after_eight_seconds() -> None:
    assert len(prepared("av-benchmark", "fd", np.zeros(16_000 * 10), 16_000)) == 16_000 * 8
    assert len(prepared("av-benchmark", "fd", np.zeros(16_000), 16_000)) == 16_000


def test_overlapping_examples_are_those_of_each_window_alone() -> None:
    network = VGGishNetwork(OverlappingVGGish.minimum_samples, OverlappingVGGish.hop_samples)
    waveform = torch.randn(1, 36_000, generator=torch.Generator().manual_seed(0))
    examples = network.examples(waveform)
    assert examples.shape == (1, 3, 96, 64)
    alone = VGGishNetwork()
    for index in range(3):
        window = waveform[:, index * 8000 : index * 8000 + 16_000]
        torch.testing.assert_close(examples[:, index], alone.examples(window)[:, 0], rtol=0, atol=1e-6)
    assert OverlappingVGGish().usable_samples(36_000) == 32_000


@pytest.mark.slow
def test_variants_of_vggish_share_its_weights_and_reach_the_score(tmp_path: Path) -> None:
    weights = write_vggish(tmp_path / "vggish.pth")
    for side, seed in (("gen", 0), ("ref", 1)):
        for index in range(4):
            noise = np.random.default_rng([seed, index]).normal(size=40_000) * 0.1 * (index + 1)
            (tmp_path / side).mkdir(exist_ok=True)
            soundfile.write(tmp_path / side / f"{index}.wav", noise, 16_000)
    values = {}
    for protocol in ("audioldm", "google-fad", "fadtk"):
        report = score(
            tmp_path / "gen", tmp_path / "ref", metrics=["fad"], protocol=protocol, weights={"vggish": weights}
        )
        values[protocol] = report["fad_vggish"]
    assert values["google-fad"].details["rows_gen"] == 4 * 4
    assert values["audioldm"].details["rows_gen"] == 4 * 2
    assert len({found.value for found in values.values()}) == 3
    rows = Float16VGGish(weights=weights)(torch.rand(1, 16_000)).windows
    assert rows is not None
    assert torch.equal(rows, rows.half().float())


def test_the_positive_term_is_not_a_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    ref = torch.randn(8, 527, generator=generator, dtype=torch.float64) - 3
    gen = ref + 3
    p, q = ref.sigmoid(), gen.sigmoid()
    positive = kl_divergence(gen, ref, activation="sigmoid_positive", eps=1e-6).mean
    assert positive == pytest.approx(float((p * (p.log() - (q + 1e-6).log())).sum(1).mean()), rel=1e-9)
    assert positive < 0 < kl_divergence(gen, ref, activation="sigmoid").mean


def test_a_recipe_cuts_clips_at_the_same_second_on_another_backbone() -> None:
    kind = BACKBONES.get("yamnet")
    (recipe,) = get_protocol("clap").select(["fd@yamnet"])
    assert recipe == FD(protocol="clap", backbone="yamnet").recipe == get_protocol("clap").select("fd")[0].on(kind)
    assert recipe.preprocessing.maximum_samples == 10 * kind.sample_rate
    fd = get_protocol("av-benchmark").recipes["fd"]
    assert dict(variants(fd))["32 kHz"].preprocessing.maximum_samples == 8 * 32_000


def test_a_caveat_is_said_of_the_protocols_own_networks_only() -> None:
    yamnet = PROTOCOLS["yamnet"]
    assert yamnet.caveat_of(yamnet.select(None)) == yamnet.caveat
    assert yamnet.caveat_of(yamnet.select(["fd@passt", "fd"])) == yamnet.caveat
    assert yamnet.caveat_of(yamnet.select(["fd", "kl"], "passt")) == ""


def test_metrics_on_backbones_of_their_own() -> None:
    yamnet = get_protocol("yamnet")
    ids = [recipe.score_id for recipe in yamnet.select("KL, fd@panns-cnn14-16k, fd, fd@yamnet")]
    assert ids == ["fd_panns_cnn14_16k", "fd_yamnet", "kl_yamnet"]
    assert [recipe.score_id for recipe in yamnet.select(None, "vggish")] == ["fad_vggish"]
    assert [recipe.backbone for recipe in yamnet.select("fd@yamnet,kl", "panns-cnn14-32k")] == [
        "yamnet",
        "panns-cnn14-32k",
    ]
    with pytest.raises(UsageError, match=r"backbone: is a YAMNet, not the name .* FD\(backbone=…\)\.score\(gen, ref\)"):
        score("gen", "ref", protocol="yamnet", metrics="fd", backbone=YAMNet())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="fd needs embeddings, which vggish does not give"):
        yamnet.select("fd", "vggish")
    with pytest.raises(UsageError, match=r"protocol fadtk needs windows, and clap gives embeddings"):
        get_protocol("fadtk").select(None, "clap")
    with pytest.raises(UsageError, match="unknown metric 'fq'"):
        yamnet.select("fq@vggish")


def test_every_network_has_a_work_to_cite() -> None:
    """That of Audiobox Aesthetics is its metrics' own."""
    for recipe in {each for protocol in PROTOCOLS.values() for each in protocol.recipes.values()}:
        work = recipe.definition.citation if "audiobox" in recipe.backbone else None
        assert len(citations([(work, recipe.backbone)], "", "0")) == 2, recipe.backbone
