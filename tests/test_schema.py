"""The shipped JSON Schema describes real reports, and nothing else."""

from __future__ import annotations

import copy
import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from audiogen_metrics import score
from tests.conftest import EXAMPLES

SCHEMA = json.loads((files("audiogen_metrics") / "schemas" / "score_report.schema.json").read_text())


@pytest.fixture(scope="module")
def validator() -> Any:
    """The schema, itself checked."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Twelve references; of the generated clips a broken one, and five under other names."""
    root = tmp_path_factory.mktemp("schema")
    for source, name, count in (("generated", "gen", 5), ("reference", "ref", 12)):
        for clip in sorted(path for path in (EXAMPLES / source).rglob("*") if path.is_file())[:count]:
            copied = root / name / clip.relative_to(EXAMPLES / source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, copied.with_stem(f"{clip.stem}-other" if name == "gen" else clip.stem))
    (root / "gen" / "broken.wav").write_bytes(b"RIFF")
    return root / "gen", root / "ref"


@pytest.fixture(scope="module")
def report(folders: Any) -> Any:
    """A report with a skipped file, unmatched clips, and two scores without a value."""
    return json.loads(score(*folders, protocol="yamnet", cache=False).to_json())


@pytest.mark.slow
def test_real_reports(validator: Any, report: Any, folders: Any) -> None:
    assert report["scores"]["is_yamnet"]["value"] is None
    assert report["scores"]["kl_yamnet"]["value"] is None
    assert report["inputs"]["gen"]["skipped"]
    validator.validate(report)
    validator.validate(json.loads(score(folders[1], folders[1], protocol="yamnet").to_json()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema_version"], 2),
        (["new"], 1),
        (["scores"], {}),
        (["scores", "fd_yamnet", "value"], "29.7"),
        (["scores", "fd_yamnet", "value"], None),  # no value and no reason
        (["scores", "is_yamnet", "reason"], None),
        (["scores", "fd_yamnet", "reason"], "a value and a reason"),
        (["scores", "fd_yamnet", "n_gen"], -1),
        (["scores", "fd_yamnet", "metric"], "fid"),
        (["scores", "fd_yamnet", "extra"], 1),
        (["scores", "fd_yamnet", "ci95"], [1.0]),
        (["scores", "fd_yamnet", "ci95_ref"], "fixed"),
        (["scores", "fd_yamnet", "remarks"], "none"),
        (["problems"], "none"),
        (["backbones", "yamnet", "weights_sha256"], "eff9"),
        (["inputs", "gen", "digest"], "00"),
        (["inputs", "gen", "skipped", 0, "reason"], 3),
        (["pairing", "mode"], "maybe"),
        (["warnings"], "one"),
    ],
)
def test_corrupted_reports_fail(validator: Any, report: Any, path: Path, value: Any) -> None:
    corrupted = copy.deepcopy(report)
    *parents, last = path
    place = corrupted
    for key in parents:
        place = place[key]
    place[last] = value
    assert not validator.is_valid(corrupted)


@pytest.mark.parametrize("name", ["folder", "statistics"])
def test_reports_of_the_first_version(validator: Any, name: str) -> None:
    validator.validate(json.loads((Path(__file__).parent / "reports" / f"{name}.json").read_text()))


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_every_part_is_required(validator: Any, report: Any, key: str) -> None:
    assert not validator.is_valid({name: part for name, part in report.items() if name != key})
