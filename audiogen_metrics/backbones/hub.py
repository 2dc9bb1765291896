"""Networks of the Hugging Face hub by name: what ``hf:…`` means, which files it stands for, how they are fetched.

Weights files are read in `audiogen_metrics.backbones.huggingface`, not here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from audiogen_metrics.backbones.weights import offline, read_json, write_json
from audiogen_metrics.errors import MissingDependencyError, MissingWeightsError, UsageError, spoken
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.options import as_path
from audiogen_metrics.settings import cache_dir

PREFIX = "hf:"
FORM = "hf:OWNER/NAME or hf:/FOLDER, then @revision=SHA, @layer=9, @frames, @float16 as needed"

CONFIG, EXTRACTOR, CARD = "config.json", "preprocessor_config.json", "README.md"

_OPTION = r"@(?:revision=[^@]*|layer=[^@]*|frames|float16)"
_NAME = re.compile(rf"(?P<source>.+?)(?P<options>(?:{_OPTION})*)", re.DOTALL)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Weights files in the order of preference; the first kind cannot run code."""

_COMMIT = re.compile(r"[0-9a-f]{40}")

_trusts: ContextVar[bool] = ContextVar("trusts_remote_code", default=False)


@contextmanager
def trust_remote_code(trust: bool = True) -> Iterator[None]:
    """Let networks that are made inside the block run the Python files of their checkpoints.

    A checkpoint of a kind that transformers does not know has its own code, which can do whatever you can. Read it
    first, and name a revision, so that it stays what you have read.

    Examples
    --------
    >>> from audiogen_metrics.backbones import trust_remote_code
    >>> with trust_remote_code():
    ...     pass  # score(gen, ref, backbone="hf:OWNER/NAME@revision=SHA")
    """
    token = _trusts.set(trust)
    try:
        yield
    finally:
        _trusts.reset(token)


def trusts_remote_code() -> bool:
    """Tell whether code of checkpoints may run here; see `trust_remote_code`."""
    return _trusts.get()


@dataclass(frozen=True)
class HubName:
    """The name of a network, such as ``hf:facebook/wav2vec2-base@layer=9``.

    Parameters
    ----------
    source
        ``OWNER/NAME`` on the hub, or a folder, which begins with ``/``, ``.`` or ``~``.
    revision
        Commit, branch or tag; None takes the branch ``main``, as it was when it was fetched.
    layer
        Hidden layer of the embeddings, 0 for the input of the first layer; None takes the last output.
    frames
        Whether each frame is a row too, for FAD.
    float16
        Round rows to float16, as fadtk stores them.
    """

    source: str
    revision: str | None = None
    layer: int | None = None
    frames: bool = False
    float16: bool = False

    @classmethod
    def parse(cls, text: str) -> HubName:
        """Read a name; UsageError if it is malformed."""
        match = _NAME.fullmatch(text.removeprefix(PREFIX))
        if not text.startswith(PREFIX) or match is None:
            raise UsageError(f"{text!r} does not name a network", fix=f"Write {FORM}")
        options: dict[str, Any] = {}
        for part in re.findall(_OPTION, match["options"]):
            name, equals, value = part[1:].partition("=")
            if name in options or (equals and not value):
                fault = f"@{name} has no value" if equals and not value else f"@{name} is given twice"
                raise UsageError(fault, where=text, fix=f"Write {FORM}")
            options[name] = value if equals else True
        if "layer" in options:
            if not options["layer"].isdecimal():
                raise UsageError(f"@layer={options['layer']} is not a whole number", where=text, fix="Count from 0")
            options["layer"] = int(options["layer"])
        found = cls(match["source"], **options)
        if not found.is_folder and not _REPOSITORY.fullmatch(found.source):
            hint = " Options are @revision=, @layer=, @frames and @float16." if "@" in found.source else ""
            raise UsageError(
                f"{found.source!r} is neither OWNER/NAME nor a folder that begins with /, . or ~",
                where=text,
                fix=f"Write {FORM}.{hint}".rstrip("."),
            )
        if found.is_folder and found.revision is not None:
            raise UsageError("a folder has no revision", where=text, fix="Leave @revision= out")
        return found

    def __str__(self) -> str:
        """Return the name with its options in a fixed order, so that one network has one name."""
        options = [
            f"@revision={self.revision}" if self.revision else "",
            "" if self.layer is None else f"@layer={self.layer}",
            "@frames" if self.frames else "",
            "@float16" if self.float16 else "",
        ]
        return f"{PREFIX}{self.source}{''.join(options)}"

    @property
    def is_folder(self) -> bool:
        """Whether the name is that of a folder on this machine."""
        return self.source.startswith(("/", ".", "~")) or Path(self.source).is_absolute()

    @property
    def files(self) -> str:
        """The name without the options that do not concern its files; this is fetched and verified."""
        return str(HubName(self.source, self.revision))

    @property
    def slug(self) -> str:
        """The name in small letters, digits and ``_``, for score ids; for a folder, the last part of its path."""
        source = (as_path(self.source).resolve().name or "folder") if self.is_folder else self.source
        short = HubName(source, self.revision and self.revision[:7], self.layer, self.frames, self.float16)
        return re.sub(r"[^a-z0-9]+", "_", str(short).lower()).strip("_")


@dataclass(frozen=True)
class Snapshot:
    """The files of a network on this machine.

    Parameters
    ----------
    name
        Name as it was given.
    folder
        Folder of the files.
    revision
        Commit of the files; None for a folder.
    """

    name: HubName
    folder: Path
    revision: str | None

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Configuration of the network, from ``config.json``."""
        return self._json(CONFIG)

    @cached_property
    def extractor(self) -> Mapping[str, Any]:
        """Configuration of the feature extractor."""
        return self._json(EXTRACTOR)

    def _json(self, name: str) -> Mapping[str, Any]:
        try:
            content = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            saved = "Save the network with its feature extractor: both have save_pretrained"
            fix = saved if self.name.is_folder else f"Fetch it again: {fetch_command(self.name)}"
            raise MissingWeightsError(f"has no readable {name} ({error})", where=self.folder, fix=fix) from error
        if not isinstance(content, dict):
            raise MissingWeightsError(f"{name} does not hold a JSON object", where=self.folder)
        return content

    @cached_property
    def weights(self) -> tuple[Path, ...]:
        """The weights files: safetensors if there are any, otherwise torch's."""
        for name in _WEIGHTS:
            if (self.folder / name).is_file():
                return (self.folder / name,)
            index = self.folder / f"{name}.index.json"
            if index.is_file():
                parts = sorted(set(read_json(index).get("weight_map", {}).values()))
                files = (index, *(self.folder / part for part in parts))
                if lost := [path.name for path in files if not path.is_file()]:
                    raise MissingWeightsError(f"lacks {', '.join(lost)}", self.folder, "Fetch it again, whole")
                return files
        fix = "Save it with save_pretrained" if self.name.is_folder else f"Fetch it: {fetch_command(self.name)}"
        raise MissingWeightsError(f"has no {' and no '.join(_WEIGHTS)}", where=self.folder, fix=fix)

    @property
    def is_safe(self) -> bool:
        """Whether the weights are safetensors."""
        return "safetensors" in self.weights[0].name

    @property
    def code(self) -> tuple[Path, ...]:
        """Python files of the checkpoint."""
        return tuple(sorted(self.folder.glob("*.py")))

    def digests(self, *, memo: bool = True) -> dict[str, str]:
        """Return the SHA-256 of each file that shapes the network's numbers, by its name.

        Raises
        ------
        MissingWeightsError
            A file of this revision has changed since it was first used.
        """
        files = [*self.weights, self.folder / CONFIG, self.folder / EXTRACTOR]
        files += self.code if needs_code(self.config) else ()
        try:
            found = {file.name: sha256_of(file, memo=memo) for file in files}
        except OSError as error:
            raise MissingWeightsError(f"cannot be read ({error.strerror})", where=self.folder) from error
        if self.revision is not None:
            self._compare(found)
        return found

    def _compare(self, found: Mapping[str, str]) -> None:
        note = self.trust_note
        trusted = read_json(note).get("sha256", {})
        for name, digest in found.items():
            if trusted.get(name, digest) != digest:
                raise MissingWeightsError(
                    f"has the SHA-256 {digest[:12]}…, and when this revision was first used it had "
                    f"{str(trusted[name])[:12]}…, as {note} says",
                    where=self.folder / name,
                    fix=f"Fetch it again: {fetch_command(self.name)}; or delete {note} to trust what is there",
                )
        if found.keys() - trusted.keys():
            write_json(note, {"name": str(HubName(self.name.source, self.revision)), "sha256": {**trusted, **found}})

    @property
    def trust_note(self) -> Path:
        """File with the digests of this revision from its first use."""
        place = f"{self.name.source.replace('/', '--')}-{self.revision}"
        return cache_dir() / "weights" / "trusted" / "hub" / f"{place}.json"

    @property
    def licence(self) -> str | None:
        """The licence that the model card states; None without a statement."""
        try:
            text = (self.folder / CARD).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
        stated = re.search(r"^license:[ \t]*([^\s#][^\n#]*)", head[1], re.MULTILINE) if head else None
        return stated[1].strip().strip("'\"") if stated else None


def needs_code(config: Mapping[str, Any]) -> bool:
    """Tell whether a network needs code of its checkpoint."""
    from audiogen_metrics.backbones.families import family_of

    return "auto_map" in config and family_of(config) is None


def locate(name: HubName) -> Snapshot:
    """Find the files of a network on this machine, without downloading.

    Raises
    ------
    MissingWeightsError
        They are not here; the message has the command that fetches them.
    MissingDependencyError
        The name is on the hub, and the hub's client is not installed.
    """
    if name.is_folder:
        folder = as_path(name.source).absolute()
        if not folder.is_dir():
            raise MissingWeightsError("there is no such folder", where=str(name), fix="Pass one that has config.json")
        return Snapshot(name, folder, None)
    hub, errors = _client()
    try:
        folder = Path(hub.snapshot_download(name.source, revision=name.revision, local_files_only=True))
    except (errors.LocalEntryNotFoundError, OSError, RuntimeError, ValueError) as error:
        raise MissingWeightsError(
            f"is not on this machine (looked in {hub.constants.HF_HUB_CACHE})",
            where=name.files,
            fix=f"Fetch it: {fetch_command(name)}; or copy its folder here and name that: hf:/FOLDER",
        ) from error
    if not (folder / CONFIG).is_file():
        raise MissingWeightsError("is here in part only", where=folder, fix=f"Fetch it: {fetch_command(name)}")
    return Snapshot(name, folder, folder.name if _COMMIT.fullmatch(folder.name) else name.revision)


def fetch_hub(name: HubName) -> Snapshot:
    """Download what a network needs into the hub's cache, unless it is here, and return where it is.

    Raises
    ------
    MissingWeightsError
        The machine is offline, or the hub does not have the network.
    UsageError
        The name is that of a folder, which is never fetched.
    """
    if name.is_folder:
        raise UsageError("a folder of this machine is not fetched", where=str(name), fix="Name it where it is used")
    hub, _ = _client()
    if offline() or hub.constants.HF_HUB_OFFLINE:
        raise MissingWeightsError(
            "nothing is downloaded while AGM_OFFLINE or HF_HUB_OFFLINE is set",
            where=name.files,
            fix="Unset it; or copy the network's folder here and name that: hf:/FOLDER",
        )
    try:
        listed = {entry.rfilename for entry in hub.HfApi().model_info(name.source, revision=name.revision).siblings}
        kind = next((kind for kind in _WEIGHTS if {kind, f"{kind}.index.json"} & listed), _WEIGHTS[0])
        weights = [f"{Path(kind).stem}*{Path(kind).suffix}", f"{kind}.index.json"]
        wanted = [CONFIG, EXTRACTOR, CARD, "*.py", *weights]
        folder = Path(hub.snapshot_download(name.source, revision=name.revision, allow_patterns=wanted))
    except Exception as error:  # connection, hub and disk have different classes of errors
        raise MissingWeightsError(
            f"download failed ({type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]})",
            where=name.files,
            fix="Check the name and the connection, and try again; a gated network needs: hf auth login",
        ) from error
    found = Snapshot(name, folder, folder.name if _COMMIT.fullmatch(folder.name) else name.revision)
    found.digests()
    return found


def used() -> list[HubName]:
    """Return the networks of the hub that have been fetched or used on this machine, each with its revision."""
    notes = sorted((cache_dir() / "weights" / "trusted" / "hub").glob("*.json"))
    return [HubName.parse(str(read_json(note)["name"])) for note in notes if "name" in read_json(note)]


def fetch_command(name: HubName) -> str:
    """Return the command that fetches a network."""
    return f"agm weights fetch {name.files}"


def refuse_code(snapshot: Snapshot) -> None:
    """Raise UsageError unless code of the checkpoint may run; code in another repository may never run."""
    modules = {str(address).partition("--") for address in snapshot.config["auto_map"].values()}
    elsewhere = sorted(repository for repository, dashes, _ in modules if dashes)
    if elsewhere:
        raise UsageError(
            f"takes its code from {', '.join(elsewhere)}, which has no digest here",
            where=str(snapshot.name),
            fix="Copy that code into a folder of your own, beside the weights, and name the folder",
        )
    if not trusts_remote_code():
        way = spoken(
            "with trust_remote_code(): … (from audiogen_metrics.backbones import trust_remote_code)",
            "--trust-remote-code",
        )
        raise UsageError(
            f"is of a kind that transformers does not know ({snapshot.config.get('model_type')!r}) and brings code of "
            "its own, which is not run unless you allow it",
            where=str(snapshot.name),
            fix=f"Read {', '.join(path.name for path in snapshot.code) or 'its code'} in {snapshot.folder}, then allow "
            f"it: {way}",
        )


def _client() -> tuple[Any, Any]:
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingDependencyError(
            "a network of the hub needs transformers", fix="pip install 'audiogen-metrics[hf]'"
        ) from error
    return huggingface_hub, errors
