"""What papers report, and the command for each: ``python -m benchmarks.reported [LIMIT]`` prints a table.

Every command runs on the first LIMIT clips of the examples (10, the fewest that IS takes, and then is 1), on random
checkpoints in the published formats: the values are those of these weights and say nothing about sound. Eight
minutes on one busy core.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from audiogen_metrics.backbones.laion_clap import Music, MusicSpeech, Sounds, SoundsFusion
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.backbones.wavegram import WavegramLogmelCnn14
from audiogen_metrics.rendering import records_to_markdown
from tests.checkpoints import (
    write_audiobox,
    write_laion_clap,
    write_panns,
    write_passt,
    write_tokenizer,
    write_vggish,
)

EXAMPLES = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True)
class Number:
    """A number as papers report it.

    Parameters
    ----------
    name, evaluator
        What it is called there, and by whose code.
    network, how
        On which network; direction and windows.
    protocol, score_id
        What it is here.
    """

    name: str
    evaluator: str
    network: str
    how: str
    protocol: str
    score_id: str

    @property
    def command(self) -> str:
        """The command for it alone."""
        ref = "" if self.score_id.startswith(("clap", "pq", "pc", "ce", "cu")) else " REF"
        prompts = " --prompts FILE" if self.score_id.startswith("clap") else ""
        protocol = "" if self.protocol == "audioldm" else f" --protocol {self.protocol}"
        return f"agm score GEN{ref}{protocol} -m {self.score_id}{prompts}"


AV, SAM, AC = "av-benchmark", "stable-audio-metrics", "AudioCraft"
FIRST_8, FIRST_10 = "first 8 s", "first 10 s"

NUMBERS = (
    Number("FD", "audioldm_eval", "CNN14 16 kHz", "whole clip", "audioldm", "fd_panns"),
    Number("IS", "audioldm_eval", "CNN14 16 kHz", "whole clip, 10 splits", "audioldm", "is_panns"),
    Number("KL", "audioldm_eval", "CNN14 16 kHz", "KL(ref‖gen), ε 1e-6", "audioldm", "kl_panns"),
    Number("FAD", "audioldm_eval", "VGGish", "windows of 0.96 s", "audioldm", "fad_vggish"),
    Number("FD_PANNs", AV, "CNN14 16 kHz", FIRST_8, "av-benchmark", "fd_panns"),
    Number("KL_PANNs", AV, "CNN14 16 kHz", f"KL(ref‖gen), no ε, {FIRST_8}", "av-benchmark", "kl_panns"),
    Number("IS_PANNs", AV, "CNN14 16 kHz", FIRST_8, "av-benchmark", "is_panns"),
    Number("FD_VGG", AV, "VGGish", FIRST_8, "av-benchmark", "fad_vggish"),
    Number("FAD", "fadtk", "VGGish", "windows of 0.96 s, 16 bits, float16", "fadtk", "fad_vggish"),
    Number("KAD", "kadtk", "VGGish", "windows, σ of gen", "kadtk", "kad_windows_vggish"),
    Number("FD_PaSST", AV, "PaSST", FIRST_8, "av-benchmark", "fd_passt"),
    Number("IS_PaSST", AV, "PaSST", FIRST_8, "av-benchmark", "is_passt"),
    Number("KL_PaSST", AV, "PaSST", f"KL(ref‖gen), no ε, {FIRST_8}", "av-benchmark", "kl_passt"),
    Number("KL_PaSST", SAM, "PaSST", "KL(gen‖ref), ε 1e-6, 10 s every 5 s", "stable-audio", "kl_reverse_passt"),
    Number("kld", AC, "PaSST", "KL(ref‖gen), ε 1e-6, each 10 s a row", "audiocraft", "kl_segments_passt"),
    Number("kld_qp", AC, "PaSST", "KL(gen‖ref), ε 1e-6, each 10 s a row", "audiocraft", "kl_segments_reverse_passt"),
    Number("kld_both", AC, "PaSST", "the sum of both", "audiocraft", "kl_segments_both_passt"),
    Number("KAD", "kadtk", "PaSST, 1295-d", f"{FIRST_10}, σ of gen", "kadtk", "kad_passt"),
    Number("KAD", "kadtk", "PANNs-Wavegram-LogMel", "whole clip, σ of gen", "kadtk", "kad_panns_wavegram"),
    Number("CLAP", AV, "LAION 89.98", f"{FIRST_8}, repeated", "av-benchmark", "clap_laion_music_speech"),
    Number("CLAP", f"{AV}, AudioCaps", "LAION 89.98", f"{FIRST_10}, repeated", "clap-laion", "clap_laion_music_speech"),
    Number("CLAP", SAM, "LAION 630k fusion", "whole clip, −1 dBFS, 16 bits", "stable-audio", "clap_laion_630k_fusion"),
    Number("CLAP", "Tango 2", "LAION 630k", f"{FIRST_10}, repeated, 16 bits", "tango", "clap_laion_630k"),
    Number("CLAP", "musegauge", "LAION 90.14", "10 s every 10 s, zeros, 16 bits", "musegauge", "clap_laion_music"),
    Number("FAD-CLAP", "fadtk", "LAION 90.14", "10 s every second, zeros", "fadtk-clap", "fad_clap_laion_music"),
    Number("KAD", "kadtk", "LAION 90.14", "10 s every second, σ of gen", "kadtk", "kad_windows_clap_laion_music"),
    Number("CLAP", "Auffusion", "laion/clap-htsat-unfused", f"{FIRST_10}, repeated", "clap", "clap_htsat_unfused"),
    *(
        Number(axis.upper(), "audiobox_aesthetics", "Audiobox Aesthetics", "10 s every 10 s", "audiobox-aesthetics",
               f"{axis}_audiobox")
        for axis in ("pq", "pc", "ce", "cu")
    ),
)  # fmt: skip


def _tiny_clap(path: Path) -> Path:
    from audiogen_metrics.audioldm.tiny import write_tiny

    return write_tiny(path) / "clap"


NETWORKS: Mapping[str, Callable[[Path], Path]] = {
    "panns-cnn14-16k": lambda path: write_panns(path, Cnn14At16k),
    "vggish": write_vggish,
    "passt": write_passt,
    "panns-wavegram-logmel-cnn14": lambda path: write_panns(path, WavegramLogmelCnn14),
    "clap-laion-music-speech": lambda path: write_laion_clap(path, MusicSpeech),
    "clap-laion-music": lambda path: write_laion_clap(path, Music),
    "clap-laion-630k": lambda path: write_laion_clap(path, Sounds),
    "clap-laion-630k-fusion": lambda path: write_laion_clap(path, SoundsFusion),
    "clap": _tiny_clap,
    "audiobox-aesthetics": write_audiobox,
}
"""Random checkpoints by name; each is there while the commands run that need it. ``clap`` is a miniature."""


def network_of(number: Number) -> str:
    """Return the checkpoint that a number needs."""
    from audiogen_metrics.backbones.published import weights_name
    from audiogen_metrics.protocols import get_protocol

    (recipe,) = get_protocol(number.protocol).select(number.score_id)
    return weights_name(recipe.backbone)


def run(numbers: list[Number], given: Mapping[str, Path], prompts: Path, limit: int) -> dict[Number, float]:
    """Return the values of numbers of one protocol on one network, by one command."""
    ids = ",".join(number.score_id for number in numbers)
    needs_ref = any(" REF" in number.command for number in numbers)
    command = [sys.executable, "-m", "audiogen_metrics", "score", str(EXAMPLES / "generated")]
    command += [str(EXAMPLES / "reference")] if needs_ref else []
    command += [
        "--protocol",
        numbers[0].protocol,
        "-m",
        ids,
        "--limit",
        str(limit),
        "--device",
        "cpu",
        "--workers",
        "0",
    ]
    command += [
        "--no-cache",
        "--no-ci",
        "--format",
        "json",
        *(f"--weights={name}={path}" for name, path in given.items()),
    ]
    command += ["--prompts", str(prompts)] if any("--prompts" in number.command for number in numbers) else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    scores = json.loads(done.stdout)["scores"]
    return {number: scores[number.score_id]["value"] for number in numbers}


def main(limit: int = 10) -> None:
    """Print the table, and how long each command took."""
    by_network: dict[str, dict[str, list[Number]]] = {}
    for number in NUMBERS:
        by_network.setdefault(network_of(number), {}).setdefault(number.protocol, []).append(number)
    values: dict[Number, float] = {}
    times = []
    began = time.perf_counter()
    for network, by_protocol in by_network.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            given = {
                network: NETWORKS[network](
                    folder / ("network" if network in ("clap", "audiobox-aesthetics") else "network.pth")
                )
            }
            if network.startswith("clap-laion"):
                write_tokenizer(folder)
                texts = {"roberta-base-vocab": folder / "vocab.json", "roberta-base-merges": folder / "merges.txt"}
            prompts = folder / "prompts.csv"
            clips = sorted((EXAMPLES / "generated").rglob("*.*"))
            ids = {clip.relative_to(EXAMPLES / "generated").with_suffix("").as_posix() for clip in clips}
            prompts.write_text("clip_id,prompt\n" + "".join(f"{name},the sound of {name}\n" for name in sorted(ids)))
            for protocol, numbers in by_protocol.items():
                start = time.perf_counter()
                prompted = network.startswith("clap-laion") and any("--prompts" in number.command for number in numbers)
                values |= run(numbers, given | (texts if prompted else {}), prompts, limit)
                times.append(
                    {"network": network, "protocol": protocol, "seconds": round(time.perf_counter() - start, 1)}
                )
    rows = [
        {
            "reported as": number.name,
            "evaluator": number.evaluator,
            "network": number.network,
            "direction, windows": number.how,
            "command": number.command,
            "value": values[number],
        }
        for number in NUMBERS
    ]
    print(records_to_markdown(rows))
    print(records_to_markdown(times))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{time.perf_counter() - began:.0f} s; at most {memory:.1f} GiB in a process")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
