"""A store in an etcd cluster, shared by any number of API processes.

    /filament/format                    version of this layout
    /filament/head                      {"revision", "id"}: the last commit. Everybody's turnstile.
    /filament/log/<last revision>       one batch of commits: the truth
    /filament/part/<last>/<id>/<n>      pieces of a batch that is too large for one request
    /filament/checkpoint                {"revision", "oldest", "by"}: how far objects are written
    /filament/object/<uuid>/<n>         "<place> <JSON>", in pieces
    /filament/allocation/<pool>/<value> owner

A commit is one transaction: compare that the head is the one we prepared against, write head and
log entry. Whatever its size it takes effect with those two keys, so no reader ever sees a half.
Objects and allocations are a checkpoint that follows the log (`compact` moves it on); to load is
to read the checkpoint and replay the log after it. See docs/adr/0004-etcd-log-is-the-truth.md.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, pairwise

import msgspec

from filament.base.errors import ConflictError, RevisionConflictError, TransientError
from filament.model.change import Allocation, Commit, Object
from filament.store.etcd_client import (
    CompactedError,
    EtcdClient,
    Op,
    Pair,
    drop,
    put,
    read,
    read_ranges,
    unchanged,
)
from filament.store.index import Index, Place, Undo
from filament.store.memory import FOLLOW_COMMITS, not_empty, not_kept, touches
from filament.store.migrate import migrate

FORMAT_VERSION = 1
_ROOT = b"/filament/"
_FORMAT, _HEAD, _CHECKPOINT = _ROOT + b"format", _ROOT + b"head", _ROOT + b"checkpoint"
_LOG, _PART = _ROOT + b"log/", _ROOT + b"part/"
_OBJECT, _ALLOCATION = _ROOT + b"object/", _ROOT + b"allocation/"
# etcd's defaults: 128 operations and 1.5 MB in one request.
_MAX_OPS = 120
_MAX_BYTES = 1_000_000
_KEPT_ETCD_REVISIONS = 10_000  # of etcd's own history: for those who are just loading
_LOAD_ATTEMPTS = 5
_OWN_IDS = 1000
_WINDOW = 500  # revisions that a backward reader takes at once


class _Head(msgspec.Struct, frozen=True):
    revision: int
    id: str = ""
    is_seeding: bool = False


class _Entry(msgspec.Struct, frozen=True):
    """A batch of commits, or (`parts` > 0) where its pieces are."""

    id: str
    first: int
    last: int
    commits: msgspec.Raw = msgspec.Raw(b"[]")
    parts: int = 0


class _Checkpoint(msgspec.Struct, frozen=True):
    """Objects are as after `revision`; the log starts at `oldest`; `by` is moving it on."""

    revision: int = 0
    oldest: int = 1
    by: str = ""


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode
_decode_checkpoint = msgspec.json.Decoder(_Checkpoint).decode
_decode_commits = msgspec.json.Decoder(tuple[Commit, ...]).decode
_decode_object = msgspec.json.Decoder(Object).decode


class EtcdStore:
    """See `store.contract.Store`. `follow` has connections of its own; the rest is one thread's.

    The index is at the last revision this store has read or written; it never runs ahead.
    """

    is_shared = True
    compact_every = 1000  # a round of its own, with everything that changed since the last

    def __init__(self, endpoints: Sequence[str], patience_s: float = 12.0) -> None:
        """Open or create; TransientError when no majority of the cluster answers."""
        self._endpoints = endpoints
        self._client = EtcdClient(endpoints, patience_s)
        self._watching = EtcdClient(endpoints, patience_s)
        self._index: Index | None = None  # read when first needed
        self._head_changed = 0
        self._own: dict[str, None] = {}  # ids of our last batches
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def load(self) -> tuple[int, Iterator[Object], Iterator[Allocation]]:
        """See Store."""
        for _ in range(_LOAD_ATTEMPTS):
            try:
                return self._load()
            except CompactedError:
                continue
        raise TransientError("etcd compacts faster than this machine can read; try again")

    def commit(self, commit: Commit) -> None:
        """See Store."""
        self.commit_all([commit])

    def commit_all(self, commits: Sequence[Commit]) -> list[bytes]:
        """See Store."""
        if not commits:
            return []
        index = self._current()
        if index.revision < commits[0].revision - 1 or not self._head_changed:
            self._catch_up(index)
        revision = index.revision
        undo: Undo = []
        try:
            for commit in commits:
                index.require_applicable(commit)
                undo += index.apply(commit)
            bodies = [_encode(commit) for commit in commits]
            self._append(commits, bodies)
        except RevisionConflictError as error:
            index.revert(undo, revision)
            raise RevisionConflictError(str(error), max(revision, error.revision)) from None
        except BaseException:
            index.revert(undo, revision)
            raise
        return bodies

    def log(self, after: int, limit: int) -> list[Commit]:
        """See Store."""
        return self._log(self._client, after, limit)[1]

    def touching(self, uuid: str, before: int, limit: int) -> list[Commit]:
        """See Store. Reads the log backwards until it has enough."""
        oldest = self._checkpoint()[0].oldest
        found: list[Commit] = []
        # The first batch that ends at or after `before` may hold commits below it as well.
        bounds, _ = self._client.page(_log_key(before), _end(_LOG), limit=1)
        last = int(bounds[0].key.removeprefix(_LOG)) if bounds else self._head_revision()
        while last >= oldest and len(found) < limit:
            window = self._client.pages(_log_key(max(0, last - _WINDOW + 1)), _log_key(last + 1))
            for pair in reversed(list(window)):
                commits = self._commits(self._client, _decode_entry(pair.value), 0)
                found += [
                    commit
                    for commit in reversed(commits)
                    if oldest <= commit.revision < before and touches(commit, uuid)
                ]
            last -= _WINDOW
        return found[:limit]

    def follow(self, after: int, timeout_s: float) -> list[Commit]:
        """See Store."""
        at, commits = self._log(self._watching, after, FOLLOW_COMMITS)
        if not commits:
            self._watching.wait(_HEAD, at, timeout_s, self._is_foreign)
            _, commits = self._log(self._watching, after, FOLLOW_COMMITS)
        return commits

    def _is_foreign(self, head: bytes) -> bool:
        """Whether a head is another process's. Of our own the owner knows, and to read each again
        took more requests than to commit; should one's answer get lost, we look after a timeout.
        """
        return _decode_head(head).id not in self._own

    def compact(self, before: int) -> None:
        """See Store. Also moves the checkpoint on to what this store has seen."""
        index = self._current()
        before = min(before, index.revision + 1)
        checkpoint, changed = self._checkpoint()
        if checkpoint.revision < index.revision:
            claimed = self._claim(checkpoint, changed)
            if claimed is None or not self._write_net(index, checkpoint.revision, claimed):
                return  # another process is at it
            changed = claimed
        after = _Checkpoint(
            max(index.revision, checkpoint.revision), max(before, checkpoint.oldest)
        )
        moved = self._client.transact(
            [unchanged(_CHECKPOINT, changed)],
            [
                put(_CHECKPOINT, _encode(after)),
                drop(_LOG, _log_key(after.oldest)),
                drop(_PART, _PART + b"%020d/" % after.oldest),
            ],
        )
        if moved.succeeded and moved.revision > _KEPT_ETCD_REVISIONS:
            self._client.compact(moved.revision - _KEPT_ETCD_REVISIONS)

    def seed(
        self,
        revision: int,
        objects: Iterable[Object],
        allocations: Iterable[Allocation],
        commits: Sequence[Commit] = (),
    ) -> None:
        """See Store."""
        outcome = self._client.transact([], [read(_HEAD)])
        head, changed = _decode_head(outcome.ranges[0][0].value), outcome.ranges[0][0].changed
        if head.revision:
            raise not_empty(head.revision)
        token = uuids.uuid4().hex
        # From here to the end nobody else may commit, and whoever opens the store is told so.
        claim = _Head(0, token, is_seeding=True)
        content = _encode(claim)
        outcome = self._client.transact(
            [unchanged(_HEAD, changed)],
            [put(_HEAD, content), *map(_drop_all, (_OBJECT, _ALLOCATION, _LOG, _PART))],
            [read(_HEAD)],
        )
        if not outcome.succeeded and outcome.ranges[0][0].value != content:
            raise ConflictError("somebody else began to write to the store; import into a new one")
        claimed = outcome.revision if outcome.succeeded else outcome.ranges[0][0].changed
        ops = _ops(
            (((0, rank), item) for rank, item in enumerate(objects)),
            ((one.pool, one.value, one.owner) for one in allocations),
            over_others=False,
        )
        whole = chain(ops, _log_ops(commits))
        if not self._write(whole, unchanged(_HEAD, claimed)):
            raise ConflictError("another import took over")
        oldest = commits[0].revision if commits else revision + 1
        done = [
            put(_HEAD, _encode(_Head(revision, token))),
            put(_CHECKPOINT, _encode(_Checkpoint(revision, oldest))),
        ]
        self._client.transact([unchanged(_HEAD, claimed)], done)
        self._index = None

    def close(self) -> None:
        """See Store."""
        self._client.close()
        self._watching.close()

    # -- opening and reading -----------------------------------------------------------------

    def _open(self) -> None:
        fresh = [
            put(_FORMAT, b"%d" % FORMAT_VERSION),
            put(_HEAD, _encode(_Head(0))),
            put(_CHECKPOINT, _encode(_Checkpoint())),
        ]
        outcome = self._client.transact([unchanged(_FORMAT, 0)], fresh, [read(_FORMAT)])
        if not outcome.succeeded:
            version = int(outcome.ranges[0][0].value)
            migrate("the etcd cluster", version, FORMAT_VERSION, {})

    def _load(self) -> tuple[int, Iterator[Object], Iterator[Allocation]]:
        outcome = self._client.transact([], [read(_HEAD), read(_CHECKPOINT)])
        (head_pair,), (checkpoint_pair,) = outcome.ranges
        head, checkpoint = _decode_head(head_pair.value), _decode_checkpoint(checkpoint_pair.value)
        if head.is_seeding:
            raise TransientError(
                "the store is being imported into; if that import is dead, import again"
            )
        at = outcome.revision
        bodies: dict[str, tuple[Place, bytes]] = {}
        held: dict[tuple[str, int], Allocation] = {}
        ranges = [*_split(_OBJECT, b""), *_split(_ALLOCATION, b"ip/")]
        with closing(read_ranges(self._endpoints, ranges, at)) as found:
            for (first, _), pairs in zip(ranges, found, strict=True):
                if first.startswith(_OBJECT):
                    bodies |= _joined(pairs)
                    continue
                for pair in pairs:
                    one = _allocation(pair)
                    held[one.pool, one.value] = one
        replayed: dict[str, tuple[Place, Object] | None] = {}
        for commit in self._replay(checkpoint.revision, head.revision, at):
            _replay(commit, replayed, bodies, held)
        # Only now: a checkpoint that is being moved on may be torn where the log says more.
        placed = [
            (place, _decode_object(body))
            for uuid, (place, body) in bodies.items()
            if uuid not in replayed
        ]
        placed += [each for each in replayed.values() if each is not None]
        placed.sort(key=lambda each: each[0])
        index = Index()
        index.fill(head.revision, (item for _, item in placed), held.values())
        index.places = {item.uuid: place for place, item in placed}
        self._index, self._head_changed = index, head_pair.changed
        return head.revision, (item for _, item in placed), iter(held.values())

    def _replay(self, after: int, last: int, at: int) -> Iterator[Commit]:
        pairs = self._client.pages(_log_key(after + 1), _end(_LOG), revision=at)
        for pair in pairs:
            for commit in self._commits(self._client, _decode_entry(pair.value), at):
                if after < commit.revision <= last:
                    yield commit

    def _commits(self, client: EtcdClient, entry: _Entry, at: int) -> tuple[Commit, ...]:
        if not entry.parts:
            return _decode_commits(entry.commits)
        first = _part_key(entry, 0)
        pieces = client.pages(first, _end(first[: -len(b"000000")]), revision=at)
        return _decode_commits(b"".join(piece.value for piece in pieces))

    def _log(self, client: EtcdClient, after: int, limit: int) -> tuple[int, list[Commit]]:
        """Commits after a revision, and etcd's revision at which they were the last."""
        outcome = client.transact([], [read(_HEAD), read(_CHECKPOINT)])
        (head_pair,), (checkpoint_pair,) = outcome.ranges
        last = _decode_head(head_pair.value).revision
        oldest = _decode_checkpoint(checkpoint_pair.value).oldest
        if not oldest - 1 <= after <= last:
            raise not_kept(after, oldest, last)
        found: list[Commit] = []
        first, at, more = _log_key(after + 1), outcome.revision, after < last
        while more and len(found) < limit:
            pairs, more = client.page(first, _end(_LOG), limit=min(limit, 200), revision=at)
            for pair in pairs:
                commits = self._commits(client, _decode_entry(pair.value), at)
                found += [commit for commit in commits if commit.revision > after]
            if pairs:
                first = pairs[-1].key + b"\0"
        return at, found[:limit]

    def _current(self) -> Index:
        if self._index is None:
            self.load()
        assert self._index is not None
        return self._index

    def _head_revision(self) -> int:
        (pair,) = self._client.transact([], [read(_HEAD)]).ranges[0]
        return _decode_head(pair.value).revision

    def _checkpoint(self) -> tuple[_Checkpoint, int]:
        (pair,) = self._client.transact([], [read(_CHECKPOINT)]).ranges[0]
        return _decode_checkpoint(pair.value), pair.changed

    # -- committing --------------------------------------------------------------------------

    def _catch_up(self, index: Index) -> None:
        """Apply what others have committed, up to the head."""
        while True:
            outcome = self._client.transact([], [read(_HEAD)])
            (pair,) = outcome.ranges[0]
            head = _decode_head(pair.value)
            if head.is_seeding:
                raise TransientError("the store is being imported into")
            if head.revision == index.revision:
                self._head_changed = pair.changed
                return
            for commit in self.log(index.revision, FOLLOW_COMMITS):
                index.apply(commit)

    def _append(self, commits: Sequence[Commit], bodies: Sequence[bytes]) -> None:
        """Write head and log entry, or raise RevisionConflictError. Safe to be repeated by the
        client: the entry's id tells whether it was us.
        """
        first, last = commits[0].revision, commits[-1].revision
        entry = _Entry(uuids.uuid4().hex, first, last)
        self._own[entry.id] = None
        if len(self._own) > _OWN_IDS:
            del self._own[next(iter(self._own))]
        content = b"[" + b",".join(bodies) + b"]"
        if len(content) <= _MAX_BYTES:
            entry = msgspec.structs.replace(entry, commits=msgspec.Raw(content))
        else:
            pieces = _pieces(content)
            for number, piece in enumerate(pieces):
                self._client.transact([], [put(_part_key(entry, number), piece)])
            entry = msgspec.structs.replace(entry, parts=len(pieces))
        changed, self._head_changed = self._head_changed, 0
        outcome = self._client.transact(
            [unchanged(_HEAD, changed)],
            [put(_HEAD, _encode(_Head(last, entry.id))), put(_log_key(last), _encode(entry))],
            [read(_HEAD), read(_log_key(last))],
        )
        if outcome.succeeded:
            self._head_changed = outcome.revision
            return
        head_pairs, entries = outcome.ranges
        if any(_decode_entry(pair.value).id == entry.id for pair in entries):
            return  # a first attempt got through although nobody told us
        revision = _decode_head(head_pairs[0].value).revision
        raise RevisionConflictError(f"commit {first} does not follow revision {revision}", revision)

    # -- the checkpoint ----------------------------------------------------------------------

    def _claim(self, checkpoint: _Checkpoint, changed: int) -> int | None:
        """Become the one who moves the checkpoint on; whoever was at it is stopped."""
        content = _encode(msgspec.structs.replace(checkpoint, by=uuids.uuid4().hex))
        outcome = self._client.transact(
            [unchanged(_CHECKPOINT, changed)], [put(_CHECKPOINT, content)], [read(_CHECKPOINT)]
        )
        if outcome.succeeded:
            return outcome.revision
        (pair,) = outcome.ranges[0]
        return pair.changed if pair.value == content else None

    def _write_net(self, index: Index, after: int, claimed: int) -> bool:
        """Write what the commits after a revision have changed; False when the claim is lost."""
        items: dict[str, Object | None] = {}
        owners: dict[tuple[str, int], str | None] = {}
        while after < index.revision:
            commits = self.log(after, FOLLOW_COMMITS)
            for commit in commits:
                if commit.revision > index.revision:
                    break
                items |= {item.uuid: None for item in commit.deletes}
                owners |= {(one.pool, one.value): None for one in commit.frees}
                items |= {item.uuid: item for item in commit.puts}
                owners |= {(one.pool, one.value): one.owner for one in commit.takes}
            after = commits[-1].revision
        puts = ((index.places[uuid], item) for uuid, item in items.items() if item is not None)
        takes = (
            (pool, value, owner) for (pool, value), owner in owners.items() if owner is not None
        )
        drops = [_drop_all(_object_key(uuid)) for uuid, item in items.items() if item is None]
        drops += [drop(_allocation_key(*key)) for key, owner in owners.items() if owner is None]
        return self._write(
            (*((op, 0) for op in drops), *_ops(puts, takes)), unchanged(_CHECKPOINT, claimed)
        )

    def _write(self, ops: Iterable[tuple[Op, int]], guard: Op) -> bool:
        """Carry out operations of given sizes in as few transactions as etcd allows."""
        batch: list[Op] = []
        size = 0
        for op, size_bytes in ops:
            if len(batch) == _MAX_OPS or size + size_bytes > _MAX_BYTES + 1000:
                if not self._client.transact([guard], batch).succeeded:
                    return False
                batch, size = [], 0
            batch.append(op)
            size += size_bytes
        return not batch or self._client.transact([guard], batch).succeeded


def _end(prefix: bytes) -> bytes:
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _split(prefix: bytes, below: bytes) -> list[tuple[bytes, bytes]]:
    """Split the keys of a prefix into ranges, evenly where uuids follow `below`."""
    middle = [prefix + below + b"%x" % digit for digit in range(16)]
    bounds = [prefix, *middle, _end(prefix)]
    return list(pairwise(bounds))


def _drop_all(prefix: bytes) -> Op:
    return drop(prefix, _end(prefix))


def _log_key(revision: int) -> bytes:
    return _LOG + b"%020d" % revision


def _part_key(entry: _Entry, number: int) -> bytes:
    return _PART + b"%020d/%b/%06d" % (entry.last, entry.id.encode(), number)


def _object_key(uuid: str) -> bytes:
    return _OBJECT + uuid.encode() + b"/"


def _allocation_key(pool: str, value: int) -> bytes:
    return _ALLOCATION + f"{pool}/{value}".encode()


def _allocation(pair: Pair) -> Allocation:
    pool, _, value = pair.key.removeprefix(_ALLOCATION).decode().rpartition("/")
    return Allocation(pool, int(value), pair.value.decode())


def _pieces(content: bytes) -> list[bytes]:
    return [content[start : start + _MAX_BYTES] for start in range(0, len(content), _MAX_BYTES)]


def _log_ops(commits: Iterable[Commit]) -> Iterator[tuple[Op, int]]:
    """What writes commits that happened elsewhere into the log, and how large it is."""
    for commit in commits:
        entry = _Entry(uuids.uuid4().hex, commit.revision, commit.revision)
        content = _encode((commit,))
        if len(content) <= _MAX_BYTES:
            entry = msgspec.structs.replace(entry, commits=msgspec.Raw(content))
        else:
            pieces = _pieces(content)
            for number, piece in enumerate(pieces):
                yield put(_part_key(entry, number), piece), len(piece)
            entry = msgspec.structs.replace(entry, parts=len(pieces))
        text = _encode(entry)
        yield put(_log_key(entry.last), text), len(text)


def _ops(
    objects: Iterable[tuple[Place, Object]],
    allocations: Iterable[tuple[str, int, str]],
    *,
    over_others: bool = True,
) -> Iterator[tuple[Op, int]]:
    """What writes objects and allocations, each with its size; `over_others` may have had more
    pieces.
    """
    for place, item in objects:
        key = _object_key(item.uuid)
        pieces = _pieces(b"%d.%d " % place + _encode(item))
        for number, piece in enumerate(pieces):
            yield put(key + b"%06d" % number, piece), len(piece)
        if over_others:
            yield drop(key + b"%06d" % len(pieces), _end(key)), 0
    for pool, value, owner in allocations:
        yield put(_allocation_key(pool, value), owner.encode()), 0


def _joined(pairs: Iterable[Pair]) -> dict[str, tuple[Place, bytes]]:
    """Objects' places and encoded bodies, by uuid, from their pieces."""
    pieces: dict[str, list[bytes]] = {}
    for pair in pairs:
        uuid = pair.key.removeprefix(_OBJECT).rpartition(b"/")[0].decode()
        pieces.setdefault(uuid, []).append(pair.value)
    bodies = {}
    for uuid, values in pieces.items():
        place, _, body = b"".join(values).partition(b" ")
        revision, _, rank = place.partition(b".")
        bodies[uuid] = ((int(revision), int(rank)), body)
    return bodies


def _replay(
    commit: Commit,
    replayed: dict[str, tuple[Place, Object] | None],
    bodies: dict[str, tuple[Place, bytes]],
    held: dict[tuple[str, int], Allocation],
) -> None:
    """Lay a commit over a checkpoint that may hold it, or some of it, already."""
    for item in commit.deletes:
        replayed[item.uuid] = None
        bodies.pop(item.uuid, None)
    for one in commit.frees:
        held.pop((one.pool, one.value), None)
    for rank, item in enumerate(commit.puts):
        known = replayed.get(item.uuid)
        if known is not None:
            place = known[0]
        else:
            place = (commit.revision, rank)
            if item.uuid in bodies and item.uuid not in replayed:
                place = bodies[item.uuid][0]
        replayed[item.uuid] = (place, item)
    for one in commit.takes:
        held[one.pool, one.value] = one
