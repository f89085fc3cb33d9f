"""Read fenced code out of Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """One fenced block: ```` ```language word word ````."""

    path: Path
    line: int
    heading: str
    language: str
    words: tuple[str, ...]
    code: str


def fences(path: Path) -> Iterator[Fence]:
    """Every fenced block of a page, with the heading it stands under."""
    heading = ""
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if found := re.match(r"#+ +(.+)", line):
            heading = found[1].strip()
        elif found := re.match(r"( *)(`{3,}) *(.*)", line):
            indent, closing, info = len(found[1]), found[2], found[3].split()
            block: list[str] = []
            for _, inner in lines:
                if inner.strip() == closing:
                    break
                block.append(inner[indent:])
            yield Fence(
                path=path,
                line=number,
                heading=heading,
                language=info[0] if info else "",
                words=tuple(info[1:]),
                code="\n".join(block) + "\n",
            )
