"""`agm correlate`: known correlations, directions, joins, files of every kind, and what is refused."""

from __future__ import annotations

import csv
import io
import itertools
import json
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from audiogen_metrics import correlate
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.functional import correlation as formulas
from audiogen_metrics.results import InputSummary, Score, ScoreReport

SYSTEMS = [f"s{number}" for number in range(8)]
FDS = [31.0, 22.5, 27.0, 12.0, 14.5, 40.0, 18.0, 25.0]
RATED = [2.0, 3.5, 2.5, 4.5, 4.0, 1.5, 3.0, 3.25]


def write(path: Path, rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def read(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))]


def report(value: float | None, name: str = "fd_panns", metric: str = "fd", higher: bool = False) -> ScoreReport:
    summary = InputSummary("gen", 4, 4, 0, 20.0, "00")
    why = None if value is not None else "too few clips"
    score = Score(name, metric, "panns-cnn14-16k", value, higher, 4, 4, reason=why)
    return ScoreReport({name: score}, "audioldm", summary, summary)


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    return write(tmp_path / "ratings.csv", [("system", "rating"), *zip(SYSTEMS, RATED, strict=True)])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [(name, fd, 5 - fd / 10) for name, fd in zip(SYSTEMS, FDS, strict=True)]
    return write(tmp_path / "scores.csv", [("system", "fd_panns", "pq"), *rows])


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Path, Path]:
    """Six systems, 30 prompts, three raters; one metric hears well, one badly."""
    rng = np.random.default_rng(4)
    scores: list[Sequence[object]] = [("system", "clip_id", "clap_x", "noise")]
    said: list[Sequence[object]] = [("system", "clip_id", "rater", "rating")]
    for system, clip in itertools.product(SYSTEMS[:6], range(30)):
        heard = rng.normal() + 0.3 * int(system[1])
        scores.append((system, f"p{clip}", heard + 0.4 * rng.normal(), rng.normal()))
        said += [(system, f"p{clip}.wav", f"r{rater}", round(3 + heard + 0.5 * rng.normal())) for rater in range(3)]
    return write(tmp_path / "clips.csv", scores), write(tmp_path / "said.csv", said)


def test_coefficients_are_scipys_and_positive_where_people_agree(table: Path, ratings: Path) -> None:
    found = correlate(table, ratings)
    for kind, theirs in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau), ("pearson", stats.pearsonr)):
        own = found.get("fd_panns", kind)  # type: ignore[arg-type]
        assert own.raw == pytest.approx(theirs(FDS, RATED)[0], abs=1e-12)
        assert own.agreement == -own.raw > 0
        assert own.higher_is_better is False
        assert own.interval is not None
        assert own.interval[0] < own.agreement < own.interval[1] <= 1
        assert own.n == own.units == 8
        assert found.get("pq", kind).agreement == pytest.approx(own.agreement)  # type: ignore[arg-type]
    assert found.get("fd_panns", "kendall").p == pytest.approx(stats.kendalltau(FDS, RATED).pvalue, abs=2e-3)
    assert all(each.difference == pytest.approx(0) and each.better is None for each in found.differences)


def test_exact_p_is_scipys_exact_p() -> None:
    x, y = np.array([1.0, 2, 3, 4, 5, 6]), np.array([2.0, 1, 4, 3, 6, 5])
    assert formulas.association_p("kendall", x, y, 0) == pytest.approx(stats.kendalltau(x, y, method="exact").pvalue)


@pytest.mark.parametrize("kind", formulas.COEFFICIENTS)
def test_stacks_of_rows_are_the_rows(kind: formulas.Coefficient) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, 9).astype(float), rng.integers(0, 5, (6, 9)).astype(float)
    slow = [formulas.correlation(kind, x, row) for row in y]
    np.testing.assert_allclose(formulas.many(kind, x, y), slow, atol=1e-12)


def test_left_out_groups_are_computed_one_by_one() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 30))
    group = np.arange(30) // 3

    def estimate(rows: Any) -> float:
        return formulas.correlation("spearman", x[rows], y[rows])

    slow = [
        stats.spearmanr(np.delete(x, [3 * g, 3 * g + 1, 3 * g + 2]), np.delete(y, [3 * g, 3 * g + 1, 3 * g + 2]))[0]
        for g in range(10)
    ]
    np.testing.assert_allclose(formulas.left_out(estimate, group), slow, atol=1e-12)


def test_scale_does_not_matter(tmp_path: Path, ratings: Path) -> None:
    for scale in (1e-200, 1e200):
        rows = [(name, fd * scale) for name, fd in zip(SYSTEMS, FDS, strict=True)]
        found = correlate(write(tmp_path / "scaled.csv", [("system", "fd"), *rows]), ratings)
        assert found.get("fd", "pearson").raw == pytest.approx(stats.pearsonr(FDS, RATED)[0], abs=1e-12)
        assert found.get("fd", "pearson").p is not None


def test_clips_and_systems(clips: tuple[Path, Path]) -> None:
    found = correlate(*clips)
    assert found.levels == ("system", "clip", "clip_within_system")
    assert found.ratings == {"ratings": 540, "rated": 180, "raters": 3, "systems": 6, "clips": 180}
    clip = found.get("clap_x", "spearman", "clip")
    assert (clip.n, clip.units) == (180, 30)  # clips of one prompt are one unit
    own = [read(path) for path in clips]
    means: dict[tuple[str, str], list[float]] = {}
    for row in own[1]:
        means.setdefault((row["system"], row["clip_id"].removesuffix(".wav")), []).append(float(row["rating"]))
    x = np.array([float(row["clap_x"]) for row in own[0]])
    y = np.array([np.mean(means[row["system"], row["clip_id"]]) for row in own[0]])
    names = np.array([row["system"] for row in own[0]])
    assert clip.agreement == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-9)
    within = np.mean([stats.spearmanr(x[names == name], y[names == name])[0] for name in SYSTEMS[:6]])
    assert found.get("clap_x", "spearman", "clip_within_system").agreement == pytest.approx(within, abs=1e-9)
    by_system = [[np.mean(column[names == name]) for name in SYSTEMS[:6]] for column in (x, y)]
    assert found.get("clap_x", "pearson").agreement == pytest.approx(stats.pearsonr(*by_system)[0], abs=1e-9)
    assert {each.better for each in found.differences if each.level != "system"} == {"clap_x"}
    assert "direction not known, taken as higher is better: noise" in found.warnings


def test_scores_of_systems_and_of_clips_together(clips: tuple[Path, Path], tmp_path: Path) -> None:
    """A metric of whole systems stands on the level of systems only, beside the means of those of clips."""
    whole = write(tmp_path / "whole.csv", [("system", "fd"), *zip(SYSTEMS[:6], FDS, strict=False)])
    found = correlate([clips[0], whole], clips[1], metrics=["fd", "clap_x"])
    on = [(each.level, each.metric) for each in found.correlations if each.coefficient == "kendall"]
    assert on == [
        ("system", "fd"),
        ("system", "clap_x"),
        ("clip", "clap_x"),
        ("clip_within_system", "clap_x"),
    ]
    assert [each.level for each in found.differences] == ["system"] * 3


def test_seed_makes_it_repeatable_and_results_travel(clips: tuple[Path, Path]) -> None:
    one, other = correlate(*clips, seed=3), correlate(*clips, seed=3)
    assert one == other == pickle.loads(pickle.dumps(one))


def test_reports_of_systems(tmp_path: Path, ratings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report by its file's name, one with its name before it, one of several systems, and one without a value."""
    for name, fd in zip(SYSTEMS[:5], FDS, strict=False):
        report(fd).to_json(tmp_path / f"{name}.json")
    report(FDS[5]).to_json(tmp_path / "other.json")
    content = {"systems": SYSTEMS[6:], "reports": [report(fd).to_dict() for fd in (FDS[6], None)]}
    (tmp_path / "several.json").write_text(json.dumps(content), encoding="utf-8")
    paths = [str(tmp_path / f"{name}.json") for name in SYSTEMS[:5]]
    arguments = [*paths, f"s5={tmp_path}/other.json", f"{tmp_path}/several.json", str(ratings), "--format", "json"]
    assert main(["correlate", *arguments]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)["correlations"][0]
    assert (found["metric"], found["n"], found["higher_is_better"]) == ("fd_panns", 7, False)
    assert found["raw"] == pytest.approx(stats.spearmanr(FDS[:7], RATED[:7])[0])
    assert "fd_panns of system 's7' has no value: too few clips" in shown.err
    assert "1 in ratings only, without scores: system 's7'" in shown.err


def test_csv_of_scores_is_read(tmp_path: Path, ratings: Path) -> None:
    sources = {}
    for name, fd in zip(SYSTEMS, FDS, strict=True):
        sources[name] = tmp_path / f"{name}.out.csv"
        report(fd).to_csv(sources[name])
    found = correlate(sources, ratings).get("fd_panns")
    assert (found.n, found.higher_is_better) == (8, False)


def test_json_of_agm_clap_is_read(tmp_path: Path) -> None:
    values = {f"c{number}": number / 30 for number in range(25)}
    (tmp_path / "clap.json").write_text(json.dumps({"value": 0.4, "per_clip": values}), encoding="utf-8")
    said = write(tmp_path / "r.csv", [("clip_id", "rating"), *((f"c{n}.flac", n % 7) for n in range(25))])
    found = correlate(tmp_path / "clap.json", said)
    assert found.levels == ("clip",)
    assert found.get("clap_score").n == 25


def test_tables_as_people_have_them(tmp_path: Path, ratings: Path) -> None:
    """A byte order mark, semicolons with decimal commas, quoted line breaks, tabs, JSON lines: all the same."""
    expected = correlate(write(tmp_path / "a.csv", [("system", "fd"), *zip(SYSTEMS, FDS, strict=True)]), ratings)
    rows = [(name, str(fd).replace(".", ","), "a dog,\nbarking") for name, fd in zip(SYSTEMS, FDS, strict=True)]
    marked = write(tmp_path / "b.csv", [("system", "fd", "prompt"), *rows], ";")
    marked.write_bytes(b"\xef\xbb\xbf" + marked.read_bytes())
    tabs = write(tmp_path / "c.tsv", [("system", "fd"), *zip(SYSTEMS, FDS, strict=True)], "\t")
    lines = tmp_path / "d.jsonl"
    lines.write_text("\n".join(json.dumps({"system": s, "fd": v}) for s, v in zip(SYSTEMS, FDS, strict=True)))
    for path in (marked, tabs, lines):
        assert correlate(path, ratings).correlations == expected.correlations


def test_systems_of_clips_are_taken_from_the_other_table(clips: tuple[Path, Path], tmp_path: Path) -> None:
    """Where every clip is of one system, one of the tables may leave the systems out."""
    rng = np.random.default_rng(0)
    rows = [(f"s{n % 5}", f"c{n}", rng.normal(), rng.integers(1, 6)) for n in range(60)]
    scores = write(tmp_path / "x.csv", [("clip_id", "clap"), *((clip, value) for _, clip, value, _ in rows)])
    said = write(tmp_path / "y.csv", [("system", "clip_id", "rating"), *((s, clip, r) for s, clip, _, r in rows)])
    assert correlate(scores, said).levels == ("system", "clip", "clip_within_system")
    with pytest.raises(DataError, match="'p0' is of several systems"):
        correlate(clips[0], write(tmp_path / "z.csv", [("clip_id", "rating"), ("p0", 3), ("p1", 4)]))


def test_directions(tmp_path: Path, ratings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "scores.csv", [("system", "mine"), *zip(SYSTEMS, FDS, strict=True)])
    as_is = correlate(path, ratings).get("mine")
    turned = correlate(path, ratings, lower_is_better=["mine"]).get("mine")
    assert as_is.agreement == as_is.raw == turned.raw
    assert turned.agreement == -turned.raw
    assert main(["correlate", str(path), str(ratings), "--lower-is-better", "mien"]) == 2
    assert "Did you mean 'mine'?" in capsys.readouterr().err
    report(1.0, "mine", "fd", higher=True).to_json(tmp_path / "one.json")
    report(1.0, "mine", "fd", higher=False).to_json(tmp_path / "two.json")
    with pytest.raises(DataError, match="the opposite of another file"):
        correlate([tmp_path / "one.json", tmp_path / "two.json"], ratings)


@pytest.mark.parametrize(
    ("scores", "said", "message"),
    [
        ("system,fd\na,1\na,2\n", None, "fd of system 'a' is there twice"),
        ("system,fd\na,1\nb,nan\n", None, "record 2, column fd: 'nan' is not a number"),
        ("system,fd\na,1\nb,many\n", None, "'many' is not a number"),
        ("system,fd\na,1\nb,1_0\n", None, "'1_0' is not a number"),
        ("name_of_it,fd\na,1\n", None, "neither which system nor which clip .* it has name_of_it, fd"),
        ("system,fd,fd\na,1,2\n", None, "several columns fd"),
        ("system,fd\n", None, "has no records"),
        ("system,prompt\na,dog\n", None, "holds no scores"),
        ("system,fd\n,3\n", None, "names neither a system nor a clip"),
        (None, "system,mos\ns0,3\n", "has no column 'rating'.*it has system, mos"),
        (None, "system,rating\ns0,inf\n", "'inf' is not a number"),
        (None, "system,rating\ns0,\n", "holds no ratings"),
        (None, "system,rater,rating\ns0,x,1\ns0,x,2\n", "rater 'x' has rated system 's0' twice"),
        (None, "system,rating\nq,1\nr,2\nt,3\n", "nothing can be correlated.*scores have system 's0'"),
        (None, "system,rating\ns0,1\ns1,2\n", "n = 2, and a correlation needs at least 3"),
        (None, "system,rating\ns0,1\ns1,1\ns2,1\n", "the rating has the same value everywhere"),
    ],
)
def test_what_cannot_be_used(scores: str | None, said: str | None, message: str, table: Path, ratings: Path) -> None:
    for path, text in ((table, scores), (ratings, said)):
        if text is not None:
            path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        correlate(table, ratings)


def test_another_json_is_refused(tmp_path: Path, ratings: Path) -> None:
    for content in ('{"a": 1}', "[1]", "{", '{"reports": [], "systems": 3}', '{"per_clip": {"x": "y"}}'):
        (tmp_path / "x.json").write_text(content, encoding="utf-8")
        with pytest.raises(DataError):
            correlate(tmp_path / "x.json", ratings)
    (tmp_path / "x.json").write_text('{"reports": [], "systems": []}', encoding="utf-8")
    with pytest.raises(UsageError, match="names its systems itself"):
        correlate({"a": tmp_path / "x.json"}, ratings)


def test_a_constant_metric_is_null_with_its_reason(tmp_path: Path, ratings: Path) -> None:
    rows = [(name, 1.0, fd) for name, fd in zip(SYSTEMS, FDS, strict=True)]
    found = correlate(write(tmp_path / "s.csv", [("system", "flat", "fd"), *rows]), ratings)
    assert found.get("flat").agreement is None
    assert found.get("flat").reason == "the metric has the same value everywhere"
    assert found.get("fd").agreement is not None
    assert {each.reason for each in found.differences} == {"the metric has the same value everywhere"}


def test_what_does_not_hold_is_not_printed(tmp_path: Path) -> None:
    """Few systems, a perfect order, a long tail."""
    few = write(tmp_path / "few.csv", [("system", "fd"), ("a", 1), ("b", 3), ("c", 2), ("d", 4)])
    said = write(tmp_path / "r.csv", [("system", "rating"), *((name, n) for n, name in enumerate("abcdefghijkl"))])
    found = correlate(few, said).get("fd")
    assert (found.interval, found.p) == (None, None)
    assert "4 systems, and at least 5" in str(found.reason)
    rows = [(name, float(np.exp(n / 1.2))) for n, name in enumerate("abcdefghijkl")]
    steep = correlate(write(tmp_path / "steep.csv", [("system", "x"), *rows]), said)
    assert "perfect correlation" in str(steep.get("x", "spearman").reason)
    assert steep.get("x", "spearman").p == pytest.approx(1 / 2000)
    assert "long tail" in str(steep.get("x", "pearson").reason)


def test_formats(table: Path, ratings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*more: str) -> str:
        assert main(["correlate", str(table), str(ratings), *more]) == 0
        return capsys.readouterr().out

    text = shown()
    assert text.startswith("systems\nmetric")
    assert "Positive means agreement" in text
    rows = list(csv.DictReader(io.StringIO(shown("--format", "csv"))))
    assert [row["coefficient"] for row in rows[:3]] == ["spearman", "kendall", "pearson"]
    assert float(rows[0]["ci95_low"]) < float(rows[0]["agreement"])
    assert "| fd_panns | lower | 8 |" in shown("--format", "markdown")
    assert r"FD $\downarrow$ & 8 &" in shown("--format", "latex")
    assert r"metric & Spearman \\" in shown("--format", "latex", "--columns", "spearman")
    assert json.loads(shown("--format", "json"))["schema_version"] == 1
    shown("--differences", str(tmp_path / "d.csv"), "--metric", "fd_panns", "--metric", "pq", "--seed", "2")
    assert len((tmp_path / "d.csv").read_text(encoding="utf-8").splitlines()) == 4
    shown("--metric", "pq", "--differences", str(tmp_path / "d.csv"))
    assert (tmp_path / "d.csv").read_text(encoding="utf-8").startswith("level,coefficient")
    shown("-o", str(tmp_path / "x.md"))
    assert (tmp_path / "x.md").read_text(encoding="utf-8").startswith("**systems**")


def test_wrong_names_on_the_command_line(table: Path, ratings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (
        ([str(table), str(ratings), "--metric", "fd_pans"], 2),
        ([f"={table}", str(ratings)], 2),
        ([str(table), str(ratings), "--rating", "mos"], 3),
        (["missing.csv", str(ratings)], 3),
        (["scores.xlsx", str(ratings)], 3),
    ):
        assert main(["correlate", *arguments]) == code
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_scores_of_clips_from_a_run(
    small: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--per-clip` of one system and of several is what correlate reads; without a score of clips it is refused."""
    gen, ref = map(str, small)
    options = ["--protocol", "yamnet", "--device", "cpu", "--no-ci", "--per-clip", str(tmp_path / "clips.csv")]
    assert main(["score", gen, ref, *options, "-m", "kl"]) == 0
    rows = read(tmp_path / "clips.csv")
    assert [*rows[0]] == ["clip_id", "kl_yamnet"]
    said = [("clip_id", "rating"), *((row["clip_id"], -float(row["kl_yamnet"])) for row in rows)]
    found = correlate(tmp_path / "clips.csv", write(tmp_path / "r.csv", said)).get("kl_yamnet")
    assert (found.agreement, found.higher_is_better, found.n) == (pytest.approx(1), False, 12)
    assert main(["score", gen, ref, "--ref", ref, *options, "-m", "kl"]) == 0
    rows = read(tmp_path / "clips.csv")
    assert {row["system"] for row in rows} == {"gen", "ref"}
    capsys.readouterr()
    assert main(["score", gen, ref, *options, "-m", "fd"]) == 2
    assert "no score here is a mean over clips" in capsys.readouterr().err


def test_nothing_in_both_is_one_error(table: Path, tmp_path: Path) -> None:
    said = write(tmp_path / "r.csv", [("clip_id", "rating"), ("a", 1), ("b", 2), ("c", 3)])
    with pytest.raises(InsufficientDataError, match="nothing can be correlated"):
        correlate(table, said)


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import agreement

    return agreement


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "five steps", "t(3)"])
def test_intervals_hold_what_they_say(simulation: Any, kind: str) -> None:
    """Of eight systems and a correlation of 0.5: not below 91 %, whatever the coefficient."""
    shares = [cell.split()[0] for cell in simulation.coverage(simulation.linked(0.5, kind), 8, 150)]
    assert all(float(share) >= 91 for share in shares), shares


@pytest.mark.slow
def test_two_metrics_that_agree_equally_are_rarely_told_apart(simulation: Any) -> None:
    """Williams' t finds a difference in 8 to 22 % of such runs with Spearman; see docs/agreement.md."""
    for n in (10, 40):
        draw = simulation.rivals(0.9, 0.9, 0.85)
        assert float(simulation.found(draw, n, 120, "spearman", pair=True)) <= 8
    assert float(simulation.found(simulation.rivals(0.9, 0.2, 0.3), 40, 20, "spearman", pair=True)) >= 90


def test_a_comma_in_a_number_is_not_guessed(tmp_path: Path) -> None:
    scores, ratings = tmp_path / "scores.csv", tmp_path / "ratings.csv"
    ratings.write_text("system,rating\na,3\nb,4\nc,2\nd,1\ne,5\n")
    scores.write_text('system,m\na,"1,200"\nb,"2,500"\nc,990\nd,870\ne,3000\n')
    with pytest.raises(DataError, match="'1,200' has a comma"):
        correlate(scores, ratings)
    scores.write_text("system;m\na;1,2\nb;2,5\nc;0,99\nd;0,87\ne;3\n")
    assert correlate(scores, ratings, metrics="m", lower_is_better="m").get("m", "spearman").agreement == -1


def test_heads_are_read_as_they_are_meant(tmp_path: Path) -> None:
    scores, ratings = tmp_path / "scores.csv", tmp_path / "ratings.csv"
    ratings.write_text("system, rating\na,5\nb,4\nc,3\nd,2\ne,1\n")
    scores.write_text("system, fd,FAD-vggish\na,1,1\nb,2,2\nc,3,3\nd,4,4\ne,5,5\n")
    found = correlate(scores, ratings)
    assert [found.get(name, "kendall").agreement for name in ("fd", "FAD-vggish")] == [1, 1]
    assert not found.warnings


@pytest.mark.parametrize("n", [19, 20, 60, 300])
@pytest.mark.parametrize("kind", ["spearman", "kendall", "pearson"])
def test_a_perfect_order_has_a_p(n: int, kind: Any, tmp_path: Path) -> None:
    scores, ratings = tmp_path / "scores.csv", tmp_path / "ratings.csv"
    for path, name in ((scores, "m"), (ratings, "rating")):
        path.write_text(f"system,{name}\n" + "".join(f"s{row},{row}\n" for row in range(n)))
    found = correlate(scores, ratings).get("m", kind)
    assert found.interval is None
    assert found.p == pytest.approx(0.0005)


def test_results_do_not_overwrite_what_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, ratings = tmp_path / "scores.csv", tmp_path / "ratings.csv"
    for path, name in ((scores, "m"), (ratings, "rating")):
        path.write_text(f"system,{name}\na,1\nb,2\nc,4\nd,3\ne,5\n")
    before, inputs = scores.read_text(), ["correlate", str(scores), str(ratings)]
    for outputs in (["-o", str(scores)], ["--differences", str(ratings)], ["-o", "new.md", "--differences", "new.md"]):
        assert main([*inputs, *outputs]) == 2
        assert "Name another file" in capsys.readouterr().err
    assert scores.read_text() == before
