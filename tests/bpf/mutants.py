"""Single wrong lines for the BPF sources: `mutants.txt` has them, `tests.bpf.mutate` tries them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filament.dataplane.load import OBJECT

LIST = Path(__file__).with_name("mutants.txt")
SOURCES = OBJECT.parent


class Mutant(NamedTuple):
    """One change to a source: what stands there once, and what is wrong instead."""

    file: str  # in `SOURCES`
    right: str
    wrong: str

    @property
    def text(self) -> str:
        """The file's text with what is wrong. Raises ValueError unless what is right is once in it;
        white space does not count.
        """
        text = (SOURCES / self.file).read_text()
        pattern = r"\s+".join(map(re.escape, self.right.split()))
        found = list(re.finditer(pattern, text))
        if len(found) != 1:
            raise ValueError(
                f"{self.file} has {len(found)} times what {LIST.name} wants to be there once:"
                f" {self.right!r}; change the list as the source was changed"
            )
        return text[: found[0].start()] + self.wrong + text[found[0].end() :]

    def write(self, directory: Path) -> Path:
        """Write all sources to a directory, this one wrong; returns the main one's path."""
        for path in [*SOURCES.glob("*.c"), *SOURCES.glob("lib/*.h")]:
            copy = directory / path.relative_to(SOURCES)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
        (directory / self.file).write_text(self.text)
        return directory / "vrouter.bpf.c"

    def __str__(self) -> str:
        return f"{self.file}: {self.right} -> {self.wrong or 'nothing'}"


def read_mutants(text: str) -> Iterator[Mutant]:
    """Read a list: after `== FILE`, paragraphs of lines `- RIGHT` and `+ WRONG`."""
    file = ""
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line for line in paragraph.splitlines() if not line.startswith("#")]
        if not lines:
            continue
        if lines[0].startswith("== "):
            file = lines[0][3:]
            continue
        right = " ".join(line[2:] for line in lines if line.startswith("-"))
        wrong = " ".join(line[2:] for line in lines if line.startswith("+"))
        if not file or not right or not lines[-1].startswith("+"):
            raise ValueError(f"neither a file nor a change: {paragraph!r}")
        yield Mutant(file, right, wrong)


MUTANTS = tuple(read_mutants(LIST.read_text()))
