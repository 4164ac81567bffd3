"""R6, R7, R8: damaged files, full and broken disks, and writers that fail."""

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from gen_jax.train.checkpoint import Checkpoints
from gen_jax.train.manifest import verify
from soak.bench import Bench
from soak.kills import calls_of_a_save, spoil, struck
from tests.processes import described

ERRORS = {5: "EIO", 16: "EBUSY", 28: "ENOSPC", 30: "EROFS", 122: "EDQUOT"}
FULL = (28, 122)


def r6(bench: Bench) -> None:
    """Every file of a step damaged in six ways: found, put aside, and the run ends with the same bits."""
    whole = bench.reference("vae") / "checkpoints"
    files = [str(file.relative_to(whole / "24")) for file in sorted((whole / "24").rglob("*")) if file.is_file()]
    every = [(name, how) for name in files for how in ("empty", "half", "gone", "bit", "longer", "older")]
    real = set(bench.random.sample(range(len(every)), min(bench.number(6), len(every))))
    for place, (name, how) in enumerate(bench.some(every)):
        with bench.trial(f"{name}: {how}") as run:
            bench.copy("vae", run)
            file, older = run / "checkpoints" / "24" / name, run / "checkpoints" / "21" / name
            before = file.read_bytes()
            if how == "older" and older.exists():
                shutil.copy(older, file)
            else:
                spoil(bench, file, "bit" if how == "older" else how)
            same = file.exists() and file.read_bytes() == before
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                good = Checkpoints(run / "checkpoints").newest_good()
            assert good == (24 if same else 21) and len(said) == (0 if same else 1), (good, said)
            if place in real:
                bench.goes_on("vae", run)


def r7(bench: Bench) -> None:
    """Disks that are full, broken or read-only: one line, a status, the checkpoint before it whole; then it goes on."""
    if bench.shim is not None:
        calls = calls_of_a_save(bench)
        for _ in range(bench.number(24)):
            call, error = bench.random.randint(1, calls), bench.random.choice(list(ERRORS))
            with bench.trial(f"{ERRORS[error]} from call {call} of {calls} on") as place:
                ended = bench.run("vae", bench.half(place), env=struck(bench, place, call, error))
                good, _ = Checkpoints(place / "checkpoints").examined()
                assert ended.clean and good in (21, 24), (ended, good)
                if ended.status != 0:  # else it was in what may fail: what is only removed
                    assert ended.status in (73, 74) and ended.last.startswith("error: "), ended
                    assert error in FULL or ended.status == 74, ended
                bench.goes_on("vae", place)
    for size in bench.some([10_000, 50_000, 200_000]):
        with bench.trial(f"files of at most {size} bytes") as place:
            ended = bench.run("vae", bench.half(place), preexec_fn=lambda size=size: _limited(size))
            assert ended.status in (0, 74) and ended.clean, ended
            bench.goes_on("vae", place)
    for options in bench.some(["size=200k", "size=400k", "size=8m,nr_inodes=60", "size=8m,nr_inodes=90"]):
        if not _may_mount():
            break
        with bench.trial(f"a disk of {options}") as place, _mounted(place, options):
            ended = bench.run("vae", place / "run")
            assert ended.status in (0, 73) and ended.clean, ended
            if ended.status:
                assert "bytes, and" in ended.last and "are free" in ended.last, ended
            subprocess.check_call(["mount", "-o", "remount,size=64m,nr_inodes=9999", place])
            bench.goes_on("vae", place / "run")
    if not _may_mount():
        return
    with bench.trial("read-only: it can be used") as place:
        place.mkdir()
        with _mounted(place, "size=64m"):
            bench.copy("vae", place / "run")
            subprocess.check_call(["mount", "-o", "remount,ro", place])
            assert described(place / "run")["step"] == 24
            assert bench.run("vae", place / "run").status == 74


def _limited(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _may_mount() -> bool:
    return sys.platform.startswith("linux") and os.geteuid() == 0


@contextlib.contextmanager
def _mounted(place: Path, options: str) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place])
    try:
        yield
    finally:
        subprocess.check_call(["umount", place])


FAILING = """
import runpy, sys
from gen_jax.train import checkpoint
place, kind, after = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))
def failing(before):
    calls = []
    def call(*args, **named):
        calls.append(1)
        if len(calls) > after:
            raise {"OSError": OSError(5, "Input/output error"), "ValueError": ValueError("the writer is odd")}[kind]
        return before(*args, **named)
    return call
if place == "write_manifest":
    checkpoint.write_manifest = failing(checkpoint.write_manifest)
elif place == "prune":
    checkpoint.Checkpoints._prune = failing(checkpoint.Checkpoints._prune)
else:
    checkpoint.ocp.save_async = failing(checkpoint.ocp.save_async)
runpy.run_module("experiments.vae", run_name="__main__")
"""


def r8(bench: Bench) -> None:
    """A writer that fails, in the background or not: never a success, one line, and the same command goes on."""
    every = [(p, k, n) for p in ("save", "write_manifest", "prune") for k in ("OSError", "ValueError") for n in (0, 2)]
    for where, kind, after in bench.some(every):
        with bench.trial(f"{kind} in {where} after {after}") as place:
            program = ("-c", FAILING, where, kind, str(after))
            ended = bench.run("vae", place, program=program)
            assert ended.status == 74 and ended.clean and ended.last.startswith("error: saving to "), ended
            kept = [place / "checkpoints" / str(3 * save) for save in range(max(1, after - 1), after + 1) if after]
            assert all(verify(path) is None for path in kept)
            bench.goes_on("vae", place)
