"""What is promised of a run, tried: a table of goals, how often each was tried, and how often it held.

    python -m soak                      # all of it: 40 minutes on two cores
    python -m soak R1 R4 --scale 0.1    # some, smaller

Two goals run beside each other, each in a process of its own. Exit status 1 where anything did not hold. soak.json in
--workdir has the failures, and where it ran.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from soak.goals import GOALS, LONGEST, tried
from tests.processes import ROOT


def main() -> int:
    """Runs the goals of the command line."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__, formatter_class=_Raw)
    parser.add_argument("goals", nargs="*", default=[], help=f"of {', '.join(GOALS)}; all, if none is given")
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of trials")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--workdir", type=Path, default=Path("runs/soak"), help="where soak.md and soak.json go")
    parser.add_argument("--beside", type=int, default=2, help="goals that run at a time")
    options = parser.parse_args()
    unknown = [name for name in options.goals if name not in GOALS]
    if unknown:
        parser.error(f"unknown goals {', '.join(unknown)}; there are {', '.join(GOALS)}")
    chosen = [name for name in GOALS if name in (options.goals or GOALS)]
    rows, place = [], Path(tempfile.mkdtemp(prefix="soak-"))
    # A process for each, so that what one goal sets or leaves behind is none of another's.
    how = {"mp_context": multiprocessing.get_context("spawn"), "max_tasks_per_child": 1}
    try:
        with concurrent.futures.ProcessPoolExecutor(options.beside, **how) as pool:
            order = sorted(chosen, key=lambda name: name not in LONGEST)
            started = [pool.submit(tried, name, place, options.scale, options.seed) for name in order]
            for row in concurrent.futures.as_completed(started):
                rows.append(row.result())
                _write(options, sorted(rows, key=lambda row: list(GOALS).index(row["goal"])))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return int(any(row["failures"] for row in rows))


class _Raw(argparse.RawDescriptionHelpFormatter):
    pass


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
