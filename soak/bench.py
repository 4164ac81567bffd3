"""What every goal works with: places, processes, references, and the count of what was tried and what held."""

import contextlib
import fcntl
import functools
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from gen_jax.__main__ import describe
from gen_jax.train.files import read_log
from tests import processes
from tests.processes import ROOT

LIMIT = 240  # seconds for one process
SHIM = Path(__file__).with_name("faults.c")


class Ended(NamedTuple):
    """A process that has ended."""

    status: int
    errors: str

    @property
    def last(self) -> str:
        """Its last line on standard error."""
        return (self.errors.splitlines() or [""])[-1]

    @property
    def clean(self) -> bool:
        """Whether nothing but lines of ours stand there."""
        return "Traceback" not in self.errors and "absl" not in self.errors


class Bench:
    """The place of one goal.

    Args:
      folder: where its runs go; removed with what is in it at the end.
      scale: of every number of trials.
      seed: of all that is random.
      references: shared by all goals, runs that nothing happened to.
    """

    def __init__(self, folder: Path, scale: float, seed: int, references: Path):
        self.folder, self.scale, self.references = folder, scale, references
        self.random = random.Random(seed)
        self.tried, self.failures, self.notes = 0, list[str](), list[str]()
        self._places, self._known = 0, dict[Path, str]()

    def number(self, whole: int) -> int:
        """Of the trials of a whole soak, those of this one."""
        return max(1, round(whole * self.scale))

    def some(self, all_of: list[Any]) -> list[Any]:
        """As many of a list, drawn."""
        return self.random.sample(all_of, self.number(len(all_of))) if self.scale < 1 else all_of

    def check(self, what: str, holds: bool, why: object = "") -> bool:
        """Counts a trial."""
        self.tried += 1
        if not holds:
            said = str(why)
            self.failures.append(f"{what}: {said if len(said) < 4000 else f'{said[:1000]} ... {said[-3000:]}'}")
        return holds

    @contextlib.contextmanager
    def trial(self, what: str, counts: int = 1) -> Iterator[Path]:
        """A trial with a new place, which fails by an assertion or whatever else is raised; it counts as so many."""
        self._places += 1
        place = self.folder / str(self._places)
        try:
            yield place
            self.check(what, True)
        except Exception as error:
            self.check(what, False, f"{type(error).__name__} {error}")
        finally:
            self.tried += counts - 1
            shutil.rmtree(place, ignore_errors=True)

    def start(self, family: str, workdir: Path, *extra: str, **options: Any) -> subprocess.Popen:
        """A process that trains."""
        return processes.start(family, workdir, *extra, **options)

    def run(self, family: str, workdir: Path, *extra: str, **options: Any) -> Ended:
        """One that has ended."""
        return self.end(self.start(family, workdir, *extra, **options))

    def end(self, process: subprocess.Popen) -> Ended:
        """Waits for a process."""
        try:
            _, errors = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
            errors += f"\nstill running after {LIMIT} seconds"
        return Ended(process.returncode, errors)

    def goes_on(self, family: str, workdir: Path, *extra: str, **options: Any) -> None:
        """The same command again ends well, with the bits and the rows of a run that nothing happened to."""
        ended = self.run(family, workdir, *extra, **options)
        assert ended.status == 0, ended
        self.same(family, workdir, *extra)

    def same(self, family: str, workdir: Path, *extra: str) -> None:
        """A finished run has the bits, the rows and the pictures of one that nothing happened to."""
        whole = self.reference(family, *extra)
        if whole not in self._known:
            self._known[whole] = bits(whole)
        assert bits(workdir) == self._known[whole], f"{bits(workdir)} is not {self._known[whole]}"
        for log in ("metrics.jsonl", "evaluation.jsonl"):
            assert _rows(workdir / log) == _rows(whole / log), f"{log} differs"
        pictures = [{file.name: file.read_bytes() for file in (run / "samples").iterdir()} for run in (workdir, whole)]
        assert pictures[0] == pictures[1], "pictures differ"
        left = [path.name for path in (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp")]
        assert len(left) <= 1, left

    def reference(self, family: str, *extra: str, devices: int = 1) -> Path:
        """A finished run that nothing happened to."""
        parts = [family, *(part.strip("-").replace("/", "_") for part in extra), str(devices)]
        with self.made("-".join(parts)) as place:
            if not place.exists():
                ended = self.run(family, place, *extra, env=on_devices(devices))
                if ended.status != 0:
                    shutil.rmtree(place, ignore_errors=True)
                assert ended.status == 0, ended
        return place

    @contextlib.contextmanager
    def made(self, name: str) -> Iterator[Path]:
        """What is made once for all goals, by whoever comes first; it is there when it is whole."""
        place = self.references / name
        with open(place.with_name(f".{name}"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield place

    def copy(self, family: str, place: Path, *extra: str, devices: int = 1) -> Path:
        """A copy of such a run, to be spoilt."""
        return Path(shutil.copytree(self.reference(family, *extra, devices=devices), place))

    def half(self, place: Path) -> Path:
        """A copy of a VAE's run as it was before its last save, 24."""
        self.copy("vae", place)
        shutil.rmtree(place / "checkpoints" / "24")
        return place

    def wait_for_rows(self, process: subprocess.Popen, workdir: Path, rows: int) -> None:
        """Until so many rows are written, or the process has ended."""

        def written() -> bool:
            with contextlib.suppress(OSError):
                return (workdir / "metrics.jsonl").read_bytes().count(b"\n") >= rows
            return False

        self.wait_until(process, written)

    def wait_until(self, process: subprocess.Popen, condition: Callable[[], bool]) -> None:
        """Until something is so, or the process has ended."""
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < LIMIT and not condition():
            time.sleep(0.002)

    @functools.cached_property
    def shim(self) -> dict[str, str] | None:
        """The environment that counts and spoils a process's calls of the file system; None without a compiler."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not sys.platform.startswith("linux") or compiler is None:
            return None
        with self.made("faults.so") as library:
            if not library.exists():
                subprocess.check_call([compiler, "-O1", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"])
        return {"LD_PRELOAD": str(library)}

    def suite(self, *files: str, chosen: str = "") -> None:
        """Tests that are the provocation already, the long ones too; each is a trial."""
        report = self.folder / "report.xml"
        command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-n", "0", f"--junitxml={report}"]
        command += ["-k", chosen] if chosen else []
        command += [f"tests/{name}" for name in files]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if not report.exists():
            self.check(" ".join(files), False, ended.stdout + ended.stderr)
            return
        for case in ElementTree.parse(report).iter("testcase"):
            bad = [part.get("message") for part in case if part.tag in ("failure", "error")]
            if not any(part.tag == "skipped" for part in case):
                self.check(case.get("name", ""), not bad, bad)


def _rows(log: Path) -> list[dict[str, Any]]:
    """The rows of a log without what the clock has put into them."""
    return [{k: v for k, v in row.items() if "second" not in k} for row in read_log(log)]


def bits(workdir: Path) -> str:
    """Step and hash of the whole state that a run has saved last."""
    found = describe(workdir)
    return f"{found['step']}: {found['state_sha256']}"


def on_devices(count: int) -> dict[str, str]:
    """The environment of a process with so many."""
    return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"} if count > 1 else {}


Goal = Callable[[Bench], None]


def python(program: str, *arguments: str) -> Ended:
    """A Python program of its own, run to its end."""
    command = [sys.executable, "-c", program, *arguments]
    env = processes.environment()
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT)
    return Ended(ended.returncode, ended.stderr)


def cores() -> list[int]:
    """Cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
