"""From the command line to a call: typed settings, one line for every mistake, and the exit status.

0 done; 2 settings, 3 data, 4 memory, 5 diverged, 6 checkpoints, 73 full disk, 74 disk, 75 stalled (by
:mod:`gen_jax.train.watch`), 76 another process is lost (by :mod:`gen_jax.train.peers`); 130 and 143
stopped by SIGINT and SIGTERM (the same command goes on).
"""

import contextlib
import dataclasses
import difflib
import io
import logging
import os
import re
import sys
import threading
import traceback
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import tyro

T = TypeVar("T")

DEBUG = "--debug"
SETTINGS, DATA, MEMORY, DIVERGED, CHECKPOINT, FULL, DISK = 2, 3, 4, 5, 6, 73, 74


class UsageError(ValueError):
    """A command line that cannot be understood."""


def parse(kind: type[T], arguments: Sequence[str], *, default: T, program: str, description: str) -> T:
    """Settings of type ``kind`` from ``--field value`` pairs; ``--help`` prints and exits.

    Raises:
      UsageError: one line that names the flag, what was expected and the nearest known flag.
    """
    arguments = [argument for argument in arguments if argument != DEBUG]
    description = f"{description}\n\nWith {DEBUG}, an error is shown with all that led to it."
    unknown = _unknown_flag(default, arguments)
    if unknown:
        raise UsageError(unknown)
    config = (tyro.conf.AvoidSubcommands,)
    if any(argument in ("-h", "--help") for argument in arguments):
        tyro.cli(kind, args=["--help"], default=default, prog=program, description=description, config=config)
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured), contextlib.redirect_stdout(captured):
            return tyro.cli(
                kind,
                args=list(arguments),
                default=default,
                prog=program,
                description=description,
                config=config,
            )
    except SystemExit:
        raise UsageError(_one_line(captured.getvalue())) from None
    except ValueError as error:  # a value that its dataclass refuses
        raise UsageError(str(error)) from error


def debugging() -> bool:
    """Whether errors are shown with all that led to them: with ``--debug``, or ``GEN_JAX_DEBUG`` in the environment."""
    return DEBUG in sys.argv or bool(os.environ.get("GEN_JAX_DEBUG"))


def execute(main: Callable[[], None], *, data_error: type[Exception]) -> int:
    """Runs ``main`` and turns every foreseen failure into one line on standard error and its exit status.

    Where :func:`debugging` says so, the traceback is printed as well.
    """
    from gen_jax.train.signals import InterruptedRun, Terminated, terminating

    try:
        with terminating(), _one_line_warnings(), _one_line_errors():
            main()
    except InterruptedRun as stopped:
        print(str(stopped), file=sys.stderr)
        return 128 + stopped.signal
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Terminated:
        print("stopped by SIGTERM, without waiting for anything; the same command begins or goes on", file=sys.stderr)
        return 143
    except Exception as error:
        status = DATA if isinstance(error, data_error) else _status(error)
        if status is None:
            raise
        if debugging():
            traceback.print_exc()
        line = " ".join(str(error).split())
        if status == MEMORY:
            reason = line or "no more is given to this process"
            line = f"out of memory ({reason:.200}); lower the batch size, give --accumulate, or make the model smaller"
        print(f"error: {line}", file=sys.stderr)
        return status
    return 0


def _status(error: Exception) -> int | None:
    """The exit status of a foreseen failure; None for any other."""
    if isinstance(error, UsageError):  # before anything is imported
        return SETTINGS
    from gen_jax.settings import ConfigError
    from gen_jax.train.checkpoint import CheckpointError
    from gen_jax.train.loop import DivergedError
    from gen_jax.train.room import DiskFullError

    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)):
        return MEMORY
    statuses: dict[type[Exception], int] = {ConfigError: SETTINGS, CheckpointError: CHECKPOINT, DivergedError: DIVERGED}
    statuses |= {DiskFullError: FULL, OSError: DISK}
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), None)


def end(
    main: Callable[[], None], *, data_error: type[Exception], before: Callable[[int], object] = lambda status: None
) -> NoReturn:
    """Ends the process with the status of :func:`execute`, after ``before`` was told it; 1 where nobody foresaw it.

    At once, where a disk has failed: what still tries to write in other threads would be waited for, and tell of it.
    """
    with _one_line_errors():
        status = 1
        try:
            status = execute(main, data_error=data_error)
        except Exception:
            traceback.print_exc()
        before(status)
        if status in (FULL, DISK) and not debugging():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        sys.exit(status)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """What the threads of other packages tell of an error, with their stacks, is shown by :func:`debugging` alone."""
    if debugging():
        yield
        return
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, hooks = [logger.level for logger in loggers], (sys.excepthook, sys.unraisablehook, threading.excepthook)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    # What this thread raises is caught, so that the hooks are called by others, some of them not Python's.
    sys.excepthook = sys.unraisablehook = threading.excepthook = _say_nothing
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _say_nothing(*_: object) -> None:
    pass


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    before = warnings.formatwarning

    def in_one_line(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if category is not UserWarning:  # another package's, whose place in the code matters
            return before(message, category, filename, lineno, line)
        return "warning: " + " ".join(str(message).split()) + "\n"

    warnings.formatwarning = in_one_line
    try:
        yield
    finally:
        warnings.formatwarning = before


def use_compilation_cache() -> None:
    """Keeps compiled programs between processes, so that a second start is quick.

    They lie in ``$JAX_COMPILATION_CACHE_DIR``, by default ``~/.cache/gen_jax/xla``.
    """
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        base = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
        jax.config.update("jax_compilation_cache_dir", os.path.join(base, "gen_jax", "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _flags(default: Any, prefix: str = "") -> list[str]:
    hints = typing.get_type_hints(type(default), include_extras=True)
    flags = []
    for field in dataclasses.fields(default):
        value = getattr(default, field.name)
        name = prefix + field.name.replace("_", "-")
        inside = prefix if getattr(hints[field.name], "__metadata__", ()) else f"{name}."
        if dataclasses.is_dataclass(value):
            flags += _flags(value, inside)
        elif isinstance(value, dict):
            flags += [flag for key, part in value.items() for flag in _flags(part, f"{inside}{key}.")]
        else:
            flags.append(f"--{name}")
            if isinstance(value, bool):
                flags.append(f"--{prefix}no-{field.name.replace('_', '-')}")
    return flags


def _unknown_flag(default: Any, arguments: Sequence[str]) -> str | None:
    known = [*_flags(default), "--help", "-h"]
    for argument in arguments:
        flag = argument.split("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            near = difflib.get_close_matches(flag, known, 1, cutoff=0.4)
            return f"unknown flag {flag}; {f'did you mean {near[0]}?' if near else 'see --help'}"
    return None


def _one_line(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"[^\x20-\x7e\n]", " ", text)  # the frame that tyro draws
    lines = [" ".join(line.split()) for line in text.splitlines()]
    message = [line for line in lines if line and not set(line) <= set("-+|= ")]
    headings = (
        "For full helptext",
        "Parsing error",
        "usage:",
        "Value error",
        "Invalid choice",
        "Argument helptext",
    )
    kept = [line for line in message if not line.startswith(headings)]
    return " ".join(kept[:2]) or "the command line cannot be understood; see --help"
