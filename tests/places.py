"""Where this repository and its recordings are, whatever folder the tests run in."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
GENERATED = EXAMPLES / "generated"
REFERENCE = EXAMPLES / "reference"
