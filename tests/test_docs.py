"""What the documentation shows is run; what it names exists; it builds without a warning."""

from __future__ import annotations

import argparse
import itertools
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.cli.main import build_parser, main
from audiogen_metrics.datasets import DATASETS
from audiogen_metrics.metrics import METRICS
from audiogen_metrics.probes import PROBES
from audiogen_metrics.protocols import PROTOCOLS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if not {"_generated", "_build"} & set(page.parts)]
RUN = re.compile(r"^```(?:python|console)$", re.MULTILINE)
EXAMPLES = [page for page in PAGES if RUN.search(page.read_text(encoding="utf-8"))]
TUTORIALS = [page for page in EXAMPLES if page.parent == ROOT / "docs" / "tutorials"]

OF_DEVELOPERS = [ROOT / "CONTRIBUTING.md", *(ROOT / ".github").rglob("*.md")]
"""Pages on which commands stand in sentences. A package from an index has no .github."""

PYTHON: dict[str, tuple[str, ...]] = runpy.run_path(str(ROOT / "docs" / "_ext" / "counterparts.py"))["PYTHON"]
"""By command, the names of the API that do the same."""

OF_OTHERS = {
    "--only",
    "--no-deps",
    *("--dist", "--threads", "--nnodes", "--nodes", "--nproc-per-node", "--ntasks-per-node", "--gpus-per-node"),
    *("--rdzv-backend", "--rdzv-id", "--rdzv-endpoint"),
    *("--cpu", "--multi_gpu", "--num_processes", "--num_machines", "--mixed_precision", "--dynamo_backend"),
    "--config_file",
    *("--checkpoint_path", "--dump_path", "--extract_ema", "--to_safetensors"),
    *("--model_channels", "--num_head_channels"),
}
"""Flags of other programs that pages may name."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fenced(text: str) -> list[tuple[str, str]]:
    """Return language and content of the fenced blocks; fences are read in order, as an end looks like a beginning."""
    return re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def blocks(text: str, *languages: str) -> list[str]:
    """Return the fenced blocks in these languages."""
    return [content for language, content in fenced(text) if language in languages]


def typed(console: str) -> list[tuple[str, str]]:
    """Return each command of a console, on one line, and what the page shows below it."""
    parts = re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]
    return [(command, shown) for command, _, shown in (part.replace("\\\n> ", "").partition("\n") for part in parts)]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of every command line of ``agm`` in the blocks of a page.

    ``a|b`` stands for two commands; two commands on one line stand two spaces apart.
    """
    for block in blocks(text, "", "text", "console"):
        for line in block.replace("\\\n> ", "").splitlines():
            for command in re.split(r"\s{2,}(?=agm )", line.removeprefix("$ ").strip()):
                if re.match(r"(?:\S*bin/)?agm ", command):
                    words = shlex.split(command, comments=True)[1:]
                    yield from map(list, itertools.product(*(word.split("|") for word in words)))


def commands_in_tables(text: str) -> Iterator[list[str]]:
    """Yield the arguments of the commands in cells of tables that begin and end with code, but for bare names."""
    for row in re.findall(r"^\|.*\|$", text, re.MULTILINE):
        for cell in map(str.strip, row.split("|")):
            if cell.startswith("`agm ") and cell.endswith("`"):
                yield from (shlex.split(mention) for mention in mentions(cell) if " " in mention)


def mentions(text: str) -> list[str]:
    """Return the commands named in the sentences of a page, with or without their arguments."""
    return re.findall(r"`agm ([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of all its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder that has the examples, and where examples may write."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


NUMBER = re.compile(r"\d+(?:\.(\d+))?(%?)")


def is_alike(shown: str, printed: str) -> bool:
    """Tell whether a line of a page is the printed one, but for spaces and last digits, which kernels may change."""
    words = [" ".join(NUMBER.sub(r"0\2", line).split()) for line in (shown, printed)]
    return words[0] == words[1] and all(map(is_near, NUMBER.finditer(shown), NUMBER.finditer(printed)))


def is_near(shown: re.Match[str], printed: re.Match[str]) -> bool:
    """Tell whether two numbers differ in their last digit at most; whole ones that are no percentages are counts."""
    last = 10.0 ** -len(shown[1] or "") if shown[1] or shown[2] else 0.0
    ours, theirs = (float(number[0].rstrip("%")) for number in (shown, printed))
    return theirs == pytest.approx(ours, rel=2e-3 if shown[1] else 0, abs=1.01 * last)


def assert_shows(page: str, printed: str) -> None:
    """Fail unless a page shows what was printed; its lines ``…`` stand for any number of lines."""
    lines, start = printed.rstrip().splitlines(), 0
    for part in re.split(r"^…\n", page, flags=re.MULTILINE):
        shown = part.strip("\n").splitlines()
        places = range(start, len(lines) - len(shown) + 1)
        found = (at for at in places if all(map(is_alike, shown, lines[at:])))
        at = next(found, None)
        assert at is not None, f"{part}\nis not in\n{printed}"
        assert start > 0 or at == 0 or page.startswith("…"), f"begins otherwise:\n{printed}"
        start = at + len(shown)
    assert start == len(lines) or page.rstrip().endswith("…"), f"there is more:\n{printed}"


@pytest.mark.parametrize(
    ("page", "printed", "alike"),
    [
        ("a 1.23\nb\n", "a    1.234\nb\n", True),
        ("a 1.23\n", "a 1.26\n", False),
        ("step 20\n", "step 21\n", False),
        ("a\n…\nc\n", "a\nb\nb\nc\n", True),
        ("a\n…\n", "a\nb\n", True),
        ("…\nc\n", "a\nb\nc\n", True),
        ("a\n", "a\nb\n", False),
        ("b\n", "a\nb\n", False),
        ("a\n…\nd\n", "a\nb\nc\n", False),
    ],
)
def test_what_a_page_shows_is_compared(page: str, printed: str, alike: bool) -> None:
    if alike:
        assert_shows(page, printed)
    else:
        with pytest.raises(AssertionError):
            assert_shows(page, printed)


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards what a page has added to this library's lists."""
    for registry in (BACKBONES, METRICS, PROBES, DATASETS):
        monkeypatch.setattr(registry, "_loaders", {**registry._loaders})


@pytest.mark.slow
@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_pages_run(
    page: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All blocks of a page run, one after the other, in a module of their own (so that pickling finds it)."""
    text, printed = page.read_text(encoding="utf-8"), ""
    module = ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for language, content in fenced(text):
        if language == "python":
            exec(compile(content, str(page), "exec"), module.__dict__)
            printed = capsys.readouterr().out
            assert not re.search(r"\bnan\b", printed)
        elif language == "output":
            assert_shows(content, printed)
        for command, shown in typed(content) if language == "console" else ():
            code = main(shlex.split(command)[1:])
            said = capsys.readouterr()
            assert code == 0, said.err
            assert_shows(shown, said.out)
    for picture in re.findall(r"\]\(\.\./_static/tutorials/(\S+)\)", text):
        assert_drawn(ROOT / "docs" / "_static" / "tutorials" / picture, place / "build" / picture)


def curves(picture: Path) -> list[list[float]]:
    """Return the corners of all lines that a picture draws within its axes."""
    lines = re.findall(r'<path d="([^"]*)" clip-path=[^>]*fill: none', picture.read_text(encoding="utf-8"))
    return [[float(number) for number in re.findall(r"-?[\d.]+", line)] for line in lines]


def assert_drawn(shown: Path, drawn: Path) -> None:
    """Fail unless two pictures have the same curves; the size of letters may move them a little."""
    theirs = curves(drawn)
    assert len(theirs) == len(curves(shown)) > 0
    for ours, line in zip(curves(shown), theirs, strict=True):
        assert line == pytest.approx(ours, abs=3)


def test_examples_are_found() -> None:
    assert {"README.md", "docs/quickstart.md", "docs/extending.md"} <= {name_of(page) for page in EXAMPLES}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command on a page goes through the real parser, its flags, choices and required arguments included."""
    text = page.read_text(encoding="utf-8")
    for words in itertools.chain(commands(text), commands_in_tables(text)):
        try:
            build_parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"agm {shlex.join(words)}: {capsys.readouterr().err}")


@pytest.mark.parametrize("page", [*PAGES, *OF_DEVELOPERS], ids=name_of)
def test_commands_in_sentences_exist(page: Path) -> None:
    known = {parser.prog for parser in parsers(build_parser())}
    groups = {prog.rpartition(" ")[0] for prog in known}
    for mention in mentions(page.read_text(encoding="utf-8")):
        first, _, rest = mention.partition(" ")
        if first == "COMMAND" or first.startswith("-"):
            continue
        assert f"agm {first}" in known, mention
        if rest and f"agm {first}" in groups:
            assert f"agm {first} {rest.split()[0]}" in known, mention


def test_commands_are_found() -> None:
    found = [words for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]
    assert ["list", "backbones"] in found
    assert ["weights", "fetch", "panns-cnn14-16k", "vggish"] in found
    assert "weights fetch" in mentions((ROOT / "docs" / "cache.md").read_text(encoding="utf-8"))
    assert ["compare", "A", "B", "REF"] in commands_in_tables((ROOT / "README.md").read_text(encoding="utf-8"))
    assert sum("--fail-if" in words for words in found) >= 3


def test_readme_leads_to_files_and_headings() -> None:
    """Sphinx looks at the links of the pages below docs; nothing else looks at those of README."""
    links = re.findall(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 10
    for path, anchor in links:
        assert (ROOT / path).is_file(), path
        if anchor:
            heads = re.findall(r"^#+ (.*)", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, anchor


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_exist(page: Path) -> None:
    known = set().union(*map(flags, parsers(build_parser()))) | OF_OTHERS
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*", text)) <= known


@pytest.mark.slow
def test_tables_show_what_the_demo_prints(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table in README and quick start is the tool's own, up to the last digits, which kernels may change."""
    assert place.is_dir()
    assert main(["score", "examples/generated", "examples/reference", "--protocol", "yamnet", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for page in (ROOT / "README.md", ROOT / "docs" / "quickstart.md"):
        shown = re.search(r"^score +value.*?^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        assert shown is not None
        for line in shown[0].splitlines()[1:-1]:
            if line.startswith(" "):  # a remark, below its score
                continue
            name, value = line.split()[:2]
            found = re.search(rf"^{name} +([\d.]+)", printed, re.MULTILINE)
            assert found is not None
            assert float(found[1]) == pytest.approx(float(value), rel=2e-3)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent.name == "decisions" and page.stem != "index"], ids=name_of
)
def test_a_decision_says_why_and_what_would_change_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    heads = re.findall("^## (.*)", text, re.MULTILINE)
    assert heads == ["Decided", "Why", "Considered and dropped", "What would change it"]
    assert text.count("\n") <= 60


def test_every_decision_is_linked_from_the_page_that_it_explains() -> None:
    others = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.parent.name != "decisions")
    decisions = {page.name for page in PAGES if page.parent.name == "decisions"} - {"index.md"}
    assert set(re.findall(r"\]\((?:\.\./)?decisions/([\w-]+\.md)\)", others)) == decisions


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documentation as ``make docs`` does."""
    pytest.importorskip("sphinx", reason="the extra 'docs' is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-E", "-n", "-W", "--keep-going", "-q", "-d", folder / "doctrees"]
    done = subprocess.run(
        [*command, "docs", folder / "html"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "html"


@pytest.mark.slow
def test_site_has_every_page_and_formula(site: Path) -> None:
    for page in PAGES[1:]:
        built = site / page.relative_to(ROOT / "docs").with_suffix(".html")
        text = built.read_text(encoding="utf-8")
        assert "%% generated" not in text
        assert text.count("<math ") >= len(re.findall(r"^\$\$", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert 'class="formula"' in (site / "metrics" / "fd.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_site_describes_every_flag_and_recipe(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "cli.html").read_text(encoding="utf-8"))
    for parser in parsers(build_parser()):
        assert parser.prog in text
        # The heading of a command, its usage, and the next heading bound what is said of it.
        described = text.split(f"usage: {parser.prog} ")[-1].split("usage: ")[0]
        is_group = any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)
        missing = set() if is_group else {flag for flag in flags(parser) - {"--help"} if flag not in described}
        assert not missing, parser.prog
    text = (site / "protocols.html").read_text(encoding="utf-8")
    for protocol in PROTOCOLS.values():
        assert protocol.name in text
        assert all(recipe.score_id in text and recipe.backbone in text for recipe in protocol.recipes.values())


@pytest.mark.slow
def test_commands_and_calls_link_to_each_other(site: Path) -> None:
    """Each in the text of the other's page, as the built site has it."""
    pages = {name: (site / f"{name}.html").read_text(encoding="utf-8") for name in ("cli", "api")}
    for command, names in PYTHON.items():
        anchor = f"agm-{command}".replace(" ", "-")
        assert f'id="{anchor}"' in pages["cli"]
        assert (f'href="cli.html#{anchor}"' in pages["api"]) == bool(names)
        for name in names:
            assert f'href="api.html#audiogen_metrics.{name}"' in pages["cli"]


@pytest.mark.parametrize("page", TUTORIALS, ids=name_of)
def test_site_has_each_tutorial_as_a_notebook(site: Path, page: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra 'docs' is not installed")
    built = site / page.relative_to(ROOT / "docs").with_suffix(".ipynb")
    assert f'href="{built.name}"' in built.with_suffix(".html").read_text(encoding="utf-8")
    notebook = nbformat.read(built, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    wanted = []
    for language, content in fenced(page.read_text(encoding="utf-8")):
        if language == "python":
            wanted.append(content.strip())
        if language == "console":
            wanted.append("\n".join(f"!{command}" for command, _ in typed(content)))
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert [source for source in code if "SVG(" not in source] == wanted
    words = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([\w/.-]+\.md)", words)
    assert links
    assert all((ROOT / link).is_file() for link in links), links


@pytest.mark.slow
def test_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text(encoding="utf-8"))
        assert not [tag for tag in tags if re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", tag)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", sheet.read_text(encoding="utf-8")), sheet
