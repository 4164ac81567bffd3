"""R6, R19, R22: files damaged and misdated, and whatever else in any order."""

import os
import shutil
import signal
import time
import warnings
from pathlib import Path

from gen_jax.train.checkpoint import Checkpoints
from soak.bench import Bench
from soak.disk import ERRORS, FULL, calls_of_a_save, struck
from soak.kills import wait_somewhere
from tests.processes import MODELS


def r6(bench: Bench) -> None:
    """Every file of a step damaged in six ways: found, put aside, and the run ends with the same bits."""
    whole = bench.reference("vae") / "checkpoints"
    files = [str(file.relative_to(whole / "24")) for file in sorted((whole / "24").rglob("*")) if file.is_file()]
    every = [(name, how) for name in files for how in ("empty", "half", "gone", "bit", "longer", "older")]
    chosen = bench.some(every)
    real = set(bench.random.sample(range(len(chosen)), min(bench.number(12), len(chosen))))
    for index, (name, how) in enumerate(chosen):
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
            if index in real:
                bench.goes_on("vae", run)


def spoil(bench: Bench, file: Path, how: str = "") -> None:
    """Damages one file."""
    how = how or bench.random.choice(("empty", "half", "gone", "bit", "longer"))
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    elif how == "bit":
        at = bench.random.randrange(max(len(content), 1))
        file.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :] if content else b"x")
    else:
        file.write_bytes({"empty": b"", "half": content[: len(content) // 2], "longer": content + b"0" * 16}[how])


CLOCK = """
import runpy, sys, time
here, by = time.time, float(sys.argv.pop(1))
time.time = lambda: here() + by * (time.monotonic() > started + 1)
started = time.monotonic()
runpy.run_module("experiments.vae", run_name="__main__")
"""


def r19(bench: Bench) -> None:
    """Clocks and times of files are not gone by: shuffled, decades away, jumping, in other zones."""
    clocks = {"an hour back": -3600.0, "ten years on": 3e8, "before 1970": -2e9}
    for zone in bench.some(["UTC", "Pacific/Kiritimati", "America/St_Johns", "Europe/Lisbon"]):
        for how, by in [("shuffled", None), *clocks.items()]:
            with bench.trial(f"{zone}, {how}") as place:
                bench.half(place)
                for file in sorted(place.rglob("*")):
                    at = bench.random.uniform(0, 4e9) if by is None else max(0.0, time.time() + by)
                    os.utime(file, (at, at))
                program = () if by is None else ("-c", CLOCK, str(by))
                bench.goes_on("vae", place, env={"TZ": zone}, program=program)


def r22(bench: Bench) -> None:
    """Whatever else, in any order, for minutes: the bits at the end are the same."""
    until, runs = time.monotonic() + 420 * bench.scale, 0
    faults = [_kill, _stop, _pause, _corrupt, _litter, _times, _intrude]
    faults += [_fails, _fails] if bench.shim else []
    while runs == 0 or time.monotonic() < until:
        runs += 1
        family, chosen = bench.random.choice(list(MODELS)), bench.random.choices(faults, k=bench.random.randint(3, 8))
        names = ", ".join(fault.__name__.strip("_") for fault in chosen)
        with bench.trial(f"{family}: {names}", counts=len(chosen)) as place:
            for fault in chosen:
                fault(bench, family, place)
            ended = bench.run(family, place)
            if ended.status == 6:  # all were damaged, and a person has to act
                shutil.rmtree(place / "checkpoints")
            bench.goes_on(family, place)


def _kill(bench: Bench, family: str, place: Path) -> None:
    process = bench.start(family, place)
    wait_somewhere(bench, process, place)
    process.kill()
    bench.end(process)


def _stop(bench: Bench, family: str, place: Path) -> None:
    process, number = bench.start(family, place), bench.random.choice((signal.SIGTERM, signal.SIGINT))
    wait_somewhere(bench, process, place)
    process.send_signal(number)
    ended = bench.end(process)
    assert ended.status in (0, 1, 6, -number, 128 + number), ended  # 1: in the imports


def _pause(bench: Bench, family: str, place: Path) -> None:
    process = bench.start(family, place, "--stall-seconds", "30")
    wait_somewhere(bench, process, place)
    process.send_signal(signal.SIGSTOP)
    time.sleep(bench.random.uniform(0, 2))
    process.send_signal(signal.SIGCONT)
    time.sleep(bench.random.uniform(0, 0.5))
    process.kill()
    bench.end(process)


def _corrupt(bench: Bench, family: str, place: Path) -> None:
    steps = Checkpoints(place / "checkpoints").steps()
    files = [f for f in (place / "checkpoints" / str(steps[-1])).rglob("*") if f.is_file()] if len(steps) > 1 else []
    for file in bench.random.sample(files, min(len(files), 1)):
        spoil(bench, file)


def _litter(bench: Bench, family: str, place: Path) -> None:
    folder = place / "checkpoints"
    if folder.exists():
        (folder / bench.random.choice((".DS_Store", "._3", "Thumbs.db", "4 (copy)", "06"))).write_bytes(b"not ours")


def _times(bench: Bench, family: str, place: Path) -> None:
    for file in place.rglob("*"):
        at = bench.random.uniform(0, 4e9)
        os.utime(file, (at, at))


def _intrude(bench: Bench, family: str, place: Path) -> None:
    both = [bench.start(family, place) for _ in range(2)]
    bench.wait_for_rows(both[0], place, 1)
    for process in both:
        process.send_signal(signal.SIGTERM)
        bench.end(process)


def _fails(bench: Bench, family: str, place: Path) -> None:
    """The disk is full, or fails, from some call on; or that call is the last one."""
    error = bench.random.choice([None, *ERRORS])
    call = bench.random.randint(1, 3 * calls_of_a_save(bench))
    ended = bench.run(family, place, env=struck(bench, place, call, error))
    statuses = (-signal.SIGKILL,) if error is None else (73,) if error in FULL else (74,)
    assert ended.status in (0, 6, *statuses) and ended.clean, (call, ended)
