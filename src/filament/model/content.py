"""The whole configuration as one value: exported, backed up, restored, compared.

The text of a content is canonical: the same configuration is the same bytes, whichever store it
comes from and however it got there. One line per object, so that two exports can be compared with
line tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from filament.base.errors import InputError
from filament.model.change import Allocation, Commit, Object
from filament.model.snapshot import Snapshot

FORMAT = 1


class Content(msgspec.Struct, frozen=True):
    """Everything a store holds at one revision; `commits` are its log, without gaps up to
    `revision`, where it was asked for.
    """

    revision: int
    objects: list[Object]
    allocations: list[Allocation]
    format: int = 1
    commits: list[Commit] = []


_decoder = msgspec.json.Decoder(Content)
_encode = msgspec.json.Encoder(order="sorted").encode


def encode_content(
    revision: int,
    objects: Iterable[Object],
    allocations: Iterable[Allocation],
    commits: Iterable[Commit] = (),
) -> Iterator[bytes]:
    """Write a content as canonical JSON, in pieces: objects in the given order (of creation),
    allocations sorted, members of every JSON object sorted. Without commits there is no word of
    them.
    """
    yield b'{"format":%d,"revision":%d,"objects":[\n' % (FORMAT, revision)
    separator = b""
    for item in objects:
        yield separator + _encode(item)
        separator = b",\n"
    yield b'\n],"allocations":[\n'
    separator = b""
    for one in sorted(allocations, key=lambda one: (one.pool, one.value)):
        yield separator + _encode(one)
        separator = b",\n"
    separator = b'\n],"commits":[\n'
    for commit in commits:
        yield separator + _encode(commit)
        separator = b",\n"
    yield b"\n]}\n"


def decode_content(text: bytes, place: str) -> Content:
    """Read a content; InputError says what is wrong with the text at `place`."""
    try:
        content = _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise InputError(
            "bad-content",
            f"{place} is no export of a configuration: {error}",
            hint="give a file that `filament db export` or `backup` has written",
        ) from error
    if content.format != FORMAT:
        raise InputError(
            "bad-content",
            f"{place} has format {content.format}, this program reads {FORMAT}",
            hint="use the program version that wrote it, or newer",
        )
    first = content.revision - len(content.commits) + 1
    for revision, commit in enumerate(content.commits, first):
        if commit.revision != revision:
            raise InputError(
                "bad-content",
                f"the log in {place} has revision {commit.revision} where {revision} must be",
                hint="give a file as `filament db export --log` has written it",
            )
    return content


def replacement(view: Snapshot, content: Content, at: float, who: str) -> Commit | None:
    """The commit that makes `view` hold exactly `content`; None when it does.

    Revisions go on: what the commit changes gets its revision, the rest keeps the one it has.
    """
    revision = view.revision + 1
    wanted = {item.uuid: item for item in content.objects}
    puts, deletes = [], []
    for item in view.objects():
        new = wanted.get(item.uuid)
        if new is None or (new.kind, new.fq_name, new.parent_uuid) != (
            item.kind,
            item.fq_name,
            item.parent_uuid,
        ):
            deletes.append(item)
    for item in content.objects:
        before = view.get(item.uuid)
        if before is None or msgspec.structs.replace(item, revision=before.revision) != before:
            puts.append(msgspec.structs.replace(item, revision=revision))
    held = set(view.allocations())
    asked = set(content.allocations)
    takes = [one for one in content.allocations if one not in held]
    frees = [one for one in view.allocations() if one not in asked]
    if not (puts or deletes or takes or frees):
        return None
    return Commit(revision, at, who, tuple(puts), tuple(deletes), tuple(takes), tuple(frees))
