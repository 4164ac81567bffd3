"""R1, R2, R3, R22 and the long run: killed, signalled, and left alone for long."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

from gen_jax.train.checkpoint import Checkpoints
from soak.bench import Bench
from tests.processes import MODELS

MANY_ROWS = 24  # of a run that nothing happens to


def r1(bench: Bench) -> None:
    """SIGKILL at random moments, several in a run, of three families: the same command ends with the same bits."""
    kills = 0
    for index in range(bench.number(15)):
        family = list(MODELS)[index % 3]
        with bench.trial(f"{family}, killed again and again") as place:
            for _ in range(bench.random.choice((2, 3, 5))):
                process = bench.start(family, place)
                _wait_somewhere(bench, process, place)
                process.kill()
                kills += bench.end(process).status == -signal.SIGKILL
            bench.goes_on(family, place)
    bench.tried = max(bench.tried, kills)


def _wait_somewhere(bench: Bench, process, place: Path) -> None:
    """Until a random moment of a run: before the first row, or soon after any."""
    if bench.random.random() < 0.3:
        time.sleep(bench.random.uniform(0.2, 5))
    else:
        bench.wait_for_rows(process, place, bench.random.randint(1, MANY_ROWS))
        time.sleep(bench.random.uniform(0, 0.1))


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
    """Calls of the file system, in the last save of a run."""
    place, count = bench.folder / "counted", bench.folder / "count"
    env = {**(bench.shim or {}), "SOAK_UNDER": str(place / "checkpoints"), "SOAK_COUNT": str(count)}
    assert bench.run("vae", bench.half(place), env=env).status == 0
    shutil.rmtree(place)
    return count.stat().st_size


def struck(bench: Bench, place: Path, call: int, error: int | None = None) -> dict[str, str]:
    """The environment in which a call kills its process, or fails from there on."""
    env = {**(bench.shim or {}), "SOAK_UNDER": str(place / "checkpoints"), "SOAK_AT": str(call)}
    return env if error is None else {**env, "SOAK_ERROR": str(error)}


def r3(bench: Bench) -> None:
    """SIGTERM and Ctrl-C in every phase, also twice: a status of its own within 25 s, no step lost, the same bits."""
    options = ["--sample-every", "6", "--evaluate-every", "12", "--evaluate-images", "300", "--metrics", "fid"]
    for index in range(bench.number(30)):
        number = (signal.SIGTERM, signal.SIGINT)[index % 2]
        with bench.trial(f"{number.name} at a random moment") as place:
            process = bench.start("vae", place, *options)
            _wait_somewhere(bench, process, place)
            began = time.monotonic()
            process.send_signal(number)
            if index % 5 == 4:
                process.send_signal(number)  # at once, as a group and its leader are sent one
            ended = bench.end(process)
            assert time.monotonic() - began < 25, "not within 25 seconds"
            # A signal in the imports, before anything listens, ends Python by itself.
            early = not place.exists()
            assert ended.status in (128 + number, 0, *((-number, 1) if early else ())), ended
            assert early or ended.clean, ended
            rows = (place / "metrics.jsonl").read_bytes().count(b"\n") if (place / "metrics.jsonl").exists() else 0
            good, _ = Checkpoints(place / "checkpoints").examined()
            assert early or index % 5 == 4 or number is signal.SIGINT or (good or 0) >= rows, (good, rows)
            bench.goes_on("vae", place, *options)


def r22(bench: Bench) -> None:
    """Whatever else, in any order, for minutes: the bits at the end are the same."""
    until, runs = time.monotonic() + 420 * bench.scale, 0
    while runs == 0 or time.monotonic() < until:
        runs += 1
        family = bench.random.choice(list(MODELS))
        with bench.trial(f"{family} in chaos") as place:
            for _ in range(bench.random.randint(3, 8)):
                fault = bench.random.choice((_kill, _stop, _corrupt, _litter, _times, _intrude, _no_room))
                fault(bench, family, place)
                bench.tried += 1
            ended = bench.run(family, place)
            if ended.status == 6:  # all were damaged, and a person has to act
                shutil.rmtree(place / "checkpoints")
            bench.goes_on(family, place)


def _kill(bench: Bench, family: str, place: Path) -> None:
    process = bench.start(family, place)
    _wait_somewhere(bench, process, place)
    process.kill()
    bench.end(process)


def _stop(bench: Bench, family: str, place: Path) -> None:
    process = bench.start(family, place)
    _wait_somewhere(bench, process, place)
    process.send_signal(bench.random.choice((signal.SIGTERM, signal.SIGINT)))
    bench.end(process)


def _corrupt(bench: Bench, family: str, place: Path) -> None:
    steps = Checkpoints(place / "checkpoints").steps()
    files = [f for f in (place / "checkpoints" / str(steps[-1])).rglob("*") if f.is_file()] if len(steps) > 1 else []
    for file in bench.random.sample(files, min(len(files), 1)):
        spoil(bench, file)


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


def _no_room(bench: Bench, family: str, place: Path) -> None:
    if bench.shim is not None:
        bench.run(
            family, place, env=struck(bench, place, bench.random.randint(1, 200), bench.random.choice((5, 28, 30)))
        )


def long_run(bench: Bench) -> None:
    """20,000 steps with pictures, measurements and saves every 500: memory, descriptors, threads, programs are flat."""
    steps = max(2000, bench.number(20_000))
    every = [
        "--checkpoint-every",
        "500",
        "--sample-every",
        "500",
        "--evaluate-every",
        "500",
        "--evaluate-images",
        "300",
    ]
    with bench.trial(f"{steps} steps") as place:
        env = {"JAX_LOG_COMPILES": "1"}
        place.mkdir()
        with open(place / "errors", "w") as errors:
            options = ["--steps", str(steps), "--log-every", "100", "--metrics", "fid", *every]
            process = bench.start("vae", place / "run", *options, env=env, stderr=errors)
            seen: list[tuple[int, dict[str, int]]] = []
            while process.poll() is None:
                time.sleep(0.5)
                found = _resources(process.pid, place)
                if found is not None:
                    seen.append(found)
        assert process.returncode == 0, (place / "errors").read_text()[-600:]
        late = [what for step, what in seen if step >= steps // 4]
        first, last = late[: max(1, len(late) // 10)], late[-max(1, len(late) // 10) :]
        ends = {name: (max(x[name] for x in first), max(x[name] for x in last)) for name in late[0]}
        print(f"  from a quarter of the steps to the end: {ends}")
        assert ends["memory"][1] < 1.05 * ends["memory"][0] + 20e6, ends
        assert ends["files"][1] <= ends["files"][0] + 4 and ends["threads"][1] <= ends["threads"][0] + 4, ends
        assert ends["programs"][1] == ends["programs"][0], ends


def _resources(pid: int, place: Path) -> tuple[int, dict[str, int]] | None:
    """The step, and bytes, descriptors, threads and compiled programs of a process."""
    try:
        row = json.loads((place / "run" / "metrics.jsonl").read_text().splitlines()[-1])
        memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        files, threads = (len(list(Path(f"/proc/{pid}/{name}").iterdir())) for name in ("fd", "task"))
    except (OSError, IndexError, ValueError):
        return None
    programs = (place / "errors").read_text().count("Finished XLA compilation")
    return int(row["step"]), {"memory": memory, "files": files, "threads": threads, "programs": programs}
