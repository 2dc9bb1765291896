"""``agm`` in processes of their own that need not load torch again: forked from one that has done nothing but that.

Exit codes, streams, signals, caches and settings are those of a process. What it does not show is what the interpreter
does as it starts and what is imported when: ``fresh_agm`` is for that.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn, Self

LIBRARIES = ("scipy.linalg", "scipy.stats", "soundfile", "safetensors.torch", "tqdm", "torch")
SCORING = (
    *LIBRARIES,
    *("audiogen_metrics.cli.main", "audiogen_metrics.evaluation", "audiogen_metrics.backbones.yamnet"),
    *("audiogen_metrics.embedding.passes", "audiogen_metrics.report.html"),
)
MODELS = (
    *SCORING,
    *("transformers.models.clap.modeling_clap", "transformers.models.roberta.tokenization_roberta"),
    *("transformers.models.speecht5.modeling_speecht5", "diffusers.models", "diffusers.schedulers.scheduling_ddim"),
)
AVAILABLE = sys.platform == "linux"
REQUEST_BYTES = 2**20


def modules(name: str) -> tuple[str, ...]:
    """Return what a command loads."""
    return MODELS if name in ("generate", "finetune", "convert", "clap", "doctor") else SCORING


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that were read before a fork: by the interpreter, the linker, torch and transformers."""
    read = ("PYTHON", "LANG", "LC_", "LD_", "OMP_", "MKL_", "TORCH", "PYTORCH", "HOME", "XDG_", "HF_", "HUGGINGFACE_")
    return {name: value for name, value in environment.items() if name.startswith(read)}


class Server:
    """The process that is forked, and what it has loaded."""

    def __init__(self, modules: Sequence[str]) -> None:
        self.environment = at_start(os.environ)
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", __file__, str(theirs.fileno()), *modules]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def close(self) -> None:
        self.line.close()
        self.process.wait(timeout=30)

    def start(self, arguments: list[str], folder: str | Path, environment: Mapping[str, str], code: str = "") -> Forked:
        """Begin a command, or a program of its own."""
        request = json.dumps([arguments, str(folder), dict(environment), code])
        streams = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - `Forked` closes them
        news, told = os.pipe()
        socket.send_fds(self.line, [request.encode()], [*(stream.fileno() for stream in streams), told])
        os.close(told)
        return Forked(arguments, streams, news)


class Forked:
    """A command that runs: as much of `subprocess.Popen` as tests need."""

    def __init__(self, arguments: list[str], streams: tuple[IO[bytes], IO[bytes]], news: int) -> None:
        self.args = ["agm", *arguments]
        self.returncode: int | None = None
        self._streams, self._news = streams, news
        self.pid = self._heard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)
            self.wait()
        os.close(self._news)
        for stream in self._streams:
            stream.close()

    def _heard(self) -> int:
        content = os.read(self._news, 4)
        assert content, "the process that is forked has ended"
        return int.from_bytes(content, signed=True)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if self.returncode is None and select.select([self._news], [], [], 0)[0]:
            self.returncode = self._heard()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code."""
        if self.poll() is None:
            if not select.select([self._news], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._heard()
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return what it wrote until its end to stdout and stderr."""
        self.wait(timeout)
        for stream in self._streams:
            stream.seek(0)
        out, err = (stream.read().decode() for stream in self._streams)
        return out, err


def serve(line: socket.socket) -> str:
    """Fork at each request and tell of each end; return in the children, which are the commands then, with the code."""
    waiting = select.poll()
    waiting.register(line, select.POLLIN)
    running: dict[int, tuple[int, int]] = {}
    while True:
        for descriptor, _ in waiting.poll():
            if descriptor in running:
                process, told = running.pop(descriptor)
                waiting.unregister(descriptor)
                tell(told, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
                os.close(descriptor)
                os.close(told)
                continue
            content, streams, *_ = socket.recv_fds(line, REQUEST_BYTES, 3)
            if not content:
                sys.exit()
            process = os.fork()
            if not process:
                return become(streams, *json.loads(content))
            for stream in streams[:2]:
                os.close(stream)
            end = os.pidfd_open(process)
            running[end] = process, streams[2]
            waiting.register(end, select.POLLIN)
            tell(streams[2], process)


def tell(descriptor: int, number: int) -> None:
    """Write a number to whoever waits for it, who may be gone."""
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, number.to_bytes(4, signed=True))


def become(streams: list[int], arguments: list[str], folder: str, environment: dict[str, str], code: str) -> str:
    """Take the streams, the folder, the environment and the arguments of a command; return its code."""
    for number, stream in enumerate(streams[:2], 1):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder  # as `python -m` has it
    sys.argv = ["-c" if code else "agm", *arguments]
    return code


def command(code: str) -> int:
    """Run code as `python -c` would, or `python -m audiogen_metrics`; return the exit code."""
    try:
        if code:
            sys.modules["__main__"] = main = types.ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), main.__dict__)
        else:
            runpy.run_module("audiogen_metrics", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def leave(code: int) -> NoReturn:
    """End as the interpreter does, but leave to the system what a second of clean-up would free."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, as in `audiogen_metrics.backbones.transformers`
        for name in sys.argv[2:]:
            importlib.import_module(name)
    gc.freeze()  # a collection in a child would copy all of it
    sys.path.insert(0, "")
    with socket.socket(fileno=int(sys.argv[1])) as line:
        program = serve(line)
    leave(command(program))
