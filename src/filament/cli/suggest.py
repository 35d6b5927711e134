"""What a mistyped word may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Return the known words most like `word`, best first; none when nothing is alike."""
    # Imported here: only mistakes pay for it.
    from difflib import get_close_matches  # noqa: PLC0415

    by_folded = {candidate.lower(): candidate for candidate in known}
    return [
        by_folded[match] for match in get_close_matches(word.lower(), by_folded, limit, cutoff=0.6)
    ]


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean a, b?`, or nothing when nothing is alike."""
    found = nearest(word, known)
    return f"; did you mean {' or '.join(found)}?" if found else ""
