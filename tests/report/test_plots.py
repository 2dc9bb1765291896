"""Figures as a page of a paper prints them: fonts, sizes, bytes, and lines that can be told apart in grey."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from audiogen_metrics.errors import UsageError
from audiogen_metrics.report.labels import in_papers_order, labels_of
from audiogen_metrics.report.plots import COLUMN, FORMATS, PAGE, Curve, Panel, draw, draw_for_print, style_of
from audiogen_metrics.report.training import panels_over_steps
from tests.report.test_pages import contrast

X = [0.0, 0.25, 0.5, 0.75, 1.0]


def panels(count: int, lines: int = 5) -> list[Panel]:
    curves = [Curve(f"line {style}", style, X, X, X, X) for style in range(lines)]
    return [Panel(f"FD {number} ↓", "share", "", curves) for number in range(count)]


def size_of(pdf: Path) -> tuple[float, float]:
    """Return width and height of the page in inches."""
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf.read_bytes())
    assert box is not None
    return float(box[1]) / 72, float(box[2]) / 72


def text_of(pdf: Path) -> bytes:
    """Return what the streams of a PDF hold, unpacked."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf.read_bytes(), re.DOTALL)
    found = []
    for stream in streams:
        try:
            found.append(zlib.decompress(stream))
        except zlib.error:
            found.append(stream)
    return b"\n".join(found)


@pytest.mark.slow
def test_a_paper_gets_vectors_with_truetype_fonts_at_its_widths(tmp_path: Path) -> None:
    files = draw_for_print(panels(4), tmp_path, "figure", "Scores of a set.")
    assert [file.name for file in files] == [
        "figure.pdf", "figure.svg", "figure.png", "figure-column.pdf", "figure.tex",
    ]  # fmt: skip
    for name, width in (("figure.pdf", PAGE), ("figure-column.pdf", COLUMN)):
        content = (tmp_path / name).read_bytes()
        assert b"/FontFile2" in content  # TrueType; Type 3 is what publishers refuse
        assert b"/Type3" not in content
        assert b"/Subtype /Image" not in content
        assert b"CreationDate" not in content
        assert size_of(tmp_path / name)[0] == pytest.approx(width, abs=0.01)
        assert size_of(tmp_path / name)[1] < 2.2  # one row
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width == round(300 * PAGE)
    text = (tmp_path / "figure.tex").read_text()
    assert r"\includegraphics[width=\textwidth]{figure.pdf}" in text
    assert "Scores of a set." in text


@pytest.mark.slow
def test_panels_beyond_four_have_a_row_of_their_own(tmp_path: Path) -> None:
    draw_for_print(panels(4), tmp_path, "four", "x")
    draw_for_print(panels(5), tmp_path, "five", "x")
    (_, four), (width, five) = size_of(tmp_path / "four.pdf"), size_of(tmp_path / "five.pdf")
    assert width == pytest.approx(PAGE, abs=0.01)
    assert 1.5 < five / four < 2


@pytest.mark.slow
def test_many_long_names_fit_the_legend(tmp_path: Path) -> None:
    """Nothing of a legend is cut at the edge: there is white around it."""
    curves = [Curve(f"a name of a probe, number {style}", style, X, X, X, X) for style in range(12)]
    for width in (PAGE, COLUMN):
        draw([[Panel(f"FD {number} ↓", "share", "", curves) for number in range(4)]], tmp_path / "a.png", width=width)
        with Image.open(tmp_path / "a.png") as picture:
            pixels = np.asarray(picture.convert("L"))
        assert pixels[:, :3].min() == 255
        assert pixels[:, -3:].min() == 255
        assert pixels[:3].min() == 255


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_equal_panels_give_equal_bytes_in_any_process(tmp_path: Path, suffix: str) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "from tests.report.test_plots import panels; from audiogen_metrics.report.plots import draw;"
        "draw([panels(2)], Path(sys.argv[1]), width=7.16)"
    )
    contents = set()
    for seed, date in (("1", "1"), ("2", "1700000000")):
        path = tmp_path / f"{seed}{suffix}"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": date}
        root = str(Path(__file__).parents[2])
        subprocess.run([sys.executable, "-c", code, str(path), root], check=True, env=environment)
        contents.add(path.read_bytes())
    draw([panels(2)], tmp_path / f"here{suffix}", width=PAGE)
    contents.add((tmp_path / f"here{suffix}").read_bytes())
    assert len(contents) == 1


def grey(number: int) -> npt.NDArray[np.float64]:
    """Return a line as a legend shows it, in grey."""
    from matplotlib.figure import Figure

    figure = Figure((1.0, 0.15), dpi=200)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    style = {**style_of(number), "markevery": [1]}
    axes.plot([0.05, 0.5, 0.95], [0.5] * 3, linewidth=1, markersize=3, markeredgewidth=0.6, **style)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    file = io.BytesIO()
    figure.savefig(file, format="png")
    with Image.open(file) as picture:
        return np.asarray(picture.convert("L"), dtype=float)


def test_lines_can_be_told_apart_in_grey() -> None:
    pictures = [grey(number) for number in range(12)]
    ink = min((255 - picture).sum() for picture in pictures)
    for first in range(12):
        for second in range(first):
            assert np.abs(pictures[first] - pictures[second]).sum() > 0.2 * ink, (first, second)
    shapes = {
        (str(style["linestyle"]), style["marker"], style["markerfacecolor"] == "white")
        for style in map(style_of, range(36))
    }
    assert len(shapes) == 36
    darkest = [picture.min() for picture in pictures[:5]]
    assert min(np.diff(sorted(darkest))) > 15


def test_of_many_points_some_have_markers() -> None:
    assert style_of(0, 5)["markevery"] == (0, 1)
    start, every = style_of(1, 400)["markevery"]
    assert 5 <= (400 - start) / every <= 9


def test_labels_say_metric_and_direction_and_the_network_where_needed() -> None:
    ids = ["fad_vggish", "is_panns", "kl_panns", "is_passt", "clap_laion_music_speech", "of_my_own"]
    assert labels_of(ids) == {
        "fad_vggish": "FAD ↓",
        "is_panns": "IS (PANNs) ↑",
        "kl_panns": "KL ↓",
        "is_passt": "IS (PaSST) ↑",
        "clap_laion_music_speech": "CLAP score ↑",
        "of_my_own": "of_my_own",
    }
    assert in_papers_order(ids) == [
        "is_panns",
        "is_passt",
        "kl_panns",
        "fad_vggish",
        "clap_laion_music_speech",
        "of_my_own",
    ]


def test_steps_are_in_thousands_and_what_failed_is_a_gap() -> None:
    history = [
        {"step": 0, "scores": {"fd_yamnet": 5.0}},
        {"step": 20_000, "error": "no room on the disk"},
        {"step": 40_000, "scores": {"fd_yamnet": 3.0, "is_yamnet": None}},
    ]
    (panel,) = panels_over_steps({"run": history, "empty": []})
    assert (panel.title, panel.x_label) == ("FD ↓", "training steps (thousands)")
    assert [(curve.label, curve.x, curve.middle) for curve in panel.curves] == [("run", [0.0, 40.0], [5.0, 3.0])]
    assert panels_over_steps({}) == []


def test_names_with_dollars_and_more_are_drawn_as_they_are(tmp_path: Path) -> None:
    draw(
        [[Panel(r"$x_{ & <b>", r"\frac{", "", [Curve("$", 0, X, X, X, X), Curve("é", 1, X, X, X, X)])]],
        tmp_path / "a.svg",
    )
    assert "$x_{ &amp; &lt;b&gt;" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_what_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        draw([panels(1)], tmp_path / "file" / "a.pdf")
    with pytest.raises(UsageError, match="is not a format of figures"):
        draw([panels(1)], tmp_path / "a.jpeg")


def test_vectors_have_lines_for_a_dark_screen(tmp_path: Path) -> None:
    """Every colour of the drawing has another one there, which can be seen on dark paper; PNG stays white."""
    draw([panels(2)], tmp_path / "figure.svg", width=PAGE)
    text = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    parsed = ET.fromstring(text)
    rule = "".join(each.text or "" for each in parsed.iter("{http://www.w3.org/2000/svg}style"))
    dark = dict(re.findall(r'\[style\*="((?:fill|stroke): #\w+)"\]\{\w+:(#\w+)!important\}', rule))
    styles = ";".join(re.findall('style="([^"]*)"', text.partition("</style>")[2]))
    used = set(re.findall(r"(?:fill|stroke): #\w+", styles))
    assert used - {"stroke: #b0b0b0"} <= dark.keys()  # the grid is grey, and the same in both
    for colour in {dark[name] for name in used & dark.keys()} - {dark["fill: #ffffff"]}:
        assert contrast(colour, "#14181c") >= 4.5, colour
    assert rule.startswith("*{stroke-linejoin")
    draw([panels(2)], tmp_path / "figure.png", width=PAGE)
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.convert("RGBA").getpixel((1, 1)) == (255, 255, 255, 255)
