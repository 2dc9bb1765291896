"""Checkpoints of AudioLDM's own code: read without running them, converted, refused with a reason."""

from __future__ import annotations

import math
import shutil
import sys
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from audiogen_metrics.audioldm import convert_checkpoint
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.original import _tokenizer
from audiogen_metrics.audioldm.original import _write as write_parts
from audiogen_metrics.audioldm.original_file import read_original
from audiogen_metrics.audioldm.original_names import average_name, unet_names, vae_names
from audiogen_metrics.audioldm.original_shapes import unet_config
from audiogen_metrics.audioldm.snapshots import locate
from audiogen_metrics.backbones.laion_clap import TOKENIZER
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import MissingWeightsError, UsageError
from tests.checkpoints import write_tokenizer
from tests.conftest import write_tone
from tests.original_checkpoint import SCALE_FACTOR, original_state, unet_shapes, write_original

pytestmark = pytest.mark.filterwarnings("ignore:.*no published AudioLDM", "ignore:.*is converted once")

State = dict[str, Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def file(home: Path) -> Path:
    return write_original(home / "tiny.ckpt")


@pytest.fixture(scope="module")
def folder(file: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return convert_checkpoint(file, file.parent / "converted")


@pytest.fixture(scope="module")
def state() -> State:
    return original_state()


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.parent.name}/{name}": value for file in files for name, value in load_file(file).items()}


def assert_same(first: Path, second: Path) -> None:
    ours, theirs = tensors(first), tensors(second)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def sound(model: Path) -> np.ndarray[Any, Any]:
    loaded = AudioLDM.from_pretrained(model, device="cpu")
    return loaded.generate(["a dog in the rain"], seconds=1.0, steps=10)[0].waveform


def save(state: State, path: Path, **more: Any) -> Path:
    torch.save({"state_dict": state, **more}, path)
    return path


def convert(file: Path, home: Path, **options: Any) -> Path:
    return convert_checkpoint(file, file.with_name("out"), tokenizer=home, **options)


@pytest.mark.slow
def test_a_file_is_a_model(file: Path, folder: Path) -> None:
    with pytest.warns(UserWarning, match="is converted once, into"):
        made = sound(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        snapshot = locate(file)  # from the cache
    np.testing.assert_array_equal(made, sound(folder))
    assert np.isfinite(made).all()
    assert made.std() > 1e-4
    assert_same(snapshot.folder, folder)
    origin = AudioLDM.from_pretrained(file, device="cpu").settings["converted_from"]
    assert origin["model"] == "tiny.ckpt"
    assert origin["denoiser"] == "model_ema"
    assert len(origin["sha256"]) == 64


@pytest.mark.slow
def test_a_changed_file_is_another_model(file: Path, tmp_path: Path, home: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path / "model.ckpt"))
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(home / name, tmp_path / name)
    first = locate(copy)
    assert first.folder == locate(file).folder  # its name makes no difference
    write_original(copy, seed=1)
    assert locate(copy).folder != first.folder
    assert locate(copy).digests() != first.digests()


@pytest.mark.slow
def test_its_own_clap_hears(file: Path, tmp_path: Path) -> None:
    write_tone(tmp_path / "tone.wav", seconds=1.0)
    model = AudioLDM.from_pretrained(file, device="cpu")
    heard = model.clap.embed_files([tmp_path / "tone.wav"])
    assert heard.shape == (1, 64)
    torch.testing.assert_close(heard.norm(dim=-1), torch.ones(1))
    (clip,) = model.generate(["rain"], seconds=1.0, steps=10, candidates=2)
    assert len(clip.notes["clap_similarity"]) == 2


def test_what_shapes_and_buffers_tell(folder: Path) -> None:
    model = AudioLDM.from_pretrained(folder, device="cpu")
    assert model.unet.config.attention_head_dim == [1, 2]
    assert model.unet.config.class_embeddings_concat is True
    assert model.vae.config.scaling_factor == pytest.approx(SCALE_FACTOR)
    assert model.schedule["beta_start"] == 0.0015
    assert model.schedule["beta_end"] == 0.0195
    assert model.text.network.config.layer_norm_eps == 1e-5
    assert model.vocoder.config.upsample_rates == [5, 4, 2, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["published", "training"])
@pytest.mark.parametrize("ema", [None, True, False])
def test_both_layouts_and_both_sets_of_weights(
    layout: Any, ema: bool | None, folder: Path, home: Path, tmp_path: Path, state: State
) -> None:
    out = convert(write_original(tmp_path / "tiny.ckpt", layout=layout), home, ema=ema)
    if ema is not False:
        assert_same(out, folder)
    kept = load_file(out / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"]
    name = "model.diffusion_model.input_blocks.0.0.weight"
    average = "model_ema.diffusion_modelinput_blocks00weight"
    assert torch.equal(kept, state[name if ema is False else average])


def test_a_file_without_an_average(tmp_path: Path, home: Path) -> None:
    file = write_original(tmp_path / "tiny.ckpt", average=False)
    with pytest.raises(UsageError, match="no moving average"):
        convert(file, home, ema=True)
    assert_same(convert(file, home), convert_checkpoint(file, tmp_path / "again", ema=False, tokenizer=home))


def test_an_average_that_was_never_updated(tmp_path: Path, home: Path, state: State) -> None:
    still = state | {"model_ema.num_updates": torch.tensor(0, dtype=torch.int)}
    with pytest.warns(UserWarning, match=r"never brought up to date; convert_checkpoint\(…, ema=False\) takes"):
        convert(save(still, tmp_path / "tiny.ckpt"), home)


def test_other_sizes(tmp_path: Path, home: Path) -> None:
    file = write_original(tmp_path / "tiny.ckpt", multiples=(1, 2, 3), layers=1)
    config = AudioLDM.from_pretrained(convert(file, home), device="cpu").unet.config
    assert list(config.block_out_channels) == [32, 64, 96]
    assert config.layers_per_block == 1


def test_other_containers(tmp_path: Path, home: Path, folder: Path, state: State) -> None:
    plain = {name: value.contiguous().clone() for name, value in state.items()}
    save_file(plain, tmp_path / "tiny.safetensors")
    assert_same(convert(tmp_path / "tiny.safetensors", home), folder)
    torch.save({"state_dict": plain}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert_same(convert_checkpoint(tmp_path / "old.ckpt", tmp_path / "old", tokenizer=home), folder)
    torch.save(plain, tmp_path / "bare")
    assert_same(convert_checkpoint(tmp_path / "bare", tmp_path / "plain", tokenizer=home), folder)


def test_half_precision(tmp_path: Path, home: Path, folder: Path) -> None:
    found = tensors(convert(write_original(tmp_path / "tiny.ckpt", half=True), home))
    for name, expected in tensors(folder).items():
        assert found[name].dtype == expected.dtype
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-3)


UNET = "model.diffusion_model."
DOWN = f"{UNET}input_blocks.1.0.in_layers.2.weight"
CLAP = "cond_stage_model.model."


def drop(*prefixes: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if not name.startswith(prefixes)}


def put(name: str, value: Any) -> Callable[[State], State]:
    return lambda state: state | {name: value}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop(UNET), r"none of its \d+ tensors begins with model\.diffusion_model\."),
        (drop("first_stage_model."), "begins with first_stage_model"),
        (drop("first_stage_model.vocoder."), r"begins with first_stage_model\.vocoder"),
        (drop("cond_stage_model."), "begins with cond_stage_model"),
        (drop("betas"), r"1 missing tensors \(betas\)"),
        (drop("scale_factor"), r"1 missing tensors \(scale_factor\)"),
        (drop(f"{UNET}film_emb", "model_ema.diffusion_modelfilm_emb"), "has no film_emb"),
        (drop(f"{UNET}out.2.bias"), r"unexpected tensors \(model_ema\.diffusion_modelout2bias\)"),
        (drop("model_ema.diffusion_modelout2bias"), r"missing tensors \(model_ema\.diffusion_modelout2bias\)"),
        (drop("first_stage_model.encoder.mid.attn_1.q.bias"), r"missing .*first_stage_model\.encoder\.mid\.attn_1\.q"),
        (drop("first_stage_model.vocoder.resblocks.3.convs2.1.bias"), r"vocoder\.resblocks\.3\.convs2\.1\.bias"),
        (drop(f"{CLAP}text_projection.2.bias"), r"CLAP's text_projection\.linear2\.bias"),
        (drop(f"{CLAP}audio_branch.logmel_extractor"), "logmel_extractor"),
        (put("cond_stage_models.1.model.weight", torch.ones(2)), r"unexpected tensors \(cond_stage_models\.1"),
        (put("first_stage_model.quantize.weight", torch.ones(2)), r"unexpected tensors \(first_stage_model\.quantize"),
        (put(f"{CLAP}audio_branch.patch_embed.mel_conv2d.bias", torch.ones(16)), "unexpected .*mel_conv2d"),
        (put("first_stage_model.vocoder.ups.5.weight", torch.ones(2, 1, 4)), "kernels of .* are not known"),
        (put("first_stage_model.encoder.conv_in.weight", torch.ones(3)), r"conv_in\.weight in the shape \(3,\)"),
        (put("first_stage_model.quant_conv.bias", torch.ones(3)), r"has the shape \(3,\) where \(16,\) belongs"),
        (put("first_stage_model.quant_conv.bias", torch.full((16,), torch.nan)), "not finite"),
        (put("scale_factor", torch.tensor(torch.nan)), "not one positive number"),
        (put("scale_factor", torch.ones(2)), "not one positive number"),
        (put("betas", torch.linspace(1e-4, 2e-2, 1000)), "another schedule of noise"),
        (put("betas", torch.tensor(3)), "has betas of the shape"),
        (put("note", "hello"), "has note, which is not a tensor"),
        (put(3, torch.ones(1)), "has no state dict"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_named(
    change: Callable[[State], State], message: str, state: State, tmp_path: Path, home: Path
) -> None:
    file = save(change(state), tmp_path / "tiny.ckpt")
    with pytest.raises(MissingWeightsError, match=message) as caught:
        convert(file, home)
    assert f"--checkpoint_path {file} --extract_ema" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.ckpt"]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_files_that_are_none(content: bytes, tmp_path: Path, home: Path) -> None:
    file = tmp_path / "tiny.ckpt"
    file.write_bytes(content)
    with pytest.raises(MissingWeightsError, match="the file is damaged or is not a checkpoint"):
        convert(file, home)


def test_a_text_in_place_of_a_checkpoint(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "tiny.ckpt"
    file.write_text("<!DOCTYPE html><title>404</title>")
    with pytest.raises(MissingWeightsError, match="is not a checkpoint: it is an HTML page") as caught:
        convert(file, home)
    assert caught.value.fix == "Pass the checkpoint itself; if this was a download, repeat it"


def test_a_file_that_was_cut(file: Path, tmp_path: Path, home: Path) -> None:
    cut = tmp_path / "tiny.ckpt"
    cut.write_bytes(file.read_bytes()[:1_000_000])
    with pytest.raises(MissingWeightsError, match="the file is damaged or is not a checkpoint"):
        convert(cut, home)


def test_code_in_a_checkpoint_never_runs(tmp_path: Path, home: Path, state: State) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    file = save(state, tmp_path / "tiny.ckpt", callbacks=Attack())
    with pytest.raises(MissingWeightsError, match=r"refers to code \((builtins\.)?exec\)"):
        convert(file, home)
    assert not (tmp_path / "ran").exists()


def test_what_training_code_leaves_beside_the_tensors(
    tmp_path: Path, home: Path, folder: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classes of Lightning and OmegaConf, in whatever way pickle writes them; none of them is imported."""
    lightning, omegaconf = types.ModuleType("pytorch_lightning"), types.ModuleType("omegaconf")
    for module, names in ((lightning, ("ModelCheckpoint", "AttributeDict")), (omegaconf, ("DictConfig", "ListConfig"))):
        for name in names:
            bases = (dict,) if name == "AttributeDict" else ()
            setattr(module, name, type(name, bases, {"__module__": module.__name__}))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    settings = lightning.AttributeDict(lr=1e-4)
    config = omegaconf.DictConfig()
    config.__dict__["_content"] = {"model": omegaconf.ListConfig()}
    more = {"callbacks": {lightning.ModelCheckpoint: {"path": Path("a/b")}}, "hparams": settings, "config": config}
    file = save(OrderedDict(state), tmp_path / "tiny.ckpt", **more)
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    monkeypatch.delitem(sys.modules, "omegaconf")
    assert_same(convert(file, home), folder)
    assert "omegaconf" not in sys.modules


def test_a_tokenizer_from_elsewhere(file: Path, folder: Path, tmp_path: Path) -> None:
    again = convert_checkpoint(file, tmp_path / "again", tokenizer=folder / "tokenizer")
    texts = ["a dog", "the rain, and <mask>"]
    ours, theirs = (AudioLDM.from_pretrained(place, device="cpu").text.embed(texts) for place in (again, folder))
    assert torch.equal(ours, theirs)


def test_without_a_tokenizer(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Path(shutil.copy(file, tmp_path / "tiny.ckpt"))
    monkeypatch.setenv("AGM_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with pytest.raises(MissingWeightsError, match="needs RoBERTa's tokenizer, which no checkpoint holds") as caught:
        locate(alone)
    assert f"agm weights fetch {' '.join(TOKENIZER)}" in str(caught.value)
    (tmp_path / "note.txt").write_text("no checkpoint")
    with pytest.raises(MissingWeightsError, match="is not a checkpoint"):
        locate(tmp_path / "note.txt")
    with pytest.raises(MissingWeightsError, match=r"neither vocab\.json and merges\.txt nor tokenizer\.json"):
        convert_checkpoint(alone, tmp_path / "out", tokenizer=tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MissingWeightsError, match="is not a tokenizer of RoBERTa"):
        convert_checkpoint(alone, tmp_path / "out", tokenizer=tmp_path)


def test_a_tokenizer_that_is_too_large(tmp_path: Path, home: Path, state: State) -> None:
    name = f"{CLAP}text_branch.embeddings.word_embeddings.weight"
    file = save(state | {name: state[name][:300]}, tmp_path / "tiny.ckpt")
    with pytest.raises(MissingWeightsError, match="knows 300 tokens, and its tokenizer has numbers up to 50264"):
        convert(file, home)


def test_places_that_cannot_be_used(file: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="there is no such checkpoint"):
        locate(tmp_path / "missing.ckpt")
    with pytest.raises(MissingWeightsError, match="there is no such checkpoint"):
        convert_checkpoint(tmp_path / "missing.ckpt", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("kept")
    for output in (tmp_path / "full", file):
        with pytest.raises(UsageError, match="is not a new or empty folder"):
            convert_checkpoint(file, output)
    (tmp_path / "empty").mkdir()
    assert (convert_checkpoint(file, tmp_path / "empty") / "clap" / "config.json").is_file()
    with pytest.raises(UsageError, match="cannot be written"):
        convert_checkpoint(file, file / "below" / "a file")


def test_a_file_that_changes_meanwhile(file: Path, home: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path / "tiny.ckpt"))
    original = read_original(copy)
    copy.touch()
    with pytest.raises(MissingWeightsError, match="changed while it was read"):
        write_parts(original, tmp_path / "out", None, _tokenizer(copy, home))
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.ckpt"]


def test_the_command(file: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in ([], ["--ema"], ["--no-ema"], ["--tokenizer", str(home)]):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        assert main(["convert", str(file), "-o", str(out), *flags]) == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert f"{out}: converted from {file}" in captured.err
    prompts = ["--prompt", "rain", "--steps", "10", "--seconds", "1", "--device", "cpu"]
    assert main(["generate", "--model", str(file), *prompts, "-o", str(tmp_path / "clips")]) == 0
    assert len(list((tmp_path / "clips").glob("*.wav"))) == 1
    assert main(["convert", str(tmp_path / "none.ckpt"), "-o", str(tmp_path / "new")]) == 4
    assert main(["convert", str(file), "-o", str(out)]) == 2


@pytest.mark.parametrize(
    ("width", "heads", "millions"),
    [(128, (4, 8, 12, 20), 185.04), (192, (6, 12, 18, 30), 415.95), (256, (4, 8, 12, 20), 739.14)],
)
def test_the_published_sizes(width: int, heads: tuple[int, ...], millions: float) -> None:
    """AudioLDM's own code says 415.95 M of the m model when it starts."""
    shapes = dict(unet_shapes(width, (1, 2, 3, 5), 2, 512))
    config = unet_config(shapes)
    with torch.device("meta"):
        own = {name: tuple(value.shape) for name, value in UNet2DConditionModel(**config).state_dict().items()}
    names = unet_names(own, layers=2)
    assert {names[name]: shape for name, shape in own.items()} == shapes
    assert config["attention_head_dim"] == heads
    assert sum(map(math.prod, shapes.values())) / 1e6 == pytest.approx(millions, abs=0.005)


def test_no_two_weights_share_a_name(folder: Path) -> None:
    own = {
        part: [name.partition("/")[2] for name in tensors(folder) if name.startswith(f"{part}/")]
        for part in ("unet", "vae")
    }
    unet, vae = unet_names(own["unet"], layers=2), vae_names(own["vae"], levels=3)
    assert len({*unet.values()}) == len(own["unet"])
    assert len({average_name(name) for name in unet.values()}) == len(own["unet"])
    assert len({*vae.values()}) == len(own["vae"])
