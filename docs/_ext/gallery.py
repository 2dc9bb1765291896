"""The gallery of probes: what each does to one recording, drawn and written as sound at every build."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.signal import spectrogram
from sphinx.application import Sphinx

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.files import scan
from audiogen_metrics.probes import PROBES
from audiogen_metrics.probes.base import Clip
from audiogen_metrics.probes.configuration import configure
from audiogen_metrics.probes.gallery import ProbeEntry, describe
from audiogen_metrics.probes.pool import Pool, folder_labels
from audiogen_metrics.probes.sequences import event_sequences

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "reference"
SUBJECT = "loop/garzul"
"""The recording that every probe but the reordering of events is shown on."""

SECONDS = 4.0
FOLDER = "_static/gallery"


def gallery() -> Iterator[str]:
    """Yield the lines of the page: every probe with its settings, before and after."""
    for name in PROBES.names():
        entry = describe(PROBES.get(name))
        yield from (f"### {name}", "", f"{entry.summary.rstrip('.')}.{_needs(entry)}", "")
        if entry.settings:
            yield from ("| setting | type | unit | range | default | |", "|---|---|---|---|---|---|")
            for setting, declared in entry.settings.items():
                cells = (f"`{setting}`", *declared.cells, declared.meaning)
                yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
            yield ""
        before = "sequence" if entry.needs.startswith("sequences") else "before"
        yield '<div class="gallery">'
        for label, stem in (("before", before), ("after, severity 1", name)):
            yield (
                f'<figure><img src="{FOLDER}/{stem}.png" alt="Spectrogram {label}: {name}" loading="lazy">'
                f'<audio controls preload="none" src="{FOLDER}/{stem}.ogg"></audio>'
                f"<figcaption>{label}</figcaption></figure>"
            )
        yield from ("</div>", "")


def _needs(entry: ProbeEntry) -> str:
    dose = f" Severity moves `{entry.dose}`." if entry.dose else ""
    return dose + (f" Needs {entry.needs}." if entry.needs else "")


@cache
def _pool() -> Pool:
    paths = {clip.clip_id: clip.path for clip in scan(EXAMPLES).clips}

    def load(clip_id: str) -> Clip:
        return Clip.from_audio(clip_id, decode(paths[clip_id], paths[clip_id].read_bytes()))

    return Pool(tuple(sorted(paths)), load, folder_labels(paths))


def sounds() -> Iterator[tuple[str, Clip]]:
    """Yield the clips of the gallery by the stem of their files."""
    pool = _pool()
    subject, sequence = pool.load(SUBJECT), event_sequences(pool)[0].load(pool, event_seconds=SECONDS / 4)
    yield from (("before", subject), ("sequence", sequence))
    for name in PROBES.names():
        probe = configure(name, pool=pool)
        yield name, probe(sequence if probe.needs_events else subject, severity=1.0)


def write(app: Sphinx, error: Exception | None) -> None:
    """Write pictures and sounds into the built site."""
    if error is not None or app.builder.name != "html":
        return
    folder = Path(app.outdir, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    for stem, clip in sounds():
        (folder / f"{stem}.png").write_bytes(picture(clip))
        waveform = clip.waveform[: round(SECONDS * clip.sample_rate)]
        # A sound file ends at full scale, and some probes go beyond.
        waveform = waveform / max(1.0, float(np.abs(waveform).max(initial=0)))
        soundfile.write(folder / f"{stem}.ogg", waveform, clip.sample_rate, format="OGG", subtype="VORBIS")


def picture(clip: Clip) -> bytes:
    """Return a spectrogram as PNG: 0 to 11 kHz, 80 dB below full scale."""
    frequencies, times, power = spectrogram(
        clip.waveform, clip.sample_rate, nperseg=1024, noverlap=768, mode="magnitude", scaling="spectrum"
    )
    figure = Figure(figsize=(3.6, 1.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.pcolormesh(times, frequencies / 1000, 20 * np.log10(np.maximum(power, 1e-8)), vmin=-90, vmax=-10, cmap="magma")
    axes.set(xlim=(0, SECONDS), ylim=(0, 11), xlabel="s", ylabel="kHz", facecolor="black")
    file = io.BytesIO()
    figure.savefig(file, dpi=110, format="png")
    return file.getvalue()


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the files when the site is built."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
