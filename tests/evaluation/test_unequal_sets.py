"""Two sets that do not fit each other: nothing that should pair is lost, and nothing is compared in silence."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics import FD, MetricSuite, ScoreReport, score
from audiogen_metrics.audio.files import scan
from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.material import open_material
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.extraction import ExtractionOptions
from audiogen_metrics.embedding.reference import ReferenceStatistics
from audiogen_metrics.embedding.sides import FolderSide, between
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.evaluation import Evaluation, embed_folder, evaluate, reference_statistics
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.evaluation.evaluation import Asked
from audiogen_metrics.evaluation.external import score_features
from audiogen_metrics.evaluation.protocol_sweep import compare_protocols
from audiogen_metrics.evaluation.verify import verify
from audiogen_metrics.probes.copying import CopyOptions, corrupt_folder
from audiogen_metrics.protocols import PROTOCOLS
from audiogen_metrics.ranking import score_systems
from audiogen_metrics.studies import sanity
from tests.conftest import write_tone

NAMES = ("café", "pluie", "vent")
DECOMPOSED = ("cafe\u0301", "pluie", "vent")


def tones(folder: Path, names: tuple[str, ...], suffix: str = ".wav", seconds: float = 1.0) -> Path:
    """Write a tone per name, different for each folder, whatever the form of the name."""
    for place, name in enumerate(names):
        source = folder / f"{folder.name}{place}.wav"
        samples = write_tone(source, seconds)
        source.unlink()
        soundfile.write(folder / f"{name}{suffix}", samples, 16_000)
    return folder


def run(gen: Path, ref: Path, **options: object) -> ScoreReport:
    return score(gen, ref, **{"protocol": "yamnet", "workers": 0, "metrics": ["fd", "kl"], "ci": False, **options})  # type: ignore[arg-type]


def told(report: ScoreReport, words: str) -> list[str]:
    return [warning for warning in report.warnings if words in warning]


class TestUnicode:
    def test_forms_pair(self, tmp_path: Path) -> None:
        gen = tones(tmp_path / "gen", NAMES)
        plain, other = (tones(tmp_path / form / "ref", names) for form, names in (("c", NAMES), ("d", DECOMPOSED)))
        expected, found = run(gen, plain), run(gen, other)
        assert found.scores == expected.scores
        assert found.pairing["paired"] == 3
        assert told(found, "Unicode") == [
            "1 clip ids are written in different Unicode forms in gen and ref and are paired by NFC: café"
        ]
        assert not told(expected, "Unicode")
        assert not told(run(gen, other, pairing="none", metrics=["fd"]), "Unicode")
        assert (found.ref.digest, found.ref.files) == (expected.ref.digest, expected.ref.files)
        assert run(gen, other, pairing="id").scores == expected.scores
        assert run(gen, other, limit=2).pairing["paired"] == 2

    def test_statistics_of_before(self, tmp_path: Path) -> None:
        """Files that have their ids as the folder's names were."""
        gen, ref = tones(tmp_path / "gen", NAMES), tones(tmp_path / "ref", NAMES)
        built = reference_statistics(ref, protocol="yamnet", metrics=["fd", "kl"])
        old = replace(
            built,
            clip_ids=DECOMPOSED,
            features={name: replace(given, clip_ids=DECOMPOSED) for name, given in built.features.items()},
            summary=replace(built.summary, files=dict(zip(DECOMPOSED, built.summary.files.values(), strict=True))),
        )
        old.save(tmp_path / "old.stats")
        found = run(gen, tmp_path / "old.stats")
        assert found.scores == run(gen, ref).scores
        assert not told(found, "another id")
        twice = ("café", "cafe\u0301", "vent")
        replace(old, clip_ids=twice).save(tmp_path / "twice.stats")
        with pytest.raises(DataError, match="two clip ids differ in their Unicode form only"):
            ReferenceStatistics.load(tmp_path / "twice.stats")

    def test_features_of_other_tools(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        for side, names in (("gen", NAMES), ("ref", DECOMPOSED)):
            (tmp_path / side).mkdir()
            for name in names:
                np.save(tmp_path / side / f"{name}.npy", rng.normal(size=(4, 3)))
        report = score_features(tmp_path / "gen", tmp_path / "ref", backbone="x")
        assert report.pairing["paired"] == 3
        assert told(report, "ref: 1 clip ids are not written in Unicode's form NFC")
        np.save(tmp_path / "ref" / "café.npy", rng.normal(size=(4, 3)))
        with pytest.raises(DataError, match="two clip ids differ in their Unicode form only"):
            score_features(tmp_path / "gen", tmp_path / "ref", backbone="x")


class TestNames:
    def test_nearly_equal_names_do_not_pair_and_are_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gen, ref = tones(tmp_path / "gen", ("Dog", "rain")), tones(tmp_path / "ref", ("dog", "rain"))
        report = run(gen, ref)
        assert report["kl_yamnet"].details["pairs"] == 1
        assert told(report, "not in KL: 2 clips have no partner: gen 'Dog', ref 'dog'; 1 differs only in case")
        with pytest.raises(DataError, match=r"2 clips have no partner: gen 'Dog', ref 'dog'; 1 differs only in case"):
            run(gen, ref, pairing="id")
        (gen / "rain.wav").unlink()
        with pytest.raises(
            InsufficientDataError, match=r"no clip id is in both sets \(1 differs only in case \(gen 'Dog'"
        ):
            run(gen, ref, metrics=["kl"])
        with monkeypatch.context() as patched:  # before anything is embedded
            patched.setattr(FolderSide, "extract", None)
            for pairing, what in (
                ("auto", "no clip id is in both sets"),
                ("none", "KL compares pairs, and pairing is off"),
            ):
                with pytest.raises(InsufficientDataError, match=f"kl_yamnet: {what}"):
                    run(gen, ref, pairing=pairing)
        found = compare_protocols(gen, ref, base="yamnet")
        assert any("differs only in case" in (row.score.reason or "") for row in found.rows)

    def test_systems(self, tmp_path: Path) -> None:
        a, b, ref = (
            tones(tmp_path / name, names)
            for name, names in (("a", ("Dog", "x", "y")), ("b", ("dog", "x", "y")), ("ref", ("dog", "x", "y")))
        )
        found = compare(a, b, ref, protocol="yamnet", metrics=["fd", "kl"], permutations=0)
        assert "clips of A and B do not pair: 1 differs only in case (A 'Dog', B 'dog')" in found.warnings
        assert (
            "not in KL: 2 clips have no partner: A 'Dog', ref 'dog'; 1 differs only in case (A 'Dog', ref 'dog')"
            in found.warnings
        )
        assert not [warning for warning in found.warnings if "B 'dog', ref" in warning]


class TestBrokenPartners:
    @pytest.mark.parametrize("side", ["gen", "ref"])
    def test_the_broken_file_is_named(self, tmp_path: Path, side: str) -> None:
        gen, ref = tones(tmp_path / "gen", NAMES), tones(tmp_path / "ref", NAMES)
        (tmp_path / side / "vent.wav").write_bytes(b"junk")
        other = {"gen": "ref", "ref": "gen"}[side]
        with pytest.raises(
            DataError,
            match=rf"1 pairs are broken: {side} 'vent': cannot be decoded.*, so {other} 'vent' has no partner",
        ):
            run(gen, ref, pairing="id")
        report = run(gen, ref)
        assert report["kl_yamnet"].details["pairs"] == 2
        assert told(report, f"1 clips have no partner: {other} 'vent'; 1 because the partner could not be used")
        (tmp_path / other / "vent.wav").write_bytes(b"junk")
        assert run(gen, ref, pairing="id")["kl_yamnet"].details["pairs"] == 2

    def test_statistics(self, tmp_path: Path) -> None:
        gen, ref = tones(tmp_path / "gen", NAMES), tones(tmp_path / "ref", NAMES)
        (ref / "vent.wav").write_bytes(b"junk")
        reference_statistics(ref, protocol="yamnet").save(tmp_path / "ref.stats")
        with pytest.raises(DataError, match=r"ref 'vent': cannot be decoded.*, so gen 'vent' has no partner"):
            run(gen, tmp_path / "ref.stats", pairing="id")

    def test_what_one_backbone_cannot_take_is_lost_too(self, tmp_path: Path) -> None:
        gen, ref = tones(tmp_path / "gen", NAMES), tones(tmp_path / "ref", NAMES)
        tones(gen, NAMES[:1], seconds=0.1)
        protocol = PROTOCOLS["yamnet"]
        recipe = replace(
            protocol.recipes["kl"], preprocessing=replace(protocol.recipes["kl"].preprocessing, minimum_samples=0)
        )
        sets = scan(gen), scan(ref), [recipe], {"yamnet": YAMNet()}, protocol, ExtractionOptions()
        assert evaluate(*sets).report["kl_yamnet"].details["pairs"] == 2
        with pytest.raises(DataError, match=r"gen 'café': .*, so ref 'café' has no partner"):
            _ = evaluate(*sets, Asked(pairing="id")).report

    def test_links_that_lead_nowhere(self, tmp_path: Path) -> None:
        gen, ref = tones(tmp_path / "gen", NAMES), tones(tmp_path / "ref", NAMES)
        (gen / "more").symlink_to(tmp_path / "unmounted")
        assert told(run(gen, ref), "gen: 1 links lead nowhere: more (No such file or directory)")
        with pytest.raises(DataError, match="links lead nowhere: more"):
            run(gen, ref, strict=True)


class TestSuffixes:
    @pytest.fixture
    def both(self, tmp_path: Path) -> tuple[Path, Path]:
        """What MMAudio writes, sound beside video, and WAV files as references."""
        gen, ref = tones(tmp_path / "gen", tuple("abcd"), ".flac"), tones(tmp_path / "ref", tuple("abcd"))
        for name in "abcd":
            (gen / f"{name}.mp4").write_bytes(b"video")
        return gen, ref

    def test_score_and_verify(self, both: tuple[Path, Path], tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r'Keep one of them, or choose: suffixes="\.flac"'):
            run(*both)
        report = run(*both, suffixes=["flac", ".WAV"])
        assert (report.gen.scored, report.gen.ignored, report.pairing["paired"]) == (4, 4, 4)
        assert report.manifest is not None
        assert report.manifest.suffixes == (".flac", ".wav")
        report.to_json(tmp_path / "report.json")
        assert verify(tmp_path / "report.json").equal
        content = json.loads((tmp_path / "report.json").read_text())
        del content["manifest"]["suffixes"]  # a report of before
        (tmp_path / "report.json").write_text(json.dumps(content))
        with pytest.raises(DataError, match="two files have the clip id"):
            verify(tmp_path / "report.json")
        with pytest.raises(DataError, match=r"no file has the suffix \.flac\. There are 4 \.wav"):
            run(*both, suffixes=".flac")
        with pytest.raises(UsageError, match=r"unknown audio suffix '\.flak'. Did you mean '\.flac'"):
            run(*both, suffixes="flak")

    @pytest.mark.parametrize(
        "command",
        [
            ["score", "GEN", "REF", "-m", "fd"],
            ["compare", "GEN", "GEN", "REF", "-m", "fd", "--permutations", "0"],
            ["stats", "build", "GEN", "-o", "OUT"],
            ["embed", "GEN", "-o", "OUT.npz"],
            ["study", "GEN", "--probes", "white-noise", "-m", "fd", "--fractions", "0,1", "--repeats", "1"],
            ["protocols", "compare", "GEN", "REF", "--base", "yamnet"],
            ["probe", "GEN", "OUT", "--probe", "white-noise"],
            ["data", "check", "folder", "GEN"],
            ["data", "export", "folder", "GEN", "-o", "OUT"],
        ],
        ids=lambda command: " ".join(command[:2]),
    )
    def test_every_command_that_lists_a_folder(
        self, both: tuple[Path, Path], tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        places = {
            "GEN": str(both[0]),
            "REF": str(both[1]),
            "OUT": str(tmp_path / "out"),
            "OUT.npz": f"{tmp_path}/o.npz",
        }
        arguments = [places.get(argument, argument) for argument in command]
        if command[0] not in ("probe", "data", "protocols"):
            arguments += ["--protocol", "yamnet"]
        assert main(arguments) == 3
        assert "two files have the clip id" in capsys.readouterr().err
        assert main([*arguments, "--suffix", "wav", "--suffix", ".flac"]) == 0
        capsys.readouterr()

    def test_where_there_is_no_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "table.csv").write_text("file,caption\nx.wav,dog\n")
        assert main(["data", "check", "folder", str(tmp_path / "table.csv"), "--suffix", "wav"]) == 2
        assert "is not a folder" in capsys.readouterr().err
        model = ["--model", "tiny-random", "-o", str(tmp_path / "out"), "--suffix", "wav"]
        assert main(["generate", "--prompt", "dog", *model]) == 2
        assert "--suffix: chooses recordings" in capsys.readouterr().err

    def test_functions(self, both: tuple[Path, Path], tmp_path: Path) -> None:
        assert len(embed_folder(both[0], protocol="yamnet", suffixes=".flac")[0].clip_ids) == 4
        options = CopyOptions("white-noise", suffixes=(".flac",))
        assert len(corrupt_folder(both[0], tmp_path / "copy", options)["clips"]) == 4
        study = sanity(
            both[0], probes=["white-noise"], protocol="yamnet", metrics=["fd"], fractions=(1,), suffixes="flac"
        )
        assert study.ref.scored == 4


class TestCommonContent:
    @pytest.fixture
    def sets(self, tmp_path: Path) -> tuple[Path, Path]:
        return tones(tmp_path / "gen", tuple("abcde")), tones(tmp_path / "ref", tuple("abcde"))

    def test_different_sets_are_no_warning(self, sets: tuple[Path, Path]) -> None:
        report = run(*sets)
        assert not told(report, "same")
        assert not told(report, "last")

    def test_the_same_set(self, sets: tuple[Path, Path], tmp_path: Path) -> None:
        report = run(sets[0], sets[0])
        assert report.warnings[0] == "gen and ref are the same set: all 5 clips have the same ids and bytes"
        copy = shutil.copytree(sets[0], tmp_path / "copy")
        assert run(sets[0], copy).warnings[0] == report.warnings[0]
        reference_statistics(sets[0], protocol="yamnet", metrics=["fd", "kl"]).save(tmp_path / "gen.stats")
        assert run(copy, tmp_path / "gen.stats").warnings == report.warnings
        assert f"warning: {report.warnings[0]}" in str(report)

    def test_copied_references_and_leaks(self, sets: tuple[Path, Path]) -> None:
        gen, ref = sets
        shutil.copy(ref / "a.wav", gen / "a.wav")
        shutil.copy(ref / "c.wav", gen / "b.wav")
        assert run(gen, ref).warnings[0] == (
            "gen: 2 of 5 clips are in ref with the same bytes: 1 under the same id (a), "
            "1 under another id (gen 'b' is ref 'c'); copies in another encoding would not be noticed"
        )
        for name in "abcde":
            shutil.copy(ref / f"{name}.wav", gen / f"{name}.wav")
        write_tone(ref / "more.wav")
        assert (
            run(gen, ref).warnings[0].startswith("gen: all 5 clips are in ref with the same bytes: 5 under the same id")
        )

    def test_systems(self, sets: tuple[Path, Path], tmp_path: Path) -> None:
        gen, ref = sets
        other = shutil.copytree(gen, tmp_path / "other")
        shutil.copy(ref / "e.wav", other / "e.wav")
        found = compare(gen, other, ref, protocol="yamnet", metrics=["fd"], permutations=0)
        assert [warning for warning in found.warnings if "same bytes" in warning] == [
            "A: 4 of 5 clips are in B with the same bytes: 4 under the same id (a, b, c, …); "
            "copies in another encoding would not be noticed",
            "B: 1 of 5 clips are in ref with the same bytes: 1 under the same id (e); "
            "copies in another encoding would not be noticed",
        ]

    def test_protocols_and_features(self, sets: tuple[Path, Path], tmp_path: Path) -> None:
        found = compare_protocols(sets[0], sets[0], base="yamnet")
        assert found.warnings[0].startswith("gen and ref are the same set")
        for name in "ab":
            np.save(tmp_path / f"{name}.npy", np.random.default_rng(ord(name)).normal(size=(9, 3)))
        features = score_features(tmp_path, tmp_path, backbone="x")
        assert features.warnings[0] == "gen and ref are the same set: all 2 clips have the same ids and features"

    def test_several_systems_with_intervals_and_without(self, sets: tuple[Path, Path]) -> None:
        for ci in (True, False):
            options = {"protocol": "yamnet", "metrics": ["fd"], "ci": ci}
            found = score_systems({"ours": sets[0], "theirs": sets[0]}, sets[1], **options)  # type: ignore[arg-type]
            assert found.warnings[0] == "ours and theirs are the same set: all 5 clips have the same ids and bytes"
            assert f"warning: {found.warnings[0]}" in str(found)
            found = score_systems(sets, sets[1], **options)  # type: ignore[arg-type]
            assert found.reports["ref"].warnings[0].startswith("gen and ref are the same set")

    def test_metric_objects(self, sets: tuple[Path, Path]) -> None:
        seen: list[Evaluation] = []
        metric = FD(protocol="yamnet", ref=sets[0])
        metric.score(sets[0], ci=False, observe=seen.append)
        suite = MetricSuite([metric]).score(sets[0], ci=False)
        for report in (seen[0].report, suite):
            assert report.warnings[0].startswith("gen and ref are the same set")

    def test_clips_that_train_and_evaluate(self, tmp_path: Path) -> None:
        train, more = tones(tmp_path / "train", tuple("abc")), tones(tmp_path / "more", tuple("de"))
        for path in [*train.iterdir(), *more.iterdir()]:
            path.with_suffix(".txt").write_text(f"a {path.stem}")
        for evaluation, expected in (
            (train, ["evaluation and training are the same set: all 3 clips have the same ids and files"]),
            (more, []),
        ):
            config = FineTuneConfig(str(train), "out", evaluation=str(evaluation))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                open_material(config)
            assert [str(each.message) for each in caught if "same" in str(each.message)] == expected

    def test_what_compares_a_set_with_itself_on_purpose_does_not_warn(self, sets: tuple[Path, Path]) -> None:
        study = sanity(sets[0], probes=["white-noise"], protocol="yamnet", metrics=["fd"], fractions=(1,), repeats=1)
        assert not [warning for warning in study.warnings if "same" in warning]


class TestLengths:
    @pytest.mark.parametrize(
        ("seconds", "warned"), [(2.0, False), (1.7, False), (2.4, False), (1.6, True), (2.5, True)]
    )
    def test_means_that_are_apart(self, tmp_path: Path, seconds: float, warned: bool) -> None:
        gen, ref = tones(tmp_path / "gen", NAMES, seconds=seconds), tones(tmp_path / "ref", NAMES, seconds=2.0)
        report = run(gen, ref)
        assert bool(told(report, f"gen clips last {seconds:.3g} s on average, ref clips 2 s")) == warned
        reference_statistics(ref, protocol="yamnet", metrics=["fd", "kl"]).save(tmp_path / "ref.stats")
        assert run(gen, tmp_path / "ref.stats").warnings == report.warnings
        # The cache knows the lengths too.
        assert run(gen, ref).warnings == report.warnings

    @pytest.mark.slow
    def test_a_protocol_that_cuts_both_to_one_length(self, tmp_path: Path) -> None:
        recipe = PROTOCOLS["yamnet"].recipes["fd"]
        for most, warned in ((48_000, False), (64_000, True), (0, True)):
            cut = replace(recipe, preprocessing=replace(recipe.preprocessing, maximum_samples=most))
            sides = [
                FolderSide.extract(
                    name,
                    scan(tones(tmp_path / f"{name}{most}", NAMES, seconds=seconds)),
                    [cut],
                    {"yamnet": YAMNet()},
                    ExtractionOptions(),
                )
                for name, seconds in (("gen", 3.0), ("ref", 5.0))
            ]
            assert bool(between(*sides)) == warned
