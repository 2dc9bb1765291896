"""What an import costs, and in which direction imports run."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import audiogen_metrics
from audiogen_metrics.cli.main import COMMANDS

PACKAGE = Path(audiogen_metrics.__file__).parent
HEAVY = (
    "torch",
    "torchaudio",
    "torchmetrics",
    "numpy",
    "scipy",
    "soundfile",
    "matplotlib",
    "librosa",
    "numba",
    "onnx",
    "diffusers",
    "transformers",
)


@pytest.mark.parametrize(
    "code",
    [
        "import audiogen_metrics",
        "from audiogen_metrics import score",
        "from audiogen_metrics.cli.main import build_parser; build_parser().format_help()",
        "from audiogen_metrics.cli.main import main; main(['list', 'protocols'])",
    ],
)
def test_light_things_import_nothing_heavy(code: str) -> None:
    probe = f"{code}\nimport sys; loaded = sorted({HEAVY!r} & sys.modules.keys()); assert not loaded, loaded"
    probe = probe.replace(repr(HEAVY), repr(set(HEAVY)))
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def loaded_after(code: str) -> list[str]:
    """Return the names of all modules that a process has after some code."""
    probe = f"{code}\nimport sys; print('\\n'.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_warm_run_imports_only_what_it_needs(small: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ["score", *map(str, small), "--protocol", "yamnet", "-o", str(tmp_path / "report.json")]
    run = f"from audiogen_metrics.cli.main import main; assert main({arguments!r}) == 0"
    loaded_after(run)
    loaded = loaded_after(run)
    packages = {name.partition(".")[0] for name in loaded}
    assert "torch" in packages
    others = {"scipy", "torchmetrics", "matplotlib", "pooch", "requests", "torchaudio", "librosa", "numba"}
    assert not others & packages
    ours = {name.removeprefix("audiogen_metrics.") for name in loaded if name.startswith("audiogen_metrics.")}
    unused = {
        "objects",
        "datasets",
        "audioldm",
        "benchmark",
        "studies",
        "probes",
        "selftest",
    }
    assert not {name.partition(".")[0] for name in ours} & unused
    rooms = {"report.html", "report.plots", "functional.extrapolation", "functional.correlation"}
    assert not ours & (rooms | {"evaluation.compare", "evaluation.verify", "evaluation.protocol_sweep"})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_no_other_one(command: str) -> None:
    loaded = loaded_after(f"from audiogen_metrics.cli.main import build_parser; build_parser([{command!r}])")
    names = {name.removeprefix("audiogen_metrics.cli.") for name in loaded if name.startswith("audiogen_metrics.cli.")}
    shared = {"main", "common", "flags", "parsing", "streams"}
    options_of = {"import": {"scoring"}}  # whose options they take as well
    assert names | shared == shared | {COMMANDS[command][0]} | options_of.get(command, set())


def test_every_command_has_its_module() -> None:
    with_parser = {
        path.stem
        for path in (PACKAGE / "cli").glob("*.py")
        if "def add_parser(subparsers" in path.read_text(encoding="utf-8")
    }
    assert {module for module, _ in COMMANDS.values()} == with_parser


def test_help_works_without_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('this torch cannot be imported')")
    command = [sys.executable, "-m", "audiogen_metrics", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "score" in done.stdout


def test_every_public_name_exists() -> None:
    for name in audiogen_metrics.__all__:
        assert getattr(audiogen_metrics, name) is not None
    assert set(audiogen_metrics.__all__) <= set(dir(audiogen_metrics))
    with pytest.raises(AttributeError, match="no attribute 'FDA'"):
        _ = audiogen_metrics.FDA


# Layers from the bottom up. A module may import from layers below its own and from its own package.
LAYERS = [
    {"text", "lazy"},
    {"systems", "comparison", "verification", "imported"},  # former places
    {"errors"},
    {"options"},
    {"declaring"},
    {"settings"},
    {"company"},
    {"registry", "distributed", "citations", "records", "writing", "precision", "tabular", "filesystems", "keeping"},
    {"file_hashes", "rendering"},
    {"functional", "audio"},
    {"backbones"},
    {"metrics"},
    {"score_text", "manifest"},
    {"results", "protocols", "prompts"},
    {"shared_options"},
    {"run_options"},
    {"embedding", "schema"},
    {"evaluation"},
    {"objects", "report", "selftest"},
    {"ranking", "copies", "agreement"},
    {"probes"},
    {"studies"},
    {"generation", "datasets"},
    {"audioldm"},
    {"benchmark", "integrations"},
    {"testing"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

# protocols are data and need only the light half of audio; functional must stand alone.
FORBIDDEN = {("functional", "registry"), ("functional", "settings"), ("evaluation", "objects")}

# Modules that hand on names from above, or what is done there, only when they are asked for it.
HANDED_ON = {
    ("metrics/__init__.py", "objects"),
    ("metrics/base.py", "objects"),
    ("embedding/evidence.py", "evaluation"),
    ("systems.py", "evaluation"),
    ("comparison.py", "evaluation"),
    ("verification.py", "evaluation"),
    ("imported.py", "evaluation"),
    ("results.py", "report"),
    ("evaluation/compare.py", "report"),
    ("score_text.py", "results"),  # the type of what it puts into words
    ("run_options.py", "evaluation"),  # the type of what observe is given
}


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("audiogen_metrics."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("audiogen_metrics.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    here = relative.parts[0].removesuffix(".py")
    if here == "__init__":
        return  # names only, loaded on use
    handed_on = {imported for module, imported in HANDED_ON if module == relative.as_posix()}
    for imported in imports_of(path) - {here} - handed_on:
        assert RANK[imported] < RANK[here], f"{relative} imports {imported}, which is not below {here}"
        assert (here, imported) not in FORBIDDEN


@pytest.mark.parametrize("path", [path for path in PACKAGE.rglob("*.py") if "= moved(" in path.read_text("utf-8")])
def test_former_places_say_where_their_names_are(path: Path) -> None:
    former = ".".join(["audiogen_metrics", *path.relative_to(PACKAGE).with_suffix("").parts])
    found = re.search(r"moved\(\s*__name__, \"(.+?)\"(?:, (\{.+?\}))?", path.read_text(encoding="utf-8"))
    assert found is not None
    now = importlib.import_module(found[1])
    classes = {name: name for name, value in vars(now).items() if inspect.isclass(value)}
    name, called = next(iter((ast.literal_eval(found[2]) if found[2] else classes).items()))
    with pytest.warns(DeprecationWarning, match=f"{re.escape(former)}.{name} is now {re.escape(found[1])}.{called};"):
        assert getattr(importlib.import_module(former), name) is getattr(now, called)
    with pytest.raises(AttributeError):
        _ = importlib.import_module(former).there_is_no_such_name


def test_probes_stand_on_audio_alone() -> None:
    allowed = {"probes", "audio", "declaring", "errors", "registry", "writing", "options", "tabular"}
    for path in (PACKAGE / "probes").glob("*.py"):
        assert imports_of(path) <= allowed, path.name


@pytest.mark.slow
@pytest.mark.parametrize(("library", "home"), [("torchmetrics", {"objects"}), ("matplotlib", {"report"})])
def test_only_one_package_imports(library: str, home: set[str]) -> None:
    users = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [name.name for name in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            if any(name.split(".")[0] == library for name in names):
                users.add(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    assert users <= home
