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
from audiogen_metrics.datasets.base import Dataset, DatasetClip, prompt
from audiogen_metrics.datasets.checking import check, export
from audiogen_metrics.datasets.finding import names_of_segment
from audiogen_metrics.datasets.folder import open_dataset
from audiogen_metrics.datasets.splits import draw, fold_split, list_split, paper_split, split_by
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.generation.prompts import requests_from_file
from audiogen_metrics.prompts import captions_of, read_entries
from tests.audio.golden.foreign import ARCHIVE
from tests.datasets import miniatures

NAMES = DATASETS.names()


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
    assert (clip.split, clip.group) == ("1", "1010")
    assert prompt(clip) == "crying baby"
    assert prompt(clip, "sentence") == "This is a sound of crying baby."
    assert prompt(clip, "the {label}!") == "the crying baby!"
    with pytest.raises(UsageError, match="unknown template"):
        prompt(clip, "labels")


def test_urbansound8k(roots: dict[str, Path]) -> None:
    found = dataset(roots, "urbansound8k")
    assert (len(found.clips), found.missing) == (24, ())
    clip = next(clip for clip in found.clips if clip.clip_id == "101-1-0-5")
    assert (clip.labels, clip.group, clip.split) == (("dog_bark",), "101", "6")


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
        ("esc50", lambda root: (root / "meta" / "esc50.csv").write_text("a,b\n1,2\n"), "has no column category"),
        (
            "esc50",
            lambda root: (root / "meta" / "esc50.csv").write_text("filename,fold,category,src_file\n"),
            "no clips",
        ),
        (
            "urbansound8k",
            lambda root: _append(root / "metadata/UrbanSound8K.csv", "x.wav,1,a,b,1,1,1,siren"),
            "not a number",
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
    with pytest.raises(UsageError, match="is not a split"):
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
    assert rows[0] == "clip_id,prompt,seconds"
    assert len(rows) == 7
    assert all("This is a sound of" in row for row in rows[1:])
    references = sorted((out / "references").iterdir())
    assert [path.stem for path in references] == sorted(row.split(",")[0] for row in rows[1:])
    assert soundfile.info(references[0]).frames > 0
    assert main(arguments) == 2


def test_export_leaves_out_what_is_missing(tmp_path: Path) -> None:
    clips = (DatasetClip("a", miniatures.SOURCES[0], "x"), DatasetClip("b", None, "y"))
    assert export(Dataset("own", tmp_path, clips), tmp_path / "out") == 1
    assert (tmp_path / "out" / "prompts.csv").read_text().splitlines()[0] == "clip_id,prompt,seconds"
    (request,) = requests_from_file(tmp_path / "out" / "prompts.csv")
    assert (request.clip_id, request.prompt) == ("a", "x")
    assert request.seconds == pytest.approx(soundfile.info(miniatures.SOURCES[0]).duration, abs=0.005)


def test_list_names_licence_and_layout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    for name in NAMES:
        assert f"{name}: " in shown
    assert shown.count("licence: ") == len(NAMES)


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


def tone(path: Path, index: int = 0) -> Path:
    miniatures.write(path, miniatures.recording(index, 1.0, 16_000), 16_000)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spaces.csv", "file_name,caption\n typical street.wav,a street\n"),
        ("slips.csv", "file_name,caption\ntypical street.wav ,a street\n"),
        ("semicolons.csv", "file;caption\n typical street.wav;a street\n"),
        ("capitals.csv", "File Name,Caption\n typical street.wav,a street\n"),
        ("marked.tsv", "\ufefffile\tcaption\n typical street.wav\ta street\n"),
        ("absolute.jsonl", '{"audio_filepath": "FOLDER/ typical street.wav", "text": "a street"}\n'),
        ("without.csv", "fname,caption\n typical street,a street\n"),
    ],
)
def test_tables_as_people_write_them(tmp_path: Path, name: str, content: str) -> None:
    audio = tone(tmp_path / " typical street.wav")
    (tmp_path / name).write_text(content.replace("FOLDER", str(tmp_path)), encoding="utf-8")
    (clip,) = open_dataset(tmp_path / name).clips
    assert (clip.path, clip.caption) == (audio, "a street")
    assert clip.clip_id.endswith(" typical street")


def test_other_spellings_of_a_files_name(tmp_path: Path) -> None:
    tone(tmp_path / "sub" / "cafe\u0301.wav")
    (tmp_path / "a.csv").write_text("file,caption\nsub\\caf\u00e9.wav,cups\n", encoding="utf-8")
    found = open_dataset(tmp_path / "a.csv")
    assert (found.clips[0].clip_id, found.missing) == ("sub/caf\u00e9", ())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "file,caption\nx.wav,a dog, barks\n", "record 1 has more fields than the head"),
        ("a.csv", "recording,caption\nx.wav,a dog\n", "record 1: has no file among recording, caption"),
        ("a.csv", "file,words\nx.wav,a dog\n", "record 1: has no prompt among file, words"),
        ("a.csv", "file,caption\nx.wav,\n", "record 1: has an empty caption"),
        ("a.csv", "file,caption\nx.wav,a dog\nx.wav,a dog\n", "lists the clip 'x' twice"),
        ("a.csv", "file,caption,split\nx.wav,a dog,train\nx.wav,a hound,test\n", "lists the clip 'x' twice"),
        ("a.csv", "clip_id,file,caption\n../../up,x.wav,a dog\n", "not a path below a folder"),
        ("a.json", "[1, 2]", "record 1 must be an object, and is 1"),
        ("a.json", '{"data": {"a": 1}}', "is not a list of records"),
        ("a.csv", "file,caption\nx.wav,caf\udce9\n", "is not UTF-8"),
        ("a.doc", "x", "is not a list of clips"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    tone(tmp_path / "x.wav")
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises((DataError, UsageError), match=message):
        open_dataset(tmp_path / name)


def test_a_caption_keeps_its_lines_through_export(tmp_path: Path) -> None:
    tone(tmp_path / "x.wav")
    text = "a dog\nbarks\u2028twice\x85, far away"
    (tmp_path / "a.jsonl").write_text(json.dumps({"file": "x.wav", "caption": text}, ensure_ascii=False) + "\n")
    export(open_dataset(tmp_path / "a.jsonl"), tmp_path / "out")
    (request,) = requests_from_file(tmp_path / "out" / "prompts.csv")
    assert (request.prompt, request.seconds) == (text, 1.0)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_hugging_faces_audio_folder(tmp_path: Path, kind: str) -> None:
    records = [{"file_name": "0.wav", "text": "rain on a roof"}, {"file_name": "deep/1.wav", "text": "a dog, barking"}]
    for part in ("train", "test"):
        tone(tmp_path / "hf" / part / "0.wav")
        tone(tmp_path / "hf" / part / "deep" / "1.wav", 1)
        table = tmp_path / "hf" / part / f"metadata.{kind}"
        if kind == "csv":
            miniatures.table(table, ["file_name", "text"], [[*record.values()] for record in records])
        elif kind == "jsonl":
            table.write_text("".join(json.dumps(record) + "\n" for record in records))
        else:
            pytest.importorskip("pyarrow.parquet").write_table(
                pytest.importorskip("pyarrow").Table.from_pylist(records), table
            )
    found = open_dataset(tmp_path / "hf")
    assert [(clip.clip_id, clip.caption, clip.split) for clip in found.clips] == [
        ("test/0", "rain on a roof", "test"),
        ("test/deep/1", "a dog, barking", "test"),
        ("train/0", "rain on a roof", "train"),
        ("train/deep/1", "a dog, barking", "train"),
    ]
    assert (
        main(["data", "export", "folder", str(tmp_path / "hf"), "--split", "fold:test", "-o", str(tmp_path / "o")]) == 0
    )
    assert (tmp_path / "o" / "prompts.csv").read_text().splitlines() == [
        "clip_id,prompt,seconds",
        "test/0,rain on a roof,1.00",
        'test/deep/1,"a dog, barking",1.00',
    ]
    assert [entry.clip_id for entry in read_entries(tmp_path / "hf" / "train")] == ["0", "deep/1"]


def test_audio_that_the_folders_table_does_not_name(tmp_path: Path) -> None:
    tone(tmp_path / "own" / "0.wav")
    tone(tmp_path / "own" / "1.wav", 1)
    (tmp_path / "own" / "metadata.csv").write_text("file_name,text\n0.wav,rain\n2.wav,wind\n")
    with pytest.raises(DataError, match=r"1 recordings have no record in metadata\.csv: 1"):
        open_dataset(tmp_path / "own")
    (tmp_path / "own" / "1.wav").unlink()
    found = open_dataset(tmp_path / "own")
    assert (found.missing, "the files that metadata.csv names" in found.lacking) == (("2",), True)
    (tmp_path / "own" / "metadata.jsonl").write_text("")
    with pytest.raises(DataError, match=r"has metadata\.csv and metadata\.jsonl"):
        open_dataset(tmp_path / "own")


def test_all_captions_are_kept(tmp_path: Path) -> None:
    tone(tmp_path / "x.wav")
    tone(tmp_path / "y.wav", 1)
    (tmp_path / "five.csv").write_text("file,caption\nx.wav,a dog\nx.wav,a hound\ny.wav,rain\nx.wav,barking\n")
    (tmp_path / "wide.csv").write_text(
        "file_name,caption_1,caption_2,caption_3\nx.wav,a dog,a hound,barking\ny.wav,rain,,\n"
    )
    for name in ("five", "wide"):
        found = open_dataset(tmp_path / f"{name}.csv")
        assert [(clip.caption, clip.captions) for clip in found.clips] == [
            ("a dog", ("a dog", "a hound", "barking")),
            ("rain", ()),
        ]
        written = {}
        for choice in ("first", "all", "random"):
            out = tmp_path / f"{name}-{choice}"
            command = ["data", "export", "folder", str(tmp_path / f"{name}.csv"), "--caption", choice, "--seed", "3"]
            assert main([*command, "-o", str(out)]) == 0
            written[choice] = captions_of(out / "prompts.csv", ["x", "y"]).by_clip
        assert written["first"] == {"x": ("a dog",), "y": ("rain",)}
        assert written["all"] == {"x": ("a dog", "a hound", "barking"), "y": ("rain",)}
        assert len(written["random"]["x"]) == 1
    drawn = {
        requests_from_file(tmp_path / "five-all" / "prompts.csv", seed=s, caption="random")[0].prompt for s in range(20)
    }
    assert drawn == {"a dog", "a hound", "barking"}
    with pytest.raises(DataError, match=r"1 clip ids occur twice.*caption"):
        requests_from_file(tmp_path / "five-all" / "prompts.csv")
    everything = requests_from_file(tmp_path / "five-all" / "prompts.csv", caption="all")
    assert [(each.clip_id, each.prompt, each.seconds) for each in everything] == [
        ("x_0", "a dog", 1.0),
        ("x_1", "a hound", 1.0),
        ("x_2", "barking", 1.0),
        ("y_0", "rain", 1.0),
    ]
    with pytest.raises(UsageError, match="unknown choice 'last'"):
        requests_from_file(tmp_path / "five.csv", caption="last")  # type: ignore[arg-type]


def test_what_cannot_be_decoded_is_left_out_of_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tone(tmp_path / "own" / "x.wav")
    (tmp_path / "own" / "y.wav").write_text("<html>404</html>")
    assert main(["data", "export", "folder", str(tmp_path / "own"), "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().err
    assert "warning: 1 clips are left out, as they cannot be decoded: y (" in shown
    assert [path.name for path in (tmp_path / "out" / "references").iterdir()] == ["x.wav"]
    (tmp_path / "own" / "x.wav").unlink()
    assert main(["data", "export", "folder", str(tmp_path / "own"), "-o", str(tmp_path / "none")]) == 3
    assert not (tmp_path / "none").exists()


def test_exports_stay_in_their_folder(tmp_path: Path) -> None:
    for name in ("data/audio/x.wav", "data/meta/y.wav"):
        tone(tmp_path / name)
    table = tmp_path / "data" / "meta" / "list.csv"
    table.write_text(f"file,caption\n../audio/x.wav,a dog\n{tmp_path}/data/meta/y.wav,rain\n")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert export(open_dataset(table), tmp_path / "a" / "out") == 2
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert len(new) == 3
    assert all(path.is_relative_to(tmp_path / "a" / "out") for path in new)
    references = {
        path.relative_to(tmp_path / "a/out/references").with_suffix("").as_posix()
        for path in new
        if path.suffix == ".wav"
    }
    assert references == {entry.clip_id for entry in read_entries(tmp_path / "a" / "out" / "prompts.csv")}


@pytest.mark.parametrize(
    "stem", ["{id}_{s}", "{id}_{s}_{e}", "Y{id}_{s}.000_{e}.000", "{id}_{s:06d}", "{id}_{ms}_{me}", "{number}"]
)
def test_audiocaps_by_the_names_of_several_programs(tmp_path: Path, stem: str) -> None:
    miniatures.table(
        tmp_path / "test.csv",
        ("audiocap_id", "youtube_id", "start_time", "caption"),
        [(103, "-a_b", 20, "second"), (7, "-a_b", 20, "first")],
    )
    found = open_dataset(f"audiocaps={tmp_path}")
    assert "Y-a_b; looked for {id}, {id}_{start}" in found.lacking
    assert str(tmp_path / "audio") in found.lacking
    name = stem.format(id="-a_b", s=20, e=30, ms=20_000, me=30_000, number=103)
    audio = tone(tmp_path / "audio" / f"{name}.wav")
    (clip,) = open_dataset(f"audiocaps={tmp_path}").clips
    assert (clip.path, clip.captions) == (audio, ("first", "second"))
    check_remarks = check(found).remarks
    assert any("{audiocap_id}" in remark for remark in check_remarks)


def test_names_of_a_part_of_a_video() -> None:
    names = names_of_segment("v", 30.0, 40.0)
    assert len(names) == len(set(names))
    assert {"Yv", "v", "v_30", "v_30_40", "v_30.0_40.0", "Yv_30.000_40.000", "v_000030", "v_30000_40000"} <= {*names}
    assert "v_22.5_32.5" in names_of_segment("v", 22.5, 32.5)


def test_a_caption_that_is_a_file_name_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tone = np.full(1600, 0.1)
    for name in ("sounds/dog_bark.wav", "sounds/rain.wav", "sounds/birds/a.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, tone, 16_000)
    (tmp_path / "sounds/rain.txt").write_text("rain on a roof")
    (remark,) = open_dataset(tmp_path / "sounds").remarks
    assert remark.startswith("1 clip has neither a caption nor a folder for the class")
    assert "'dog bark' for dog_bark.wav" in remark
    assert main(["data", "export", "folder", str(tmp_path / "sounds"), "-o", str(tmp_path / "out")]) == 0
    assert "'dog bark' for dog_bark.wav" in capsys.readouterr().err
    (tmp_path / "sounds/dog_bark.txt").write_text("a dog")
    assert open_dataset(tmp_path / "sounds").remarks == ()


def test_some_clips_are_of_all_classes_and_of_no_particular_place() -> None:
    """The first clips of ESC-50 by id are all of its first fold; the first of a folder all of its first class."""
    clips = [DatasetClip(f"{label:02}/{n}", None, "", (f"{label:02}",)) for label in range(10) for n in range(6)]
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
