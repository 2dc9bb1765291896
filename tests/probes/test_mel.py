"""The paper's forms: scale, way back, noise, masks, interference, order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from librosa.filters import mel

from audiogen_metrics.errors import AudioFileError, InsufficientDataError, UsageError
from audiogen_metrics.probes.base import Clip, clip_rng
from audiogen_metrics.probes.controls import Resynthesis
from audiogen_metrics.probes.interference import Interference, excerpt
from audiogen_metrics.probes.masking import MelMasking, place_spans
from audiogen_metrics.probes.mel import AUDIOLDM, SPECVQGAN, analyse, band_edges, filterbank, istft, stft
from audiogen_metrics.probes.noise import MelNoise
from audiogen_metrics.probes.pool import Pool
from audiogen_metrics.probes.reordering import Reordering
from audiogen_metrics.probes.resynthesis import griffin_lim, interpolation, scale_bands


def tone(hertz: float, seconds: float = 1.0, amplitude: float = 0.5, rate: int = 22_050) -> Clip:
    time = np.arange(int(seconds * rate)) / rate
    return Clip("tone", (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32), rate)


def hiss(seconds: float = 1.0, rate: int = 22_050) -> Clip:
    """Return noise that swells by 30 dB: sound in every cell, nothing at the floor or the top."""
    samples = np.random.default_rng(0).normal(size=int(seconds * rate))
    return Clip("hiss", (samples * np.geomspace(0.01, 0.3, len(samples))).astype(np.float32), rate)


class TestScale:
    def test_constants(self) -> None:
        # 20 · log10(mel) − 20 + 100, over 100: 1e-4 is 0, 0.1 is 0.6, 1 is 0.8, 10 is 1.
        mel = np.array([[0.0, 1e-5, 1e-4, 1e-3, 0.1, 1.0, 10.0, 99.0]])
        np.testing.assert_allclose(SPECVQGAN.scale(mel), [[0, 0, 0, 0.2, 0.6, 0.8, 1, 1]], atol=1e-12)
        np.testing.assert_allclose(SPECVQGAN.unscale(np.array([0.0, 0.2, 0.8, 1.0])), [0, 1e-3, 1, 10])
        assert pytest.approx(1e-5) == SPECVQGAN.nothing

    def test_860_frames_are_ten_seconds(self) -> None:
        # 862 with the centred frames at both ends, of which SpecVQGAN cuts off two.
        assert SPECVQGAN.frames(Clip("ten", np.zeros(220_500, np.float32), 22_050)) == 862
        assert AUDIOLDM.frames(Clip("ten", np.zeros(160_000, np.float32), 16_000)) == 1001

    def test_a_tone_by_hand(self) -> None:
        # A bin-centred sine of amplitude a has magnitude a · sum(window) / 2 there and half of that beside it.
        bin_hz = 22_050 / 1024
        hertz = 100 * bin_hz
        magnitude = 0.5 * 512 / 2
        weights = filterbank(SPECVQGAN)[:, 99:102]
        expected = SPECVQGAN.scale((weights @ np.array([0.5, 1.0, 0.5]) * magnitude)[:, None])
        measured = analyse(tone(hertz), SPECVQGAN).mel[:, 40]
        loud = expected[:, 0] > 0.5
        assert loud.any()
        np.testing.assert_allclose(measured[loud], expected[loud, 0], atol=1e-4)

    def test_edges_by_hand(self) -> None:
        # Slaney: 125 Hz is 1.875 mel; 7600 Hz is 15 + 27 · ln 7.6 / ln 6.4 mel; equal steps between.
        edges = band_edges(SPECVQGAN)
        top = 15 + 27 * np.log(7.6) / np.log(6.4)
        assert len(edges) == 82
        np.testing.assert_allclose(edges[[0, 1, -1]], [125, (1.875 + (top - 1.875) / 81) * 200 / 3, 7600])
        assert (np.diff(edges) > 0).all()

    @pytest.mark.parametrize("front_end", [SPECVQGAN, AUDIOLDM], ids=["specvqgan", "audioldm"])
    def test_filterbank_is_librosas(self, front_end: object) -> None:
        theirs = mel(
            sr=front_end.sample_rate, n_fft=1024, n_mels=front_end.bands, fmin=front_end.low_hz, fmax=front_end.high_hz
        )
        np.testing.assert_allclose(filterbank(front_end), theirs, atol=2e-8)

    def test_a_resampled_clip_has_as_many_frames_as_foreseen(self) -> None:
        for rate in (8000, 11_025, 16_000, 22_050, 44_100, 48_000):
            for samples in (1, 100, 5001, 22_049):
                clip = Clip("any", np.zeros(samples, np.float32), rate)
                assert analyse(clip, SPECVQGAN).stft.shape == (513, SPECVQGAN.frames(clip))


class TestWayBack:
    def test_unchanged_is_the_resampled_clip(self, clip: Clip) -> None:
        probe = Resynthesis()
        out = probe(clip, 1)
        assert out.sample_rate == 22_050
        np.testing.assert_allclose(out.waveform, SPECVQGAN.resample(clip).waveform, rtol=0, atol=1e-6)
        parameters = probe.sample(clip_rng(0, clip.clip_id, probe.name), clip, 1)
        assert probe.measure(clip, parameters, out)["reanalysis_error"] < 1e-6

    def test_untouched_cells_keep_their_stft(self, clip: Clip) -> None:
        source = analyse(clip, SPECVQGAN)
        target = source.mel.copy()
        target[:, 50:60] = np.clip(target[:, 50:60] + 0.1, 0, 1)
        spectrum = scale_bands(source, target, np.random.default_rng(0))
        untouched = np.r_[:50, 60 : source.stft.shape[1]]
        np.testing.assert_array_equal(spectrum[:, untouched], source.stft[:, untouched])
        assert (np.abs(spectrum[:, 50:60]) > np.abs(source.stft[:, 50:60])).any()

    def test_one_gain_for_all_bands_reaches_its_target_at_all_frequencies(self) -> None:
        source = analyse(hiss(), SPECVQGAN)
        quieter = source.front_end.scale(source.magnitudes / 2)
        spectrum = scale_bands(source, quieter, np.random.default_rng(0))
        np.testing.assert_allclose(spectrum, source.stft / 2)

    def test_bins_outside_the_bands_follow_the_nearest_down_but_not_up(self) -> None:
        weights = interpolation(SPECVQGAN)
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        source = analyse(hiss(), SPECVQGAN)
        for change in (-0.2, 0.2):
            gains = scale_bands(source, source.mel + change, np.random.default_rng(0)) / source.stft
            np.testing.assert_allclose(gains[6:350], 10 ** (change * 5))
            np.testing.assert_allclose(gains[[*range(5), *range(360, 513)]], min(1, 10 ** (change * 5)))

    def test_a_bin_between_two_bands_takes_their_gains_mean_in_decibels(self) -> None:
        source = analyse(hiss(), SPECVQGAN)
        target = source.mel.copy()
        target[40] += 0.1
        gains = 20 * np.log10(np.abs(scale_bands(source, target, np.random.default_rng(0)) / source.stft))
        low, centre, high = band_edges(SPECVQGAN)[40:43]
        triangle = np.interp(SPECVQGAN.frequencies, [low, centre, high], [0, 10, 0])
        np.testing.assert_allclose(gains, np.repeat(triangle[:, None], gains.shape[1], axis=1), atol=1e-9)

    def test_silence_is_filled_with_the_wanted_magnitude(self) -> None:
        source = analyse(Clip("silent", np.zeros(22_050, np.float32), 22_050), SPECVQGAN)
        target = np.full(source.mel.shape, 0.6)
        spectrum = scale_bands(source, target, np.random.default_rng(0))
        filled = replace(source, stft=spectrum)
        np.testing.assert_allclose(filled.mel, 0.6, atol=0.02)

    def test_istft_inverts(self, clip: Clip) -> None:
        resampled = SPECVQGAN.resample(clip).waveform
        back = istft(stft(resampled, SPECVQGAN), SPECVQGAN, len(resampled))
        np.testing.assert_allclose(back, resampled, rtol=0, atol=1e-9)

    def test_griffin_lim_comes_near_and_gets_nearer(self, clip: Clip) -> None:
        source = analyse(clip, SPECVQGAN)
        errors = []
        for iterations in (1, 20):
            rng = np.random.default_rng(0)
            waveform = griffin_lim(source.mel, SPECVQGAN, len(source.clip.waveform), rng, iterations)
            errors.append(np.abs(analyse(source.clip.sounding(waveform), SPECVQGAN).mel - source.mel).mean())
        assert errors[1] < errors[0]
        assert errors[1] < 0.03

    def test_overload(self, clip: Clip) -> None:
        assert np.abs(MelNoise()(clip, 1).waveform).max() > 1
        assert np.abs(MelNoise(overload="scale")(clip, 1).waveform).max() == pytest.approx(1)


class TestNoise:
    def test_mean_and_variance_are_the_definitions(self) -> None:
        clip, probe = hiss(4), MelNoise()
        source = analyse(clip, SPECVQGAN)
        _, target = probe.edit(source, probe.sample(np.random.default_rng(0), clip, 0.05))
        assert ((target > 0) & (target < 1)).all()
        noise = (target - source.mel) / 0.05
        value_range = source.mel.max() - source.mel.min()
        deviation = np.sqrt(0.2 * value_range)
        assert noise.mean() == pytest.approx(source.mel.mean(), abs=4 * deviation / np.sqrt(noise.size))
        assert noise.std() == pytest.approx(deviation, rel=0.02)

    def test_everything_stays_on_the_scale(self, clip: Clip) -> None:
        probe = MelNoise()
        _, target = probe.edit(analyse(clip, SPECVQGAN), probe.sample(np.random.default_rng(0), clip, 1))
        assert target.min() == 0
        assert target.max() == 1

    def test_doses_share_their_noise(self, clip: Clip) -> None:
        seeds = {MelNoise().sample(clip_rng(0, "a", "noise"), clip, severity).seed for severity in (0.1, 0.5, 1)}
        assert len(seeds) == 1


class TestMasking:
    def test_86_of_860_frames_twice(self) -> None:
        clip = Clip("ten", np.zeros(860 * 256 - 1, np.float32), 22_050)
        parameters = MelMasking().sample(np.random.default_rng(0), clip, 1)
        assert [stop - start for start, stop in parameters.spans] == [86, 86]
        total = MelMasking(per_span=False).sample(np.random.default_rng(0), clip, 1)
        assert [stop - start for start, stop in total.spans] == [43, 43]

    def test_spans_are_disjoint_and_reach_everywhere(self) -> None:
        rng = np.random.default_rng(0)
        hits = np.zeros(20)
        for _ in range(500):
            (a, b), (c, d) = place_spans(rng, 20, 2, 3)
            assert 0 <= a < b <= c < d <= 20
            hits[a:b] += 1
            hits[c:d] += 1
        assert (hits > 0).all()
        assert place_spans(rng, 6, 2, 3) == ((0, 3), (3, 6))

    @pytest.mark.parametrize("front_end", [SPECVQGAN, replace(SPECVQGAN, high_hz=4000.0, bands=40)])
    def test_masked_spans_are_silent_at_all_frequencies(self, front_end: object) -> None:
        noise = np.random.default_rng(0).normal(size=44_100).astype(np.float32)
        clip = Clip("noise", noise, 22_050)
        probe = MelMasking(mel=front_end)
        parameters = probe.sample(np.random.default_rng(1), clip, 1)
        out = probe.apply(clip, parameters).waveform
        for start, stop in parameters.spans:
            # Beside the span, frames reach into it by half a window.
            inside = out[(start + 1) * 256 : (stop - 2) * 256]
            assert len(inside) > 1000
            assert np.abs(inside).max() < 1e-9
        outside = np.ones(len(out), dtype=bool)
        for start, stop in parameters.spans:
            outside[max(0, (start - 2) * 256) : (stop + 1) * 256] = False
        np.testing.assert_allclose(out[outside], noise[outside], atol=1e-6)

    def test_griffin_lim_keeps_masks_silent(self) -> None:
        probe = MelMasking(method="griffinlim", iterations=4)
        parameters = probe.sample(np.random.default_rng(1), hiss(), 1)
        start, stop = parameters.spans[0]
        inside = probe.apply(hiss(), parameters).waveform[(start + 1) * 256 : (stop - 2) * 256]
        assert len(inside) > 1000
        assert np.abs(inside).max() < 1e-9


class TestInterference:
    def test_mel_energies_are_equal_at_severity_one(self, pool: Pool) -> None:
        probe = Interference(pool=pool)
        for severity, ratio in ((1.0, 0.0), (0.5, 6.0206), (0.1, 20.0)):
            clip = pool.load("drum/roll")
            parameters = probe.sample(clip_rng(0, clip.clip_id, probe.name), clip, severity)
            added = probe.apply(clip, parameters).waveform.astype(np.float64) - clip.waveform
            energies = [analyse(part, SPECVQGAN).energy for part in (clip, clip.sounding(added))]
            assert parameters.snr_db == pytest.approx(ratio, abs=1e-4)
            assert 10 * np.log10(energies[0] / energies[1]) == pytest.approx(ratio, abs=0.01)

    def test_interferers_come_from_ten_classes_but_the_targets_own(self, pool: Pool) -> None:
        probe = Interference(pool=pool)
        heard: dict[str, set[str]] = {}
        for seed in range(150):
            for clip_id in ("drum/roll", "bass/drop"):
                clip = pool.load(clip_id)
                chosen = probe.sample(clip_rng(seed, clip_id, probe.name), clip, 1).interferer
                heard.setdefault(clip_id.split("/")[0], set()).add(chosen.split("/")[0])
        for own, classes in heard.items():
            assert own not in classes
            assert len(classes) == 10
        # One pool for the whole set: where a target takes its own class out, the eleventh comes in.
        assert len(heard["drum"] ^ heard["bass"]) == 2

    def test_too_few_classes(self, pool: Pool) -> None:
        few = replace(pool, clip_ids=("a/1", "b/1"), labels={"a/1": "a", "b/1": "b"})
        clip = Clip("a/1", np.ones(100, np.float32), 16_000)
        with pytest.raises(InsufficientDataError, match="1 classes besides 'a', where 10"):
            Interference(pool=few)(clip, 1)
        with pytest.raises(UsageError, match="Pass pool"):
            Interference()(clip, 1)

    def test_a_silent_interferer_is_named(self) -> None:
        silent = Clip("b/1", np.zeros(100, np.float32), 16_000)
        pool = Pool(("a/1", "b/1"), lambda _: silent, {"a/1": "a", "b/1": "b"})
        with pytest.raises(AudioFileError, match="the interfering clip b/1 is silent"):
            Interference(pool=pool, classes=1)(Clip("a/1", np.ones(100, np.float32), 16_000), 1)

    def test_short_interferers_repeat_from_their_offset(self) -> None:
        short, target = (Clip("any", np.arange(n, dtype=np.float32), 16_000) for n in (4, 10))
        assert excerpt(short, target, 0.5).waveform.tolist() == [2, 3, 0, 1, 2, 3, 0, 1, 2, 3]


class TestReordering:
    def test_waveform_form_is_exact(self, sequence: Clip) -> None:
        probe = Reordering()
        parameters = probe.sample(np.random.default_rng(0), sequence, 1)
        out = probe.apply(sequence, parameters)
        events = np.split(sequence.waveform, sequence.events[1:])
        np.testing.assert_array_equal(out.waveform, np.concatenate([events[i] for i in parameters.order]))
        for place, piece in zip(np.split(out.waveform, out.events[1:]), parameters.order, strict=True):
            np.testing.assert_array_equal(place, events[piece])

    def test_mel_form_moves_frames(self, sequence: Clip) -> None:
        probe = Reordering(form="mel")
        parameters = probe.sample(np.random.default_rng(0), sequence, 1)
        out = probe.apply(sequence, parameters)
        assert probe.measure(sequence, parameters, out)["reanalysis_error"] < 0.05
        exact = SPECVQGAN.resample(Reordering().apply(sequence, parameters))
        assert out.events == pytest.approx(exact.events, abs=3)
        # Frames move in steps of a hop: compare levels over time, not samples.
        levels = [np.abs(analyse(clip, SPECVQGAN).mel).mean(axis=0) for clip in (out, exact)]
        assert np.corrcoef(*levels)[0, 1] > 0.95
