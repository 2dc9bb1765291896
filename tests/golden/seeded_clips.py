"""Write what `audiogen_metrics.selftest` knows of the clips that musegauge's published values were made on.

``python -m tests.golden.seeded_clips FOLDER``: FOLDER is what ``tests/make_fixtures.py FOLDER`` of musegauge 0.1.4 has
written. Its golden files state one digest for each set, over all names and files, so that clips made on another machine
are known to be those of its values before they are trusted here.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import soundfile

from audiogen_metrics.selftest.clips import SEEDS, fingerprint

PUBLISHED = {
    "gen": "227126d3a362ff1c99e5af19cfc89c4c30ee3c2cd2b6b8262919c9ff7d6a5ffb",
    "ref": "12b91a34db91d3639f25171cd05774c88a2ec0c85b306b9e055893675cafe73f",
}
"""``fixture_sha256`` of musegauge's golden files."""

DATA = Path(__file__).parents[2] / "audiogen_metrics" / "selftest" / "data" / "clips.json"


def digest(files: dict[str, bytes]) -> str:
    """Return the SHA-256 over names and contents, in the order of the names."""
    together = hashlib.sha256()
    for name in sorted(files):
        together.update(name.encode() + files[name])
    return together.hexdigest()


def main(folder: Path) -> None:
    """Write the file anew."""
    known = {}
    for name in SEEDS:
        paths = sorted((folder / f"{name}_small").iterdir())
        assert digest({path.name: path.read_bytes() for path in paths}) == PUBLISHED[name]
        known |= {path.stem: fingerprint(soundfile.read(path, dtype="int16")[0]) for path in paths}
    # A line a clip.
    lines = ",\n".join(f" {json.dumps(clip)}: {json.dumps(content)}" for clip, content in known.items())
    DATA.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
