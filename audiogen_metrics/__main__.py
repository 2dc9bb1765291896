"""``python -m audiogen_metrics`` is ``agm``."""

import contextlib
import os
import signal
from types import FrameType

_IMPORTING = "<frozen importlib._bootstrap>"


def entry() -> None:
    """Run the command line, which Ctrl-C ends with exit code 130 at any time."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where the caller has it ignored
        signal.signal(signal.SIGINT, _interrupt)
    from audiogen_metrics.cli.main import entry as run

    run()


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; end the process at once where a module is being imported.

    There the exception is not sure to arrive: torch's C code drops what is raised while it imports numpy, and the run
    would go on with half of numpy.
    """
    place = frame
    while place is not None:
        if place.f_code.co_filename == _IMPORTING:
            with contextlib.suppress(OSError):
                os.write(2, b"agm: interrupted\n")
            os._exit(128 + signal_number)
        place = place.f_back
    signal.default_int_handler(signal_number, frame)


if __name__ == "__main__":
    entry()
