"""``agm stats``, ``embed``, ``cache prune|verify``, the formats of ``score``: every flag in a process of its own."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from audiogen_metrics import score
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.cache import EmbeddingCache, embeddings_folder, shards
from audiogen_metrics.embedding.housekeeping import damaged_shards, prune
from audiogen_metrics.errors import UsageError

FAST = ("--protocol", "yamnet", "--device", "cpu", "--batch-size", "4", "--workers", "0")


class TestStats:
    @pytest.mark.slow
    def test_build_show_score(self, agm: Any, small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "out" / "ref"
        built = agm("stats", "build", small[1], "-o", file, *FAST, "--strict", "--verify")
        assert (built.returncode, built.stdout) == (0, ""), built.stderr
        assert "statistics of 12 of 12 clips" in built.stderr

        capsys.readouterr()
        assert main(["stats", "show", str(file)]) == 0
        shown = capsys.readouterr().out
        assert "protocol yamnet" in shown
        assert "fad_yamnet: statistics of" in shown
        as_json = agm("stats", "show", file, "--format", "json", "-o", tmp_path / "shown.json")
        assert as_json.stdout == ""
        content = json.loads((tmp_path / "shown.json").read_text())
        assert content["scores"]["kl_yamnet"]["kind"] == "logits"
        assert content["summary"]["scored"] == 12

        scored = agm("score", small[0], file, *FAST, "--format", "json")
        assert scored.returncode == 0, scored.stderr
        values = {name: found["value"] for name, found in json.loads(scored.stdout)["scores"].items()}
        folder = score(*small, protocol="yamnet", batch_size=4)
        assert values == {name: found.value for name, found in folder.scores.items()}

    @pytest.mark.slow
    def test_options(self, agm: Any, small: Any, tmp_path: Path) -> None:
        limited = agm("stats", "build", small[1], "--output", tmp_path / "x", *FAST, "-m", "fd,kl", "--limit", "3",
                      "--no-cache")  # fmt: skip
        assert "statistics of 3 of 3 clips" in limited.stderr
        assert not embeddings_folder().exists()
        refused = agm("score", small[0], tmp_path / "x", "--protocol", "audioldm")
        assert refused.returncode == 3
        assert "protocol yamnet, and this run has audioldm" in refused.stderr

    @pytest.mark.slow
    def test_errors(self, small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").write_text("")
        build = ["stats", "build", str(small[1]), *FAST, "-o"]
        assert main([*build, str(tmp_path / "y"), "--metrics", "is"]) == 2
        assert main([*build, str(tmp_path / "file" / "z")]) == 2
        assert main([*build, str(tmp_path / "z"), "--weights", f"vggish={tmp_path / 'file'}"]) == 2
        assert "not used here" in capsys.readouterr().err
        assert main(["stats", "show", str(tmp_path / "none")]) == 3
        assert main(["embed", str(small[0]), "-o", str(tmp_path / "rows.csv"), *FAST]) == 2
        (small[0] / "broken.wav").write_bytes(b"RIFF")
        assert main(["embed", str(small[0]), "--output", str(tmp_path / "rows.npz"), *FAST, "--strict"]) == 3
        with pytest.raises(SystemExit, match="2"):
            main(["stats", "build", str(small[1])])


class TestEmbed:
    @pytest.mark.slow
    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    def test_arrays(self, agm: Any, small: Any, tmp_path: Path, suffix: str) -> None:
        file = tmp_path / f"rows{suffix}"
        done = agm("embed", small[0], "-o", file, *FAST, "--limit", "5", "--strict", "--no-cache", "--verify")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        if suffix == ".npz":
            with np.load(file, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            ids = list(arrays["yamnet.ids"])
            description = json.loads(str(arrays["description"]))
        else:
            with safe_open(file, framework="np") as content:
                arrays = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
                ids = json.loads(content.metadata()["ids"])["yamnet"]
                description = json.loads(content.metadata()["description"])
        assert arrays["yamnet.embeddings"].shape == (5, 1024)
        assert arrays["yamnet.logits"].shape == (5, 521)
        assert arrays["yamnet.windows"].shape == (arrays["yamnet.window_counts"].sum(), 1024)
        assert ids == sorted(ids)
        assert len(ids) == 5
        assert description["backbones"]["yamnet"]["settings"]["name"] == "yamnet"


class TestFormats:
    @pytest.mark.slow
    def test_csv(self, agm: Any, small: Any) -> None:
        done = agm("score", *small, *FAST, "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        expected = score(*small, protocol="yamnet", batch_size=4)
        assert [row["score"] for row in rows] == list(expected.scores)
        assert float(rows[0]["value"]) == expected["fd_yamnet"].value
        assert rows[2]["n_ref"] == ""
        assert "warning:" in done.stderr

    @pytest.mark.slow
    def test_markdown(self, agm: Any, small: Any, tmp_path: Path) -> None:
        done = agm("score", *small, *FAST, "--format", "markdown", "-o", tmp_path / "scores.md")
        assert done.stdout == ""
        text = (tmp_path / "scores.md").read_text()
        assert text.startswith("| score | value |")
        assert "- note: YAMNet scores are not comparable" in text

    @pytest.mark.slow
    def test_latex(self, small: Any, capsys: pytest.CaptureFixture[str]) -> None:
        awkward = small[0].with_name("50%_of {them}")
        shutil.move(small[0], awkward)
        assert main(["score", str(awkward), str(small[1]), "--protocol", "yamnet", "--format", "latex"]) == 0
        text = capsys.readouterr().out
        assert r"50\%\_of \{them\} (12 clips)" in text.replace(r"\allowbreak{}", "")
        assert r"IS $\uparrow$ & " in text
        assert "protocol yamnet~\\cite{heusel2017gans," in text
        assert "% @misc{plakal2020yamnet," in text
        assert "% note: YAMNet scores are not comparable" in text
        assert all(line.startswith(("%", "\\")) or line.endswith("\\\\") for line in text.splitlines())

    def test_citations(self, small: Any) -> None:
        report = score(*small, protocol="yamnet", metrics=["kl"])
        assert [work.key for work in report.citations()] == [
            "kullback1951information",
            "plakal2020yamnet",
            "audiogenmetrics",
        ]
        assert str(report.citations()[0]).startswith("Kullback, Solomon; Leibler, Richard A. On Information")
        assert "  year         = {1951}," in report.citations()[0].bibtex()

    @pytest.mark.slow
    def test_html_of_notebooks(self, small: Any) -> None:
        hostile = small[0].with_name("<b>gen")
        shutil.move(small[0], hostile)
        html = score(hostile, small[1], protocol="yamnet")._repr_html_()
        assert "<td>fd_yamnet</td>" in html
        assert "not comparable" in html
        assert "<b>gen" not in html
        assert "&lt;b&gt;gen" in html


class TestCache:
    @pytest.fixture
    def filled(self, small: Any) -> Any:
        """The shards of two runs, the first of them old."""
        score(*small, protocol="yamnet")
        old = shards(embeddings_folder())
        for shard in old:
            os.utime(shard, (time.time() - 40 * 86_400,) * 2)
        extra = small[0] / "new.wav"
        shutil.copy(next(Path(small[1]).rglob("*.wav")), extra)
        extra.write_bytes(extra.read_bytes() + b"\0\0")  # other bytes, same sound
        score(*small, protocol="yamnet")
        return old

    @pytest.mark.slow
    def test_prune(self, agm: Any, filled: Any) -> None:
        total = len(shards(embeddings_folder()))
        assert total > len(filled)
        dry = agm("cache", "prune", "--dry-run", "--older-than", "35")
        assert f"would remove {len(filled)} files" in dry.stdout
        assert len(shards(embeddings_folder())) == total
        assert prune(embeddings_folder(), 60).files == 0
        assert f"removed {len(filled)} files" in agm("cache", "prune").stdout
        assert len(shards(embeddings_folder())) == total - len(filled)
        assert main(["cache", "prune", "--older-than", "0.5"]) == 2
        assert agm("cache", "prune", "--all").returncode == 0
        assert list(embeddings_folder().iterdir()) == []
        assert prune(embeddings_folder(), 1, everything=True).files == 0

    @pytest.mark.slow
    def test_young_shards_and_leftovers(self, filled: Any) -> None:
        space = filled[0].parent
        leftover = space / ".abc.safetensors.123.tmp"
        leftover.write_bytes(b"half")
        assert prune(embeddings_folder(), 1, dry_run=True).files == len(filled)
        os.utime(leftover, (time.time() - 2 * 86_400,) * 2)
        assert prune(embeddings_folder(), 1).files == len(filled) + 1
        assert not leftover.exists()
        with pytest.raises(UsageError, match="may be in use"):
            prune(embeddings_folder(), 0)

    @pytest.mark.slow
    def test_verify(self, agm: Any, filled: Any) -> None:
        assert main(["cache", "verify"]) == 0
        content = bytearray(filled[0].read_bytes())
        content[-5] ^= 1
        filled[0].write_bytes(content)
        assert list(damaged_shards(embeddings_folder())) == [filled[0]]
        damaged = agm("cache", "verify")
        assert damaged.returncode == 3
        assert str(filled[0]) in damaged.stdout
        assert "checksum mismatch" in damaged.stdout

    @pytest.mark.slow
    def test_pruning_under_a_reader(self, filled: Any) -> None:
        """A shard that goes away between the listing and the reading is only a miss."""
        space = filled[0].parent
        name, _, _ = space.name.rpartition("-")
        cache = EmbeddingCache(json.loads((space / "space.json").read_text()), name)
        cache.folder = space
        digests = list(cache._shard_of)
        prune(embeddings_folder(), 1, everything=True)
        assert cache.get(digests) == {}
