"""Full precision, whatever the host of this library has set for its own training.

Torch keeps four things that change what an operation gives and that no argument of it names: autocast (per thread),
the default type, the default device, and whether float32 products may be rounded to TF32 or bfloat16. Lightning,
transformers and accelerate set all of them. cuDNN is a fifth: without TF32 it convolves float32 by methods that take up
to 34 GB and, for CNN14 on an H200, six times as long as torch's own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

FULL = ("none", "ieee")
"""Settings of an operation in torch's newer interface that leave float32 as it is."""


@contextmanager
def full_precision(device: torch.device, autocast: torch.dtype | None = None, tf32: bool = False) -> Iterator[None]:
    """Run the block in float32 or better, and give the host its settings back.

    Parameters
    ----------
    device
        Where it runs. The CPU's autocast is turned off too.
    autocast
        A lower precision on that device, by choice.
    tf32
        Let CUDA round the factors of float32 products to TF32, by choice.
    """
    import torch

    with ExitStack() as stack:
        for kind in {"cpu", device.type} - {"meta"}:  # the meta device knows no autocast, not even to turn it off
            wanted = autocast if kind == device.type else None
            stack.enter_context(torch.autocast(kind, wanted, enabled=wanted is not None))
        on_cuda = _OnCuda(tf32, cudnn=tf32 or autocast is not None) if device.type == "cuda" else None
        stack.enter_context(_process.held(on_cuda))
        yield


class _OnCuda(NamedTuple):
    """What a caller who works on CUDA chose: TF32, and whether cuDNN convolves."""

    tf32: bool
    cudnn: bool


class _Process:
    """The settings of the whole process: kept when the first thread enters, set again when the last one leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered: list[tuple[object, _OnCuda | None]] = []
        self._host: _Host | None = None

    @contextmanager
    def held(self, on_cuda: _OnCuda | None) -> Iterator[None]:
        """Keep torch's own default type and full precision; on CUDA, what the last one who works there chose."""
        entry = (object(), on_cuda)
        with self._lock:
            self._host = self._host or _Host()
            self._entered.append(entry)
            self._host.replace(self._on_cuda())
        try:
            yield
        finally:
            with self._lock:
                self._entered.remove(entry)
                if self._entered:
                    self._host.replace(self._on_cuda())
                else:
                    self._host.restore()
                    self._host = None

    def _on_cuda(self) -> _OnCuda | None:
        return next((on_cuda for _, on_cuda in reversed(self._entered) if on_cuda is not None), None)


_process = _Process()


class _Host:
    """The host's settings, in both of torch's interfaces: since 2.9, the older one cannot be read once they differ."""

    def __init__(self) -> None:
        import torch

        self.backends: Any = torch.backends
        self.dtype = torch.get_default_dtype()
        self.newer = hasattr(torch.backends, "fp32_precision")
        self.found = {place: place.fp32_precision for place in self._places()}
        self.touched: set[Any] = set()
        self.cudnn = None if self.newer else torch.backends.cudnn.allow_tf32
        self.enabled = torch.backends.cudnn.enabled
        try:
            self.matmul = torch.get_float32_matmul_precision()
        except RuntimeError:
            self.matmul = "high" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "highest"

    def replace(self, on_cuda: _OnCuda | None) -> None:
        """Set full precision, or what was chosen on CUDA; cuDNN stays the host's where nobody works there."""
        import torch

        tf32 = on_cuda is not None and on_cuda.tf32
        torch.backends.cudnn.enabled = self.enabled and (on_cuda is None or on_cuda.cudnn)
        torch.set_default_dtype(torch.float32)
        self._set_matmul("high" if tf32 else "highest")
        if not self.newer:
            self.backends.cudnn.allow_tf32 = tf32
        for place in self._places():
            cpu = place in (self.backends.mkldnn.matmul, self.backends.mkldnn.conv)
            wanted = ("tf32",) if tf32 and not cpu else FULL
            # What is below cuDNN has defaults of its own, which "none" would not bring back: it is set from above.
            if place.fp32_precision not in wanted or place is self.backends.cudnn:
                place.fp32_precision = wanted[-1]
                self.touched.add(place)

    def restore(self) -> None:
        """Set what the host had. A place that took its setting from the one above goes on taking it from there."""
        import torch

        torch.set_default_dtype(self.dtype)
        torch.backends.cudnn.enabled = self.enabled
        self._set_matmul(self.matmul)
        if not self.newer:
            self.backends.cudnn.allow_tf32 = self.cudnn
        for place, found in self.found.items():
            if place in self.touched:
                place.fp32_precision = "none"
            if place.fp32_precision != found:
                place.fp32_precision = found

    def _set_matmul(self, wanted: str) -> None:
        import torch

        try:
            if torch.get_float32_matmul_precision() == wanted:
                return
        except RuntimeError:
            pass
        torch.set_float32_matmul_precision(wanted)
        if self.newer:
            self.touched |= {self.backends.cuda.matmul, self.backends.mkldnn.matmul}

    def _places(self) -> tuple[Any, ...]:
        """Return what can be set apart, the one above first: cuDNN's setting is that of all of CUDA."""
        if not self.newer:
            return ()
        cuda, cpu = self.backends.cudnn, self.backends.mkldnn
        return (cuda, self.backends.cuda.matmul, cuda.conv, cuda.rnn, cpu.matmul, cpu.conv)
