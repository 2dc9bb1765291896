"""Make the pictures of docs/gallery.md with the commands that stand there, from the example recordings.

It needs Chromium, and is run in the folder of the repository::

    python -m benchmarks.once.gallery_pictures docs/_static/shown/
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

from audiogen_metrics.cli.main import main
from tests.report.browser import Browser
from tests.test_docs import ROOT, commands

WIDTH, HEIGHT = 1100, 940
COLOURS = 64
"""What keeps a picture of a page below 120 kB."""


def small(picture: bytes) -> bytes:
    """Return a picture as PNG with a palette."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as image:
        plain = image.convert("RGB")
        plain.quantize(COLOURS, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
    return file.getvalue()


def photographed(browser: Browser, page: Path, scheme: str) -> bytes:
    """Return the first screen of a page."""
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)
    browser.call("Emulation.setScrollbarsHidden", hidden=True)
    browser.open(page)
    return base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"])


def make(target: Path) -> None:
    """Run the page's commands in a folder that is thrown away, and write the pictures."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "examples").symlink_to(ROOT / "examples")
        os.chdir(folder)
        for words in commands((ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")):
            assert main(words) == 0, words
        (target / "study.png").write_bytes(small(Path("study/fraction.png").read_bytes()))
        browser = Browser(Path(folder, "profile"))
        try:
            for page in sorted(Path().glob("*.html")):
                for scheme in ("light", "dark"):
                    (target / f"{page.stem}-{scheme}.png").write_bytes(small(photographed(browser, page, scheme)))
        finally:
            browser.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute())
