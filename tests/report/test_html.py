"""The page of a score: complete, escaped, alone, and working in a browser."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audiogen_metrics import score
from audiogen_metrics.cli.main import main
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.probes.copying import CopyOptions, corrupt_folder
from audiogen_metrics.report.diagnosis import diagnose
from audiogen_metrics.report.html import score_html
from audiogen_metrics.report.media import png
from tests.conftest import EXAMPLES, write_tone
from tests.report.browser import CHROMIUM, Browser

EVIL = "<script>document.title='owned'</script>"
QUOTES = "\"onload='x' & <b>"
VOID = {"meta", "link", "img", "input", "br"}


class Outline(HTMLParser):
    """Elements with their attributes, and whether every one is closed in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: Any) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def outline(path: Path) -> Outline:
    parsed = Outline()
    parsed.feed(path.read_text(encoding="utf-8"))
    parsed.close()
    assert parsed.open == []
    return parsed


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Six pairs, one of them with a name that is markup, and a broken file with another."""
    root = tmp_path_factory.mktemp("sets")
    for source, name in (("generated", "gen"), ("reference", "ref")):
        clips = sorted(path for path in (EXAMPLES / source).rglob("*") if path.is_file())[:6]
        for place, clip in enumerate(clips):
            stem = {0: EVIL.replace("/", "∕"), 1: QUOTES}.get(place, f"clip {place}")
            target = root / name / "sub" / f"{stem}{clip.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, target)
    (root / "gen" / f"broken {EVIL.replace('/', '∕')}.wav").write_bytes(b"RIFF")
    return root / "gen", root / "ref"


@pytest.fixture(scope="module")
def made(folders: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page's path and the report."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    return path, score_html(*folders, path, protocol="yamnet", cache=False)


@pytest.mark.slow
def test_every_part_is_there(made: Any) -> None:
    path, report = made
    page = outline(path)
    for heading in (
        "Read this first",
        "Scores",
        "Where the sets lie",
        "Divergence by clip",
        "What single clips do",
        "What is heard",
        "Clips",
    ):
        assert heading in page.text
    assert report == score(report.gen.path, report.ref.path, protocol="yamnet")
    assert report.gen.digest in page.text
    assert report.backbones["yamnet"]["weights_sha256"] in page.text
    for item in report.scores.values():
        assert (f"Not computed: {item.reason}" if item.value is None else f"{item.value:.4g}") in page.text
    assert f"{report['fd_yamnet'].details['covariance_term']:.4g}" in page.text
    assert "Worst 3 by KL" in page.text
    assert "Best 3 by KL" in page.text
    assert page.text.index("Read this first") < page.text.index("Scores with")


def test_influence_is_what_leaving_a_clip_out_does(folders: Any, tmp_path: Path) -> None:
    gen, ref = folders
    seen = []
    full = score(gen, ref, protocol="yamnet", metrics=["fd"], observe=seen.append)
    influence = diagnose(seen[0]).influence
    assert influence is not None
    without = {}
    for clip in full.gen.files:
        fewer = tmp_path / f"without {len(without)}"
        shutil.copytree(gen, fewer)
        next(path for path in fewer.rglob("*") if path.with_suffix("").name == clip.rpartition("/")[2]).unlink()
        without[clip] = score(fewer, ref, protocol="yamnet", metrics=["fd"])["fd_yamnet"].value
    mean = np.mean(list(without.values()))
    assert influence.by_clip == pytest.approx({clip: mean - value for clip, value in without.items()}, abs=1e-5)
    assert list(influence.by_clip.values()) == sorted(influence.by_clip.values(), reverse=True)


def test_nothing_comes_from_elsewhere(made: Any) -> None:
    page = outline(made[0])
    links = [value for _, each in page.elements for name, value in each.items() if name in ("src", "href", "action")]
    assert links
    assert all(str(link).startswith(("data:", "#")) for link in links)
    assert not re.search(r"@import|url\(", made[0].read_text())
    policy = next(each["content"] for each in page.all("meta") if each.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_names_are_escaped(made: Any) -> None:
    page = outline(made[0])
    assert len(page.all("script")) == 1
    assert "owned" in page.text
    assert not any(name.startswith("on") for _, each in page.elements for name in each)
    assert any(QUOTES in str(each.get("aria-label")) for each in page.all("audio"))


def test_readable_without_eyes_or_mouse(made: Any) -> None:
    page = outline(made[0])
    assert page.all("html") == [{"lang": "en"}]
    assert all(each.get("alt") for each in page.all("img"))
    assert all(each.get("aria-label") and each.get("controls", "") is None for each in page.all("audio"))
    drawings = page.all("svg")
    assert all(each.get("aria-label") if each.get("role") == "img" else each.get("aria-hidden") for each in drawings)
    assert len(page.all("caption")) == len(page.all("table")) >= 8
    assert all(each.get("scope") in ("row", "col") for each in page.all("th"))
    assert {each["for"] for each in page.all("label")} == {"filter"}
    names = [each["id"] for _, each in page.elements if "id" in each]
    assert len(names) == len(set(names))
    assert {str(each["href"])[1:] for each in page.all("a")} <= set(names)


@pytest.mark.slow
def test_reference_known_by_statistics(folders: Any, tmp_path: Path) -> None:
    built = reference_statistics(folders[1], protocol="yamnet")
    built.save(tmp_path / "ref.stats")
    score_html(folders[0], tmp_path / "ref.stats", tmp_path / "page.html", protocol="yamnet")
    page = outline(tmp_path / "page.html")
    assert "0 ref clips drawn" in page.text
    assert "No nearest reference clips" in page.text
    assert "Worst 3 by KL" in page.text


@pytest.mark.slow
def test_unpaired_sets_are_ordered_by_distance(folders: Any, tmp_path: Path) -> None:
    score_html(*folders, tmp_path / "page.html", protocol="yamnet", pairing="none")
    page = outline(tmp_path / "page.html")
    assert "Worst 3 by distance to the nearest reference clip" in page.text
    assert "No KL by clip" in page.text


def test_two_clips(tmp_path: Path) -> None:
    """Too little for most of the page, which says so."""
    for name in ("gen", "ref"):
        write_tone(tmp_path / name / f"{name}.wav")
    score_html(tmp_path / "gen", tmp_path / "ref", tmp_path / "page.html", protocol="yamnet")
    assert "No map of the sets: " in outline(tmp_path / "page.html").text


@pytest.mark.slow
def test_what_does_not_fit_is_said(folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiogen_metrics.report.html.AUDIO_BYTES", 30_000)
    score_html(*folders, tmp_path / "page.html", protocol="yamnet")
    page = outline(tmp_path / "page.html")
    assert re.search(r"\d+ clips have no player", page.text)
    assert len(page.all("audio")) < len(page.all("img"))


@pytest.mark.slow
def test_command_line(agm: Any, folders: Any, tmp_path: Path) -> None:
    done = agm("score", *folders, "--protocol", "yamnet", "--html", tmp_path / "page.html", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scores"]
    outline(tmp_path / "page.html")
    done = agm("score", *folders, "--protocol", "yamnet", "--html", tmp_path, "--format", "json")
    assert done.returncode == 2
    assert "is a folder, not a file" in done.stderr
    done = agm("score", *folders, "--protocol", "yamnet", "--html", "/proc/page.html", "--format", "json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["scores"]


def test_png_is_png(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow reads the picture back")
    (tmp_path / "a.png").write_bytes(png(np.arange(256, dtype=np.uint8).reshape(8, 32)))
    with image.open(tmp_path / "a.png") as picture:
        assert picture.size == (32, 8)
        lightness = np.asarray(picture.convert("L"), dtype=int).ravel()
    assert (np.diff(lightness) >= -1).all()


@pytest.fixture(scope="module")
def compared(folders: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page of a comparison with a noisy copy, one clip of which is broken."""
    gen, ref = folders
    root = tmp_path_factory.mktemp("compared")
    corrupt_folder(gen, root / "noisy", CopyOptions(probe="white-noise", severity=0.9))
    command = ["compare", str(gen), str(root / "noisy"), str(ref), "--protocol", "yamnet", "--permutations", "19"]
    assert main([*command, "-m", "fd,kl", "--html", str(root / "page.html"), "-o", str(root / "out")]) == 0
    return root / "page.html"


@pytest.mark.slow
def test_page_of_a_comparison(compared: Any) -> None:
    page = outline(compared)
    for text in (
        "Verdicts",
        "fd_yamnet",
        "verdict",
        "A is ahead by KL",
        "B is ahead",
        "random exchanges",
        "skipped",
    ):
        assert text in page.text, text
    assert len(page.all("audio")) == 6 * 3
    assert len(page.all("script")) == 1
    assert all(str(each["src"]).startswith("data:") for each in page.all("audio") + page.all("img"))
    assert len(page.all("caption")) == len(page.all("table")) == 5
    assert {str(each["href"])[1:] for each in page.all("a")} <= {str(e["id"]) for _, e in page.elements if "id" in e}


def test_page_of_systems_with_other_prompts(folders: Any, tmp_path: Path) -> None:
    for place, path in enumerate(sorted(path for path in folders[0].rglob("*") if path.is_file())[1:]):
        (tmp_path / "other").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "other" / f"{place}{path.suffix}")
    command = ["compare", str(folders[0]), str(tmp_path / "other"), str(folders[1]), "--protocol", "yamnet", "-m", "fd"]
    assert main([*command, "--html", str(tmp_path / "page.html"), "-o", str(tmp_path / "out")]) == 0
    page = outline(tmp_path / "page.html")
    assert "No prompts" in page.text
    assert "p comes from the standard error" in page.text


def test_page_of_a_comparison_by_pairs(tmp_path: Path) -> None:
    """A prompt's reference is the one that its pair says, whatever the clip is called."""
    for number in range(4):
        for name in (f"a/{number}_0", f"b/{number}_0", f"ref/{number}"):
            write_tone(tmp_path / f"{name}.wav")
    command = ["compare", *(str(tmp_path / name) for name in ("a", "b", "ref")), "--protocol", "yamnet", "-m", "kl"]
    command += ["--pairs", "{ref}_{sample}", "--html", str(tmp_path / "page.html")]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    assert len(outline(tmp_path / "page.html").all("audio")) == 4 * 3


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or shutil.which("bash") is None, reason="no Chromium here")
def test_in_a_browser(made: Any, compared: Any, tmp_path: Path) -> None:
    """It renders, filters and plays, says nothing on the console and asks the network for nothing."""
    browser = Browser(tmp_path)
    try:
        browser.open(compared)
        assert browser.run("document.querySelectorAll('.clips > li').length") == 6
        assert browser.run("document.querySelector('audio').play().then(() => 'plays', (error) => String(error))") == (
            "plays"
        )
        browser.open(made[0])
        assert browser.run("document.title").endswith("audiogen-metrics")
        assert browser.run("document.querySelectorAll('.clips > li').length") == 6
        shown = "[...document.querySelectorAll('.clips > li')].filter((clip) => clip.offsetHeight > 0).length"
        assert browser.run(shown) == 6
        typed = "const f = document.getElementById('filter'); f.value = {}; f.dispatchEvent(new Event('input'))"
        browser.run(f"{{{typed.format(json.dumps('CLIP 3'))}}}")
        assert browser.run(shown) == 1
        assert browser.run("document.getElementById('count').textContent") == "1 of 6 clips shown"
        browser.run(f"{{{typed.format(json.dumps(''))}}}")
        assert browser.run(shown) == 6
        assert browser.run("document.querySelector('audio').play().then(() => 'plays', (error) => String(error))") == (
            "plays"
        )
        assert browser.run("document.querySelector('audio').duration") > 0.1
        assert browser.run("[...document.images].every((image) => image.decode)")
        light = browser.run("getComputedStyle(document.body).backgroundColor")
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        assert browser.run("getComputedStyle(document.body).backgroundColor") != light
        assert browser.console == []
        assert {request.split(":")[0] for request in browser.requests} <= {"file", "data"}
        assert sum(request.startswith("file:") for request in browser.requests) == 2
    finally:
        browser.close()
