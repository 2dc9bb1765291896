"""Collect the recordings behind the study in docs/probes.md.

They come from the Debian packages sonic-pi-samples (CC0) and klettres-data (spoken syllables)::

    python benchmarks/study_set.py set/
    agm study set/ --protocol yamnet -o docs/_static/study/
"""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from pathlib import Path

import soundfile

SAMPLES = Path("/usr/share/sonic-pi/samples")
SYLLABLES = Path("/usr/share/klettres")
LANGUAGES = ("de", "es", "fr", "it", "nl", "ru")
PER_CLASS = 12
PER_LANGUAGE = 9


def classes() -> dict[str, list[Path]]:
    """Return the files of each class: samples of at least 1 s by their prefix, syllables of 0.6 s by language."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(SAMPLES.glob("*.flac")):
        if soundfile.info(path).duration >= 1.0:
            found[path.stem.split("_")[0]].append(path)
    found = {name: paths[:PER_CLASS] for name, paths in found.items() if len(paths) >= 3}
    for language in LANGUAGES:
        paths = sorted((SYLLABLES / language / "syllab").glob("*.ogg"))
        found[f"speech-{language}"] = [path for path in paths if soundfile.info(path).duration >= 0.6][:PER_LANGUAGE]
    return found


def main(target: Path) -> None:
    """Copy the files into one folder per class."""
    if not SAMPLES.is_dir() or not SYLLABLES.is_dir():
        sys.exit("install the Debian packages sonic-pi-samples and klettres-data first")
    for name, paths in classes().items():
        (target / name).mkdir(parents=True)
        for path in paths:
            shutil.copy(path, target / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
