"""A watch over a run: where nothing has moved for long, it says where every thread stands and ends the process.

What moves is a finished step, a batch of what is drawn or measured, a file that is verified, and what comes before the
first step. Compiling takes as long as it takes.
"""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STALLED = 75  # the exit status
_COMPILING = (
    "jax/_src/compiler.py",
    "jax/_src/interpreters/partial_eval.py",
)  # files of a frame that compiles or traces

_moves = 0  # how often anything has moved
_limit = 0.0  # seconds; 0 is no watch


def moved() -> None:
    """Something has moved."""
    global _moves
    _moves += 1


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Runs that are trained within are watched: they end when nothing has moved for so many seconds; 0 never ends."""
    global _limit
    before, _limit = _limit, seconds
    try:
        yield
    finally:
        _limit = before


@contextmanager
def watched(stalled: Callable[[float], None] | None = None) -> Iterator[None]:
    """Watches what the calling thread does within, where :func:`limited` says so; ``stalled`` takes the seconds."""
    over, limit = threading.Event(), _limit
    if limit:
        arguments = (threading.get_ident(), limit, over, stalled or _end)
        threading.Thread(target=_watch, args=arguments, daemon=True, name="watch").start()
    try:
        yield
    finally:
        over.set()


def _watch(ident: int, limit: float, over: threading.Event, stalled: Callable[[float], None]) -> None:
    tick = min(1.0, limit / 10)
    still, seen, before = 0.0, _moves, time.monotonic()
    while not over.wait(tick):
        now = time.monotonic()
        passed, before = min(now - before, 2 * tick), now  # a process that was stopped and goes on has not stalled
        if _moves != seen or _compiles(ident):
            still, seen = 0.0, _moves
            continue
        still += passed
        if still >= limit:
            stalled(limit)
            return


def _compiles(ident: int) -> bool:
    frame = sys._current_frames().get(ident)
    while frame is not None:
        if frame.f_code.co_filename.endswith(_COMPILING):
            return True
        frame = frame.f_back
    return False


def _end(limit: float) -> None:
    """Ends the process at once: whatever is stuck would not let it end otherwise."""
    faulthandler.dump_traceback(all_threads=True)
    print(
        f"error: nothing has moved for {limit:g} seconds (--stall-seconds), and above is where every thread stands; "
        "the same command goes on from the last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(STALLED)
