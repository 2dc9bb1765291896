"""Several samples of one prompt: what pairs them, and that ten samples make nothing surer than one."""

from __future__ import annotations

import csv
import json
import re
import shutil
import unicodedata
from pathlib import Path

import pytest
import soundfile

from audiogen_metrics import score
from audiogen_metrics.audio.pairing import pair, read_pairs, suggest_pairs
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.evaluation import Evaluation
from audiogen_metrics.evaluation.verify import verify
from audiogen_metrics.report.diagnosis import diagnose
from tests.conftest import EXAMPLES

GEN = ["big_dog_0", "big_dog_1", "rain_0", "stray"]
REF = ["big_dog", "rain", "wind"]


def table(path: Path, text: str, **options: str) -> Path:
    path.write_bytes(text.encode(options.get("encoding", "utf-8")))
    return path


@pytest.mark.parametrize(
    ("pattern", "gen", "found"),
    [
        ("{ref}_{sample}", GEN, {"big_dog_0": "big_dog", "big_dog_1": "big_dog", "rain_0": "rain"}),
        ("{sample}/{ref}", ["s0/rain", "s1/rain", "s0/no"], {"s0/rain": "rain", "s1/rain": "rain"}),
        ("sample_{sample}/{ref}", ["sample_0/rain", "s_1/rain"], {"sample_0/rain": "rain"}),
        ("{ref}", ["rain", "stray"], {"rain": "rain"}),
        ("{ref}_{sample}.wav", ["rain_0"], {"rain_0": "rain"}),
        ("{ref}.{sample}", ["rain.0", "rainx0"], {"rain.0": "rain"}),
        ("({ref})+[{sample}]*", ["(rain)+[0]*", "rain0"], {"(rain)+[0]*": "rain"}),
        ("{ref}\\{sample}", ["rain\\0", "rain0"], {"rain\\0": "rain"}),
        ("^{ref}$|{sample}", ["^rain$|1", "rain"], {"^rain$|1": "rain"}),
    ],
)
def test_patterns(pattern: str, gen: list[str], found: dict[str, str]) -> None:
    assert read_pairs(pattern, gen, REF) == found


def test_a_reference_in_a_folder_and_names_with_line_breaks() -> None:
    assert read_pairs("{ref}_{sample}", ["a/b/dog_1_0"], ["a/b/dog_1"]) == {"a/b/dog_1_0": "a/b/dog_1"}
    assert read_pairs("{ref}_{sample}", ["dog\nx_0"], ["dog\nx"]) == {"dog\nx_0": "dog\nx"}


def test_the_reference_takes_as_much_of_a_name_as_it_can() -> None:
    for pattern, clip in (("{ref}_{sample}", "big_dog_0"), ("{sample}_{ref}", "0_big_dog")):
        assert read_pairs(pattern, [clip], ["big_dog", "dog", "big"]) == {clip: "big_dog"}
    assert read_pairs("{ref}_take_{sample}", ["dog_1_take_2"], ["dog_1"]) == {"dog_1_take_2": "dog_1"}
    assert read_pairs("{sample}/{ref}_{sample}", ["a/big_dog_0"], ["big_dog"]) == {"a/big_dog_0": "big_dog"}


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("gen,ref\nbig_dog_0,big_dog\nrain_0,rain\n", "utf-8"),
        ("gen,ref\r\nbig_dog_0,big_dog\r\nrain_0,rain\r\n", "utf-8"),
        ("gen,ref\nbig_dog_0,big_dog\nrain_0,rain", "utf-8-sig"),
        ("ref,note,gen\nbig_dog,x,big_dog_0.wav\nrain.FLAC,y,rain_0.ogg\n", "utf-8"),
        ('gen,ref\n"big_dog_0","big_dog"\n\nrain_0,rain\nrain_0,rain\nunknown,rain\nstray,unknown\n', "utf-8"),
    ],
)
def test_files(tmp_path: Path, content: str, encoding: str) -> None:
    """Line ends and a mark as Windows writes them, columns in any order, suffixes, rows that say it twice."""
    path = table(tmp_path / "pairs.csv", content, encoding=encoding)
    for given in (path, str(path)):
        assert read_pairs(given, GEN, REF) == {"big_dog_0": "big_dog", "rain_0": "rain"}


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        ("a,b\nbig_dog_0,big_dog\n", DataError, "has no columns gen and ref"),
        ("", DataError, "has no columns gen and ref"),
        ("gen,ref\nrain_0,rain\nrain_0.wav,wind\n", DataError, "'rain_0' has the references 'rain' and 'wind'"),
        ("gen,ref\nx,y\n", DataError, "it says 'x' has the reference 'y'"),
        ("gen,ref\nrain_0\n", DataError, "no pair is in both sets"),
        ("gen,ref\nrain_0,\n", DataError, "no pair is in both sets"),
        ("gen,ref\nrain_0,rain, heavy\n", DataError, "more fields than the head"),
    ],
)
def test_files_that_pair_nothing(tmp_path: Path, content: str, kind: type[Exception], said: str) -> None:
    path = table(tmp_path / "pairs.csv", content)
    with pytest.raises(kind, match=re.escape(said)) as caught:
        read_pairs(path, GEN, REF)
    assert "pairs.csv" in str(caught.value)


def test_what_is_neither_file_nor_pattern(tmp_path: Path) -> None:
    for given in (tmp_path / "none.csv", "none.csv", tmp_path):
        with pytest.raises(UsageError, match="neither a file nor a pattern"):
            read_pairs(given, GEN, REF)
    for given in ("{ref}_{ref}", "{sample}_{ref}_{ref}"):
        with pytest.raises(UsageError, match=r"has \{ref\} 2 times"):
            read_pairs(given, GEN, REF)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"gen,ref\n\xff\xfe\x00,rain\n")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_pairs(binary, GEN, REF)
    with pytest.raises(DataError, match="no generated clip fits it"):
        read_pairs("{ref}-{sample}", GEN, REF)
    with pytest.raises(DataError, match="no pair is in both sets"):
        read_pairs({}, GEN, REF)


def test_ids_in_either_unicode_form(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != apart
    path = table(tmp_path / "pairs.csv", f"gen,ref\n{apart}_0.wav,{apart}\n{composed}_1,{composed}\n")
    gen = [f"{composed}_0", f"{composed}_1"]
    expected = dict.fromkeys(gen, composed)
    assert read_pairs(path, gen, [composed]) == expected
    assert read_pairs({f"{apart}_0": apart, f"{composed}_1": apart}, gen, [composed]) == expected
    # The pattern's own letters too: ids are composed, whatever a keyboard makes.
    assert read_pairs(f"{apart}/{{ref}}_{{sample}}", [f"{composed}/a_0"], ["a"]) == {f"{composed}/a_0": "a"}


@pytest.mark.parametrize(
    ("gen", "ref", "expected"),
    [
        (["a_0", "a_1", "b_0"], {"a", "b"}, "{ref}_{sample}"),
        (["a-0", "a-1", "b-0"], {"a", "b"}, "{ref}-{sample}"),
        (["s0/a", "s1/a", "s0/b"], {"a", "b"}, "{sample}/{ref}"),
        (["a/0", "a/1", "b/0"], {"a", "b"}, "{ref}/{sample}"),
        (["a_0", "x", "y"], {"a"}, None),
        (["x", "y"], {"a"}, None),
        ([], {"a"}, None),
    ],
)
def test_suggestions(gen: list[str], ref: set[str], expected: str | None) -> None:
    assert suggest_pairs(gen, ref) == expected
    if expected is not None:
        assert {*read_pairs(expected, gen, ref)} == {*gen}


def test_pairing_beside_prompts() -> None:
    found = pair(["a_0", "a_1", "b", "x"], ["a", "b", "c"], {"a_0": "a", "a_1": "a"})
    assert (found.paired, found.gen_only, found.ref_only) == (("a_0", "a_1", "b"), ("x",), ("c",))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder: ``ref`` and ``one`` clip for each of 20 prompts, and both ways to name four samples of each.

    The samples are cut from one recording at other places, so that no two files are equal.
    """
    root = tmp_path_factory.mktemp("many")
    sources = sorted(path for path in (EXAMPLES / "generated").rglob("*") if path.is_file())[:20]
    for source in sources:
        name = "_".join(source.relative_to(EXAMPLES / "generated").with_suffix("").parts)
        partner = next((EXAMPLES / "reference").glob(f"{source.parent.name}/{source.stem}.*"), None)
        assert partner is not None, source
        samples, rate = soundfile.read(partner, dtype="float32")
        for folder in ("ref", "one"):
            (root / folder).mkdir(exist_ok=True)
        soundfile.write(root / "ref" / f"{name}.wav", samples, rate)
        samples, rate = soundfile.read(source, dtype="float32")
        soundfile.write(root / "one" / f"{name}.wav", samples, rate)
        for sample in range(4):
            for path in (root / "flat" / f"{name}_{sample}.wav", root / "folders" / f"sample_{sample}" / f"{name}.wav"):
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples * (1 - 0.01 * sample), rate, subtype="FLOAT")
    with (root / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["gen", "ref"])
        rows.writerows((path.name, path.stem.rpartition("_")[0]) for path in sorted((root / "flat").iterdir()))
    return root


def agm_score(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, dict[str, object]]:
    code = main(["score", *map(str, arguments), "--protocol", "yamnet", "--format", "json"])
    output = capsys.readouterr()
    assert code == 0, output.err
    report: dict[str, dict[str, object]] = json.loads(output.out)
    return report


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "pairs"),
    [("flat", "{ref}_{sample}"), ("folders", "sample_{sample}/{ref}"), ("flat", "CSV")],
)
def test_scores_of_several_samples(many: Path, capsys: pytest.CaptureFixture[str], folder: str, pairs: str) -> None:
    """No interval is narrower than that of one sample of each prompt, and p is of prompts."""
    given = str(many / "pairs.csv") if pairs == "CSV" else pairs
    found = agm_score(capsys, many / folder, many / "ref", "--pairs", given)
    one = agm_score(capsys, many / "one", many / "ref")
    assert found["pairing"]["paired"] == 80
    assert found["pairing"]["gen_only"] == found["pairing"]["ref_only"] == []
    kl = found["scores"]["kl_yamnet"]
    assert kl["details"]["pairs"] == 80  # type: ignore[index]
    assert kl["value"] == pytest.approx(one["scores"]["kl_yamnet"]["value"], rel=0.05)  # type: ignore[index]
    for name, scored in found["scores"].items():
        width, alone = (each["ci95"][1] - each["ci95"][0] for each in (scored, one["scores"][name]))  # type: ignore[index]
        # IS has fewer clips in a split where there is one sample of each: another quantity.
        if name != "is_yamnet":
            assert width > 0.85 * alone, name
        else:
            assert width > 0
    for name in ("fd_yamnet", "fad_yamnet"):
        details = found["scores"][name]["details"]
        assert ("chance_p" in details) or any("no p" in each for each in found["scores"][name]["remarks"])  # type: ignore[index,operator,union-attr]


@pytest.mark.slow
def test_equal_samples_of_a_prompt_are_one(many: Path, tmp_path: Path) -> None:
    """Ten copies of each clip, against one reference: as wide as once, and copies are not dealt out."""
    for clip in (many / "one").iterdir():
        for sample in range(10):
            (tmp_path / "copies").mkdir(exist_ok=True)
            shutil.copy(clip, tmp_path / "copies" / f"{clip.stem}_{sample}.wav")
    once = score(many / "one", many / "ref", protocol="yamnet")
    copies = score(tmp_path / "copies", many / "ref", protocol="yamnet", pairs="{ref}_{sample}")
    for name in ("fd_yamnet", "fad_yamnet", "kl_yamnet"):
        assert copies[name].details["standard_error"] == pytest.approx(once[name].details["standard_error"], rel=0.1)
    assert copies["kl_yamnet"].value == pytest.approx(once["kl_yamnet"].value, rel=1e-9)
    assert "180 of 200 gen clips are copies of others" in " ".join(copies["fd_yamnet"].remarks)


@pytest.mark.slow
def test_a_report_with_pairs_is_verified(many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    asked = ["--protocol", "yamnet", "--pairs", str(many / "pairs.csv"), "--draws", "25", "-o", str(report)]
    assert main(["score", str(many / "flat"), str(many / "ref"), *asked]) == 0
    found = verify(report)
    assert found.differences == ()
    assert found.equal
    assert main(["verify", str(report)]) == 0
    # What pairs is in the report, not in a file that may be gone.
    assert json.loads(report.read_text())["manifest"]["pairs"]["bass_thick_0"] == "bass_thick"
    capsys.readouterr()


def test_pairs_that_cannot_be(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["score", str(many / "flat"), str(many / "ref"), "--protocol", "yamnet", "--pairs"]
    for arguments, code, said in (
        ([*base, "{ref}_{sample}", "--pairing", "none"], 2, "pairing is off"),
        ([base[0], base[1], "--protocol", "yamnet", "-m", "is", "--pairs", "{ref}_{sample}"], 2, "without a reference"),
        ([*base, "nothing.csv"], 2, "neither a file nor a pattern"),
        ([*base, "{ref}{ref}"], 2, "2 times"),
        ([*base, "x/{ref}"], 3, "no generated clip fits it"),
    ):
        assert main(arguments) == code, arguments
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_kl_says_how_samples_would_pair(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(many / "flat"), str(many / "ref"), "--protocol", "yamnet", "-m", "kl"]) == 3
    assert "--pairs '{ref}_{sample}'" in capsys.readouterr().err
    assert main(["score", str(many / "folders"), str(many / "ref"), "--protocol", "yamnet", "-m", "kl"]) == 3
    suggested = re.search(r"--pairs '([^']+)'", capsys.readouterr().err)
    assert suggested is not None
    found = agm_score(capsys, many / "folders", many / "ref", "-m", "kl", "--pairs", suggested[1])
    assert found["pairing"]["paired"] == 80


@pytest.mark.slow
def test_pairing_id_and_a_limit_go_by_prompts(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [many / "flat", many / "ref", "--pairs", "{ref}_{sample}"]
    assert agm_score(capsys, *both, "-m", "kl", "--pairing", "id")["pairing"]["paired"] == 80
    limited = agm_score(capsys, *both, "-m", "kl", "--limit", "12")
    assert limited["scores"]["kl_yamnet"]["n_gen"] == 12
    assert limited["pairing"]["paired"] == 12


@pytest.mark.slow
def test_a_page_of_several_samples(many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    command = ["score", str(many / "flat"), str(many / "ref"), "--protocol", "yamnet", "--pairs", "{ref}_{sample}"]
    assert main([*command, "--html", str(page)]) == 0, capsys.readouterr().err
    cards = re.findall(r"<li data-text.*?</li>", page.read_text(), re.DOTALL)
    assert len(cards) == 40
    assert all("<b>gen</b>" in card and "<b>ref</b>" in card for card in cards)


@pytest.mark.slow
def test_a_page_of_a_set_with_a_copy(many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(many / "one", tmp_path / "gen")
    shutil.copy(tmp_path / "gen" / "bass_thick.wav", tmp_path / "gen" / "again.wav")
    command = ["score", str(tmp_path / "gen"), str(many / "ref"), "--protocol", "yamnet"]
    assert main([*command, "--html", str(tmp_path / "page.html")]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_each_clip_stands_beside_the_reference_that_it_was_made_for(many: Path) -> None:
    seen: list[Evaluation] = []
    pairs = "{ref}_{sample}"
    score(many / "flat", many / "ref", protocol="yamnet", metrics=["kl"], pairs=pairs, observe=seen.append)
    found = diagnose(seen[0])
    assert found.order == "divergence"
    assert len(found.worst) == len(found.best) == 20
    for clip in found.worst + found.best:
        assert clip.ref_file.path == many / "ref" / f"{clip.clip_id.rpartition('_')[0]}.wav"
        assert len(clip.ref_classes) == 3
