"""LAION-CLAP against laion_clap's committed outputs, on random weights in the published format."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audio.preparation import PeakPreprocessing, Preprocessing, prepare
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.laion_clap import (
    LaionCLAP,
    Music,
    MusicSeconds,
    MusicSpeech,
    MusicTens,
    Sounds,
    SoundsFusion,
)
from audiogen_metrics.backbones.laion_frontend import RATE, WINDOW
from audiogen_metrics.backbones.laion_network import _middles
from audiogen_metrics.backbones.published import WEIGHTS, WeightsEntry, weights_name
from audiogen_metrics.backbones.weights import examine, find, parse_weights, trust_note
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, MissingWeightsError, UsageError
from audiogen_metrics.evaluation import create_backbones
from audiogen_metrics.evaluation.networks import require_weights
from audiogen_metrics.protocols import PROTOCOLS, get_protocol
from audiogen_metrics.testing import check_backbone
from tests.checkpoints import write_laion_clap, write_tokenizer

GOLDEN = Path(__file__).parent.parent / "peers" / "golden" / "laion_clap.npz"
PEER = Path(__file__).parent.parent / "peers" / "run_laion_clap.py"
PEER_PYTHON = os.environ.get("AGM_LAION_PYTHON")
SECONDS = (3.0, 8.0, 10.0)
TEXTS = ("a dog in the rain", "rain", "a dog in the rain and another one " * 20)
SLOW = [pytest.param(Music, marks=pytest.mark.slow)]


@pytest.fixture(scope="module", autouse=True)
def _own_cache_of_the_module() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGM_CACHE_DIR", folder)
        yield


@pytest.fixture(scope="module")
def make() -> Iterator[Callable[[type[LaionCLAP]], LaionCLAP]]:
    """Return one loaded backbone of each kind; not under tmp_path, where pytest keeps the files of three runs."""
    made: dict[type[LaionCLAP], LaionCLAP] = {}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = write_tokenizer(Path(folder))

        def get(kind: type[LaionCLAP]) -> LaionCLAP:
            if kind not in made:
                path = Path(folder, f"{weights_name(kind.name)}.pt")
                if not path.exists():
                    write_laion_clap(path, kind)
                made[kind] = kind(weights=path, tokenizer=tokenizer)
            return made[kind]

        yield get


@pytest.fixture(scope="module")
def sounds(make: Callable[[type[LaionCLAP]], LaionCLAP]) -> LaionCLAP:
    return make(Sounds)


def clip(seconds: float, seed: int = 0) -> torch.Tensor:
    """Return ``(time,)``: a tone in noise that dies away."""
    samples = round(seconds * RATE)
    noise = 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    return noise * torch.linspace(1, 0, samples) + 0.2 * torch.sin(torch.arange(samples) * 0.03 * (seed + 1))


def lengths(kind: type[LaionCLAP]) -> tuple[float, ...]:
    # A fusion network hears more than ten seconds: a frame more is none, two are the least.
    return (*SECONDS, *((10.005, 10.02, 25.0) if kind.fusion else ()))


def clips(kind: type[LaionCLAP]) -> list[torch.Tensor]:
    return [clip(seconds, seed) for seed, seconds in enumerate(lengths(kind))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Sounds, SoundsFusion, *SLOW])
def test_both_towers_are_laion_claps(kind: type[LaionCLAP], make: Callable[[type[LaionCLAP]], LaionCLAP]) -> None:
    backbone = make(kind)
    with np.load(GOLDEN) as golden:
        audio, text = golden[f"{kind.name}.audio"], golden[f"{kind.name}.text"]
    mine = np.stack([backbone(wave[None]).embeddings[0].numpy() for wave in clips(kind)])  # type: ignore[index]
    np.testing.assert_allclose(mine, audio, rtol=0, atol=1e-6)
    np.testing.assert_allclose(backbone.embed_text(TEXTS).numpy(), text, rtol=0, atol=1e-6)
    # Else equality would prove nothing.
    assert (audio @ audio.T).min() < 0.995
    assert (text @ text.T).min() < 0.95


@pytest.mark.peers
@pytest.mark.skipif(PEER_PYTHON is None, reason="needs an environment with laion_clap, numpy 1: AGM_LAION_PYTHON")
def test_the_committed_outputs_are_laion_claps(make: Callable[[type[LaionCLAP]], LaionCLAP], tmp_path: Path) -> None:
    """Write them again with ``AGM_WRITE_GOLDEN=1``."""
    found = {}
    for kind in (Sounds, SoundsFusion, Music):
        backbone = make(kind)
        tokens = backbone._tokens(TEXTS)
        ids, mask = np.ones((len(tokens), 77), dtype=np.int64), np.zeros((len(tokens), 77), dtype=np.int64)
        for row, known in enumerate(tokens):
            ids[row, : len(known)], mask[row, : len(known)] = known, 1
        waves = {f"clip{index}": wave.numpy() for index, wave in enumerate(clips(kind))}
        np.savez(tmp_path / "in.npz", ids=ids, mask=mask, **waves)
        arguments = [kind.tower, "fusion" if kind.fusion else "plain", backbone.weights_file]
        arguments += [tmp_path / "in.npz", tmp_path / "out.npz"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
        subprocess.run([str(PEER_PYTHON), PEER, *arguments], check=True, env=environment, timeout=300)
        with np.load(tmp_path / "out.npz") as out:
            found |= {f"{kind.name}.{name}": out[name] for name in ("audio", "text")}
    if os.environ.get("AGM_WRITE_GOLDEN"):
        np.savez_compressed(GOLDEN, **found)
    with np.load(GOLDEN) as golden:
        assert set(golden.files) == set(found)
        for name, value in found.items():
            np.testing.assert_allclose(golden[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "kind", [Sounds, SoundsFusion, *(pytest.param(k, marks=pytest.mark.slow) for k in (MusicSeconds, MusicTens))]
)
@pytest.mark.filterwarnings("ignore:.*random weights")
def test_keeps_what_the_library_relies_on(kind: type[LaionCLAP], make: Callable[[type[LaionCLAP]], LaionCLAP]) -> None:
    check_backbone(make(kind))


@pytest.mark.slow
def test_short_clips_are_repeated_whole_times(sounds: LaionCLAP) -> None:
    network = sounds.network
    three = clip(3.0)[None]
    assert torch.equal(network.filled(three)[0, : 9 * RATE], torch.cat([three[0]] * 3))
    assert not network.filled(three)[0, 9 * RATE :].any()
    six = clip(6.0)[None]
    assert torch.equal(network.filled(six)[0, : 6 * RATE], six[0])
    assert not network.filled(six)[0, 6 * RATE :].any()
    padded = torch.nn.functional.pad(three, (0, WINDOW - three.shape[1]))
    assert float((sounds(three).embeddings * sounds(padded).embeddings).sum()) < 0.999  # type: ignore[operator]
    torch.testing.assert_close(sounds(three).embeddings, sounds(network.filled(three)).embeddings)


@pytest.mark.slow
def test_beyond_ten_seconds_only_fusion_hears(sounds: LaionCLAP, make: Callable[[type[LaionCLAP]], LaionCLAP]) -> None:
    long = clip(12.0)[None]
    assert torch.equal(sounds(long).embeddings, sounds(long[:, :WINDOW]).embeddings)  # type: ignore[arg-type]
    assert sounds.usable_samples(12 * RATE) == WINDOW
    fusion = make(SoundsFusion)
    assert not torch.allclose(fusion(long).embeddings, fusion(long[:, :WINDOW]).embeddings)  # type: ignore[arg-type]
    assert fusion.usable_samples(12 * RATE) == 12 * RATE


@pytest.mark.parametrize("count", [2, 3, 4, 5, 100, 1501])
def test_middles_of_the_places_that_laion_clap_draws_from(count: int) -> None:
    thirds = [list(part) or [0] for part in np.array_split(np.arange(count), 3)]
    assert _middles(count) == [part[(len(part) - 1) // 2] for part in thirds]


@pytest.mark.slow
def test_windows_begin_every_second_and_their_mean_is_by_length(make: Callable[[type[LaionCLAP]], LaionCLAP]) -> None:
    seconds, tens, whole = make(MusicSeconds), make(MusicTens), make(Music)
    wave = clip(12.5)[None]
    windows = seconds(wave).windows
    assert windows is not None
    assert windows.shape == (1, 13, 512)
    for start in (0, 12):
        part = torch.nn.functional.pad(wave[:, start * RATE : start * RATE + WINDOW], (0, 12 * RATE))[:, :WINDOW]
        torch.testing.assert_close(windows[:, start], whole(part).embeddings, rtol=0, atol=1e-4)  # float16
    last = torch.nn.functional.pad(wave[:, WINDOW:], (0, WINDOW))[:, :WINDOW]
    mean = 10 * whole(wave[:, :WINDOW]).embeddings + 2.5 * whole(last).embeddings  # type: ignore[operator]
    expected = torch.nn.functional.normalize(mean, dim=1)
    torch.testing.assert_close(tens(wave).embeddings, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_texts(sounds: LaionCLAP, tmp_path: Path) -> None:
    rows = sounds.embed_text(TEXTS)
    assert (rows.shape, rows.dtype) == ((3, 512), torch.float32)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(sounds.embed_text(TEXTS[::-1]), rows.flip(0), rtol=0, atol=1e-6)
    assert sounds.embed_text([]).shape == (0, 512)
    # Beyond 77 tokens nothing is read.
    torch.testing.assert_close(sounds.embed_text([TEXTS[2] + "and more"]), rows[2:], rtol=0, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(sounds.embed_text(TEXTS), rows, rtol=0, atol=1e-6)
        assert torch.is_autocast_enabled("cpu")
    with pytest.raises(DataError, match="text 1 is a NoneType"):
        sounds.embed_text(["a", None])  # type: ignore[list-item]
    assert sounds.tokenizer_sha256 == Sounds(tokenizer=sounds._tokenizer_folder).tokenizer_sha256
    with pytest.raises(MissingWeightsError, match="agm weights fetch roberta-base-vocab roberta-base-merges"):
        Sounds(weights=sounds.weights_file).embed_text(TEXTS)
    with pytest.raises(MissingWeightsError, match="no such tokenizer file"):
        Sounds(tokenizer=tmp_path).embed_text(TEXTS)
    write_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({"<s>": 1, "<pad>": 0, "</s>": 2, "<unk>": 3}))
    with pytest.raises(MissingWeightsError, match="is not a tokenizer of RoBERTa"):
        Sounds(weights=sounds.weights_file, tokenizer=tmp_path).embed_text(TEXTS)


@pytest.fixture(scope="module")
def state(sounds: LaionCLAP) -> dict[str, torch.Tensor]:
    content = torch.load(sounds.weights_file, weights_only=True, mmap=True)
    assert {"optimizer", "epoch"} < content.keys()
    return content["state_dict"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: {"model": state}, "3 missing tensors"),
        (lambda state: [state], "no state dict under 'state_dict'"),
        (
            lambda state: {"state_dict": without(state, "module.audio_branch.norm.bias")},
            "1 missing tensors .audio_model",
        ),
        (lambda state: {"state_dict": {**state, "module.more": torch.zeros(1)}}, "1 unexpected tensors .more"),
        (
            lambda state: {"state_dict": without(state, "module.audio_branch.logmel_extractor.melW")},
            "1 missing tensors",
        ),
        (
            lambda state: {"state_dict": scaled(state, "module.audio_branch.logmel_extractor.melW")},
            "melW is not that of",
        ),
        (
            lambda state: {"state_dict": {**state, "module.audio_branch.norm.bias": torch.zeros(9)}},
            r"shape \(9,\) where",
        ),
        (lambda state: {"state_dict": {**state, "module.audio_branch.norm.bias": "text"}}, "is of type str"),
        (
            lambda state: {
                "state_dict": {**state, "module.audio_branch.layers.0.blocks.0.attn.qkv.bias": torch.zeros(2)}
            },
            "3 missing tensors .*key.bias",
        ),
        (
            lambda state: {
                "state_dict": {**state, "module.audio_branch.layers.0.blocks.0.attn.qkv.bias": torch.tensor(2.0)}
            },
            "1 unexpected tensors .*qkv.bias",
        ),
    ],
)
def test_other_files_are_refused(
    spoil: Callable[[dict[str, torch.Tensor]], object], message: str, state: dict[str, torch.Tensor]
) -> None:
    from audiogen_metrics.backbones.pretrained import checked

    layout = Sounds().build().layout()
    with pytest.raises(MissingWeightsError, match=message) as caught:
        checked(Sounds().unwrap(spoil(state), Path("some.pt")), layout, Path("some.pt"))
    assert caught.value.exit_code == 4


def without(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if key != name}


def scaled(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {**state, name: 1.01 * state[name]}


@pytest.mark.slow
def test_a_checkpoint_of_the_other_kinds_is_refused(sounds: LaionCLAP) -> None:
    with pytest.raises(MissingWeightsError, match="another network"):
        _ = SoundsFusion(weights=sounds.weights_file).network
    with pytest.raises(MissingWeightsError, match="another network"):
        _ = Music(weights=sounds.weights_file).network


def test_names_and_weights() -> None:
    kinds = (MusicSpeech, Music, MusicSeconds, MusicTens, Sounds, SoundsFusion)
    for kind in kinds:
        assert BACKBONES.get(kind.name) is kind
        assert weights_name(kind.name) in WEIGHTS.names()
    assert PROTOCOLS["fadtk-clap"].recipes["fad"].backbone == MusicSeconds.name


def test_sixteen_bits_as_laion_clap_and_fadtk_have_them() -> None:
    samples = torch.linspace(-1.2, 1.2, 4801).numpy()[:, None]
    once = prepare(Audio(samples, RATE), Preprocessing(RATE, remove_dc=False, sixteen_bit="truncated")).numpy()
    expected = (np.clip(samples[:, 0], -1, 1) * np.float32(32767)).astype(np.int16) / np.float32(32767)
    np.testing.assert_array_equal(once, expected.astype(np.float32))
    twice = Preprocessing(RATE, remove_dc=False, sixteen_bit="resampled-truncated")
    integers = np.clip(np.round(samples[:, 0] * np.float32(32768)), -32768, 32767).astype(np.int16)
    expected = (np.clip(integers / 32768.0, -1, 1) * 32767.0).astype(np.int16) / 32767.0
    np.testing.assert_array_equal(prepare(Audio(samples, RATE), twice).numpy(), expected.astype(np.float32))


def test_peak() -> None:
    how = PeakPreprocessing(RATE, remove_dc=False, peak_dbfs=-1.0)
    loud = prepare(Audio(np.array([[0.1], [-0.5]], dtype=np.float32), RATE), how)
    torch.testing.assert_close(loud, torch.tensor([0.2, -1.0]) * 10 ** (-1 / 20))
    assert not prepare(Audio(np.zeros((4, 1), dtype=np.float32), RATE), how).any()


def test_a_file_without_a_published_digest_is_trusted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = WeightsEntry("clap-laion-630k-fusion", "some.pt", ("https://example.org/some.pt",), None, "CC0", "nobody")
    monkeypatch.setenv("AGM_WEIGHTS_DIR", str(tmp_path))
    first = tmp_path / "some.pt"
    first.write_bytes(b"first")
    assert examine(entry, first, memo=False) is None
    assert not trust_note(entry).exists()
    assert find(entry) == first
    assert json.loads(trust_note(entry).read_text())["file"] == str(first)
    first.write_bytes(b"other")
    with pytest.raises(MissingWeightsError, match=r"the first file used here had \w+…, as .*trusted"):
        find(entry)
    assert main(["weights", "list"]) == 0
    shown = capsys.readouterr().out
    assert "no published digest: the first file is trusted" in shown
    assert "e2da8e2f811d1448a5b465c236feacd80ffbac7b/merges.txt" in shown


@pytest.mark.slow
def test_its_tokenizer_is_given_by_name(sounds: LaionCLAP, tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    recipes = get_protocol("clap").select(["fd@clap-laion-630k"])
    vocabulary, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    arguments = [f"clap-laion-630k={sounds.weights_file}", f"roberta-base-vocab={vocabulary}"]
    files = parse_weights(arguments)
    require_weights(recipes, files)
    (backbone,) = create_backbones(recipes, torch.device("cpu"), files).values()
    with pytest.raises(MissingWeightsError, match="agm weights fetch roberta-base-merges"):
        _ = backbone.tokenizer_files
    files = parse_weights([*arguments, f"roberta-base-merges={merges}"])
    (backbone,) = create_backbones(recipes, torch.device("cpu"), files).values()
    assert backbone.tokenizer_files == (vocabulary, merges)
    assert torch.equal(backbone.embed_text(TEXTS), sounds.embed_text(TEXTS))
    with pytest.raises(UsageError, match=r"roberta-base-vocab.*not used here"):
        require_weights(get_protocol("yamnet").select(None), {"roberta-base-vocab": vocabulary})
