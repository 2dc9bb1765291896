"""Waveform forms: each does what its parameter says."""

from __future__ import annotations

import io
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.probes import codec
from audiogen_metrics.probes.bandwidth import Bandwidth, LowPass
from audiogen_metrics.probes.base import Clip, clip_rng
from audiogen_metrics.probes.codec import MP3, CodecParameters, Opus
from audiogen_metrics.probes.duplication import Duplication
from audiogen_metrics.probes.duration import SilenceInsertion, Truncation
from audiogen_metrics.probes.interference import Mix
from audiogen_metrics.probes.level import BitDepth, BitDepthParameters, Clipping, DCOffset, Gain
from audiogen_metrics.probes.masking import TimeMask
from audiogen_metrics.probes.noise import PinkNoise, WhiteNoise
from audiogen_metrics.probes.pool import Pool
from audiogen_metrics.probes.reordering import Reordering, SegmentShuffle, draw_order, rearrange
from audiogen_metrics.probes.sequences import event_sequences


def white(seconds: float = 2.0, rate: int = 44_100) -> Clip:
    samples = 0.1 * np.random.default_rng(0).normal(size=int(seconds * rate))
    return Clip("white", samples.astype(np.float32), rate)


def decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    powers = [np.mean(np.square(part.astype(np.float64))) for part in (signal, noise)]
    return float(10 * np.log10(powers[0] / powers[1]))


@pytest.mark.parametrize("kind", [WhiteNoise, PinkNoise])
@pytest.mark.parametrize(("severity", "snr_db"), [(1.0, 0.0), (0.5, 20.0), (0.05, 38.0)])
def test_noise_has_its_ratio(kind: type[WhiteNoise], severity: float, snr_db: float, clip: Clip) -> None:
    noise = kind()(clip, severity).waveform - clip.waveform
    assert decibels(clip.waveform, noise) == pytest.approx(snr_db, abs=0.01)


def test_colours() -> None:
    flat = Clip("flat", np.ones(2**17, np.float32), 32_000)
    for kind, slope in ((WhiteNoise, 0.0), (PinkNoise, -1.0)):
        noise = kind()(flat, 1).waveform - flat.waveform
        power = np.abs(np.fft.rfft(noise)) ** 2
        frequencies = np.fft.rfftfreq(len(noise), 1 / 32_000)
        octaves = [power[(frequencies > low) & (frequencies <= 2 * low)].mean() for low in (100, 400, 1600, 6400)]
        np.testing.assert_allclose(np.diff(np.log2(octaves)) / 2, slope, atol=0.1)


def test_mix_has_its_ratio(pool: Pool) -> None:
    clip = pool.load("ambi/piano")
    added = Mix(pool=pool, sir_db=6)(clip, 1).waveform - clip.waveform
    assert decibels(clip.waveform, added) == pytest.approx(6, abs=0.01)


def test_gain_offset_clipping(clip: Clip) -> None:
    assert decibels(Gain()(clip, 0.5).waveform, clip.waveform) == pytest.approx(-20, abs=1e-3)
    np.testing.assert_allclose(DCOffset()(clip, 1).waveform - clip.waveform, 0.25, atol=1e-6)
    clipped = Clipping()(clip, 1).waveform
    assert np.abs(clipped).max() == pytest.approx(0.05 * np.abs(clip.waveform).max())
    quiet = np.abs(clip.waveform) < np.abs(clipped).max()
    np.testing.assert_array_equal(clipped[quiet], clip.waveform[quiet])


def test_bit_depth() -> None:
    clip = Clip("ramp", np.linspace(-1.2, 1.2, 10_001, dtype=np.float32), 16_000)
    out = BitDepth().apply(clip, BitDepthParameters(8)).waveform
    assert set(np.unique(out * 128)) == set(range(-128, 128))
    inside = np.abs(clip.waveform) < 0.99
    assert np.abs(out - clip.waveform)[inside].max() <= 1 / 256 + 1e-6


@pytest.mark.parametrize("severity", [0.3, 1.0])
def test_low_pass_has_its_corner_and_no_delay(severity: float) -> None:
    probe, clip = LowPass(), white()
    cutoff = probe.sample(np.random.default_rng(0), clip, severity).cutoff_hz
    impulse = Clip("impulse", np.zeros(44_100, np.float32), 44_100)
    impulse.waveform[20_000] = 1
    response = probe(impulse, severity).waveform
    assert response.argmax() == 20_000
    gains = 20 * np.log10(np.abs(np.fft.rfft(response))[[0, round(cutoff), round(2 * cutoff)]])
    np.testing.assert_allclose(gains, [0, -3, -48], atol=0.6)


def test_bandwidth_takes_the_treble_and_keeps_the_length() -> None:
    clip = white()
    probe = Bandwidth(sample_rate=8000)
    out = probe(clip, 1)
    assert (len(out.waveform), out.sample_rate) == (len(clip.waveform), clip.sample_rate)
    power = np.abs(np.fft.rfft(out.waveform)) ** 2
    frequencies = np.fft.rfftfreq(len(out.waveform), 1 / 44_100)
    assert power[frequencies > 5000].mean() < 1e-4 * power[frequencies < 3500].mean()


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("kbps", [32, 64, 160])
@pytest.mark.parametrize("kind", [MP3, Opus])
def test_codecs_keep_length_rate_and_time(kind: type[MP3], kbps: int, rate: int) -> None:
    samples = np.random.default_rng(1).normal(size=rate // 2 + 7)
    smooth = np.convolve(samples, np.hanning(1 + rate // 1000), "same")
    clip = Clip("smooth", (0.3 * smooth / np.abs(smooth).max()).astype(np.float32), rate)
    out = kind().apply(clip, CodecParameters(kbps))
    assert (len(out.waveform), out.sample_rate) == (len(clip.waveform), rate)
    spectra = np.fft.rfft(out.waveform, 2 * rate), np.fft.rfft(clip.waveform, 2 * rate)
    lag = int(np.fft.irfft(spectra[0] * spectra[1].conj()).argmax())
    assert min(lag, 2 * rate - lag) <= rate / 10_000
    assert decibels(clip.waveform, out.waveform - clip.waveform) > 6


def test_mp3_bit_rates_are_real(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    read = codec.soundfile.read

    def weigh(file: io.BytesIO, **options: object) -> object:
        sizes.append(len(file.getvalue()))
        return read(file, **options)

    monkeypatch.setattr(codec.soundfile, "read", weigh)
    for kbps in (32, 64, 128):
        MP3().apply(clip, CodecParameters(kbps))
    expected = [kbps * 1000 / 8 * clip.seconds for kbps in (32, 64, 128)]
    np.testing.assert_allclose(sizes, expected, rtol=0.05)


def test_time_mask() -> None:
    clip = Clip("ones", np.ones(1000, np.float32), 16_000)
    parameters = TimeMask().sample(np.random.default_rng(0), clip, 0.5)
    out = TimeMask().apply(clip, parameters).waveform
    assert (out == 0).sum() == 100
    assert parameters.masked_ratio == 0.1
    assert all((out[start:stop] == 0).all() for start, stop in parameters.spans)


def test_silence_and_truncation(clip: Clip) -> None:
    probe = SilenceInsertion()
    parameters = probe.sample(np.random.default_rng(0), clip, 0.5)
    out = probe.apply(clip, parameters).waveform
    start, length = round(parameters.start * 44_100), round(parameters.seconds * 44_100)
    assert length == pytest.approx(len(clip.waveform) / 2, abs=1)
    assert not out[start : start + length].any()
    np.testing.assert_array_equal(np.delete(out, slice(start, start + length)), clip.waveform)
    kept = Truncation()(clip, 1).waveform
    assert len(kept) == pytest.approx(0.1 * len(clip.waveform), abs=1)
    np.testing.assert_array_equal(kept, clip.waveform[: len(kept)])


class TestDuplication:
    def test_the_set_collapses_to_its_modes(self, pool: Pool) -> None:
        probe = Duplication(pool=pool)
        replacements = {}
        for severity in (0.5, 1.0):
            drawn = {
                clip_id: probe.sample(clip_rng(0, clip_id, probe.name), pool.load(clip_id), severity)
                for clip_id in pool.clip_ids
            }
            replacements[severity] = {entry.replacement for entry in drawn.values()}
            modes = next(iter(drawn.values())).modes
            assert replacements[severity] <= set(pool.order[:modes])
            assert all(drawn[clip_id].replacement == clip_id for clip_id in pool.order[:modes])
        assert len(replacements[1.0]) == 4
        assert len(replacements[0.5]) == round(np.sqrt(40 * 4))
        assert replacements[1.0] < replacements[0.5]

    def test_the_replacement_comes_under_the_clips_id(self, pool: Pool) -> None:
        clip = pool.load(pool.order[-1])
        out = Duplication(pool=pool, modes=1)(clip, 1)
        assert out.clip_id == clip.clip_id
        np.testing.assert_array_equal(out.waveform, pool.load(pool.order[0]).waveform)


class TestOrder:
    @given(st.integers(2, 12), st.floats(0.001, 1), st.integers(0, 999))
    @settings(max_examples=150, deadline=None)
    def test_moved_places_and_no_others_lose_their_piece(self, pieces: int, severity: float, seed: int) -> None:
        drawn = draw_order(np.random.default_rng(seed), pieces, severity)
        assert sorted(drawn.order) == list(range(pieces))
        changed = sum(piece != place for place, piece in enumerate(drawn.order))
        wanted = int(severity * pieces + 0.5)
        assert changed == drawn.moved == (wanted if wanted >= 2 else 0)

    def test_every_derangement_is_as_likely(self) -> None:
        rng = np.random.default_rng(0)
        counts = Counter(draw_order(rng, 4, 1).order for _ in range(1800))
        assert len(counts) == 9
        assert min(counts.values()) > 140

    @given(st.permutations(range(4)), st.integers(0, 60))
    @settings(max_examples=50, deadline=None)
    def test_crossfades_are_straight_lines_from_one_continuation_to_the_other(
        self, order: list[int], fade: int
    ) -> None:
        bounds, half = [0, 100, 400, 700, 1000], fade // 2
        waveform = np.random.default_rng(0).normal(size=1000).astype(np.float32)
        context = np.pad(waveform, half)
        expected = [sample for piece in order for sample in waveform[bounds[piece] : bounds[piece + 1]]]
        joint = 0
        for before, after in pairwise(order):
            joint += bounds[before + 1] - bounds[before]
            for j in range(-half, half):
                share = (j + half + 0.5) / (2 * half)
                old, new = context[half + bounds[before + 1] + j], context[half + bounds[after] + j]
                expected[joint + j] = (1 - share) * old + share * new
        np.testing.assert_allclose(rearrange(waveform, bounds[:-1], order, fade), expected, atol=1e-6)

    def test_neighbours_that_stay_join_as_before(self) -> None:
        waveform = np.random.default_rng(0).normal(size=1000).astype(np.float32)
        np.testing.assert_allclose(rearrange(waveform, [0, 300, 600], [0, 1, 2], 50), waveform, atol=1e-6)

    def test_a_crossfade_is_no_longer_than_a_piece(self) -> None:
        assert len(rearrange(np.ones(30, np.float32), [0, 10, 20], [2, 1, 0], 500)) == 30

    def test_no_crossfade_is_concatenation(self) -> None:
        waveform = np.arange(10, dtype=np.float32)
        assert rearrange(waveform, [0, 2, 5], [2, 0, 1]).tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]

    def test_segments(self, clip: Clip) -> None:
        out = SegmentShuffle(crossfade_ms=0)(clip, 1).waveform
        np.testing.assert_array_equal(np.sort(out), np.sort(clip.waveform))
        assert not np.array_equal(out, clip.waveform)
        assert len(SegmentShuffle()(clip, 1).waveform) == len(clip.waveform)

    def test_a_clip_without_events(self, clip: Clip) -> None:
        with pytest.raises(DataError, match="Build sequences first"):
            Reordering()(clip, 1)


class TestSequences:
    def test_different_classes_and_no_clip_twice(self, pool: Pool) -> None:
        sequences = event_sequences(pool, 4)
        members = [clip_id for sequence in sequences for clip_id in sequence.members]
        assert len(sequences) == 10
        assert len(set(members)) == len(members)
        for sequence in sequences:
            assert len({pool.label(clip_id) for clip_id in sequence.members}) == 4
        assert sequences == event_sequences(Pool(tuple(reversed(pool.clip_ids)), pool.load, pool.labels), 4)
        assert sequences != event_sequences(Pool(pool.clip_ids, pool.load, pool.labels, seed=1), 4)

    def test_boundaries(self, pool: Pool) -> None:
        sequence = event_sequences(pool)[0]
        clip = sequence.load(pool, event_seconds=0.25)
        rate = max(pool.load(clip_id).sample_rate for clip_id in sequence.members)
        assert clip.sample_rate == rate
        assert clip.clip_id == sequence.clip_id
        assert clip.events[0] == 0
        assert (np.diff([*clip.events, len(clip.waveform)]) <= round(0.25 * rate)).all()

    def test_too_few(self, pool: Pool) -> None:
        with pytest.raises(UsageError, match="Take 4 or more"):
            event_sequences(pool, 3)
        with pytest.raises(InsufficientDataError, match="12 classes for sequences of 13"):
            event_sequences(pool, 13)
