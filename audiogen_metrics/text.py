"""Text from elsewhere, such as names of files, in a form that can be shown."""

from __future__ import annotations

import re

# Controls (C0, C1), what ends a line, what reorders text, and halves of characters that no encoding can hold.
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: object) -> str:
    r"""Return text as one line that does nothing to a terminal or a table but stand in it.

    Examples
    --------
    >>> print(escaped("dog\x1b[2J\n.wav"))
    dog\x1b[2J\n.wav
    """
    return _UNSHOWABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))
