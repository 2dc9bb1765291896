"""The ten lines of docs/systems.md, run as they stand there on tiny models: clips of their own, exact, scored."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiogen_metrics import score
from audiogen_metrics.errors import UsageError
from audiogen_metrics.generation.base import FunctionGenerator, Request, settings_of
from audiogen_metrics.generation.folder import generate_folder, read_manifest
from audiogen_metrics.integrations.periodic import PeriodicEvaluation
from tests.generation import tiny_systems
from tests.integrations.training import references
from tests.test_docs import ROOT, blocks

pytestmark = [
    pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Should have t:UserWarning"),  # torchsde's ends, to the last bit
]

CODE = blocks((ROOT / "docs" / "systems.md").read_text(encoding="utf-8"), "py")
RECIPES = dict(zip(("audioldm2", "stable_audio", "musicgen"), CODE, strict=False))
USE = CODE[len(RECIPES)]

RATES = {"audioldm2": 16_000, "stable_audio": 44_100, "musicgen": 32_000}
ROUNDING = {"audioldm2": 0.0, "stable_audio": 1e-6, "musicgen": 0.0}
"""Between a clip alone and beside others; only Stable Audio makes several at a time."""

PROMPTS = ("a dog", "heavy rain on a tin roof in the distance", "")

Load = Callable[..., FunctionGenerator]


def run(code: str, folder: Path) -> ModuleType:
    """Run the lines with another model's name, and two steps."""
    code, names = re.subn(r'^(NAME\b[^"]*)"[\w./-]+"', rf'\1"{folder.as_posix()}"', code, flags=re.MULTILINE)
    code = re.sub(r'"num_inference_steps": \d+', '"num_inference_steps": 2', code)
    assert names == 1
    module = ModuleType("recipe")
    exec(compile(code, str(ROOT / "docs" / "systems.md"), "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Return what makes a tiny model and the generator that its lines make of it, once for each choice."""
    made: dict[str, FunctionGenerator] = {}

    def load(name: str, **changes: Any) -> FunctionGenerator:
        key = f"{name} {changes}"
        if key not in made:
            folder = tiny_systems.write(name, tmp_path_factory.mktemp(name), **changes)
            made[key] = run(RECIPES[name], folder).generator
        return made[key]

    return load


@pytest.fixture(params=RECIPES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def asked(seconds: float = 0.5, prompts: Sequence[str] = PROMPTS, **given: Any) -> list[Request]:
    return [Request(f"clip/{place}", text, seconds=seconds, **given) for place, text in enumerate(prompts)]


def sounds(generator: FunctionGenerator, requests: Sequence[Request]) -> list[Any]:
    return [clip.waveform for clip in generator.generate(requests)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.wav")}


def test_each_is_ten_lines(name: str) -> None:
    lines = [line for line in RECIPES[name].splitlines() if line.strip()]
    below = [line for line in lines if not line.startswith(("import ", "from "))]
    assert lines[-len(below) :] == below
    assert len(below) <= 10
    assert below[-1].startswith("generator = FunctionGenerator(")
    assert max(map(len, lines)) <= 94  # what a page shows without scrolling


@pytest.mark.slow
def test_one_seed_gives_one_folder_to_the_byte(name: str, load: Load, tmp_path: Path) -> None:
    generator = load(name)
    for target, seed in (("first", 0), ("again", 0), ("other", 1)):
        torch.manual_seed(len(target))  # what others draw has no part in it
        generate_folder(generator, asked(seed=seed), tmp_path / target)
    first, again, other = (contents(tmp_path / target) for target in ("first", "again", "other"))
    assert first == again
    assert len(set(first.values())) == len(PROMPTS)
    assert not set(first.values()) & set(other.values())
    settings = read_manifest(tmp_path / "first")["clip/0"]["settings"]
    assert settings["model"] == generator._function.__globals__["NAME"]
    assert re.fullmatch("[0-9a-f]{64}", settings["weights_sha256"])
    assert (settings["dtype"], settings["device"]) == ("float32", str(settings["device"]))
    assert settings["guidance_scale"] > 1


@pytest.mark.slow
def test_neighbours_make_no_difference(name: str, load: Load) -> None:
    generator, requests = load(name), asked()
    together = sounds(generator, requests)
    for request, beside in zip(requests, together, strict=True):
        (alone,) = sounds(generator, [request])
        np.testing.assert_allclose(alone, beside, rtol=0, atol=ROUNDING[name])
    backwards = sounds(generator, requests[::-1])[::-1]
    for one, other in zip(together, backwards, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING[name])


def test_prompt_and_candidate_are_heard(name: str, load: Load) -> None:
    """The same noise under another prompt, and other noise under the same one."""
    generator, request = load(name), asked()[0]
    changed = [request, replace(request, prompt="a cat"), replace(request, candidate=1)]
    first, other_prompt, other_candidate = (sounds(generator, [each])[0] for each in changed)
    assert np.abs(first - other_prompt).max() > 1e-4
    assert np.abs(first - other_candidate).max() > 1e-4


@pytest.mark.parametrize("seconds", [0.2, 0.57, 1.13, 2.01, 12_345 / 22_050])
def test_length_and_rate_are_exact(name: str, load: Load, seconds: float) -> None:
    """Also where seconds times rate is a hair below a whole number."""
    generator = load(name)
    assert generator.sample_rate == RATES[name]
    (sound,) = sounds(generator, asked(seconds)[:1])
    assert sound.shape == (round(seconds * RATES[name]),)
    assert np.abs(sound).max() > 1e-3


@pytest.mark.slow
def test_the_rate_is_the_models_own(name: str, load: Load) -> None:
    generator = load(name, rate=24_000)
    assert generator.sample_rate == 24_000
    assert sounds(generator, asked(0.57)[:1])[0].shape == (13_680,)


def test_random_numbers_of_others_are_left_alone(name: str, load: Load) -> None:
    generator = load(name)

    def draws() -> list[float]:
        return [float(torch.rand(())), float(np.random.rand()), random.random()]  # noqa: NPY002

    def seed() -> None:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)

    seed()
    expected = [draws(), draws()]
    seed()
    found = [draws()]
    generator.generate(asked(0.2))
    assert [*found, draws()] == expected


@pytest.mark.slow
def test_what_they_make_is_scored(name: str, load: Load, tmp_path: Path) -> None:
    """The lines of the page from a table of prompts to a folder, then to scores."""
    ref = references(tmp_path / "ref")
    rows = [f"{clip.stem},the sound of {clip.stem}" for clip in sorted(ref.iterdir())]
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("\n".join(["clip_id,prompt", *rows]), encoding="utf-8")
    code = USE.replace('"prompts.csv", seconds=10.0', f"{str(prompts)!r}, seconds=1.0")
    code = code.replace('"mine/esc50"', f"{str(tmp_path / 'mine')!r}")
    for _ in range(2):
        exec(code, {"generator": load(name)})
    made = sorted((tmp_path / "mine").glob("*.wav"))
    assert [path.stem for path in made] == sorted(clip.stem for clip in ref.iterdir())
    assert {soundfile.info(path).frames for path in made} == {RATES[name]}
    report = score(tmp_path / "mine", ref, protocol="yamnet", device="cpu", ci=False)
    values = [found.value for found in report.scores.values()]
    assert len(values) >= 3
    assert all(value is not None and np.isfinite(value) for value in values)


@pytest.mark.slow
def test_what_they_make_is_scored_while_one_trains(load: Load, tmp_path: Path) -> None:
    ref = references(tmp_path / "ref")
    prompts = {clip.stem: f"the sound of {clip.stem}" for clip in sorted(ref.iterdir())[:6]}
    options: Any = {"protocol": "yamnet", "metrics": "fd", "device": "cpu", "ci": False}
    periodic = PeriodicEvaluation(
        load("musicgen"), prompts, ref, tmp_path / "run", every=1, seconds=1.0, page=False, strict=True, options=options
    )
    periodic.start()
    outcome = periodic.at(1, None)
    assert outcome is not None
    assert outcome.scalars()["fd_yamnet"] > 0
    generate_folder(load("musicgen"), periodic._requests, tmp_path / "alone")
    assert contents(outcome.folder / "clips") == contents(tmp_path / "alone")


def test_a_stereo_musicgen_is_mixed_down(load: Load) -> None:
    generator = load("musicgen", channels=2)
    (sound,) = sounds(generator, asked()[:1])
    assert sound.shape == (16_000,)
    model = generator._function.__globals__["model"]
    assert model.config.decoder.audio_channels == 2


def test_weights_of_gpt2_are_those_of_the_folder(load: Load) -> None:
    """The class that AudioLDM 2 is published with lacks a method; ours has the same weights."""
    used = load("audioldm2")._function.__globals__
    from transformers import GPT2Model

    published = GPT2Model.from_pretrained(used["NAME"], subfolder="language_model").state_dict()
    loaded = used["pipe"].language_model.transformer.state_dict()
    assert published.keys() == loaded.keys()
    assert all(torch.equal(published[key], loaded[key]) for key in published)


def test_the_published_scheduler_of_stable_audio(load: Load) -> None:
    pytest.importorskip("torchsde", reason="Stable Audio Open's own scheduler needs torchsde")
    generator = load("stable_audio", scheduler="CosineDPMSolverMultistepScheduler")
    assert generator.settings["scheduler"] == "CosineDPMSolverMultistepScheduler"
    requests = asked()
    together = sounds(generator, requests)
    assert len({sound.tobytes() for sound in together}) == len(requests)
    for request, beside in zip(requests, together, strict=True):
        np.testing.assert_allclose(sounds(generator, [request])[0], beside, rtol=0, atol=1e-6)
    for one, other in zip(together, sounds(generator, requests), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("stable_audio", Request("long", "a dog", seconds=100.0), "longer than the model maximum"),
        ("stable_audio", Request("other", audio=Path("dog.wav"), seconds=0.5), "text"),
        ("audioldm2", Request("other", audio=Path("dog.wav"), seconds=0.5), "Provide either `prompt`"),
        ("musicgen", Request("other", audio=Path("dog.wav"), seconds=0.5), "text"),
    ],
)
def test_an_error_of_the_model_says_which_clip(load: Load, name: str, wrong: Request, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        load(name).generate([wrong])
    (note,) = caught.value.__notes__
    assert note.startswith(f"while {wrong.clip_id} was made")
    assert note.endswith("a recording and no prompt") is (wrong.audio is not None)


def test_more_training_is_another_model(load: Load, tmp_path: Path) -> None:
    folder = Path(load("musicgen")._function.__globals__["NAME"])
    trained = shutil.copytree(folder, tmp_path / "trained")
    generate_folder(run(RECIPES["musicgen"], trained).generator, asked(0.2)[:1], tmp_path / "out")
    again = run(RECIPES["musicgen"], trained)
    assert generate_folder(again.generator, asked(0.2)[:1], tmp_path / "out", resume=True).kept == 1
    with torch.no_grad():
        next(again.model.decoder.parameters()).add_(1e-3)
    again.model.save_pretrained(trained)
    changed = run(RECIPES["musicgen"], trained).generator
    with pytest.raises(UsageError, match="other settings"):
        generate_folder(changed, asked(0.2), tmp_path / "out", resume=True)


class TestSettingsOf:
    def test_name_bytes_and_precision_count(self) -> None:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        found = [settings_of(layer), settings_of(layer.bfloat16()), settings_of(torch.nn.Sequential(layer))]
        assert [each["dtype"] for each in found] == ["float32", "bfloat16", "bfloat16"]
        assert len({each["weights_sha256"] for each in found}) == 3
        assert found[1] == settings_of(layer)

    @pytest.mark.parametrize(
        "model", [None, "facebook/musicgen-small", torch.nn.ReLU(), SimpleNamespace(components=len)]
    )
    def test_what_has_no_weights(self, model: Any) -> None:
        with pytest.raises(UsageError, match="has no weights"):
            settings_of(model)

    def test_weights_that_cannot_be_read(self) -> None:
        packed = torch.nn.Linear(2, 2)
        packed.weight = torch.nn.Parameter(torch.eye(2).to_sparse())
        for model in (packed, torch.nn.Linear(2, 2, device="meta")):
            with pytest.raises(UsageError, match="cannot be read in memory"):
                settings_of(model)


class TestSeeding:
    def test_a_function_may_draw_globally(self) -> None:
        """Torch, NumPy and Python; the clip depends on its request alone."""

        def draw(_: Request) -> list[float]:
            return [float(torch.rand(())), float(np.random.rand()), random.random()]  # noqa: NPY002

        generator = FunctionGenerator(draw, 8000, {})
        together = sounds(generator, asked())
        assert len({sound.tobytes() for sound in together}) == 3
        np.testing.assert_array_equal(together[2], sounds(generator, asked()[2:])[0])
        assert not np.array_equal(together[0], sounds(generator, asked(seed=1))[0])

    def test_a_batch_is_drawn_again_as_it_was(self) -> None:
        generator = FunctionGenerator(lambda batch: torch.rand(len(batch), 9), 8000, {}, batch_size=2)
        for one, other in zip(sounds(generator, asked()), sounds(generator, asked()), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_random_numbers_go_on_after_an_error(self) -> None:
        def fail(_: Request) -> None:
            torch.rand(5)
            raise ZeroDivisionError("by nothing")

        torch.manual_seed(1)
        expected = torch.rand(2)
        torch.manual_seed(1)
        with pytest.raises(ZeroDivisionError, match="by nothing") as caught:
            FunctionGenerator(fail, 8000, {}).generate(asked()[:1])
        assert caught.value.__notes__ == ["while clip/0 was made"]
        assert torch.equal(torch.rand(2), expected)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_random_numbers_of_a_gpu(self) -> None:
        generator = FunctionGenerator(lambda _: torch.rand(9, device="cuda"), 8000, {})
        torch.manual_seed(1)
        expected = torch.rand(2, device="cuda")
        torch.manual_seed(1)
        first = torch.rand(1, device="cuda")
        together = sounds(generator, asked())
        np.testing.assert_array_equal(together[1], sounds(generator, asked()[1:2])[0])
        assert torch.equal(torch.cat([first, torch.rand(1, device="cuda")]), expected)


@pytest.mark.parametrize(("seconds", "rate", "count"), [(0.35, 44_100, 15_435), (1e-9, 8000, 1), (2, 16_000, 32_000)])
def test_samples_of_a_request(seconds: float, rate: int, count: int) -> None:
    assert Request("a", "rain", seconds=seconds).samples(rate) == count
    with pytest.raises(UsageError, match="sample_rate"):
        Request("a", "rain").samples(0)
