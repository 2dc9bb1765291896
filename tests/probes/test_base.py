"""What holds for every probe in the registry."""

from __future__ import annotations

import importlib
import json
import pkgutil
import random
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from audiogen_metrics import probes
from audiogen_metrics.errors import UsageError
from audiogen_metrics.probes import PROBES
from audiogen_metrics.probes.base import Clip, Probe, clip_rng
from audiogen_metrics.probes.configuration import configure
from audiogen_metrics.probes.gallery import describe, describe_settings
from audiogen_metrics.probes.mel import MelFrontEnd
from audiogen_metrics.probes.pool import Pool

NAMES = PROBES.names()


def subject(name: str, clip: Clip, sequence: Clip) -> Clip:
    return sequence if PROBES.get(name).needs_events else clip


@pytest.fixture(params=NAMES)
def probe(request: pytest.FixtureRequest, pool: Pool) -> Probe[Any]:
    return configure(request.param, pool=pool)


def test_registered_names_are_the_probes_own() -> None:
    modules = [f"{probes.__name__}.{module.name}" for module in pkgutil.iter_modules(probes.__path__)]
    found = [kind for module in modules for kind in vars(importlib.import_module(module)).values()]
    written = [kind for kind in found if isinstance(kind, type) and issubclass(kind, Probe) and "name" in vars(kind)]
    assert {kind.name: kind for kind in written} == {name: PROBES.get(name) for name in NAMES}


def test_severity_zero_is_the_input_itself(probe: Probe[Any], clip: Clip, sequence: Clip) -> None:
    source = subject(probe.name, clip, sequence)
    assert probe.sample(clip_rng(0, source.clip_id, probe.name), source, 0) is None
    assert probe(source, 0) is source


def test_equal_seed_and_id_give_equal_clips_and_others_do_not(probe: Probe[Any], clip: Clip, sequence: Clip) -> None:
    source = subject(probe.name, clip, sequence)
    before = source.waveform.copy()
    first, again, other = probe(source, 1, seed=3), probe(source, 1, seed=3), probe(source, 1, seed=4)
    np.testing.assert_array_equal(first.waveform, again.waveform)
    assert first.clip_id == source.clip_id
    assert first.waveform.dtype == np.float32
    assert first.waveform.ndim == 1
    assert np.isfinite(first.waveform).all()
    np.testing.assert_array_equal(source.waveform, before)
    drawn = {
        "noise",
        "white-noise",
        "pink-noise",
        "masking",
        "time-mask",
        "interference",
        "mix",
        "silence",
        "duplication",
        "reordering",
        "segment-shuffle",
    }
    rng = clip_rng(3, source.clip_id, probe.name)
    before = rng.bit_generator.state
    probe.sample(rng, source, 1)
    draws = rng.bit_generator.state != before
    assert draws or probe.name not in drawn
    changes = draws and probe.name != "resynthesis"  # its seed is for phases that are not the default
    assert changes != np.array_equal(first.waveform, other.waveform)


def test_parameters_are_json_and_apply_is_a_function_of_them(probe: Probe[Any], clip: Clip, sequence: Clip) -> None:
    source = subject(probe.name, clip, sequence)
    parameters = probe.sample(clip_rng(0, source.clip_id, probe.name), source, 0.7)
    text = json.dumps(asdict(parameters), allow_nan=False)
    restored = type(parameters)(**json.loads(text))
    np.testing.assert_array_equal(probe.apply(source, parameters).waveform, probe.apply(source, restored).waveform)
    json.dumps(probe.settings, allow_nan=False)


def test_order_and_neighbours_do_not_matter(probe: Probe[Any], pool: Pool, sequence: Clip) -> None:
    if probe.needs_events:
        clips = [sequence]
    else:
        clips = [pool.load(clip_id) for clip_id in ("drum/snare", "bd/808", "perc/bell")]
    forward = {clip.clip_id: probe(clip, 1).waveform for clip in clips}
    backward = {clip.clip_id: configure(probe.name, pool=pool)(clip, 1).waveform for clip in reversed(clips)}
    for clip_id, waveform in forward.items():
        np.testing.assert_array_equal(waveform, backward[clip_id])


def test_the_global_random_state_is_left_alone(probe: Probe[Any], clip: Clip, sequence: Clip) -> None:
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    probe(subject(probe.name, clip, sequence), 1)
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_the_dose_is_monotone_in_severity(probe: Probe[Any], clip: Clip, sequence: Clip) -> None:
    if not probe.dose:
        assert probe.name in {"identity", "resynthesis"}
        return
    source = subject(probe.name, clip, sequence)
    doses = [
        getattr(probe.sample(clip_rng(0, source.clip_id, probe.name), source, severity), probe.dose)
        for severity in np.linspace(0.01, 1, 34)
    ]
    steps = np.diff(doses)
    assert (steps >= 0).all() or (steps <= 0).all()
    assert doses[0] != doses[-1]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"identity", "reordering"}))
@pytest.mark.parametrize("waveform", [np.zeros(5000), np.full(3, 0.5), np.ones(1)], ids=["silent", "short", "sample"])
def test_silent_and_tiny_clips_survive(name: str, waveform: np.ndarray, pool: Pool) -> None:
    source = Clip("drum/snare", waveform.astype(np.float32), 16_000)
    corrupted = configure(name, pool=pool)(source, 0.9)
    assert np.isfinite(corrupted.waveform).all()
    assert len(corrupted.waveform) >= 1


def test_two_probes_and_two_clips_have_streams_of_their_own() -> None:
    draws = {clip_rng(0, clip_id, probe).random() for clip_id in ("a", "b", "ab") for probe in ("x", "y", "bx")}
    assert len(draws) == 9
    assert clip_rng(0, "a", "x").random() == clip_rng(0, "a", "x").random()


@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan")])
def test_severities_out_of_range(severity: float, clip: Clip) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        configure("gain")(clip, severity)


def test_negative_seed(clip: Clip) -> None:
    with pytest.raises(UsageError, match="seed=-1"):
        configure("gain")(clip, 1, seed=-1)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gian", {}, "Did you mean 'gain'"),
        ("gain", {"gain": "3"}, "Did you mean 'gain_db'"),
        ("gain", {"gain_db": "loud"}, "'loud' is not a number"),
        ("gain", {"gain_db": "nan"}, "is not a finite number"),
        ("gain", {"gain_db": "61"}, "Allowed: -120 to 60 dB"),
        ("gain", {"gain_db.x": "6"}, "has no parts"),
        ("identity", {"x": "1"}, "has no setting"),
        ("bit-depth", {"bits": "8.5"}, "is not a whole number"),
        ("masking", {"per_span": "perhaps"}, "is not true or false"),
        ("noise", {"method": "vocoder"}, "Allowed: phase or griffinlim"),
        ("noise", {"mel": "audioldn"}, "Did you mean 'audioldm'"),
        ("noise", {"mel.hop": "512"}, "at most 256"),
        ("noise", {"mel.high_hz": "12000"}, "low_hz < high_hz ≤ 11025"),
        ("noise", {"mel.bands": "800"}, "fewer bands"),
        ("mix", {"pool": "x"}, "unknown setting"),
    ],
)
def test_wrong_settings_say_what_is_right(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        configure(name, settings)


def test_settings_as_text() -> None:
    probe = configure("masking", {"mel.hop": "128", "mel": "audioldm", "per_span": "false", "mask_ratio": "0.2"})
    assert probe.settings["mel"]["hop"] == 128
    assert probe.settings["mel"]["sample_rate"] == 16_000
    assert probe.settings["per_span"] is False


@pytest.mark.parametrize("kind", [*map(PROBES.get, NAMES), MelFrontEnd], ids=[*NAMES, "mel"])
def test_docstrings_tell_the_enforced_types_units_ranges_and_defaults(kind: type[Any]) -> None:
    text = " ".join((kind.__doc__ or "").split())
    for name, entry in describe_settings(kind).items():
        assert entry.meaning
        if "." not in name:
            assert entry.default == getattr(kind, name)
            assert f" {name} {' • '.join(entry.cells)}: {entry.meaning}" in text


def test_every_probe_describes_itself_in_one_line() -> None:
    for name in NAMES:
        assert describe(PROBES.get(name)).summary.endswith(".")
