"""Signals that ask a run to stop: heard between steps, and between batches of what is drawn and measured."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gen_jax.train import watch

_TWICE = (
    1.0  # seconds; a SIGTERM so soon after the first one is the same: `timeout` sends two, to a child and its group
)


class InterruptedRun(Exception):
    """A signal ended the run; ``signal`` is its number."""

    def __init__(self, number: int, step: int):
        super().__init__(
            f"stopped by {signal.Signals(number).name} at step {step}; the same command goes on from there"
        )
        self.signal = number


class Asked(BaseException):
    """A signal asks to stop what can be stopped between two of its batches; ``signal`` is its number."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.signal = number


class Terminated(BaseException):
    """SIGTERM that is not to wait for anything, as ``KeyboardInterrupt`` is a SIGINT."""


_listening: list[Callable[[], int]] = []


def heed() -> None:
    """To be called between two batches of whatever takes long: something moved, and may be asked to stop.

    Several processes agree on it, so all of them have to come here.

    Raises:
      Asked: a signal asks the run that is being trained to stop.
    """
    watch.moved()
    number = agreed(_listening[-1]()) if _listening else 0
    if number:
        raise Asked(number)


def agreed(number: int) -> int:
    """The signal that any process has heard, 0 if none has."""
    import jax  # here, as a command line is judged before, and its signals are heard
    import numpy as np
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.array([number])).max())


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """A function that gives the number of the signal that asked to stop, 0 as long as none did.

    A second signal does not wait: SIGINT raises ``KeyboardInterrupt``, SIGTERM :class:`Terminated`.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    first = 0.0

    def receive(number: int, frame: Any) -> None:
        nonlocal first
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if received and time.monotonic() - first > _TWICE:
            raise Terminated
        if not received:
            first = time.monotonic()
        received.append(number)

    def heard() -> int:
        return received[0] if received else 0

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    _listening.append(heard)
    try:
        yield heard
    finally:
        _listening.remove(heard)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminating() -> Iterator[None]:
    """SIGTERM raises :class:`Terminated`, as long as nothing else listens; for a command as a whole."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
