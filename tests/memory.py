"""How far a program's memory grows, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak where Linux tells it")

BEGINNING = r"""
import re, sys, torch
from pathlib import Path

def peak():  # not ru_maxrss, which begins with that of the process that started this one
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\s*(\d+) kB", file.read())[1]) // 1024

def forget():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

torch.set_num_threads(1)
"""


def printed(program: str, *arguments: object) -> list[int]:
    """Return the numbers that a program prints; in it, ``peak()`` is its highest memory in MB since ``forget()``."""
    command = [sys.executable, "-W", "ignore", "-c", BEGINNING + textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return [int(number) for number in done.stdout.split()]
