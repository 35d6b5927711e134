"""The index of what people call objects says what looking at every object says."""

from hypothesis import given
from hypothesis import strategies as st

from filament.api.called import CalledIndex
from filament.model.change import Commit, Object
from filament.model.snapshot import Snapshot
from filament.model.stored import STORED_VALUE

WORDS = ("red", "blue", "a:b", "b", "")
UUIDS = ("u1", "u2", "u3", "u4")
NAMES = ("red", "blue", "a:b", "b", "", "p:red", "p:a:b", "q:p:b", "red:red")


def glanced(view, name):
    """The answer, found by looking at everything."""
    return [
        item
        for item in view.objects()
        if item.kind != STORED_VALUE
        and name in (item.fq_name[-1], item.props.get("display_name"), item.name)
    ]


OBJECTS = st.builds(
    lambda kind, uuid, parents, last, shown: Object(
        kind=kind,
        uuid=uuid,
        fq_name=(*parents, last, uuid) if kind == STORED_VALUE else (*parents, last),
        props={} if shown is None else {"display_name": shown},
    ),
    st.sampled_from(("virtual-network", "network-policy", STORED_VALUE)),
    st.sampled_from(UUIDS),
    st.sampled_from(((), ("p",), ("q", "p"))),
    st.sampled_from(WORDS),
    st.one_of(st.none(), st.sampled_from(WORDS)),
)
COMMITS = st.tuples(st.lists(st.sampled_from(UUIDS), max_size=2), st.lists(OBJECTS, max_size=3))


def commit_of(view, deletes, puts):
    """A commit that a view can take: what changes its name or kind goes before it comes again."""
    gone = {uuid for uuid in deletes if view.get(uuid) is not None}
    come = {}
    for item in puts:
        before = view.get(item.uuid)
        if before is not None and (before.kind, before.fq_name) != (item.kind, item.fq_name):
            gone.add(item.uuid)
        come[item.uuid] = item
    names = set()
    kept = []
    for item in come.values():
        holder = view.named(item.kind, item.fq_name)
        taken = holder is not None and holder.uuid != item.uuid and holder.uuid not in gone
        if not taken and (item.kind, item.fq_name) not in names:
            names.add((item.kind, item.fq_name))
            kept.append(item)
    return Commit(
        view.revision + 1, 0.0, "", tuple(kept), tuple(view.get(uuid) for uuid in sorted(gone))
    )


@given(st.lists(COMMITS, max_size=6), st.integers(0, 6))
def test_the_index_agrees_with_a_look_at_everything(steps, asked_first):
    view, index = Snapshot(), CalledIndex()
    for number, (deletes, puts) in enumerate(steps):
        if number == asked_first:
            index.called(view, "red")  # from here on it follows
        commit = commit_of(view, deletes, puts)
        index.update(view, commit)
        view.apply(commit)
    for name in NAMES:
        found = index.called(view, name)
        expected = glanced(view, name)
        assert sorted(found, key=lambda one: one.uuid) == sorted(expected, key=lambda one: one.uuid)
