"""``python -m audiogen_metrics`` is ``agm``."""

import sys


def entry() -> None:
    """Run the command line; also an interruption while it is still being imported ends with its exit code."""
    try:
        from audiogen_metrics.cli.main import entry as run
    except KeyboardInterrupt:
        print("agm: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    entry()
