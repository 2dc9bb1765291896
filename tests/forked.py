"""``agm`` in processes of their own that need not load torch again: forked from one that has done nothing but that.

Exit codes, streams, signals, caches and settings are those of a process. What it does not show is what the interpreter
does as it starts and what is imported when: ``fresh_agm`` is for that.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

SCORING = (
    *("scipy.linalg", "scipy.stats", "soundfile", "safetensors.torch", "tqdm", "torch"),
    *("audiogen_metrics.cli.main", "audiogen_metrics.evaluation", "audiogen_metrics.backbones.yamnet"),
    *("audiogen_metrics.embedding.passes", "audiogen_metrics.report.html"),
)
MODELS = (
    *SCORING,
    *("transformers.models.clap.modeling_clap", "transformers.models.roberta.tokenization_roberta"),
    *("transformers.models.speecht5.modeling_speecht5", "diffusers.models", "diffusers.schedulers.scheduling_ddim"),
)
OF_MODELS = ("generate", "finetune", "convert", "clap", "doctor")
"""The commands that load `MODELS`."""

AVAILABLE = sys.platform == "linux"
MESSAGE_BYTES = 2**20


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that were read before a fork: by the interpreter, the linker, torch and transformers."""
    read = (
        "PYTHON",
        "LANG",
        "LC_",
        "LD_",
        "OMP_",
        "MKL_",
        "OPENBLAS_",
        "TORCH",
        "PYTORCH",
        "HOME",
        "XDG_",
        "HF_",
        "HUGG",
    )
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

    def run(
        self, arguments: list[str], cwd: str | Path, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        request = json.dumps({"arguments": arguments, "folder": str(cwd), "environment": dict(env)})
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            socket.send_fds(self.line, [request.encode()], [out.fileno(), err.fileno()])
            process = int(self.line.recv(MESSAGE_BYTES))
            self.line.settimeout(timeout)
            try:
                code = int(self.line.recv(MESSAGE_BYTES))
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                self.line.recv(MESSAGE_BYTES)
                raise subprocess.TimeoutExpired(["agm", *arguments], timeout) from None
            finally:
                self.line.settimeout(None)
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode())
        return subprocess.CompletedProcess(["agm", *arguments], code, *texts)


def serve(line: socket.socket) -> None:
    """Fork once per request and report the exit code; return in the child, which is the command then."""
    while True:
        content, descriptors, *_ = socket.recv_fds(line, MESSAGE_BYTES, 2)
        if not content:
            sys.exit()
        process = os.fork()
        if not process:
            return become(descriptors, **json.loads(content))
        for descriptor in descriptors:
            os.close(descriptor)
        line.send(str(process).encode())
        line.send(str(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])).encode())


def become(descriptors: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Take the streams, the folder, the environment and the arguments of a command."""
    for number, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder  # as `python -m` has it
    sys.argv = ["agm", *arguments]


def command() -> int:
    """Run the command as `python -m audiogen_metrics` would; return its exit code."""
    try:
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
    """End as the interpreter does, but leave what a second of clean-up would free to the system."""
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
        serve(line)
    leave(command())
