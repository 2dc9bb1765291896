"""Networks of transformers by name, against the call that their model cards show, on small random weights."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import huggingface_hub
import jsonschema
import pytest
import soundfile
import torch

from audiogen_metrics import FAD, FD, IS, KL, score
from audiogen_metrics.audio.files import scan
from audiogen_metrics.backbones import BACKBONES, trust_remote_code
from audiogen_metrics.backbones.hub import HubName, fetch_hub, locate
from audiogen_metrics.backbones.huggingface import HubNetwork
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.extraction import ExtractionOptions, extract
from audiogen_metrics.errors import MissingWeightsError, UsageError
from audiogen_metrics.evaluation.verify import verify
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.schema import score_report_schema
from audiogen_metrics.testing import check_backbone
from tests.conftest import write_tone
from tests.hub import NETWORKS, write_network

FAMILIES = [*NETWORKS, "mert"]
FRAMED = [name for name in FAMILIES if not name.startswith("ast")]
LAYERED = [name for name in FAMILIES if name not in ("encodec", "encodec-stereo", "dac")]
QUICK = ("ast", "wav2vec2", "whisper", "encodec-stereo", "dac", "mert")
"""Kinds that are tried always; the others share their way with one of these."""


def kinds(names: list[str]) -> list[Any]:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("networks")

    def get(name: str) -> Path:
        if not (root / name).exists():
            write_network(root / name, name)
        return root / name

    return get


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's client."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def publish(hub: Path, source: Path, name: str = "someone/network", commit: str = "a" * 40) -> Path:
    """Put a network into the hub's cache as a download leaves it, and return the snapshot."""
    place = hub / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(source, place / "snapshots" / commit, dirs_exist_ok=True)
    return place / "snapshots" / commit


def made(text: object, **options: Any) -> HubNetwork:
    found = BACKBONES.get(f"hf:{text}")(**options)
    assert isinstance(found, HubNetwork)
    return found


def clip(backbone: HubNetwork, seconds: float = 1.0, seed: int = 0) -> torch.Tensor:
    """Return ``(time,)``: a tone in noise that grows."""
    samples = round(seconds * backbone.sample_rate)
    noise = 0.2 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    return noise * torch.linspace(0.1, 1, samples) + 0.3 * torch.sin(torch.arange(samples) * 0.05 * (seed + 1))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) <= 1e-6 * max(1.0, scale)


class Card:
    """The call that a model card shows: the extractor, then the network."""

    def __init__(self, folder: Path, name: str) -> None:
        import transformers

        config = json.loads((folder / "config.json").read_text())
        self.name = name
        kind = "HubertModel" if name == "mert" else config["architectures"][0]
        kind = kind.replace("ForPreTraining", "Model")
        options = {"config": transformers.HubertConfig(**json.loads((folder / "config.json").read_text()))}
        self.network = getattr(transformers, kind).from_pretrained(folder, **(options if name == "mert" else {})).eval()
        self.extract = transformers.AutoFeatureExtractor.from_pretrained(folder)

    @torch.no_grad()
    def __call__(self, wave: torch.Tensor, **options: Any) -> Any:
        rate = self.extract.sampling_rate
        if self.name in ("encodec", "dac"):
            inputs = self.extract(raw_audio=wave.numpy(), sampling_rate=rate, return_tensors="pt")
            return self.network.encoder(inputs["input_values"])[0].T
        inputs = self.extract(wave.numpy(), sampling_rate=rate, return_tensors="pt")
        if self.name == "whisper":
            return self.network.encoder(inputs.input_features, **options)
        return self.network(**inputs, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", kinds(FAMILIES))
def test_conformance(name: str, folder: Callable[[str], Path]) -> None:
    check_backbone(made(folder(name)))
    if name in FRAMED:
        check_backbone(made(f"{folder(name)}@frames"))


@pytest.mark.parametrize("name", kinds([name for name in FAMILIES if name != "encodec-stereo"]))
def test_the_model_cards_call(name: str, folder: Callable[[str], Path]) -> None:
    frames = "@frames" * (name in FRAMED)
    backbone, card = made(f"{folder(name)}{frames}"), Card(folder(name), name)
    waves = [clip(backbone, seed=seed) for seed in range(2)]
    rows = []
    for wave in waves:
        found, expected = (
            backbone(wave[None]),
            card(wave, **({"output_hidden_states": True} if name in LAYERED else {})),
        )
        if name in ("encodec", "dac"):
            sequence = expected
        elif name.startswith("ast"):
            last = expected.hidden_states[-1]
            pooled = getattr(expected, "pooler_output", None)
            if pooled is None:  # the classifier's own: its tokens behind the last norm
                normalised = card.network.audio_spectrogram_transformer.layernorm(last).detach()
                pooled = (normalised[:, 0] + normalised[:, 1]) / 2
            sequence = pooled
        else:
            hidden = expected.hidden_states[-1]
            sequence = expected.get("last_hidden_state", hidden)[0]
            # Whisper hears 2 s whatever it is given: the frames of this one second are the first half.
            sequence = sequence[:50] if name.startswith("whisper") else sequence
        close(found.embeddings[0], sequence.mean(dim=0))
        if found.windows is not None:
            close(found.windows[0], sequence)
        if found.logits is not None:
            close(found.logits, expected.logits)
        rows.append(found.embeddings[0])
    assert float((rows[0] - rows[1]).abs().max()) > 1e-3 * float(rows[0].abs().max()), "equality proves nothing"


@pytest.mark.parametrize("name", kinds(LAYERED))
def test_layers_are_hidden_states(name: str, folder: Callable[[str], Path]) -> None:
    card, seen = Card(folder(name), name), []
    for layer in range(4):
        backbone = made(f"{folder(name)}@layer={layer}")
        wave = clip(backbone)
        expected = card(wave, output_hidden_states=True).hidden_states[layer][0]
        if name.startswith("ast"):
            expected = expected[:2]
        elif name.startswith("whisper"):
            expected = expected[:50]
        seen.append(backbone(wave[None]).embeddings[0])
        close(seen[-1], expected.mean(dim=0))
    assert all(float((one - other).abs().max()) > 1e-3 for one, other in pairwise(seen))
    with pytest.raises(UsageError, match="there is no layer 4; it has 0 to 3"):
        made(f"{folder(name)}@layer=4")


def test_encodec_in_stereo_is_scaled_and_cut_as_transformers_does(folder: Callable[[str], Path]) -> None:
    card = Card(folder("encodec-stereo"), "encodec-stereo")
    backbone = made(f"{folder('encodec-stereo')}@frames")
    wave = clip(backbone, 1.5)
    found = backbone(wave[None]).windows[0]
    inputs = card.extract(wave.expand(2, -1).numpy(), sampling_rate=48_000, return_tensors="pt")
    with torch.no_grad():
        codes = card.network.encode(inputs["input_values"], inputs["padding_mask"]).audio_codes
        mine = [card.network.quantizer.encode(part.T[None], 0.9) for part in (found[:150], found[150:])]
    heard = 1.5 * 48_000 - 47_520
    assert len(found) == 150 + -(-heard // 320)
    assert torch.equal(mine[0][:, 0], codes[0][0])
    assert torch.equal(mine[1][:, 0], codes[1][0][:, : len(found) - 150])


class TestClipsOfSeveralLengths:
    @pytest.mark.parametrize("name", kinds(FAMILIES))
    def test_a_batch_changes_no_row(self, name: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
        for index, seconds in enumerate((0.5, 1.0, 1.0, 1.3, 2.7, 2.7)):
            write_tone(tmp_path / f"{index}.wav", seconds)
        clips, audio = scan(tmp_path), get_protocol("yamnet").recipes["fd"].on(made(folder(name))).preprocessing
        sets = [
            extract(clips, [made(folder(name))], audio, ExtractionOptions(batch_size, 0, cache=False)).sets
            for batch_size in (1, 8)
        ]
        (alone,), (together,) = (found.values() for found in sets)
        for output in alone.features["0"]:
            one, other = alone.rows(output), together.rows(output)
            assert float((one - other).abs().max()) <= 1e-5 * max(1.0, float(one.abs().max()))

    def test_windows_count_as_much_as_they_have_samples(self, folder: Callable[[str], Path]) -> None:
        for name in ("ast", "whisper-classes"):
            backbone = made(folder(name))
            window = backbone.hearing.window
            wave = clip(backbone, 1.25 * window / backbone.sample_rate)[None]
            whole, first, rest = backbone(wave), backbone(wave[:, :window]), backbone(wave[:, window:])
            close(whole.logits, 0.8 * first.logits + 0.2 * rest.logits)
            close(whole.embeddings, 0.8 * first.embeddings + 0.2 * rest.embeddings)

    def test_a_rest_that_is_too_short_is_not_heard(self, folder: Callable[[str], Path]) -> None:
        backbone = made(folder("ast"))
        window = backbone.hearing.window
        assert [backbone.usable_samples(window + rest) for rest in (0, 1, 399, 400)] == [window] * 3 + [window + 400]


class TestIdentity:
    def test_a_folder(self, folder: Callable[[str], Path], tmp_path: Path) -> None:
        place = shutil.copytree(folder("wav2vec2"), tmp_path / "net")
        first = made(place)
        assert {"config_sha256", "preprocessor_config_sha256", "transformers"} <= first.settings.keys()
        assert "revision" not in first.settings
        prints = {first.fingerprint, made(f"{place}@layer=1").fingerprint, made(f"{place}@frames").fingerprint}
        settings = json.loads((place / "preprocessor_config.json").read_text())
        (place / "preprocessor_config.json").write_text(json.dumps(settings | {"do_normalize": False}))
        prints.add(made(place).fingerprint)
        config = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 0.1}))
        prints.add(made(place).fingerprint)
        write_network(place, "wav2vec2", seed=1)
        prints.add(made(place).fingerprint)
        assert len(prints) == 6

    def test_a_floating_revision_is_its_commit(self, folder: Callable[[str], Path], hub: Path) -> None:
        publish(hub, folder("wav2vec2"))
        assert made("someone/network").settings["revision"] == "a" * 40
        publish(hub, folder("wav2vec2"), commit="b" * 40)
        assert made("someone/network").settings["revision"] == "b" * 40
        assert made(f"someone/network@revision={'a' * 40}").settings["revision"] == "a" * 40

    def test_pickles_hold_no_weights(self, folder: Callable[[str], Path]) -> None:
        backbone = made(f"{folder('wav2vec2')}@layer=1")
        wave = clip(backbone)[None]
        found = backbone(wave).embeddings
        content = pickle.dumps(backbone)
        assert len(content) < 2000
        assert torch.equal(pickle.loads(content)(wave).embeddings, found)

    def test_options_in_any_order_are_one_name(self) -> None:
        one, other = (
            HubName.parse("hf:a/b@layer=3@revision=x@frames"),
            HubName.parse("hf:a/b@frames@revision=x@layer=3"),
        )
        assert str(one) == str(other) == "hf:a/b@revision=x@layer=3@frames"
        assert one.slug == "hf_a_b_revision_x_layer_3_frames"
        assert HubName.parse("hf:/tmp/a@b/c").source == "/tmp/a@b/c"

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("hf:", "does not name a network"),
            ("hf:wav2vec2", "neither OWNER/NAME nor a folder"),
            ("hf:a/b@layer=nine", "not a whole number"),
            ("hf:a/b@layer=", "@layer has no value"),
            ("hf:a/b@layer=1@layer=2", "@layer is given twice"),
            ("hf:a/b@lyer=1", "Options are @revision="),
            ("hf:/tmp@revision=x", "a folder has no revision"),
        ],
    )
    def test_malformed_names(self, text: str, fault: str) -> None:
        with pytest.raises(UsageError, match=fault):
            BACKBONES.get(text)


class TestMissing:
    @pytest.mark.usefixtures("hub")
    def test_offline_the_command_that_fetches_it(self, small: tuple[Path, Path], capsys: Any) -> None:
        code = main(["score", *map(str, small), "--backbone", "hf:someone/network@layer=9", "-m", "fd"])
        assert code == 4
        assert "Fetch it: agm weights fetch hf:someone/network" in capsys.readouterr().err

    def test_a_folder_that_lacks_files(self, folder: Callable[[str], Path], tmp_path: Path) -> None:
        with pytest.raises(MissingWeightsError, match="there is no such folder"):
            made(tmp_path / "nowhere")
        place = shutil.copytree(folder("wav2vec2"), tmp_path / "net")
        (place / "preprocessor_config.json").unlink()
        with pytest.raises(MissingWeightsError, match=r"no readable preprocessor_config.json.*save_pretrained"):
            made(place)
        shutil.copy(folder("wav2vec2") / "preprocessor_config.json", place)
        (place / "model.safetensors").unlink()
        with pytest.raises(MissingWeightsError, match=r"has no model.safetensors and no pytorch_model.bin"):
            _ = made(place).weights_sha256

    def test_never_partly_random(self, folder: Callable[[str], Path], tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        place = shutil.copytree(folder("wav2vec2"), tmp_path / "net")
        state = load_file(place / "model.safetensors")
        lost = next(name for name in state if "attention" in name)
        save_file({name: value for name, value in state.items() if name != lost}, place / "model.safetensors")
        with pytest.raises(MissingWeightsError, match="1 weights are missing"):
            _ = made(place).network
        save_file(state | {lost: torch.full_like(state[lost], torch.nan)}, place / "model.safetensors")
        with pytest.raises(MissingWeightsError, match="values that are not finite"):
            _ = made(place).network

    def test_another_kind_of_network(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        (tmp_path / "preprocessor_config.json").write_text('{"sampling_rate": 16000}')
        with pytest.raises(UsageError, match=r"kind 'bert' are not supported.*wav2vec2.*from_callable"):
            made(tmp_path)


CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class OwnConfig(PretrainedConfig):
    model_type = "own"


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.linear = torch.nn.Linear(100, 8)
        self.post_init()

    def forward(self, input_values, **options):
        return BaseModelOutput(last_hidden_state=self.linear(input_values.unfold(1, 100, 100)))
"""


class TestCode:
    """What a checkpoint brings is not run unasked."""

    @pytest.fixture
    def own(self, folder: Callable[[str], Path], tmp_path: Path) -> Path:
        from safetensors.torch import save_file

        place = tmp_path / "own"
        place.mkdir()
        (place / "modeling_own.py").write_text(CODE)
        addresses = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
        config = {"model_type": "own", "num_hidden_layers": 1, "auto_map": addresses, "architectures": ["OwnModel"]}
        (place / "config.json").write_text(json.dumps(config))
        shutil.copy(folder("wav2vec2") / "preprocessor_config.json", place)
        generator = torch.Generator().manual_seed(0)
        state = {name: torch.randn(size, generator=generator) for name, size in _SIZES.items()}
        save_file(state, place / "model.safetensors", {"format": "pt"})
        return place

    def test_it_is_refused_and_then_allowed(self, own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
        with pytest.raises(UsageError, match=r"brings code of its own.*Read modeling_own.py.*trust_remote_code"):
            made(own)
        with trust_remote_code():
            backbone = made(own)
        assert backbone(torch.randn(2, 16_000)).embeddings.shape == (2, 8)
        first = backbone.settings["code_sha256"]
        (own / "modeling_own.py").write_text(CODE + "\n")
        with trust_remote_code():
            assert made(own).settings["code_sha256"] != first

    def test_the_flag_of_the_command_line(self, own: Path, small: tuple[Path, Path], capsys: Any) -> None:
        assert main(["score", *map(str, small), "--backbone", f"hf:{own}", "-m", "fd"]) == 2
        assert "--trust-remote-code" in capsys.readouterr().err

    def test_code_of_another_repository_is_never_run(self, own: Path) -> None:
        config = json.loads((own / "config.json").read_text())
        config["auto_map"] = {"AutoModel": "other/place--modeling.OwnModel"}
        (own / "config.json").write_text(json.dumps(config))
        with trust_remote_code(), pytest.raises(UsageError, match="takes its code from other/place"):
            made(own)

    def test_mert_needs_none(self, folder: Callable[[str], Path], tmp_path: Path) -> None:
        place = shutil.copytree(folder("mert"), tmp_path / "mert")
        assert made(place)(torch.randn(1, 16_000)).embeddings.isfinite().all()
        config = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps(config | {"feature_extractor_cqt": True}))
        with pytest.raises(UsageError, match="brings code of its own"):
            made(place)

    def test_a_pickle_runs_nothing(self, folder: Callable[[str], Path], tmp_path: Path) -> None:
        place = shutil.copytree(folder("wav2vec2"), tmp_path / "net")
        from safetensors.torch import load_file

        state = load_file(place / "model.safetensors")
        (place / "model.safetensors").unlink()
        torch.save(state, place / "pytorch_model.bin")
        wave = clip(made(place))[None]
        expected = made(folder("wav2vec2"))(wave).embeddings
        assert torch.equal(made(place)(wave).embeddings, expected)
        torch.save({**state, "evil": _Evil(tmp_path / "ran")}, place / "pytorch_model.bin")
        with pytest.raises(MissingWeightsError, match="cannot be loaded"):
            _ = made(place).network
        assert not (tmp_path / "ran").exists()


_SIZES = {"linear.weight": (8, 100), "linear.bias": (8,)}


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


class TestEveryWayIn:
    def test_a_classifier_serves_all(
        self, folder: Callable[[str], Path], small: tuple[Path, Path], tmp_path: Path
    ) -> None:
        name = f"hf:{folder('ast')}"
        report = score(*small, backbone=name, protocol="yamnet", draws=0)
        assert [*report] == ["fd_hf_ast", "is_hf_ast", "kl_hf_ast"], "windows it does not give"
        assert report["fd"].backbone == name
        assert all(report[metric].value is not None for metric in ("fd", "kl"))
        assert report.backbones[name]["config_sha256"]
        report.to_json(tmp_path / "report.json")
        assert verify(tmp_path / "report.json").equal
        assert FD(backbone=name, protocol="yamnet").score(*small).value == report["fd"].value

    @pytest.mark.slow
    def test_metrics_on_several_networks(self, folder: Callable[[str], Path], small: tuple[Path, Path]) -> None:
        name = f"hf:{folder('wav2vec2')}"
        asked = f"fd@{name}@layer=1,fd@{name},FAD@{name}@frames,fd"
        report = score(*small, metrics=asked, protocol="yamnet", ci=False)
        expected = ["fd_hf_wav2vec2_layer_1", "fd_hf_wav2vec2", "fd_yamnet", "fad_hf_wav2vec2_frames"]
        assert sorted(report) == sorted(expected)
        assert report["fd_yamnet"].value == score(*small, metrics="fd", protocol="yamnet", ci=False)["fd"].value

    def test_what_it_does_not_give(self, folder: Callable[[str], Path], small: tuple[Path, Path]) -> None:
        name = f"hf:{folder('wav2vec2')}"
        with pytest.raises(UsageError, match=r"fad needs windows.*write hf:.*@frames"):
            FAD(backbone=name)
        for metric in (IS, KL):
            with pytest.raises(UsageError, match=r"needs logits.*classification head"):
                metric(backbone=name)
        with pytest.raises(UsageError, match=r"kl needs logits"):
            score(*small, metrics="kl", backbone=name)

    def test_a_name_in_the_wrong_place(self) -> None:
        with pytest.raises(UsageError, match=r'is a network, not a protocol.*backbone="hf:a/b"'):
            FD("hf:a/b")
        with pytest.raises(UsageError, match=r"unknown backbone 'a/b'.*hf:…"):
            FD(backbone="a/b")

    @pytest.mark.slow
    def test_every_format(self, folder: Callable[[str], Path], small: tuple[Path, Path], tmp_path: Path) -> None:
        report = score(*small, backbone=f"hf:{folder('ast')}", metrics="fd,kl", protocol="yamnet", draws=0)
        jsonschema.validate(json.loads(report.to_json()), score_report_schema())
        for suffix in ("html", "md", "tex", "csv"):
            text = ["--no-ci", "-o", str(tmp_path / f"report.{suffix}")]
            arguments = ["--backbone", f"hf:{folder('ast')}", "-m", "fd,kl", "--protocol", "yamnet", *text]
            assert main(["score", *map(str, small), *arguments]) == 0
            assert "fd" in (tmp_path / f"report.{suffix}").read_text(encoding="utf-8")

    def test_two_scores_of_one_id(self, folder: Callable[[str], Path], tmp_path: Path) -> None:
        shutil.copytree(folder("wav2vec2"), tmp_path / "wav2vec2")
        asked = [f"fd@hf:{folder('wav2vec2')}", f"fd@hf:{tmp_path / 'wav2vec2'}"]
        with pytest.raises(UsageError, match="fd_hf_wav2vec2 would be the score on"):
            get_protocol("yamnet").select(asked)

    def test_commands(
        self, folder: Callable[[str], Path], small: tuple[Path, Path], tmp_path: Path, capsys: Any
    ) -> None:
        gen, ref = map(str, small)
        flags = ["--protocol", "yamnet", "--backbone", f"hf:{folder('wav2vec2')}"]
        assert main(["score", gen, ref, *flags, "--draws", "0"]) == 0
        shown = capsys.readouterr()
        assert "fd_hf_wav2vec2" in shown.out
        assert "does not give what fad_yamnet, is_yamnet, kl_yamnet would need" in shown.err
        assert main(["stats", "build", ref, *flags, "-o", str(tmp_path / "ref.stats")]) == 0
        assert main(["score", gen, str(tmp_path / "ref.stats"), *flags, "--format", "json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        whole = score(gen, ref, protocol="yamnet", backbone=flags[-1])["fd"].value
        assert shown["scores"]["fd_hf_wav2vec2"]["value"] == pytest.approx(whole, rel=1e-9)
        assert main(["embed", ref, *flags, "-o", str(tmp_path / "ref.safetensors")]) == 0
        assert main(["compare", gen, ref, ref, *flags, "--permutations", "19"]) in (0, 3)

    @pytest.mark.slow
    def test_a_study_over_several_networks(
        self, folder: Callable[[str], Path], small: tuple[Path, Path], capsys: Any
    ) -> None:
        asked = ",".join(f"fd@hf:{folder(name)}" for name in ("wav2vec2", "ast", "encodec"))
        arguments = ["--probes", "noise", "--fractions", "0,1", "--repeats", "1", "--protocol", "yamnet"]
        assert main(["study", str(small[1]), "-m", asked, *arguments]) == 0
        shown = capsys.readouterr().out
        assert all(f"fd_hf_{name}" in shown for name in ("wav2vec2", "ast", "encodec"))


def test_digests_are_trusted_on_first_use(folder: Callable[[str], Path], hub: Path) -> None:
    place = publish(hub, folder("wav2vec2"))
    note = locate(HubName.parse("hf:someone/network")).trust_note
    assert not note.exists()
    assert made("someone/network").weights_sha256
    assert note.exists()
    write_network(place, "wav2vec2", seed=1)
    with pytest.raises(MissingWeightsError, match=r"when this revision was first used it had.*agm weights fetch"):
        _ = made("someone/network").weights_sha256
    note.unlink()
    assert made("someone/network").weights_sha256


@pytest.mark.parametrize("name", ["wav2vec2", "wavlm", "mert"])
def test_rows_of_fadtk(name: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
    """fadtk takes one hidden state of all, frame by frame, of 16-bit samples as float64, and rounds it to float16."""
    write_tone(tmp_path / "clip.wav", 1.5, subtype="PCM_16")
    samples, rate = soundfile.read(tmp_path / "clip.wav", dtype="int16")
    card = Card(folder(name), name)
    inputs = card.extract(samples / 32768.0, sampling_rate=rate, return_tensors="pt")
    with torch.no_grad():
        states = torch.stack(card.network(**inputs, output_hidden_states=True).hidden_states).squeeze()
    (recipe,) = get_protocol("fadtk").select(f"fad@hf:{folder(name)}@layer=2@frames@float16")
    backbone = made(f"{folder(name)}@layer=2@frames@float16")
    found = extract(scan(tmp_path), [backbone], recipe.preprocessing, ExtractionOptions(1, 0, cache=False))
    rows = found.sets[backbone.name].rows("windows")
    assert torch.equal(rows, states[2].half().float())


class TestWeightsCommand:
    def test_list_verify_and_path(self, folder: Callable[[str], Path], hub: Path, capsys: Any) -> None:
        place = publish(hub, folder("wav2vec2"))
        (place / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
        assert main(["weights", "fetch", "hf:someone/network@layer=2"]) == 0
        shown = capsys.readouterr()
        assert shown.out == f"{place}\n"
        assert "hf:someone/network: here already" in shown.err
        assert f"revision {'a' * 40}; cc-by-nc-4.0; commercial use: no" in shown.err
        assert main(["weights", "path", "hf:someone/network"]) == 0
        assert capsys.readouterr().out == f"{place}\n"
        assert main(["weights", "list", "--format", "json"]) == 0
        row = json.loads(capsys.readouterr().out)[-1]
        assert row["name"] == f"hf:someone/network@revision={'a' * 40}"
        assert (row["path"], row["licence"], row["commercial"]) == (str(place), "cc-by-nc-4.0", False)
        assert row["files"].keys() == {"model.safetensors", "config.json", "preprocessor_config.json"}
        assert main(["weights", "list"]) == 0
        assert "hf:someone/network" in capsys.readouterr().out
        assert main(["weights", "verify"]) == main(["weights", "verify", "hf:someone/network"]) == 0
        assert f"hf:someone/network  ok  {place / 'config.json'}" in capsys.readouterr().out
        (place / "config.json").write_text("{}")
        assert main(["weights", "verify"]) == 4
        assert "when this revision was first used it had" in capsys.readouterr().out

    def test_offline(self, hub: Path, capsys: Any) -> None:
        assert main(["weights", "fetch", "hf:someone/network"]) == 4
        assert "HF_HUB_OFFLINE" in capsys.readouterr().err
        assert main(["weights", "verify", "hf:someone/network"]) == 4
        assert "agm weights fetch hf:someone/network" in capsys.readouterr().out
        assert not hub.exists()

    def test_a_folder_is_not_fetched(self, tmp_path: Path, capsys: Any) -> None:
        assert main(["weights", "fetch", f"hf:{tmp_path}"]) == 2
        assert "not fetched" in capsys.readouterr().err

    def test_what_is_fetched(self, folder: Callable[[str], Path], hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The hub's client is asked for safetensors alone where there are any."""
        from types import SimpleNamespace

        asked: list[list[str]] = []

        def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
            assert revision is None
            asked.append(allow_patterns)
            return str(publish(hub, folder("wav2vec2"), name))

        listed = ["config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5"]
        info = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in listed])
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: info)
        found = fetch_hub(HubName.parse("hf:someone/network"))
        assert found.revision == "a" * 40
        assert found.trust_note.exists()
        assert "model*.safetensors" in asked[0]
        assert not any(pattern.endswith((".bin", ".h5")) for pattern in asked[0])

    def test_commercial(
        self, folder: Callable[[str], Path], small: tuple[Path, Path], tmp_path: Path, capsys: Any
    ) -> None:
        place = shutil.copytree(folder("wav2vec2"), tmp_path / "net")
        arguments = ["score", *map(str, small), "--backbone", f"hf:{place}", "-m", "fd", "--commercial", "--no-ci"]
        (place / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
        assert main(arguments) == 2
        assert f"hf:{place} (weights: cc-by-nc-4.0; code: Apache-2.0 (transformers))" in capsys.readouterr().err
        (place / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        assert main(arguments) == 0

    def test_weights_are_named_in_the_name(self, tmp_path: Path, capsys: Any) -> None:
        assert main(["score", "a", "b", "--weights", f"hf:a/b={tmp_path}"]) == 2
        assert "Write hf:/FOLDER where it is used" in capsys.readouterr().err
