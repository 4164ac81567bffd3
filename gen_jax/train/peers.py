"""The other processes of a run: met at its beginning, listened to until its end, and missed where one is lost.

Every process counts in the store of the coordinator, which is a part of process 0, and reads what the others have
counted. One that has stood still for long is lost, or stopped; where the store does not answer, it is process 0. The
runtime finds out later, or never, and then aborts: what it writes is hidden, and a line takes its place.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import jax

from gen_jax.train.signals import InterruptedRun

LOST = 76  # the exit status
_COUNTS = "gen_jax/counts/"
_ANEW = "start every process again with its command, and all go on from the last checkpoint"
_GRACE = 3.0  # seconds that whatever else ends this process has for its own line, before that of an abort

_alone = False  # whether the others are not waited for any more
_handlers: list[Any] = []  # of aborts; what is not kept is freed, and then called


@contextmanager
def joined(
    address: str | None,
    count: int | None = None,
    rank: int | None = None,
    *,
    connect_seconds: int,
    lost_seconds: float,
    show_runtime: bool = False,
) -> Iterator[None]:
    """What is computed within is computed together with other processes; where one is lost, this one ends with 76.

    Args:
      address: host:port of process 0; None where the platform says it, and the rest.
      count: how many processes there are.
      rank: which one this is.
      connect_seconds: how long to wait for all to come.
      lost_seconds: how long nothing may be heard of one.
      show_runtime: let the runtime write to standard error.

    Raises:
      ValueError, RuntimeError: if the platform does not say it, or the port is taken.
    """
    global _alone
    undo = ExitStack()
    if not show_runtime:
        undo.callback(_hide_runtime())
    said = [f"not all processes have come in {connect_seconds} seconds (--connect-seconds); {_ANEW}"]
    undo.callback(_on_abort(lambda: _end(said[0], _GRACE)))
    try:
        jax.distributed.initialize(
            address,
            count,
            rank,
            initialization_timeout=connect_seconds,
            heartbeat_timeout_seconds=max(100, round(5 * lost_seconds)),  # after this one's own verdict
        )
    except BaseException:
        undo.close()
        raise
    from jax._src.distributed import global_state  # no public name gives the store

    watch = _Watch(global_state.client, global_state.process_id, global_state.num_processes, lost_seconds)
    said[0] = watch.verdict(0) if watch.rank else f"the runtime has given up (--debug shows why); {_ANEW}"
    _alone = True  # if what follows fails
    with watch:
        try:
            yield
        except InterruptedRun:  # which all have agreed on
            _leave()
            raise
        except BaseException as error:
            watch.judge(error)
            raise
        _leave()
    said[0] = "the runtime has aborted; --debug shows why"


def _leave() -> None:
    global _alone
    jax.distributed.shutdown()  # which waits for the others
    _alone = False


def end_alone(status: int) -> None:
    """Ends the process at once where it has failed among others: the runtime would wait for them."""
    if _alone:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Watch:
    """Counts, and listens to what the others count; a context manager."""

    def __init__(self, client: Any, rank: int, count: int, limit: float):
        self.client, self.rank, self.count = client, rank, count
        self.limit, self.tick = limit, min(1.0, limit / 10)
        self.counts: dict[int, str] = {}
        self.rounds = 0  # in which the store has answered
        self.still = [0.0] * self.count  # seconds that nothing was heard of each
        self.over = threading.Event()

    def __enter__(self) -> "_Watch":
        for work in (self._beat, self._listen):
            threading.Thread(target=work, daemon=True, name="peers").start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()

    def verdict(self, rank: int) -> str:
        """What is said of a process that is lost."""
        return (
            f"process {rank} of {self.count} is lost or has stopped: nothing was heard of it for {self.limit:g} seconds"
            f" (--lost-seconds) or its connection broke; {_ANEW}"
        )

    def judge(self, error: BaseException) -> None:
        """Waits until it is known whether a lost process is behind an error; returns if none is."""
        ours = not isinstance(error, jax.errors.JaxRuntimeError | OSError)  # an OSError where it broke a save
        if ours or "RESOURCE_EXHAUSTED" in str(error):
            return
        before, began = dict(self.counts), time.monotonic()
        while time.monotonic() - began < self.limit + _GRACE:  # if one is lost, the process ends in here
            time.sleep(self.tick)
            if all(self.counts.get(rank) != before.get(rank) for rank in range(self.count)):
                return

    def _beat(self) -> None:
        number = 0
        while not self.over.wait(self.tick):
            number += 1
            try:
                self.client.key_value_set(f"{_COUNTS}{self.rank}", str(number), True)
                found = self.client.key_value_dir_get(_COUNTS)
            except Exception:  # of whatever kind: it does not answer
                continue
            self.counts = {int(key.rsplit("/", 1)[1]): value for key, value in found}
            self.rounds += 1

    def _listen(self) -> None:
        seen, rounds, before = dict(self.counts), self.rounds, time.monotonic()
        while not self.over.wait(self.tick):
            now, counts = time.monotonic(), dict(self.counts)
            passed, before = min(now - before, 2 * self.tick), now  # a process that was stopped has not listened
            for rank in range(self.count):
                heard = self.rounds != rounds if rank == 0 else counts.get(rank) != seen.get(rank)
                unknown = rank and self.rounds == rounds  # as long as the store does not answer
                self.still[rank] = 0.0 if heard else self.still[rank] + (0.0 if unknown else passed)
            seen, rounds = counts, self.rounds
            lost = [rank for rank in range(self.count) if rank != self.rank and self.still[rank] >= self.limit]
            if lost and not self.over.is_set():
                _end(self.verdict(lost[0]))


def _end(line: str, after: float = 0.0) -> NoReturn:
    time.sleep(after)
    print(f"error: {line}", file=sys.stderr, flush=True)
    os._exit(LOST)


def _on_abort(end: Callable[[], NoReturn]) -> Callable[[], object]:
    """Calls ``end`` where the runtime aborts, in any of its threads; what is returned undoes it.

    Python's own handlers are not called then: an abort does not come back.
    """
    _handlers.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: end()))
    handle = ctypes.CDLL(None).signal
    handle.restype, handle.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    before = handle(int(signal.SIGABRT), ctypes.cast(_handlers[-1], ctypes.c_void_p))
    return lambda: handle(int(signal.SIGABRT), before)


def _hide_runtime() -> Callable[[], None]:
    """Only what Python writes goes to standard error; what is returned undoes it."""
    before = sys.stderr
    before.flush()
    kept = sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)

    def undo() -> None:
        os.dup2(kept.fileno(), 2)
        sys.stderr = before

    return undo
