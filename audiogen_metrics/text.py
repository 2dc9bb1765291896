"""Text from elsewhere, such as names of files, and sizes, in a form that can be shown."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

# Controls (C0, C1), what ends a line, what reorders text, and halves of characters that no encoding can hold.
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# Bytes that must not stand as they are between $' and ': all but ASCII that can be shown, without the quote and \\.
_NOT_PLAIN = re.compile(rb"[^ -&(-\[\]-~]")


def escaped(text: object) -> str:
    r"""Return text as one line that does nothing to a terminal or a table but stand in it.

    Examples
    --------
    >>> print(escaped("dog\x1b[2J\n.wav"))
    dog\x1b[2J\n.wav
    """
    return _UNSHOWABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def quoted(path: Path) -> str:
    r"""Return a path as one word of a shell's command, also where it cannot be shown or looks like an option.

    Examples
    --------
    >>> print(quoted(Path("dog's\n.wav")), quoted(Path("-i.wav")))
    $'dog\x27s\x0a.wav' ./-i.wav
    """
    text = str(path)
    if text.startswith("-") or ":" in text.partition("/")[0]:  # an option, or what ffmpeg takes for a protocol
        text = f"./{text}"
    if escaped(text) == text:
        return shlex.quote(text)
    return "$'" + _NOT_PLAIN.sub(lambda found: b"\\x%02x" % found[0][0], os.fsencode(text)).decode() + "'"


def byte_size(number: int) -> str:
    """Return a number of bytes as people write it.

    Examples
    --------
    >>> byte_size(358_668_570), byte_size(492)
    ('359 MB', '492 bytes')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number} bytes"
