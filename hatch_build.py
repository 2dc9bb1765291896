"""The README as an index of packages shows it: an index has none of the files that a relative link leads to."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)]+)\)")


def for_an_index(text: str, repository: str) -> str:
    """Point relative links and pictures to the repository; while it has no address, keep their words alone."""

    def replaced(link: re.Match[str]) -> str:
        picture, words, path = link.groups()
        return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/HEAD/{path})" if repository else words

    return RELATIVE.sub(replaced, text)


class ReadmeHook(MetadataHookInterface):
    """The project's long description, with ``Repository`` of ``[project.urls]`` in front of its links."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository", "")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_an_index(text, repository)}
