"""The adapters on miniatures, splits, faults, and what other people's generators get."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics.audio.files import DECODABLE
from audiogen_metrics.cli.main import main
from audiogen_metrics.datasets import DATASETS
from audiogen_metrics.datasets.base import Clip, Dataset, prompt
from audiogen_metrics.datasets.checking import check, export
from audiogen_metrics.datasets.folder import open_dataset
from audiogen_metrics.datasets.splits import draw, fold_split, list_split, paper_split, split_by
from audiogen_metrics.errors import DataError, UsageError
from tests.audio.golden.foreign import ARCHIVE
from tests.datasets import miniatures

NAMES = ("esc50", "urbansound8k", "audiocaps", "audioset")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("datasets")
    return {name: getattr(miniatures, name)(base / name) for name in NAMES}


def dataset(roots: dict[str, Path], name: str) -> Dataset:
    return open_dataset(f"{name}={roots[name]}")


def test_tables_and_lists_name_clips_as_folders_do(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    (tmp_path / "table.csv").write_text(f"file,caption\n{decomposed}.wav,cups\nb.wav,rain\n", encoding="utf-8")
    found = open_dataset(tmp_path / "table.csv")
    assert [clip.clip_id for clip in found.clips] == ["b", composed]
    (tmp_path / "list.txt").write_text(f"{decomposed}.wav\n", encoding="utf-8")
    assert [clip.clip_id for clip in list_split(found, tmp_path / "list.txt").evaluation.clips] == [composed]


def test_esc50(roots: dict[str, Path]) -> None:
    found = dataset(roots, "esc50")
    assert (len(found.clips), found.missing) == (20, ())
    clip = next(clip for clip in found.clips if clip.labels == ("crying_baby",))
    assert (clip.duration, clip.split, clip.group) == (5.0, "1", "1010")
    assert prompt(clip) == "crying baby"
    assert prompt(clip, "sentence") == "This is a sound of crying baby."
    assert prompt(clip, "the {label}!") == "the crying baby!"
    with pytest.raises(UsageError, match="unknown template"):
        prompt(clip, "labels")


def test_urbansound8k(roots: dict[str, Path]) -> None:
    found = dataset(roots, "urbansound8k")
    assert (len(found.clips), found.missing) == (24, ())
    clip = next(clip for clip in found.clips if clip.clip_id == "101-1-0-5")
    assert (clip.labels, clip.start, clip.duration, clip.group, clip.split) == (("dog_bark",), 5.0, 2.25, "101", "6")


def test_audiocaps_takes_the_first_caption(roots: dict[str, Path]) -> None:
    found = dataset(roots, "audiocaps")
    assert (len(found.clips), found.missing) == (6, ())
    assert [prompt(clip) for clip in found.clips] == [f"caption 0 of sound {index}" for index in range(6)]
    assert {clip.split for clip in found.clips} == {"test"}


def test_audioset(roots: dict[str, Path]) -> None:
    found = dataset(roots, "audioset")
    assert (len(found.clips), found.missing) == (5, ())
    assert found.clips[2].labels == ("Speech", "Dog", "Environmental noise, other")
    assert prompt(found.clips[1]) == "Speech, Dog"
    assert (found.clips[1].start, found.clips[1].duration) == (30.0, 10.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_miniature_is_usable(roots: dict[str, Path], name: str) -> None:
    found = check(dataset(roots, name), DATASETS.get(name))
    assert found.is_usable
    assert found.present == found.clips == len(dataset(roots, name).clips)
    json.dumps(found.to_dict(), allow_nan=False)
    if name == "esc50":
        assert "20 clips in the metadata, 2000 as distributed" in found.remarks


@pytest.mark.parametrize(
    ("name", "break_it", "message"),
    [
        ("esc50", lambda root: (root / "meta" / "esc50.csv").unlink(), "cannot be read"),
        ("esc50", lambda root: (root / "meta" / "esc50.csv").write_text("a,b\n"), "has no column category"),
        (
            "esc50",
            lambda root: (root / "meta" / "esc50.csv").write_text("filename,fold,category,src_file\n"),
            "no clips",
        ),
        (
            "urbansound8k",
            lambda root: _append(root / "metadata/UrbanSound8K.csv", "x.wav,1,a,b,1,1,1,siren"),
            "no number",
        ),
        ("urbansound8k", lambda root: _append(root / "metadata/UrbanSound8K.csv", "x.wav,1"), "number of columns"),
        (
            "audioset",
            lambda root: _append(root / "eval_segments.csv", 'v, 0.0, 1.0, "/m/none"'),
            "label /m/none is not in",
        ),
        ("audioset", lambda root: _append(root / "eval_segments.csv", "v, 0.0"), "expected id, start, end"),
        ("audiocaps", lambda root: (root / "test.csv").unlink(), "cannot be read"),
    ],
)
def test_metadata_that_are_not_the_datasets(
    roots: dict[str, Path], tmp_path: Path, name: str, break_it: object, message: str
) -> None:
    root = Path(shutil.copytree(roots[name], tmp_path / "copy"))
    break_it(root)  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        open_dataset(f"{name}={root}")


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def test_a_clip_listed_twice(roots: dict[str, Path], tmp_path: Path) -> None:
    root = Path(shutil.copytree(roots["esc50"], tmp_path / "copy"))
    meta = root / "meta" / "esc50.csv"
    _append(meta, meta.read_text().splitlines()[1])
    with pytest.raises(DataError, match="twice"):
        open_dataset(f"esc50={root}")


def test_ten_planted_faults_are_all_named(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(roots["esc50"], tmp_path / "copy"))
    files = sorted((root / "audio").iterdir())
    files[0].unlink()  # 1 missing
    files[1].write_bytes(b"")  # 2 empty
    files[2].write_bytes(files[2].read_bytes()[:5000])  # 3 truncated
    files[3].write_text("<html>404</html>")  # 4 not audio
    miniatures.write(files[4], np.zeros((0, 1)), 44_100)  # 5 no samples
    miniatures.write(files[5], np.full((100, 1), np.nan), 44_100, "FLOAT")  # 6 NaN
    miniatures.write(files[6], np.zeros((44_100, 1)), 44_100)  # 7 silent
    miniatures.write(files[7], np.ones((44_100, 1)), 44_100)  # 8 clipped
    miniatures.write(files[8], miniatures.recording(0, 9.0, 44_100), 44_100)  # 9 too long
    shutil.copy(files[9], files[10])  # 10 the same file twice
    found = check(open_dataset(f"esc50={root}"), DATASETS.get("esc50"))
    assert not found.is_usable
    assert found.present == 14
    names = {fault: [name.split(" ")[0] for name in clips] for fault, clips in found.faults.items()}
    assert names == {
        "audio missing": [files[0].stem],
        "cannot be decoded": [file.stem for file in files[1:6]],
        "silent": [files[6].stem],
        "clipped": [files[7].stem],
        "longer than the dataset allows": [files[8].stem],
        "same file as another clip": [files[9].stem, files[10].stem],
    }
    assert main(["data", "check", "esc50", str(root)]) == 5
    shown = capsys.readouterr()
    assert "14 of 20 clips can be used" in shown.out
    assert f"audio missing (1): {files[0].stem}" in shown.out
    assert "6 of 20 clips cannot be used" in shown.err


def test_the_papers_split(roots: dict[str, Path]) -> None:
    found = dataset(roots, "esc50")
    split = paper_split(found, 8, seed=0)
    again, other = paper_split(found, 8, seed=0), paper_split(found, 8, seed=1)
    assert split == again != other
    assert set(Counter(clip.labels for clip in split.evaluation.clips).values()) == {2}
    assert split.train is not None
    assert {clip.clip_id for clip in split.train.clips}.isdisjoint(clip.clip_id for clip in split.evaluation.clips)
    assert len(split.train.clips) + len(split.evaluation.clips) == 20
    assert "seed 0" in split.rule
    # A number that does not divide: the sum is exact, no class off by more than one.
    uneven = Counter(clip.labels for clip in paper_split(found, 7).evaluation.clips)
    assert sum(uneven.values()) == 7
    assert max(uneven.values()) - min(uneven.values()) <= 1
    plain = {seed: paper_split(found, 8, seed, stratified=False) for seed in range(8)}
    assert any(len(set(Counter(c.labels for c in split.evaluation.clips).values())) > 1 for split in plain.values())
    with pytest.raises(DataError, match="cannot draw 20 of 20"):
        paper_split(found, 20)


def test_a_random_split_of_excerpts_leaks_and_says_so(roots: dict[str, Path]) -> None:
    found = dataset(roots, "urbansound8k")
    assert "share their source recording" in paper_split(found, 8).warnings[0]
    folds = {clip.split for clip in found.clips}
    assert "1" in folds
    assert {clip.split for clip in fold_split(found, "1").evaluation.clips} == {"1"}
    with pytest.raises(UsageError, match="has no fold '11'"):
        fold_split(found, "11")


def test_a_list_of_ids(roots: dict[str, Path], tmp_path: Path) -> None:
    found = dataset(roots, "audiocaps")
    ids = tmp_path / "ids.txt"
    ids.write_text(f"{found.clips[0].clip_id}.wav\n{found.clips[1].clip_id}\n\n")
    assert [clip.clip_id for clip in list_split(found, ids).evaluation.clips] == [c.clip_id for c in found.clips[:2]]
    ids.write_text("Ynone\n")
    with pytest.raises(DataError, match="1 ids are not in audiocaps"):
        list_split(found, ids)


@pytest.mark.parametrize(("rule", "count"), [("paper:4", 4), ("paper-plain:4", 4), ("fold:1", 4)])
def test_rules_in_words(roots: dict[str, Path], rule: str, count: int) -> None:
    assert len(split_by(dataset(roots, "esc50"), rule).evaluation.clips) == count


def test_rules_that_are_none(roots: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="is no split"):
        split_by(dataset(roots, "esc50"), "half")
    with pytest.raises(UsageError, match="give the number"):
        split_by(dataset(roots, "audiocaps"), "paper")
    with pytest.raises(DataError, match="cannot draw 400 of 20"):
        split_by(dataset(roots, "esc50"), "paper")


def test_ones_own_sounds(tmp_path: Path) -> None:
    miniatures.write(tmp_path / "set" / "dog" / "a.wav", miniatures.recording(0, 1.0, 16_000), 16_000)
    miniatures.write(tmp_path / "set" / "heavy_rain.wav", miniatures.recording(1, 1.0, 16_000), 16_000)
    (tmp_path / "set" / "dog" / "a.txt").write_text("a small dog\n")
    found = open_dataset(tmp_path / "set")
    assert [(clip.clip_id, prompt(clip)) for clip in found.clips] == [
        ("dog/a", "a small dog"),
        ("heavy_rain", "heavy rain"),
    ]
    for name, content in {
        "a.csv": "file,caption\nset/dog/a.wav,first\nset/none.wav,second\n",
        "a.jsonl": '{"path": "set/dog/a.wav", "prompt": "first"}\n{"path": "set/none.wav", "prompt": "second"}',
        "a.json": json.dumps(
            {"data": [{"wav": "set/dog/a.wav", "caption": ["first"]}, {"wav": "set/none.wav", "caption": "second"}]}
        ),
    }.items():
        (tmp_path / name).write_text(content)
        listed = open_dataset(tmp_path / name)
        assert [clip.caption for clip in listed.clips] == ["first", "second"]
        assert listed.missing == ("set/none",)


@pytest.mark.parametrize(
    ("source", "message"),
    [("no-such", "does not exist"), ("esc51=x", "unknown dataset"), ("esc50=no-such", "is not a folder")],
)
def test_sources_that_are_none(source: str, message: str) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        open_dataset(source)


def test_export_for_other_generators(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["data", "export", "urbansound8k", str(roots["urbansound8k"]), "-o", str(out), "--split", "paper:6"]
    assert main([*arguments, "--template", "sentence"]) == 0
    assert "share their source recording" in capsys.readouterr().err
    rows = (out / "prompts.csv").read_text().splitlines()
    assert rows[0] == "clip_id,prompt"
    assert len(rows) == 7
    assert all("This is a sound of" in row for row in rows[1:])
    references = sorted((out / "references").iterdir())
    assert [path.stem for path in references] == sorted(row.split(",")[0] for row in rows[1:])
    assert soundfile.info(references[0]).frames > 0
    assert main(arguments) == 2


def test_export_leaves_out_what_is_missing(tmp_path: Path) -> None:
    clips = (Clip("a", miniatures.SOURCES[0], "x"), Clip("b", None, "y"))
    assert export(Dataset("own", tmp_path, clips), tmp_path / "out") == 1
    assert (tmp_path / "out" / "prompts.csv").read_text().splitlines() == ["clip_id,prompt", "a,x"]


def test_list_names_licence_and_layout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    for name in NAMES:
        assert f"{name}: " in shown
    assert shown.count("licence: ") == 4


def test_clips_that_must_be_converted_are_not_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They cannot be decoded, and the check says how to convert them."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        content = archive.read("clip.m4a")
    for name in NAMES:
        root = getattr(miniatures, name)(tmp_path / name)
        paths = sorted(path for path in root.rglob("*") if path.suffix in DECODABLE)
        for path in paths:
            path.unlink()
            path.with_suffix(".m4a").write_bytes(content)
        found = open_dataset(f"{name}={root}")
        assert not found.missing
        assert all(clip.path.suffix == ".m4a" for clip in found.present)
        assert main(["data", "check", name, str(root)]) == 5
        shown = capsys.readouterr().out
        assert "audio missing" not in shown
        assert f"cannot be decoded ({len(found.clips)})" in shown
        assert shown.count("ffmpeg -i IN -c:a pcm_f32le OUT.wav") == 1
    table = tmp_path / "table.csv"
    (tmp_path / "rain.m4a").write_bytes(content)
    table.write_text("file,caption\nrain.wav,rain\n")
    assert not open_dataset(table).missing


def test_what_decodes_goes_first(tmp_path: Path) -> None:
    root = miniatures.audiocaps(tmp_path / "audiocaps")
    found = open_dataset(f"audiocaps={root}")
    for path in [clip.path for clip in found.present]:
        path.with_suffix(".aac").write_bytes(b"")
        path.with_suffix(".txt").write_bytes(b"")
    assert open_dataset(f"audiocaps={root}").clips == found.clips


def test_some_clips_are_of_all_classes_and_of_no_particular_place() -> None:
    """The first clips of ESC-50 by id are all of its first fold; the first of a folder all of its first class."""
    clips = [Clip(f"{label:02}/{n}", None, "", (f"{label:02}",)) for label in range(10) for n in range(6)]
    for size, most in ((10, 1), (20, 2), (25, 3)):
        counts = Counter(clip.labels for clip in draw(clips, size))
        assert (len(counts), max(counts.values())) == (10, most)
    assert draw(clips, 25) == draw(clips, 25) == sorted(draw(clips, 25), key=lambda clip: clip.clip_id)
    drawn = [{clip.labels for clip in draw(clips, 3, seed)} for seed in range(20)]
    assert len(set().union(*drawn)) == 10
    assert len({tuple(sorted(clip.clip_id for clip in draw(clips, 10, seed))) for seed in range(5)}) == 5
    assert draw(clips, 60) == draw(clips, 99) == clips
    with pytest.raises(UsageError, match="size"):
        draw(clips, 0)
    plain = Counter(clip.labels for clip in draw(clips, 20, stratified=False))
    assert max(plain.values()) > 2
