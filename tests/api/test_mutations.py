"""Kill the API, or the store below it, at random points of thousands of random mutations."""

import random
import threading

import pytest

from filament.store.open import open_store
from filament.testing.etcd import EtcdCluster

from .mutations import Mutator, Progress, make_network, problems, snapshot_of
from .served import start_api, stop_api

WRITERS = "abcd"


def run_lives(directory, store, seed, enough, disturb):
    """Let writers write until `enough` writes are acknowledged, while `disturb` kills; checks
    the database whenever nobody serves it.
    """
    chance = random.Random(seed)
    process, address = start_api(directory, store)
    state = {"process": process}
    over = threading.Event()
    try:
        network = make_network(address)
        mutators = [Mutator(seed, name, [address], network, over.is_set) for name in WRITERS]
        for mutator in mutators:
            mutator.start()
        progress = Progress(mutators, f"seed {seed}")
        kills = 0
        while progress.count() < enough:
            # A life is some writes long, however long they take; it ends in the midst of one.
            until = progress.last + chance.randrange(2, enough // 10)
            while progress.count() < until:
                assert not any(mutator.unexpected for mutator in mutators), f"seed {seed}"
                threading.Event().wait(0.01)
            threading.Event().wait(chance.uniform(0, 0.02))
            disturb(state, chance)
            kills += 1
        over.set()
        for mutator in mutators:
            mutator.join(60)
        shown = snapshot_of(address)
    finally:
        over.set()
        stop_api(state["process"])
    opened = open_store(store)
    try:
        revision, objects, allocations = opened.load()
        content = revision, list(objects), sorted(allocations, key=str)
        log = [commit.revision for commit in opened.log(0, 1_000_000)]
    finally:
        opened.close()
    assert content == shown, f"seed {seed}"
    assert log == [*range(1, revision + 1)], f"seed {seed}"
    assert problems(mutators, *content, log) == [], f"seed {seed}, {kills} kills"
    assert kills >= 3, f"seed {seed}"


@pytest.mark.parametrize("seed", [1, 20261120])
def test_the_api_is_killed(tmp_path, seed):
    store = f"sqlite:{tmp_path}/filament.db"

    def kill(state, chance):
        stop_api(state["process"])
        opened = open_store(store)  # between two lives: no half write either
        try:
            assert problems([], *opened.load()) == [], f"seed {seed}"
        finally:
            opened.close()
        state["process"], _ = start_api(tmp_path, store)

    run_lives(tmp_path, store, seed, 1200, kill)


@pytest.mark.parametrize("seed", [7])
def test_etcd_is_killed(tmp_path, seed):
    with EtcdCluster(tmp_path) as etcd:

        def kill(state, chance):
            etcd.kill(0)
            threading.Event().wait(chance.uniform(0, 0.3))
            etcd.start(0)
            etcd.wait()

        run_lives(tmp_path, etcd.address, seed, 600, kill)
