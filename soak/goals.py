"""The goals by name, and one of them tried."""

import resource
import time
from pathlib import Path
from typing import Any

from soak import damage, disk, kills, places, runs, suites
from soak.bench import Bench, Goal

GOALS: dict[str, Goal] = {
    "R1": kills.r1, "R2": disk.r2, "R3": kills.r3, "R4": runs.r4, "R5": places.r5, "R6": damage.r6, "R7": disk.r7,
    "R8": disk.r8, "R9": runs.r9, "R10": kills.r10, "R11": places.r11, "R12": places.r12, "R13": suites.r13,
    "R14": suites.r14, "R15": suites.r15, "R16": runs.r16, "R17": suites.r17, "R18": suites.r18, "R19": damage.r19,
    "R20": disk.r20, "R21": kills.r21, "R22": damage.r22, "long": runs.long_run,
}  # fmt: skip
LONGEST = ("R2", "R22", "R1", "R11", "R3")  # begin first, so that none is left alone at the end


def tried(name: str, place: Path, scale: float, seed: int) -> dict[str, Any]:
    """The row of a goal, tried in a place that goals share."""
    goal, began = GOALS[name], time.monotonic()
    folder, references = place / name, place / "references"
    for path in (folder, references):
        path.mkdir(exist_ok=True)
    bench = Bench(folder, scale, seed, references)
    try:
        goal(bench)
    except Exception as error:
        bench.check("the goal itself", False, f"{type(error).__name__} {error}")
    passed, seconds = bench.tried - len(bench.failures), time.monotonic() - began
    used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    lines = [f"{name}: {goal.__doc__}", *bench.failures, *bench.notes]
    lines += [f"{passed} of {bench.tried} in {seconds:.0f} s, {cpu:.0f} s of a core"]
    print("\n  ".join(lines), flush=True)
    facts = {"goal": name, "what": goal.__doc__, "tried": bench.tried, "passed": passed}
    return {**facts, "seconds": seconds, "cpu_seconds": cpu, "failures": bench.failures, "notes": bench.notes}
