"""The change stream as its reader cuts it into lines."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from filament.client.watch import _lines


async def pieces_of(text, cuts):
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in itertools.pairwise(bounds):
        yield text[start:end]


@given(st.lists(st.text(alphabet="ab\r\u2028", max_size=4)), st.lists(st.integers(0, 60)))
async def test_lines_are_the_same_however_they_come(lines, cuts):
    text = "".join(f"{line}\n" for line in lines).encode() + b"unfinished"
    heard = [line.decode() async for line in _lines(pieces_of(text, cuts))]
    assert heard == lines
