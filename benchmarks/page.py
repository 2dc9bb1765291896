"""Tables inside pages of the documentation, each between its own marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def put_table(
    name: str, head: Sequence[str], rows: Iterable[Sequence[str]], page: Path = PAGE, *, below: str = ""
) -> None:
    """Replace the table called ``name``, and the line ``below`` it: the machine that it was measured on."""
    lines = ["| " + " | ".join(cells) + " |\n" for cells in (head, ["---"] * len(head), *rows)]
    begin, end = f"% table: {name}\n", "% end of table\n"
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    if not mark:
        raise ValueError(f"{page} has no table {name}")
    after = rest.partition(end)[2]
    if below:
        lines += ["\n", f"{below}\n"]
    page.write_text(f"{before}{begin}\n{''.join(lines)}\n{end}{after}", encoding="utf-8")
