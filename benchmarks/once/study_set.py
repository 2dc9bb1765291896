"""Collect the recordings behind the studies in docs/probes.md.

They come from the Debian packages sonic-pi-samples (CC0) and klettres-data (spoken syllables), and those of the wider
set from lmms-common too::

    python benchmarks/once/study_set.py set16/
    agm study set16/ --protocol yamnet -o docs/_static/study/
    python benchmarks/once/study_set.py --wide set21/
    agm study set21/ --protocol yamnet
"""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from pathlib import Path

import soundfile

SAMPLES = Path("/usr/share/sonic-pi/samples")
SYLLABLES = Path("/usr/share/klettres")
LMMS = Path("/usr/share/lmms/samples")
WIDE = ("basses", "beats", "drums", "effects", "stringsnpads")
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


def more_classes() -> dict[str, list[Path]]:
    """Return the files of five more classes, of at least 0.6 s; what is no audio for libsndfile is left out."""
    return {
        f"lmms-{name}": [path for path in sorted((LMMS / name).iterdir()) if _lasts(path)][:PER_CLASS] for name in WIDE
    }


def _lasts(path: Path) -> bool:
    try:
        return soundfile.info(path).duration >= 0.6
    except soundfile.LibsndfileError:
        return False


def main(target: Path, *, wide: bool) -> None:
    """Copy the files into one folder per class."""
    needed = {SAMPLES: "sonic-pi-samples", SYLLABLES: "klettres-data"} | ({LMMS: "lmms-common"} if wide else {})
    lacking = [package for folder, package in needed.items() if not folder.is_dir()]
    if lacking:
        sys.exit(f"install the Debian packages {' '.join(lacking)} first")
    for name, paths in (classes() | (more_classes() if wide else {})).items():
        (target / name).mkdir(parents=True)
        for path in paths:
            shutil.copy(path, target / name)


if __name__ == "__main__":
    main(Path(sys.argv[-1]), wide="--wide" in sys.argv[1:-1])
