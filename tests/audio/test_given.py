"""Sets of clips that are no folder give the report of the folder that they could be."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
import torch
import webdataset

from audiogen_metrics import FAD, KL, MetricSuite, score
from audiogen_metrics.audio import spool
from audiogen_metrics.audio.decoding import Audio, decoded
from audiogen_metrics.audio.files import ClipSet, open_clips
from audiogen_metrics.audio.preparation import prepare
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.evaluation import Evaluation, reference_statistics
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.evaluation.protocol_sweep import compare_protocols
from audiogen_metrics.evaluation.verify import verify
from audiogen_metrics.protocols import PROTOCOLS, get_protocol
from audiogen_metrics.ranking import score_systems
from audiogen_metrics.report.html import score_html
from audiogen_metrics.results import ScoreReport

RATE = 16_000
OPTIONS: dict[str, Any] = {"protocol": "yamnet", "draws": 0}


def sound(seed: int, seconds: float = 1.2, channels: int = 1) -> np.ndarray:
    """Return a clip ``(channels, time)`` that 16 bits hold exactly."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-9000, 9000, (channels, int(seconds * RATE))) / 32768).astype(np.float32)


@pytest.fixture
def clips() -> dict[str, np.ndarray]:
    return {f"kind {seed % 2}/clip-{seed}": sound(seed, channels=1 + seed % 2) for seed in range(4)}


@pytest.fixture
def folder(tmp_path: Path, clips: dict[str, np.ndarray]) -> Path:
    return written(tmp_path / "gen", clips)


@pytest.fixture
def ref(tmp_path: Path, clips: dict[str, np.ndarray]) -> Path:
    return written(tmp_path / "ref", {name: sound(9 + place) for place, name in enumerate(clips)})


def written(folder: Path, clips: dict[str, np.ndarray]) -> Path:
    for name, samples in clips.items():
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples.T, RATE, subtype="PCM_16")
    return folder


def archived(path: Path, folder: Path, prefix: str = "") -> Path:
    """Return an archive of a folder, with something beside each clip, as WebDataset's shards have it."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for file in sorted(folder.rglob("*.wav")):
            name = prefix + file.relative_to(folder).as_posix()
            archive.add(file, name)
            label = tarfile.TarInfo(name.replace(".wav", ".json"))
            label.size = 2
            archive.addfile(label, io.BytesIO(b"{}"))
    return path


def numbers(report: ScoreReport) -> dict[str, object]:
    return {name: (report[name].value, report[name].ci95, report[name].n_gen) for name in report}


def columns(folder: Path, *, inside: bool, named: bool) -> datasets.Dataset:
    """Return a dataset of the files of a folder: their bytes or their paths, with or without a column of ids."""
    files = sorted(folder.rglob("*.wav"))
    sounds = [{"bytes": file.read_bytes() if inside else None, "path": None if inside else str(file)} for file in files]
    ids = {"clip_id": [file.relative_to(folder).with_suffix("").as_posix() for file in files]} if named else {}
    return datasets.Dataset.from_dict({**ids, "audio": sounds}).cast_column("audio", datasets.Audio())


FORMS: dict[str, Callable[[Path, dict[str, np.ndarray]], ClipSet]] = {
    "list of files": lambda folder, _: sorted(folder.rglob("*.wav")),
    "files by id": lambda folder, clips: {name: str(folder / f"{name}.wav") for name in clips},
    "bytes by id": lambda folder, clips: {name: (folder / f"{name}.wav").read_bytes() for name in clips},
    "arrays by id": lambda _, clips: {name: (samples, RATE) for name, samples in clips.items()},
    "dicts by id": lambda _, clips: {name: {"array": x, "sampling_rate": RATE} for name, x in clips.items()},
    "tensors": lambda _, clips: [(name, torch.tensor(x, requires_grad=True), RATE) for name, x in clips.items()],
    "other memory": lambda _, clips: [(name, np.asfortranarray(x).astype(">f4"), RATE) for name, x in clips.items()],
    "negated": lambda _, clips: [(name, torch._neg_view(torch.tensor(-x)), RATE) for name, x in clips.items()],
    "rate beside": lambda _, clips: {name: {"array": x.tolist(), "sample_rate": RATE} for name, x in clips.items()},
    "float64": lambda _, clips: [(name, x.astype(np.float64), RATE) for name, x in clips.items()],
    "generator": lambda _, clips: ((name, x, torch.tensor(RATE)) for name, x in reversed(clips.items())),
    "generator of files": lambda folder, _: iter(folder.rglob("*.wav")),
    "shard": lambda folder, _: archived(folder.parent / "gen.tar", folder, "./"),
    "shard from elsewhere": lambda folder, _: archived(folder.parent / "gen.tar", folder, "../"),
    "compressed shard": lambda folder, _: str(archived(folder.parent / "gen.tar.gz", folder)),
    "WebDataset": lambda folder, _: webdataset.WebDataset(
        str(archived(folder.parent / "gen.tar", folder)), shardshuffle=False
    ),
    "dataset of files": lambda folder, _: columns(folder, inside=False, named=False),
    "column": lambda folder, _: columns(folder, inside=False, named=True)["audio"],
    "dataset with bytes": lambda folder, _: columns(folder, inside=True, named=True).shuffle(seed=1),
    "dataset that streams": lambda folder, _: columns(folder, inside=True, named=True).to_iterable_dataset(),
    "formatted dataset": lambda folder, _: columns(folder, inside=True, named=True).with_format("numpy"),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves its shard open
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_folder_that_it_could_be(
    form: str, folder: Path, clips: dict[str, np.ndarray], ref: Path
) -> None:
    given = FORMS[form](folder, clips)
    found, expected = score(given, ref, **OPTIONS), score(folder, ref, **OPTIONS)
    assert numbers(found) == numbers(expected)
    assert (found.gen.scored, found.gen.seconds) == (expected.gen.scored, expected.gen.seconds)
    assert found.pairing == expected.pairing
    assert found.warnings == expected.warnings


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_samples_are_prepared_as_those_of_a_file(protocol: str, folder: Path, clips: dict[str, np.ndarray]) -> None:
    given = open_clips({name: (samples, RATE) for name, samples in clips.items()})
    for preprocessing in {recipe.preprocessing for recipe in get_protocol(protocol).recipes.values()}:
        for clip, file in zip(given.clips, open_clips(folder).clips, strict=True):
            assert torch.equal(prepare(decoded(clip), preprocessing), prepare(decoded(file), preprocessing))


def test_both_sides_one_rate_for_all_and_a_mono_clip(ref: Path, folder: Path, clips: dict[str, np.ndarray]) -> None:
    mono = {name: samples[0] for name, samples in clips.items()}
    other = {name: sound(9 + place) for place, name in enumerate(clips)}
    found = score(mono, other.items(), sample_rate=RATE, **OPTIONS)
    expected = score(written(folder.parent / "mono", {name: x[None] for name, x in mono.items()}), ref, **OPTIONS)
    assert numbers(found) == numbers(expected)
    assert found.manifest is not None
    assert found.manifest.given == ("gen", "ref")
    assert found.manifest.sample_rate == RATE


@pytest.mark.slow
def test_content_is_cached_whatever_it_is_called(clips: dict[str, np.ndarray]) -> None:
    seen: list[Evaluation] = []
    options = {**OPTIONS, "sample_rate": RATE, "observe": seen.append}
    for given in (clips, {f"new {name}": samples for name, samples in clips.items()}, {"a": sound(70)}):
        score(given, **options)
    assert [evaluation.gen.extractions[0].from_cache for evaluation in seen] == [0, 4, 0]
    doubled = {name: (samples, 2 * RATE) for name, samples in clips.items()}
    score(doubled, **options)
    assert seen[-1].gen.extractions[0].from_cache == 0


def test_what_comes_once_goes_to_a_file_where_it_is_large(
    monkeypatch: pytest.MonkeyPatch, folder: Path, clips: dict[str, np.ndarray], ref: Path
) -> None:
    expected = score(folder, ref, **OPTIONS)
    monkeypatch.setattr(spool, "IN_MEMORY", 10_000)
    found = score(((name, samples, RATE) for name, samples in clips.items()), ref, **OPTIONS)
    assert numbers(found) == numbers(expected)
    kept = open_clips((name, samples, RATE) for name, samples in clips.items())
    (first, *_) = kept.clips
    audio = first.fetch()
    assert isinstance(audio, Audio)
    assert np.array_equal(audio.samples.T, clips[first.clip_id])


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch, clips: dict[str, np.ndarray]) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 1)
    monkeypatch.setattr("tempfile.tempdir", "/dev/full")
    with pytest.raises(DataError, match="cannot be kept"):
        open_clips((name, samples, RATE) for name, samples in clips.items())


def test_one_generator_cannot_be_both_sets(clips: dict[str, np.ndarray]) -> None:
    once = iter([(name, samples, RATE) for name, samples in clips.items()])
    with pytest.raises(DataError, match="ref: there are no clips"):
        score(once, once, **OPTIONS)


WAVE = sound(1)[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "gen is of type int, not a set of clips"),
        (b"RIFF", "gen is of type bytes"),
        (WAVE, r"gen is an array of shape \(19200,\), not a set"),
        ([], "there are no clips"),
        ({}, "there are no clips"),
        ([WAVE], r"gen\[0\] is an array of shape \(19200,\), not a clip with its id"),
        ([("a", WAVE)], r"gen\['a'\] has no sample rate"),
        ([("a", WAVE, RATE), None], r"gen\[1\] is of type NoneType"),
        ([("a", RATE, WAVE)], r"gen\['a'\] is of type tuple, not a clip"),
        ([("a", WAVE, WAVE)], "an array as its sample rate"),
        ([("a", WAVE, 16)], "at least 1000"),
        ([(WAVE, RATE)], "a clip id must be text, not an array"),
        ({3: (WAVE, RATE)}, "a clip id must be text, not 3"),
        ({" ": (WAVE, RATE)}, "a clip id must be text, not ' '"),
        ({"a": (WAVE.astype(np.int16), RATE)}, "int16 / 32768"),
        ({"a": (np.array([None]), RATE)}, "the type object"),
        ({"a": (WAVE[:, None].repeat(2, 1), RATE)}, "Time must come last"),
        ({"a": (WAVE[None, None], RATE)}, r"has shape \(1, 1, 19200\)"),
        ({"a": (np.ma.masked_array(WAVE), RATE)}, "masked"),
        ({"a": (torch.eye(300).to_sparse(), RATE)}, "sparse"),
        ({"a": (torch.zeros(9000, device="meta"), RATE)}, "no values"),
        ({"a": ([[0.0, 0.1], [0.2]], RATE)}, "unequal length"),
        ([("a", WAVE, [RATE])], "an array as its sample rate"),
        ({"a": (np.full(9000, np.nan, np.float32), RATE)}, "a: the clip has NaN or infinite samples"),
        ({"a": (np.full(9000, 1e300), RATE)}, "a: the clip has NaN or infinite samples"),
        ({"a": (WAVE[:0], RATE)}, "a: the clip has no samples"),
        ({"a": b""}, "a: the file is empty"),
        ({"a": b"no sound"}, "a: "),
        ([("a", WAVE, RATE), ("a", WAVE, RATE)], "two clips have the id 'a'"),
        ({"é": (WAVE, RATE), "e\u0301": (WAVE, RATE)}, "two clips have the id 'é'"),
        (["missing.wav"], "missing.wav: does not exist"),
        ({"a": "missing.wav"}, "missing.wav: does not exist"),
        ([Path(__file__)], "is not an audio file by its suffix"),
        ([Path(__file__).parent], "is a folder, not a file"),
        ("missing.tar", "missing.tar: there is no such archive"),
        ("missing-{3..1}.tar", "the range is empty"),
        ([{"__key__": "a", "wav": b"", "flac": b""}], "several entries of audio: wav, flac"),
        (datasets.DatasetDict({"test": datasets.Dataset.from_dict({"a": [1]})}), r"dataset\['test'\]"),
        (datasets.Dataset.from_dict({"text": ["a"]}), "0 Audio columns; its columns are text"),
        (datasets.Dataset.from_dict({"text": ["a"]})["text"], "no Audio column 'text'"),
    ],
)
def test_what_is_no_set_of_clips_is_one_clear_error(given: Any, said: str) -> None:
    with pytest.raises((UsageError, DataError), match=said) as caught:
        score(given, **OPTIONS)
    assert len(str(caught.value)) < 400


def test_datasets_that_do_not_name_their_clips(folder: Path) -> None:
    inside = columns(folder, inside=True, named=False)
    with pytest.raises(UsageError, match="row 0 of the dataset has neither a clip_id nor a path"):
        open_clips(inside)
    with pytest.raises(UsageError, match="transform"):
        open_clips(columns(folder, inside=True, named=True).with_transform(lambda row: row))
    rows = [{"clip_id": name, "audio": None} for name in ("a", " ")]
    features = datasets.Features({"clip_id": datasets.Value("string"), "audio": datasets.Audio()})
    with pytest.raises(UsageError, match="row 1 of the dataset has the clip_id ' '"):
        open_clips(datasets.Dataset.from_list(rows, features=features))
    for given in (empty := datasets.Dataset.from_list(rows[:1], features=features), empty.to_iterable_dataset()):
        with pytest.raises(DataError, match="a: the row has no audio"):
            score(given, **OPTIONS)
    two = columns(folder, inside=True, named=True).add_column("sound", [str(folder)] * 4)
    with pytest.raises(UsageError, match="2 Audio columns"):
        open_clips(two.cast_column("sound", datasets.Audio()))


def test_bad_clips_are_skipped_as_bad_files_are(ref: Path, clips: dict[str, np.ndarray]) -> None:
    given = {**{name: (samples, RATE) for name, samples in clips.items()}, "bad": (np.full(9000, np.inf), RATE)}
    report = score(given, ref, **OPTIONS)
    assert [skipped["clip"] for skipped in report.gen.skipped] == ["bad"]
    with pytest.raises(DataError, match="1 of 5 files cannot be scored"):
        score(given, ref, strict=True, **OPTIONS)


@pytest.mark.slow
def test_pairs_prompts_limits_and_suffixes(folder: Path, clips: dict[str, np.ndarray], ref: Path) -> None:
    given = {name: (samples, RATE) for name, samples in clips.items()}
    options = {**OPTIONS, "limit": 3, "prompts": dict.fromkeys(clips, "rain")}
    assert numbers(score(given, ref, **options)) == numbers(score(folder, ref, **options))
    renamed = {f"{name}_0": clip for name, clip in given.items()}
    report = score(renamed, ref, pairs="{ref}_{sample}", **OPTIONS)
    assert report.pairing["paired"] == 4
    shard = archived(folder.parent / "gen.tar", folder)
    with pytest.raises(DataError, match="there are no clips"):
        score(shard, ref, suffixes=".flac", **OPTIONS)
    assert score(shard, ref, suffixes=".wav", **OPTIONS).gen.ignored == 4
    for files in (FORMS["list of files"], FORMS["files by id"], FORMS["column"]):
        with pytest.raises(DataError, match="there are no clips"):
            score(files(folder, clips), ref, suffixes=".flac", **OPTIONS)


def test_names_that_are_not_unicode(ref: Path, folder: Path, clips: dict[str, np.ndarray]) -> None:
    shard = folder.parent / "latin.tar"
    with tarfile.open(shard, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.add(folder / "kind 0" / "clip-0.wav", "caf\u00e9.wav")
        archive.add(folder / "kind 1" / "clip-1.wav", "tea.wav")
    for given in (shard, {"caf\udce9": (clips["kind 0/clip-0"], RATE), "tea": (clips["kind 1/clip-1"], RATE)}):
        assert score(given, ref, **OPTIONS).gen.scored == 2


def test_several_shards_are_one_set(folder: Path, ref: Path) -> None:
    place = folder.parent
    archived(place / "part-00.tar", folder / "kind 0", "kind 0/")
    archived(place / "part-01.tar", folder / "kind 1", "kind 1/")
    expected = numbers(score(folder, ref, **OPTIONS))
    assert numbers(score(place / "part-{00..01}.tar", ref, **OPTIONS)) == expected
    assert numbers(score(sorted(place.glob("*.tar")), ref, **OPTIONS)) == expected
    with pytest.raises(DataError, match=r"two clips have the id 'kind 0/clip-0' .*part-00.tar"):
        open_clips([place / "part-00.tar", place / "part-00.tar"])


def test_members_that_cannot_be_read_are_named(folder: Path, ref: Path) -> None:
    shard = archived(folder.parent / "gen.tar", folder)
    with tarfile.open(shard, "a") as archive:
        link = tarfile.TarInfo("link.wav")  # skipped with its name
        link.type, link.linkname = tarfile.SYMTYPE, "kind 0/clip-0.wav"
        archive.addfile(link)
        script = tarfile.TarInfo("other.ts")
        script.type, script.linkname = tarfile.SYMTYPE, "kind 0/clip-0.wav"
        archive.addfile(script)
        for hidden in (".hidden.wav", ".git/clip.wav", "._clip.wav"):
            archive.addfile(tarfile.TarInfo(hidden), io.BytesIO())
    report = score(shard, ref, **OPTIONS)
    assert report.gen.scored == 4
    assert {skipped["path"] for skipped in report.gen.skipped} == {str(shard / "link.wav"), str(shard / "other.ts")}
    assert all("not a regular file" in skipped["reason"] for skipped in report.gen.skipped)


@pytest.mark.parametrize("name", ["gen.tar", "gen.tar.gz"])
def test_an_archive_that_is_not_whole_is_refused(name: str, folder: Path) -> None:
    """Python's own reader takes whatever is no member for the end, and passes over the checksum of gzip."""
    shard = archived(folder.parent / name, folder)
    content = shard.read_bytes()
    with tarfile.open(shard) as archive:
        third = archive.getmembers()[4].offset
    faults = {
        "cut in the middle": content[: len(content) // 2],
        "cut near the end": content[:-12_000] if name == "gen.tar" else content[:-4],
        "joined": content + content if name == "gen.tar" else content[:-6] + bytes([content[-6] ^ 1]) + content[-5:],
    }
    if name == "gen.tar":
        faults["cut between members"] = content[:third]
        faults["a bit of a header"] = content[: third + 10] + bytes([content[third + 10] ^ 1]) + content[third + 11 :]
    for fault, damaged in faults.items():
        shard.write_bytes(damaged)
        try:
            open_clips(shard)
        except DataError as error:
            assert "cannot be read as a tar archive" in str(error), fault  # noqa: PT017
        else:
            pytest.fail(fault)


def test_noise_in_place_of_an_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(DataError, match=r"a\.tar: cannot be read as a tar archive"):
        open_clips(tmp_path / "a.tar")


@pytest.mark.slow
def test_the_page_has_clips_from_memory_and_archives(folder: Path, clips: dict[str, np.ndarray], ref: Path) -> None:
    shard = archived(folder.parent / "ref.tar", ref)
    players = []
    for gen, reference in (({name: (x, RATE) for name, x in clips.items()}, shard), (folder, ref)):
        score_html(gen, reference, page := folder.parent / "page.html", **OPTIONS)
        players.append(page.read_text(encoding="utf-8").count("data:audio/mpeg"))
    assert players[0] == players[1] >= 8


@pytest.mark.slow
def test_a_run_is_repeated_where_its_clips_are_there(folder: Path, clips: dict[str, np.ndarray], ref: Path) -> None:
    file, shard = folder.parent / "report.json", archived(folder.parent / "gen.tar", folder)
    score(shard, ref, **OPTIONS).to_json(file)
    assert verify(file).equal
    given = {**clips}
    score(given, ref, sample_rate=RATE, **OPTIONS).to_json(file)
    with pytest.raises(UsageError, match="gen was given clip by clip"):
        verify(file)
    assert verify(file, gen=given).equal
    given["kind 0/clip-0"] = given["kind 0/clip-0"] / 2
    assert not verify(file, gen=given).equal


@pytest.mark.slow
def test_whoever_scores_folders_takes_the_others_too(folder: Path, clips: dict[str, np.ndarray], ref: Path) -> None:
    given = {name: (samples, RATE) for name, samples in clips.items()}
    shard = archived(folder.parent / "ref.tar", ref)
    whole = score(folder, ref, **OPTIONS)
    fad = FAD(protocol="yamnet")
    assert fad.score(given, shard, draws=0).value == whole["fad_yamnet"].value
    suite = MetricSuite([FAD(protocol="yamnet"), KL(protocol="yamnet")])
    assert suite.score(given, shard, draws=0)["kl_yamnet"].value == whole["kl_yamnet"].value
    reference_statistics(shard, protocol="yamnet").save(folder.parent / "ref.stats")
    assert score(given, folder.parent / "ref.stats", **OPTIONS)["fad_yamnet"].value == whole["fad_yamnet"].value
    louder = {name: (2 * samples, RATE) for name, samples in clips.items()}
    found = compare(given, louder, shard, protocol="yamnet", metrics="fad", permutations=0)
    assert found.differences[0].a == whole["fad_yamnet"].value
    ranking = score_systems({"ours": given, "louder": iter(louder.items())}, shard, permutations=0, **OPTIONS)
    assert ranking.reports["ours"]["fad_yamnet"].value == whole["fad_yamnet"].value
    assert ranking.reports["louder"]["fad_yamnet"].value == found.differences[0].b


def test_a_report_on_several_shards_is_repeated(folder: Path, ref: Path) -> None:
    place = folder.parent
    for number in range(2):
        archived(place / f"part-{number}.tar", folder / f"kind {number}", f"kind {number}/")
    score(str(place / "part-{0..1}.tar"), ref, **OPTIONS).to_json(place / "report.json")
    assert verify(place / "report.json").equal


@pytest.mark.slow
def test_protocols_are_compared_on_given_clips(clips: dict[str, np.ndarray], ref: Path) -> None:
    given = {name: (samples, RATE) for name, samples in clips.items()}
    found = compare_protocols(given, ref, base="yamnet")
    assert found.gen.scored == 4


def test_the_shell_takes_shards(folder: Path, ref: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shard = archived(tmp_path / "gen.tar", folder)
    arguments = ["score", "--protocol", "yamnet", "--draws", "0", "--format", "json"]
    assert main([*arguments, str(shard), str(ref)]) == 0
    from_shard = json.loads(capsys.readouterr().out)
    assert main([*arguments, str(folder), str(ref)]) == 0
    from_folder = json.loads(capsys.readouterr().out)
    assert from_shard["scores"] == from_folder["scores"]
    assert from_shard["inputs"]["gen"]["path"] == str(shard)


def test_a_generator_of_clips_is_read_once(clips: dict[str, np.ndarray], ref: Path) -> None:
    asked = []

    def made() -> Iterator[tuple[str, np.ndarray, int]]:
        for name, samples in clips.items():
            asked.append(name)
            yield name, samples, RATE

    score(made(), ref, **OPTIONS)
    assert asked == [*clips]
