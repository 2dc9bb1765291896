"""Tell on which file systems an unchanged size, time and inode mean an unchanged file."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

RACY_NS = 2_000_000_000
"""A file changed within this time before it was hashed may change again with the same time stamp."""

STAMPING = frozenset(
    [
        "bcachefs",
        "btrfs",
        "ceph",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "tmpfs",
        "xfs",
        "zfs",
    ]
)
"""Linux file systems whose kernel or server sets a file's change time by its own clock whenever the file changes.

No program can set that time, so another content has another one. Any other kind can show other content under equal
size, times and inode, and is not listed: images carry the times that their maker chose, often one for all (squashfs,
erofs, iso9660, udf, cramfs, romfs); overlay and aufs may show files of such images; FUSE, virtiofs, 9p and SMB
pass on what a program or another system says; FAT, exFAT and NTFS have no such time, or a coarse one.
"""

WHOLE_SECONDS = frozenset(["lustre"])
"""Kinds among them whose change times are whole seconds. Elsewhere a whole second was hardly a clock's: it comes from a
tool that made the file system with its files in it (``mke2fs -d``), or from an image that an NFS server exports."""


@dataclass(frozen=True)
class Volume:
    """The mounted file system that holds a file.

    Parameters
    ----------
    kind
        Its type as Linux names it (``ext4``, ``nfs4``, ``squashfs`` …); empty where that cannot be found out.
    serial
        What the system tells it by from others of its kind; 0 where it does not.
    """

    kind: str
    serial: int = 0

    @classmethod
    def of(cls, path: Path) -> Volume:
        """Return the volume of an existing file."""
        kind = kind_of(path)
        try:
            return cls(kind, os.statvfs(path).f_fsid) if kind in STAMPING else cls(kind)
        except OSError:
            return cls("")

    def stamps(self, changed_ns: int) -> bool:
        """Tell whether another content would have another change time (ns) than this one."""
        return self.kind in STAMPING and (changed_ns % 10**9 != 0 or self.kind in WHOLE_SECONDS)

    def __str__(self) -> str:
        return f"{self.kind} {self.serial:x}"


def kind_of(path: Path) -> str:
    """Return the type of the file system that holds a file, as Linux names it; empty where that cannot be found out.

    The kernel itself says by which mount it reached the file, so bind mounts, links and mounts over mounts are told
    apart. Other systems do not say it in this way.
    """
    if sys.platform != "linux":
        return ""
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            described = Path(f"/proc/self/fdinfo/{file}").read_bytes()
        finally:
            os.close(file)
        mounts = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return ""
    mount = next((line.split()[1] for line in described.splitlines() if line.startswith(b"mnt_id:")), None)
    for line in mounts.splitlines():
        # "36 35 98:0 /root /where rw,noatime shared:1 - ext3 /dev/sda1 rw": the number of optional fields varies
        about, _, system = line.partition(b" - ")
        if about.split()[0] == mount:
            return os.fsdecode(system.split()[0])
    return ""
