"""What the network is given, not what the file holds, is what warnings are about."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from audiogen_metrics import FD, KL, MetricSuite, score
from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audio.files import scan
from audiogen_metrics.audio.preflight import beyond_scale, inspect, unheard_by
from audiogen_metrics.audio.preparation import PeakPreprocessing, Preprocessing, prepare
from audiogen_metrics.backbones import from_callable
from audiogen_metrics.errors import DataError
from audiogen_metrics.probes.copying import CopyOptions, corrupt_folder
from audiogen_metrics.protocols import PROTOCOLS

RATE = 16_000
Samples = npt.NDArray[np.float32]


def sound(seed: int = 0, seconds: float = 1.0, rate: int = RATE) -> Samples:
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(300, 900) * time) + 0.02 * rng.normal(size=len(time))
    return tone.astype(np.float32)


def stereo(left: Samples, right: Samples) -> Samples:
    return np.stack([left, right], axis=1)


def tone_above(hertz: float) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(48_000) / 48_000)).astype(np.float32)


def every_preprocessing() -> list[Preprocessing]:
    recipes = [recipe for protocol in PROTOCOLS.values() for recipe in protocol.recipes.values()]
    return [*dict.fromkeys(recipe.preprocessing for recipe in recipes)]


UNHEARD: dict[str, tuple[Callable[[], tuple[Samples, int]], Callable[[Preprocessing], bool]]] = {
    "mono": (lambda: (sound(), RATE), lambda _: False),
    "second channel": (lambda: (stereo(0 * sound(), sound()), RATE), lambda how: how.channel == "first"),
    "whisper on the first": (lambda: (stereo(1e-3 * sound(1), sound()), RATE), lambda how: how.channel == "first"),
    "opposite phases": (lambda: (stereo(sound(), -sound()), RATE), lambda how: how.channel == "mean"),
    "half cancelled": (lambda: (stereo(sound(), -0.5 * sound()), RATE), lambda _: False),
    "constant under sound": (lambda: (sound() + 0.5, RATE), lambda _: False),
    "above half the rate": (lambda: (tone_above(20_000), 48_000), lambda how: how.resampler != "decimate"),
    "one click": (lambda: (np.eye(1, RATE, 7000, dtype=np.float32)[0], RATE), lambda _: False),
    "a click on a dead channel": (
        lambda: (stereo(0.1 * np.eye(1, RATE, 7000, dtype=np.float32)[0], sound()), RATE),
        lambda how: how.channel == "first",
    ),
    "integers as floats": (lambda: (20_000 * sound(), RATE), lambda _: False),
    "quiet": (lambda: (1e-3 * sound(), RATE), lambda _: False),
}


@pytest.mark.parametrize("what", UNHEARD)
@pytest.mark.parametrize("how", every_preprocessing(), ids=str)
def test_unheard_by_every_preprocessing(what: str, how: Preprocessing) -> None:
    make, expected = UNHEARD[what]
    samples, rate = make()
    audio = Audio(np.atleast_2d(samples.T).T, rate)
    if what == "above half the rate" and (how.sample_rate == 48_000 or isinstance(how, PeakPreprocessing)):
        return  # heard there; or what is left of it is brought to full level
    assert inspect(audio, prepare(audio, how), how).unheard is expected(how)


@pytest.mark.parametrize("how", every_preprocessing(), ids=str)
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_constant_is_no_sound(how: Preprocessing, rate: int) -> None:
    audio = Audio(np.full((rate, 1), 0.5, dtype=np.float32), rate)
    facts = inspect(audio, prepare(audio, how), how)
    assert facts.constant
    assert not facts.unheard  # there is nothing to hear


def write_set(folder: Path, change: Callable[[Samples], Samples], rate: int = RATE, count: int = 3) -> Path:
    folder.mkdir()
    for index in range(count):
        soundfile.write(folder / f"{index}.wav", change(sound(index)), rate, subtype="FLOAT")
    return folder


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (
            lambda x: stereo(x, -x),
            "3 of 3 clips silent to the network, though there is sound in the file (it is given ",
        ),
        (lambda x: 0 * x + 0.5, "3 of 3 clips silent but for a constant offset: 0, 1, 2"),
        (lambda x: 0 * x, "3 of 3 clips silent (peak below −80 dB): 0, 1, 2"),
        (lambda x: 32_767 * x, "(looks like 16-bit integers saved as floats: divide by 32768): 0, 1, 2"),
        (lambda x: 10 * x / np.abs(x).max(), "3 of 3 clips beyond full scale, up to 10 times: 0, 1, 2"),
    ],
)
def test_folders_are_warned_of_also_from_the_cache(
    tmp_path: Path, change: Callable[[Samples], Samples], warning: str
) -> None:
    gen, ref = write_set(tmp_path / "gen", change), write_set(tmp_path / "ref", lambda x: x[::-1])
    for _ in range(2):
        report = score(gen, ref, protocol="yamnet", metrics=["fd"], ci=False)
        found = [text for text in report.warnings if text.startswith("gen:") and warning in text]
        assert len(found) == 1, report.warnings
        assert not [text for text in report.warnings if text.startswith("ref:") and warning in text]


def test_each_preprocessing_of_a_protocol_is_looked_at(tmp_path: Path) -> None:
    """FAD of audioldm-0.0.3 hears all channels where its FD hears the first."""
    from audiogen_metrics.embedding.extraction import ExtractionOptions, extract_each
    from audiogen_metrics.embedding.sides import FolderSide

    folder = scan(write_set(tmp_path / "gen", lambda x: stereo(0 * x, x)))
    chosen = PROTOCOLS["audioldm-0.0.3"].recipes
    preparations = [chosen["fd"].preprocessing, chosen["fad"].preprocessing]
    network = from_callable("tiny", lambda x: x[:, :4], sample_rate=RATE, version="1")
    first, mean = extract_each(folder, {how: [network] for how in preparations}, ExtractionOptions(cache=False))
    assert first.preprocessing.channel == "first"
    assert all(fact.unheard for fact in first.facts.values())
    assert not any(fact.unheard for fact in mean.facts.values())
    side = FolderSide("gen", folder, {}, (first, mean), 0.1)
    assert [text for text in side.warnings() if "it is given the first channel, at 16000 Hz" in text]
    assert not [text for text in side.warnings() if "the mean of the channels" in text]


def test_sound_behind_the_cut_says_so() -> None:
    how = PROTOCOLS["av-benchmark"].recipes["fd"].preprocessing
    audio = Audio(np.concatenate([np.zeros(10 * RATE, np.float32), sound()])[:, None], RATE)
    assert inspect(audio, prepare(audio, how), how).unheard
    assert "at 16000 Hz, 8 s at most)" in unheard_by(how)


def test_update_warns_of_channels_that_cancel() -> None:
    clips = np.stack([stereo(sound(index), -sound(index)).T for index in range(3)])
    metric = FD(protocol="yamnet")
    with pytest.warns(UserWarning, match="3 of 3 clips silent to the network"):
        metric.update(gen=clips, sample_rate=RATE)


@pytest.mark.parametrize(
    ("peak", "bits"), [(2.1, None), (100.0, None), (500.0, 16), (32_768.0, 16), (5e6, 24), (2.0**31, 32), (1e10, None)]
)
def test_the_likely_integer_format(peak: float, bits: int | None) -> None:
    assert (f"{bits}-bit" if bits else "times") in beyond_scale(peak)
    assert ("divide" in beyond_scale(peak)) is (bits is not None)


def test_copies_of_a_probe_may_be_loud(tmp_path: Path) -> None:
    write_set(tmp_path / "source", lambda x: 0.9 * x / np.abs(x).max())
    options = CopyOptions("noise", severity=1.0)
    corrupt_folder(tmp_path / "source", tmp_path / "set" / "noisy", options)
    for clip in (tmp_path / "set" / "noisy").glob("*.wav"):  # louder than this probe makes them
        samples, rate = soundfile.read(clip, dtype="float32")
        soundfile.write(clip, 20 * samples / np.abs(samples).max(), rate, subtype="FLOAT")
    for folder in (tmp_path / "set" / "noisy", tmp_path / "set"):
        report = score(folder, tmp_path / "source", protocol="yamnet", metrics=["fd"], ci=False)
        assert not [text for text in report.warnings if "beyond full scale" in text]
    soundfile.write(tmp_path / "set" / "noisy" / "other.wav", 20 * sound(9), RATE, subtype="FLOAT")
    report = score(tmp_path / "set", tmp_path / "source", protocol="yamnet", metrics=["fd"], ci=False)
    assert [text for text in report.warnings if "1 of 4 clips beyond full scale" in text and "noisy/other" in text]


def test_update_warns_once_a_batch_of_levels_beyond_full_scale() -> None:
    clips = torch.stack([torch.from_numpy(sound(index)) for index in range(4)])
    suite = MetricSuite([FD(protocol="yamnet"), KL(protocol="yamnet")])
    with pytest.warns(UserWarning, match=r"4 of 4 clips beyond full scale.*16-bit integers") as caught:
        suite.update(gen=32_767 * clips, sample_rate=RATE)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        suite.update(gen=1.5 * clips, sample_rate=RATE)


@pytest.mark.parametrize("shape", ["batch", "list"])
@pytest.mark.parametrize("protocol", ["yamnet", "google-fad"])
def test_channels_in_update_are_those_of_files(tmp_path: Path, shape: str, protocol: str) -> None:
    from audiogen_metrics.objects.batch import Batch

    clips = [stereo(sound(index), sound(index + 10)).T for index in range(3)]
    given = np.stack(clips) if shape == "batch" else clips
    how = next(iter(PROTOCOLS[protocol].recipes.values())).preprocessing
    for index, clip in enumerate(Batch(given, RATE, "gen").clips):
        soundfile.write(tmp_path / "clip.wav", clips[index].T, RATE, subtype="FLOAT")
        read, _ = soundfile.read(tmp_path / "clip.wav", dtype="float32", always_2d=True)
        assert torch.equal(prepare(Audio(clip.numpy().T, RATE), how), prepare(Audio(read, RATE), how))


def test_a_batch_of_stereo_counts_its_clips() -> None:
    metric = FD(protocol="yamnet")
    metric.update(gen=torch.rand(3, 2, RATE), ref=[torch.rand(2, RATE), torch.rand(RATE)], sample_rate=RATE)
    found = metric.compute_score()
    assert (found.n_gen, found.n_ref) == (3, 2)


class TestKLWithoutIds:
    logits = torch.randn(12, 9, generator=torch.Generator().manual_seed(0))

    def test_equal_counts_pair_by_arrival(self) -> None:
        metric = KL(protocol="yamnet")
        metric.update(gen_logits=self.logits, ref_logits=self.logits)
        assert abs(float(metric.compute())) < 1e-4

    def test_one_lost_is_an_error_at_compute(self) -> None:
        metric = KL(protocol="yamnet")
        metric.update(gen_logits=self.logits)
        metric.update(ref_logits=self.logits[1:])
        with pytest.raises(DataError, match=r"12 gen and 11 ref clips without ids.*Pass ids"):
            metric.compute()

    def test_batches_of_unequal_size_are_an_error_at_once_and_change_nothing(self) -> None:
        metric = KL(protocol="yamnet")
        metric.update(gen_logits=self.logits[:6], ref_logits=self.logits[:6])
        with pytest.raises(DataError, match="4 gen and 3 ref"):
            metric.update(gen_logits=self.logits[6:10], ref_logits=self.logits[6:9])
        metric.update(gen_logits=self.logits[6:], ref_logits=self.logits[6:])
        assert metric.compute_score().details["pairs"] == 12

    def test_a_reference_of_the_constructor(self) -> None:
        metric = KL(protocol="yamnet", ref=self.logits)
        metric.update(gen_logits=self.logits[:6])
        with pytest.raises(DataError, match="6 gen and 12 ref"):
            metric.compute()

    def test_ids_on_one_side_only(self) -> None:
        named = {f"{place:09d}": row for place, row in enumerate(self.logits)}  # what clips without ids are called
        metric = KL(protocol="yamnet", ref=named)
        metric.update(gen_logits=self.logits)
        with pytest.raises(DataError, match="gen clips have no ids, and ref clips have"):
            metric.compute()

    def test_ids_leave_out_what_has_no_partner(self) -> None:
        ids = [str(place) for place in range(12)]
        metric = KL(protocol="yamnet")
        metric.update(gen_logits=self.logits, ids=ids)
        metric.update(ref_logits=self.logits[1:], ids=ids[1:])
        assert metric.compute_score().details["pairs"] == 11

    def test_ids_pair_with_files_in_either_unicode_form(self, tmp_path: Path) -> None:
        for name in ("caf\u00e9", "dog"):
            soundfile.write(tmp_path / f"{name}.wav", sound(len(name)), RATE)
        metric = KL(protocol="yamnet", ref=tmp_path)
        metric.update(gen=torch.rand(2, RATE), sample_rate=RATE, ids=["cafe\u0301", "dog"])
        assert metric.compute_score().details["pairs"] == 2
