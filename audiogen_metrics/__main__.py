"""``python -m audiogen_metrics`` is ``agm``."""

from audiogen_metrics.cli.main import entry

if __name__ == "__main__":
    entry()
