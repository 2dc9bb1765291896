"""Any audio network of transformers, by name: ``hf:MIT/ast-finetuned-audioset-10-10-0.4593``.

Rate, front end and windows are those of the network's own feature extractor, which transformers runs.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from audiogen_metrics.backbones.base import Backbone, Features, Output
from audiogen_metrics.backbones.families import Hearing, family_of, hearing_of
from audiogen_metrics.backbones.hub import CONFIG, EXTRACTOR, HubName, Snapshot, locate, refuse_code
from audiogen_metrics.backbones.transformers import quiet, transformers_module
from audiogen_metrics.errors import MissingWeightsError, UsageError
from audiogen_metrics.precision import full_precision

EXTRA = "hf"

_NEVER_USED = frozenset({"masked_spec_embed"})
"""Weights that only training uses, which some checkpoints lack."""


class HubNetwork(Backbone):
    """A network of transformers: one embedding for each clip, and the network's other outputs.

    Use `named` to make one, since rate and outputs depend on the network.

    Parameters
    ----------
    device, autocast, tf32
        As for `Backbone`.
    weights
        Must be None: the name of the network may be a folder.

    Attributes
    ----------
    snapshot
        Its files.
    hearing
        Its input and output.
    """

    snapshot: ClassVar[Snapshot]
    hearing: ClassVar[Hearing]
    numerics_version = 1

    def __init__(
        self,
        device: str | torch.device = "cpu",
        autocast: torch.dtype | None = None,
        weights: str | Path | None = None,
        tf32: bool | None = None,
    ) -> None:
        super().__init__(device, autocast, tf32)
        if weights is not None:
            raise UsageError(f"{self.name} takes no weights file", where="weights", fix="Name a folder: hf:/FOLDER")
        if family_of(self.snapshot.config) is None:
            refuse_code(self.snapshot)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name only: unpickling makes the class again, and the network is loaded there."""
        state = {name: value for name, value in self.__dict__.items() if name != "network"}
        return _restored, (self.name, state)

    @cached_property
    def _digests(self) -> dict[str, str]:
        return self.snapshot.digests()

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, or of the digests of several files."""
        found = [self._digests[path.name] for path in self.snapshot.weights]
        return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names in the order of the logits; None without logits."""
        return self.hearing.labels

    @property
    def settings(self) -> dict[str, str | int]:
        """Everything that shapes this network's numbers, its configuration, revision and the library's version too."""
        beside = {name: digest for name, digest in self._digests.items() if name in (CONFIG, EXTRACTOR)}
        code = [digest for name, digest in self._digests.items() if name.endswith(".py")]
        told: dict[str, str | int] = {f"{Path(name).stem}_sha256": digest for name, digest in beside.items()}
        if code:
            told["code_sha256"] = hashlib.sha256("".join(code).encode()).hexdigest()
        if self.snapshot.revision is not None:
            told["revision"] = self.snapshot.revision
        version = str(transformers_module("", EXTRA).__version__)
        if self.hearing.family == "ast":
            # Its extractor can work in two ways, which differ in the last digits.
            fast = transformers_module("utils.import_utils", EXTRA).is_torchaudio_available()
            version += f", mel by {'torchaudio' if fast else 'numpy'}"
        return super().settings | told | {"transformers": version}

    def usable_samples(self, samples: int) -> int:
        """Return the samples without a rest after the last window that is too short for a frame."""
        window, hop = self.hearing.window, self.hearing.hop
        if not window or samples <= window:
            return samples
        behind = -(-(samples - window) // hop)
        return samples if samples - behind * hop >= self.minimum_samples else window + (behind - 1) * hop

    def load(self) -> nn.Module:
        """Return the network with its weights and its front end.

        Raises
        ------
        MissingWeightsError
            A file is damaged, would run code, or does not fit the configuration, so that weights would stay random.
        """
        snapshot, name = self.snapshot, HubName.parse(self.name)
        kind, options = _loader(snapshot, self.labels is not None)
        # transformers draws weights that are not in the file, before they are found to be missing.
        with quiet(), torch.random.fork_rng(devices=[]):
            try:
                body, found = kind.from_pretrained(
                    str(snapshot.folder),
                    output_loading_info=True,
                    local_files_only=True,
                    use_safetensors=snapshot.is_safe,
                    weights_only=True,
                    dtype=torch.float32,
                    **options,
                )
                extractor = transformers_module("models.auto.feature_extraction_auto", EXTRA)
                extract = extractor.AutoFeatureExtractor.from_pretrained(
                    str(snapshot.folder), local_files_only=True, trust_remote_code=False
                )
            except Exception as error:  # with a damaged file, transformers may raise anything
                text = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                raise MissingWeightsError(
                    f"cannot be loaded ({type(error).__name__}: {text})",
                    where=snapshot.folder,
                    fix="Fetch it again, or convert its weights to safetensors where they are trusted",
                ) from error
        _require_whole(found, body, snapshot.folder)
        return _Network(body, extract, self.hearing, name)


def named(text: str) -> type[HubNetwork]:
    """Return the class of the network with this name, made from its configuration files.

    Raises
    ------
    UsageError
        The name is malformed, the kind of network is not supported, or it lacks an option of the name.
    MissingWeightsError, MissingDependencyError
        The network is not on this machine.
    """
    name = HubName.parse(text)
    snapshot = locate(name)
    hearing = hearing_of(snapshot.config, snapshot.extractor, text)
    if name.layer is not None and name.layer > hearing.layers:
        has = f"it has 0 to {hearing.layers}" if hearing.layers else "it has no layers to choose from"
        raise UsageError(f"there is no layer {name.layer}; {has}", where=text, fix="Leave @layer out, or lower it")
    if name.frames and hearing.family == "ast":
        raise UsageError("it gives one row for each window, no frames", where=text, fix="Leave @frames out")
    outputs: set[Output] = {"embeddings"}
    outputs |= {"windows"} if name.frames else set()
    outputs |= {"logits"} if hearing.labels is not None else set()
    members = {
        "__module__": __name__,
        "__doc__": f"{name}: {hearing.family}, as transformers has it.",
        "name": str(name),
        "sample_rate": hearing.sample_rate,
        "minimum_samples": hearing.minimum_samples,
        "outputs": frozenset(outputs),
        "snapshot": snapshot,
        "hearing": hearing,
    }
    return type("HubNetwork", (HubNetwork,), members)


def _restored(name: str, state: dict[str, Any]) -> HubNetwork:
    backbone: HubNetwork = object.__new__(named(name))
    backbone.__dict__.update(state)
    return backbone


def _loader(snapshot: Snapshot, classifies: bool) -> tuple[Any, dict[str, Any]]:
    """Return the class that loads a network, and its arguments."""
    if family_of(snapshot.config) is None:
        return transformers_module("models.auto.modeling_auto", EXTRA).AutoModel, {"trust_remote_code": True}
    if snapshot.config["model_type"] == "mert_model":
        configured = transformers_module("models.hubert.configuration_hubert", EXTRA).HubertConfig
        given = {key: value for key, value in snapshot.config.items() if key not in ("model_type", "auto_map")}
        kind = transformers_module("models.hubert.modeling_hubert", EXTRA).HubertModel
        return kind, {"config": configured.from_dict(given)}
    auto = transformers_module("models.auto.modeling_auto", EXTRA)
    kind = auto.AutoModelForAudioClassification if classifies else auto.AutoModel
    return kind, {"trust_remote_code": False}


def _require_whole(found: dict[str, Any], body: nn.Module, folder: Path) -> None:
    """Raise MissingWeightsError unless every weight of the network came from the files and is finite."""
    missing = [str(name) for name in found.get("missing_keys", ()) if str(name).split(".")[-1] not in _NEVER_USED]
    wrong = sorted(missing) + sorted(map(str, found.get("mismatched_keys", ())))
    if wrong:
        raise MissingWeightsError(
            f"does not fit its configuration: {len(wrong)} weights are missing or of another shape, {wrong[0]} first",
            where=folder,
            fix="Use weights and config.json of one checkpoint: a partly random network is never used",
        )
    for name, tensor in body.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise MissingWeightsError(f"{name} has values that are not finite", where=folder, fix="Fetch it again")


class _Network(nn.Module):
    """A feature extractor and a network of transformers."""

    def __init__(self, body: Any, extract: Any, hearing: Hearing, name: HubName) -> None:
        super().__init__()
        self.extract, self.hearing, self.name = extract, hearing, name
        # The decoders of Whisper and of codecs are not needed.
        encoders = ("whisper", "encodec", "dac")
        self.body: Any = body.encoder if hearing.labels is None and hearing.family in encoders else body
        self.config: Any = body.config

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the features of ``(batch, time)``, one window after the other."""
        samples = waveforms.shape[1]
        window, hop = self.hearing.window or samples, self.hearing.hop or samples
        starts = range(0, max(1, samples - window + hop), hop)
        heard = [self._heard(waveforms[:, start : start + window]) for start in starts]
        rows = torch.cat([rows for rows, _ in heard], dim=1)
        shares = [min(window, samples - start) for start in starts]
        embeddings = _weighted(rows, shares) if self.hearing.family == "ast" else rows.mean(dim=1)
        found = [logits for _, logits in heard if logits is not None]
        logits = _weighted(torch.stack(found, dim=1), shares) if found else None
        if self.name.float16:
            rows, embeddings = rows.half().float(), embeddings.half().float()
        return Features(embeddings=embeddings, windows=rows if self.name.frames else None, logits=logits)

    def _heard(self, waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the rows ``(batch, rows, d)`` of one window, without those of padding, and the logits."""
        if self.hearing.family == "encodec":
            return self._codec(self._padded(waveforms), waveforms.shape[1]), None
        inputs = self._inputs(waveforms)
        if self.hearing.family == "dac":
            return self._codec(inputs["input_values"], waveforms.shape[1]), None
        found, logits = self._asked(inputs)
        states = found.last_hidden_state if self.name.layer is None else found.hidden_states[self.name.layer]
        if self.hearing.family == "ast":
            # The network itself pools in this way: the mean of its two tokens.
            pooled = found.pooler_output if self.name.layer is None else (states[:, 0] + states[:, 1]) / 2
            return pooled.float()[:, None], logits
        return states[:, : self._frames(waveforms.shape[1])].float(), logits

    def _asked(self, inputs: dict[str, torch.Tensor]) -> tuple[Any, torch.Tensor | None]:
        """Return the network's own output, and the logits of its head."""
        options = {"output_hidden_states": True} if self.name.layer is not None else {}
        if self.hearing.labels is None:
            return self.body(**inputs, **options), None
        # A classifier returns hidden layers, but not the rows that it classifies.
        base = self.body.encoder if self.hearing.family == "whisper" else self.body.base_model
        seen: list[Any] = []
        hook = base.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        try:
            logits: torch.Tensor = self.body(**inputs, **options).logits.float()
        finally:
            hook.remove()
        return seen[0], logits

    def _inputs(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the feature extractor's output for waveforms of one length."""
        clips = list(waveforms.cpu().numpy())
        with torch.device("cpu"), full_precision(torch.device("cpu")):
            inputs = self.extract(clips, sampling_rate=self.hearing.sample_rate, return_tensors="pt")
        kept = ["input_values", "input_features"]
        kept += ["attention_mask"] if self.hearing.family == "speech" else []
        return {name: inputs[name].to(waveforms.device) for name in kept if name in inputs}

    def _padded(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return a window, filled with zeros, in as many channels as the network has."""
        missing = max(0, self.hearing.window - waveforms.shape[1])
        padded = nn.functional.pad(waveforms, (0, missing))[:, None]
        return padded.expand(-1, int(self.config.audio_channels), -1)

    def _codec(self, signal: torch.Tensor, samples: int) -> torch.Tensor:
        """Return the frames that a codec would quantise."""
        if getattr(self.config, "normalize", False):
            # transformers and the authors scale each window together with its padding.
            level = signal.mean(dim=1, keepdim=True).pow(2).mean(dim=2, keepdim=True).sqrt() + 1e-8
            signal = signal / level
        rows: torch.Tensor = self.body(signal).transpose(1, 2).float()
        return rows[:, : self._frames(samples)]

    def _frames(self, samples: int) -> int | None:
        """Return how many frames have sound in them; None for all."""
        return -(-samples // self.hearing.samples_per_frame) if self.hearing.samples_per_frame else None


def _weighted(rows: torch.Tensor, shares: list[int]) -> torch.Tensor:
    """Return the mean of windows ``(batch, windows, d)``, weighted by their samples."""
    if len(shares) == 1:
        return rows[:, 0]
    weights = torch.tensor(shares, dtype=rows.dtype, device=rows.device)
    return torch.einsum("bwd,w->bd", rows, weights / weights.sum())
