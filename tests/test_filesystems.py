"""Which file systems tell a changed file: what the kernel says about real ones, and images that are really mounted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audiogen_metrics.file_hashes import HashMemo, digest_of, identity_of, memo_folder
from audiogen_metrics.filesystems import STAMPING, Volume, kind_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says it in /proc")
TIME = "1600000000"


@linux
def test_the_kernel_names_the_kind(tmp_path: Path) -> None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    assert kind_of(Path("/proc/version")) == "proc"
    # The longest mount point above a folder is its mount, and the last of several there.
    above = [mount for mount in mounts if tmp_path.is_relative_to(mount[1])]
    assert kind_of(tmp_path) == max(above, key=lambda mount: len(mount[1]))[2]
    (tmp_path / "link").symlink_to("/proc/version")
    assert kind_of(tmp_path / "link") == "proc"


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_where_nothing_is_known_nothing_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert kind_of(tmp_path) == ""
    assert not Volume.of(tmp_path).stamps(1)
    assert kind_of(tmp_path / "none") == ""


def test_a_file_that_is_not_there_has_no_kind(tmp_path: Path) -> None:
    assert Volume.of(tmp_path / "none") == Volume("")


def test_kinds() -> None:
    believed = {kind: Volume(kind).stamps(1_600_000_000_123_456_789) for kind in (*STAMPING, "overlay", "squashfs")}
    assert believed == {**dict.fromkeys(STAMPING, True), "overlay": False, "squashfs": False}
    # A server may export an image, and mke2fs fills one with chosen times.
    assert not Volume("nfs4").stamps(1_600_000_000_000_000_000)
    assert not Volume("ext4").stamps(1_600_000_000_000_000_000)
    assert Volume("lustre").stamps(1_600_000_000_000_000_000)


def done(*command: str | Path) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def make(kind: str, source: Path, image: Path) -> bool:
    if "squash" in kind or kind == "overlay":
        times = ("-all-time", TIME, "-mkfs-time", TIME)
        return done("mksquashfs", source, image, *times, "-noappend", "-quiet", "-no-progress")
    if kind == "erofs":
        return done("mkfs.erofs", "-T", TIME, "-U", "00000000-0000-0000-0000-000000000001", image, source)
    if kind == "ext4":
        image.write_bytes(bytes(2**20))
        return done("mkfs.ext4", "-q", "-U", "00000000-0000-0000-0000-000000000001", "-d", source, image)
    return done("genisoimage", "-quiet", "-R", "-o", image, source)


def mount(kind: str, image: Path, where: Path) -> bool:
    if kind == "fuse.squashfuse":
        return done("squashfuse", image, where)
    if kind == "fuse.fuseiso":
        return done("fuseiso", image, where)
    if kind == "overlay":
        lower, upper, work = (image.with_name(f"{image.name}.{part}") for part in ("lower", "upper", "work"))
        for folder in (lower, upper, work):
            folder.mkdir()
        layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
        return mount("squashfs", image, lower) and done("mount", "-t", "overlay", "-o", layers, "overlay", where)
    return done("mount", "-o", "loop,ro", image, where)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "mounted"
    where.mkdir()
    yield where
    for folder in (where, *tmp_path.glob("*.lower")):
        while os.path.ismount(folder):
            subprocess.run(["umount", folder], check=True)


@linux
@pytest.mark.parametrize("kind", ["squashfs", "erofs", "overlay", "ext4", "iso9660", "fuse.squashfuse", "fuse.fuseiso"])
def test_real_images_of_equal_identity(tmp_path: Path, mounted: Path, kind: str) -> None:
    """Two images made alike: whatever the second one's files look like, the memo of the first one does not answer."""
    found = []
    for content in (b"one", b"two"):
        source, image = tmp_path / "source", tmp_path / f"{content.decode()}.img"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        (source / "a.wav").write_bytes(content)
        os.utime(source / "a.wav", (int(TIME), int(TIME)))
        if not (make(kind, source, image) and mount(kind, image, mounted)):
            pytest.skip(f"{kind} images cannot be made or mounted here: the kinds above are tested without")
        path = mounted / "a.wav"
        assert kind_of(path) == kind
        memo = HashMemo(memo_folder(), mounted)
        assert memo.recall(path) is None
        assert path.read_bytes() == content
        memo.remember(path, identity_of(path), digest_of(content))
        memo.save()
        found.append(identity_of(path)[:4])
        for folder in (mounted, *tmp_path.glob("*.lower")):
            while os.path.ismount(folder):
                subprocess.run(["umount", folder], check=True)
    if kind in {"squashfs", "erofs", "overlay", "fuse.squashfuse"}:
        assert found[0] == found[1]
