"""What is promised of a run, tried: a table of goals, how often each was tried, and how often it held.

    python -m soak                      # all of it: 40 minutes on two cores
    python -m soak R1 R4 --scale 0.1    # some, smaller

Exit status 1 where anything did not hold. soak.json in --workdir has the failures, and where it ran.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from soak import disk, kills, runs
from soak.bench import Bench, Goal
from tests.processes import ROOT


def r13(bench: Bench) -> None:
    """1,000 command lines that nobody would type: taken, or refused in one line; nothing is written."""
    bench.suite("test_cli_fuzz.py", chosen="1000" if bench.scale >= 1 else "200")
    bench.suite("test_cli.py", chosen="bad or refused")


def r14(bench: Bench) -> None:
    """Data that are damaged, strange or not data: refused in one line, or taken as it is said."""
    bench.suite("test_cli.py", "test_data.py", chosen="spoil or bad or damaged or refused or broken or wrong")


def r15(bench: Bench) -> None:
    """Files from anyone, given to every reader: none runs a program, hangs, or takes the memory."""
    bench.suite("test_payloads.py", "test_torch_file.py", "test_download.py")


def r17(bench: Bench) -> None:
    """Distances equal their closed forms, whatever the batch, the order and the number of devices."""
    bench.suite("test_evaluate_metrics.py", "test_evaluate_statistics.py")


def r18(bench: Bench) -> None:
    """Mistakes that have made published distances wrong are each seen by the tests."""
    if bench.scale >= 1:
        bench.suite("test_mutants.py")


GOALS: dict[str, Goal] = {
    "R1": kills.r1, "R2": kills.r2, "R3": kills.r3, "R4": runs.r4, "R5": runs.r5, "R6": disk.r6, "R7": disk.r7,
    "R8": disk.r8, "R9": runs.r9, "R10": runs.r10, "R11": runs.r11, "R12": runs.r12, "R13": r13, "R14": r14,
    "R15": r15, "R16": runs.r16, "R17": r17, "R18": r18, "R19": runs.r19, "R20": runs.r20, "R21": runs.r21,
    "R22": kills.r22, "long": kills.long_run,
}  # fmt: skip


def main() -> int:
    """Runs the goals of the command line."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__, formatter_class=_Raw)
    parser.add_argument("goals", nargs="*", default=[], help=f"of {', '.join(GOALS)}; all, if none is given")
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of trials")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--workdir", type=Path, default=Path("runs/soak"), help="where soak.md and soak.json go")
    options = parser.parse_args()
    unknown = [name for name in options.goals if name not in GOALS]
    if unknown:
        parser.error(f"unknown goals {', '.join(unknown)}; there are {', '.join(GOALS)}")
    rows, place = [], Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        for name in options.goals or GOALS:
            rows.append(_row(name, place, options))
            _write(options, rows)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return int(any(row["failures"] for row in rows))


class _Raw(argparse.RawDescriptionHelpFormatter):
    pass


def _row(name: str, place: Path, options: argparse.Namespace) -> dict:
    goal, began = GOALS[name], time.monotonic()
    folder, references = place / name, place / "references"
    for path in (folder, references):
        path.mkdir(exist_ok=True)
    bench = Bench(folder, options.scale, options.seed, references)
    print(f"{name}: {goal.__doc__}", flush=True)
    try:
        goal(bench)
    except Exception as error:
        bench.check("the goal itself", False, f"{type(error).__name__} {error}")
    for failure in bench.failures:
        print(f"  {failure}", flush=True)
    passed, seconds = bench.tried - len(bench.failures), time.monotonic() - began
    print(f"  {passed} of {bench.tried} in {seconds:.0f} s", flush=True)
    facts = {"goal": name, "what": goal.__doc__, "tried": bench.tried, "passed": passed}
    return {**facts, "seconds": seconds, "failures": bench.failures}


def _write(options: argparse.Namespace, rows: list[dict]) -> None:
    options.workdir.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    where = {"commit": commit.strip(), "scale": options.scale, "seed": options.seed, "machine": platform.platform()}
    (options.workdir / "soak.json").write_text(json.dumps({**where, "rows": rows}, indent=1) + "\n")
    table = ["| goal | what | tried | passed | seconds |", "|---|---|---:|---:|---:|"]
    table += [f"| {r['goal']} | {r['what']} | {r['tried']} | {r['passed']} | {r['seconds']:.0f} |" for r in rows]
    (options.workdir / "soak.md").write_text("\n".join(table) + f"\n\n{json.dumps(where)}\n")


if __name__ == "__main__":
    sys.exit(main())
