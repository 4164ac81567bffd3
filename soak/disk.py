"""R2, R7, R8, R20: killed at any call of the file system, disks and memory that do not suffice, writers that fail."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gen_jax.train.checkpoint import Checkpoints
from gen_jax.train.manifest import verify
from soak.bench import Bench
from tests.processes import described

ERRORS = {5: "EIO", 13: "EACCES", 16: "EBUSY", 28: "ENOSPC", 30: "EROFS", 122: "EDQUOT"}
FULL = (28, 122)


def r2(bench: Bench) -> None:
    """SIGKILL at every call of the file system of one save and its pruning: nothing good is lost."""
    if bench.shim is None:
        return
    calls = calls_of_a_save(bench)
    for call in bench.some(list(range(1, calls + 1))):
        with bench.trial(f"killed at call {call} of {calls}") as place:
            ended = bench.run("vae", bench.half(place), env=struck(bench, place, call))
            assert ended.status == -signal.SIGKILL, ended
            good, _ = Checkpoints(place / "checkpoints").examined()
            assert good in (21, 24), good
            bench.goes_on("vae", place)
            assert Checkpoints(place / "checkpoints").examined() == (24, {})


def calls_of_a_save(bench: Bench) -> int:
    """Calls of the file system by which a run is changed from its last but one save to its end."""
    with bench.made("calls") as count:
        if not count.exists():
            place, counted = bench.folder / "counted", bench.folder / "calls"
            env = {**(bench.shim or {}), "SOAK_UNDER": str(place), "SOAK_COUNT": str(counted)}
            assert bench.run("vae", bench.half(place), env=env).status == 0
            shutil.rmtree(place)
            counted.rename(count)
        return count.stat().st_size


def struck(bench: Bench, place: Path, call: int, error: int | None = None) -> dict[str, str]:
    """The environment in which a call kills its process, or fails from there on."""
    env = {**(bench.shim or {}), "SOAK_UNDER": str(place), "SOAK_AT": str(call)}
    return env if error is None else {**env, "SOAK_ERROR": str(error)}


def r7(bench: Bench) -> None:
    """Disks that are full, broken or read-only: one line, a status, the checkpoint before it whole; then it goes on."""
    calls = calls_of_a_save(bench) if bench.shim else 0
    for index in range(bench.number(24) if calls else 0):
        call, error = bench.random.randint(1, calls), list(ERRORS)[index % len(ERRORS)]
        with bench.trial(f"{ERRORS[error]} from call {call} of {calls} on") as place:
            ended = bench.run("vae", bench.half(place), env=struck(bench, place, call, error))
            _refused(place, ended, (0, 73) if error in FULL else (0, 74))  # 0: it was in what is only removed
            bench.goes_on("vae", place)
    for size in bench.some([10_000, 50_000, 200_000]):
        with bench.trial(f"files of at most {size} bytes") as place:
            limit = ["prlimit", f"--fsize={size}"]
            _refused(place, bench.run("vae", bench.half(place), prefix=limit), (0, 74))
            bench.goes_on("vae", place)
    if not _may_mount():
        bench.notes.append("no disks of a limited size: only root may mount them")
        return
    for what, share in bench.some([(what, share) for what in ("bytes", "files") for share in (0.1, 0.5, 0.9, 0.99)]):
        with bench.trial(f"{share:.0%} of the {what} of a checkpoint are free") as place, _mounted(place):
            bench.half(place / "run")
            before = os.statvfs(place)
            shutil.copytree(bench.reference("vae") / "checkpoints" / "24", place / "more")
            after = os.statvfs(place)
            shutil.rmtree(place / "more")
            _limit(place, before, after, what, share)
            ended = bench.run("vae", place / "run")
            _refused(place / "run", ended, (73,))
            assert "are free" in ended.last and "it needs" in ended.last, ended
            subprocess.check_call(["mount", "-o", "remount,size=64m,nr_inodes=9999", place])
            bench.goes_on("vae", place / "run")
    with bench.trial("read-only: it can be used") as place, _mounted(place):
        bench.copy("vae", place / "run")
        subprocess.check_call(["mount", "-o", "remount,ro", place])
        assert described(place / "run")["step"] == 24
        ended = bench.run("vae", place / "run")
        assert ended.status == 74 and ended.clean, ended


def _refused(place: Path, ended, statuses: tuple[int, ...]) -> None:
    assert ended.status in statuses and ended.clean, ended
    assert ended.status == 0 or ended.last.startswith("error: "), ended
    assert ended.status == 0 or str(place) in ended.last, f"no path in {ended.last}"
    good, _ = Checkpoints(place / "checkpoints").examined()
    assert good in (21, 24), good
    left = list((place / "checkpoints").glob("*.orbax-checkpoint-tmp"))
    assert len(left) <= 1, left


def _may_mount() -> bool:
    return sys.platform.startswith("linux") and os.geteuid() == 0


@contextlib.contextmanager
def _mounted(place: Path) -> Iterator[None]:
    place.mkdir()
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=9999", "tmpfs", place])
    try:
        yield
    finally:
        subprocess.check_call(["umount", place])


def _limit(place: Path, before: os.statvfs_result, after: os.statvfs_result, what: str, share: float) -> None:
    """Leaves so much free of what a checkpoint takes, by what was free before and after a copy of one."""
    if what == "bytes":
        size = before.f_blocks - before.f_bfree + int(share * (before.f_bfree - after.f_bfree))
        option = f"size={size * before.f_frsize}"
    else:
        option = f"nr_inodes={before.f_files - before.f_ffree + int(share * (before.f_ffree - after.f_ffree))}"
    subprocess.check_call(["mount", "-o", f"remount,{option}", place])


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
elif place == "commit":
    begin, rename = checkpoint.ocp.save_async, failing(lambda: None)
    class Response:
        def __init__(self, response):
            self.response = response
        def result(self):
            rename()
            return self.response.result()
    checkpoint.ocp.save_async = lambda *args, **named: Response(begin(*args, **named))
else:
    checkpoint.ocp.save_async = failing(checkpoint.ocp.save_async)
runpy.run_module("experiments.vae", run_name="__main__")
"""


def r8(bench: Bench) -> None:
    """A writer that fails, in the background or not: never a success, one line, and the same command goes on."""
    places = ("save", "commit", "write_manifest", "prune")
    every = [(p, k, n) for p in places for k in ("OSError", "ValueError") for n in (0, 2, 7)]  # 7: the last save
    for where, kind, after in bench.some(every):
        with bench.trial(f"{kind} in {where} after {after}") as place:
            program = ("-c", FAILING, where, kind, str(after))
            ended = bench.run("vae", place, program=program)
            assert ended.status == 74 and ended.clean and ended.last.startswith("error: saving to "), ended
            kept = [place / "checkpoints" / str(3 * save) for save in range(max(1, after - 1), after + 1) if after]
            assert all(verify(path) is None for path in kept)
            bench.goes_on("vae", place)


EXHAUSTED = """
import runpy
from gen_jax.train import loop
before, calls = loop.shard.place, []
def place(*args, **named):
    calls.append(1)
    if len(calls) > 12:
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99999999999 bytes.")
    return before(*args, **named)
loop.shard.place = place
runpy.run_module("experiments.vae", run_name="__main__")
"""


def r20(bench: Bench) -> None:
    """Out of memory, of the device or of what the process may have: one line, status 4, and it goes on."""
    for _ in range(bench.number(4)):
        with bench.trial("the device's memory, in a run") as place:
            ended = bench.run("vae", place, program=("-c", EXHAUSTED))
            assert ended.status == 4 and ended.clean and "out of memory" in ended.last, ended
            bench.goes_on("vae", place)
    for dense in bench.some(["2000000", "20000000", "200000000", "2000000000"]):
        with bench.trial(f"a layer of {dense} in 6 GiB") as place:
            ended = bench.run("vae", place, "--dense", dense, prefix=["prlimit", f"--as={6 << 30}"])
            assert ended.status == 4 and ended.clean and "out of memory" in ended.last, ended
