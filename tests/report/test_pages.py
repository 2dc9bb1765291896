"""Every page that the package writes: in order, named, and readable in both modes without eyes or a mouse."""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics import compare, find_copies
from audiogen_metrics.benchmark.output import write
from audiogen_metrics.benchmark.plans import make_plan
from audiogen_metrics.ranking import score_systems
from audiogen_metrics.report.html import score_html
from audiogen_metrics.report.plots import style_of
from audiogen_metrics.studies import sanity
from tests.benchmark.test_benchmark import CLASSES, faked, settings
from tests.datasets import miniatures
from tests.report.browser import CHROMIUM, Browser
from tests.report.test_html import Outline, outline

PAGES = ("score", "comparison", "ranking", "copies", "benchmark", "study")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of each kind, of twelve short sounds a set."""
    root = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "ref"):
        (root / name).mkdir()
        for number in range(12):
            steps = np.repeat(rng.uniform(200, 4000, 8), 2000)
            sound = 0.3 * np.sin(np.cumsum(2 * np.pi * steps / 16_000))
            soundfile.write(root / name / f"{number}.wav", sound + (name == "c") * rng.normal(0, 0.3, 16_000), 16_000)
    a, b, c, ref = (str(root / name) for name in ("a", "b", "c", "ref"))
    score_html(a, ref, root / "score.html", protocol="yamnet")
    seen = []
    quick = {"protocol": "yamnet", "metrics": ["fd", "kl"], "permutations": 79}
    compare(a, c, ref, **quick, observe=seen.append).to_html(root / "comparison.html", seen[0])
    score_systems([c, a], ref, **quick).to_html(root / "ranking.html")
    find_copies(a, b, heldout=ref, embedding=False, false_alarms=0.5).to_html(root / "copies.html")
    heard = {"protocol": "yamnet", "probes": ["white-noise", "identity"], "fractions": (0, 0.5, 1), "repeats": 2}
    sanity(a, **heard).to_html(root / "study.html")
    plan = make_plan(["table1", "table2"], settings({"esc50": str(miniatures.esc50(root / "ESC-50", CLASSES, 2))}))
    write(plan, faked(plan), root)
    (root / "index.html").rename(root / "benchmark.html")
    return root


@pytest.fixture(scope="module")
def pages(folder: Path) -> dict[str, Outline]:
    return {name: outline(folder / f"{name}.html") for name in PAGES}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_headings_go_down_by_one(pages: dict[str, Outline], name: str) -> None:
    levels = [int(tag[1]) for tag, _ in pages[name].elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_everything_has_a_name_of_its_own(pages: dict[str, Outline], name: str) -> None:
    page = pages[name]
    ids = [each["id"] for _, each in page.elements if "id" in each]
    assert len(ids) == len(set(ids))
    assert {str(each["href"])[1:] for each in page.all("a")} <= set(ids)
    assert {each["aria-labelledby"] for each in page.all("section")} <= set(ids)
    regions = [each["aria-label"] for each in page.all("div") if each.get("role") == "region"]
    assert all(regions)
    assert len(regions) == len(set(regions)) >= len(page.all("table")) > 0
    assert len(page.all("caption")) == len(page.all("table"))
    assert len(page.all("figcaption")) == len(page.all("figure"))
    assert all(each.get("scope") in ("row", "col") for each in page.all("th"))
    assert all(each.get("alt") for each in page.all("img"))
    assert all(each.get("aria-label") for each in page.all("audio"))
    assert all(each.get("aria-label") or each.get("aria-hidden") for each in page.all("svg"))
    assert [*page.all("html"), len(page.all("main")), len(page.all("header"))] == [{"lang": "en"}, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_whatever_scrolls_or_opens_takes_the_keyboard(pages: dict[str, Outline], name: str) -> None:
    page = pages[name]
    assert {each.get("tabindex") for each in page.all("div") if each.get("class") == "scroll"} <= {"0"}
    assert len(page.all("summary")) == len(page.all("details"))
    assert not [each for _, each in page.elements if each.get("tabindex") not in (None, "0", "-1")]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_heads_stand_over_their_columns(pages: dict[str, Outline], name: str) -> None:
    """A head has the class of its cells, so that both are aligned alike."""
    heads: list[str | None] = []
    cells: list[str | None] = []
    for tag, each in [*pages[name].elements, ("table", {})]:
        if tag in ("table", "tr") and cells:
            assert cells == heads[1:]
            cells = []
        if tag == "table":
            heads = []
        elif tag == "th" and each["scope"] == "col":
            heads.append(each["class"])
        elif tag == "td":
            cells.append(each["class"])


@pytest.mark.slow
def test_the_verdict_comes_first(pages: dict[str, Outline]) -> None:
    for name, words in {
        "score": "No difference from the reference beyond chance is found at this n by FD (p = ",
        "comparison": "A is better by FD",
        "ranking": "a is better than the other beyond chance by FD",
        "study": "respond to white-noise",
        "copies": " of 12 generated clips are called copies of training clips",
    }.items():
        text = pages[name].text
        assert 0 < text.index(words) < text.index("12 clips (12.0 s)"), name


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or shutil.which("bash") is None, reason="no Chromium here")
def test_on_a_phone(folder: Path, tmp_path: Path) -> None:
    """Nothing widens the page, drawings have letters of 11 pixels or more, and the focus can be seen in a player."""
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    letters = """[...document.querySelectorAll("svg text")].map((text) => parseFloat(getComputedStyle(text).fontSize)
        * text.ownerSVGElement.getBoundingClientRect().width / text.ownerSVGElement.viewBox.baseVal.width)"""
    browser = Browser(tmp_path)
    try:
        browser.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=False)
        drawn = []
        for name in PAGES:
            browser.open(folder / f"{name}.html")
            assert browser.run(too_wide) == 0, name
            drawn += browser.run(letters)
        assert min(drawn) >= 11
        browser.open(folder / "score.html")
        browser.run("document.querySelector('audio').focus({focusVisible: true})")
        assert browser.run("getComputedStyle(document.querySelector('audio')).outlineStyle") == "solid"
    finally:
        browser.close()


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    dark, light = sorted(map(luminance, (first, second)))
    return (light + 0.05) / (dark + 0.05)


def test_colours_can_be_read_in_both_modes() -> None:
    """By WCAG 2.1: 4.5 for text, 3 for what is drawn."""
    sheet = (files("audiogen_metrics.report") / "page.css").read_text(encoding="utf-8")
    modes = [dict(re.findall(r"--(\w+):(#\w+)", block)) for block in re.findall(r":root\{([^}]+)\}", sheet)]
    assert len(modes) == 2
    for mode in modes:
        grounds = [mode.pop("paper"), mode.pop("panel")]
        del mode["line"]  # between rows, where nothing is to be read
        assert len(mode) == 6
        for name, colour in mode.items():
            assert min(contrast(colour, ground) for ground in grounds) >= 4.5, name
    for number in range(5):
        assert contrast(style_of(number)["color"], "#ffffff") >= 3
