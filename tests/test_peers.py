"""Several processes, without the processes: whom nobody hears is missed, by its rank."""

import threading
import time

import jax
import pytest

from gen_jax.train import peers


class Store:
    """That of a coordinator, which may go silent."""

    def __init__(self):
        self.values, self.silent = {}, threading.Event()

    def key_value_set(self, key, value, allow_overwrite):
        if self.silent.is_set():
            raise RuntimeError
        self.values[key] = value

    def key_value_dir_get(self, folder):
        return [(key, value) for key, value in self.values.items() if key.startswith(folder)]


@pytest.fixture
def ended(monkeypatch):
    lines = []
    monkeypatch.setattr(peers, "_end", lambda line: lines.append(line))
    return lines


def _together(ended, count, lose):
    """What each of the others says within three times the limit, after ``lose`` was called."""
    store = Store()
    watches = [peers._Watch(store, rank, count, 0.4) for rank in range(count)]
    for watch in watches:
        watch.__enter__()
    time.sleep(0.8)
    assert ended == []
    lose(store, watches)
    time.sleep(0.8)
    for watch in watches:
        watch.__exit__()
    return {line.split(":")[0] for line in ended}, watches


@pytest.mark.parametrize("rank", [1, 2])
def test_a_process_that_counts_no_more_is_missed(ended, rank):
    assert _together(ended, 3, lambda _, watches: watches[rank].__exit__())[0] == {
        f"process {rank} of 3 is lost or has stopped"
    }


def test_where_the_store_is_silent_process_0_is_lost(ended):
    def silence(store, watches):
        watches[0].__exit__()
        store.silent.set()

    assert _together(ended, 3, silence)[0] == {"process 0 of 3 is lost or has stopped"}


def test_an_error_that_a_loss_may_be_behind_is_raised_when_all_were_heard_and_any_other_at_once(ended):
    watch = peers._Watch(Store(), 0, 2, 60.0)
    began = time.monotonic()
    watch.judge(ValueError())
    watch.judge(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: of memory"))
    assert time.monotonic() - began < 0.1
    watch.tick = 0.05
    threading.Timer(0.2, lambda: watch.counts.update({0: "1", 1: "1"})).start()
    watch.judge(OSError("saving failed: connection reset"))
    assert 0.15 < time.monotonic() - began < 10
