"""R5, R11, R12: other devices, two processes, and several runs in one place."""

import signal
import time

import numpy as np

from gen_jax.train.checkpoint import Checkpoints
from gen_jax.train.files import read_log
from soak.bench import Bench, bits, on_devices
from tests.processes import sha256, start_pair, wait_for

CONSTANT = ["--decay", "constant"]  # rates that do not depend on where the run ends


def r5(bench: Bench) -> None:
    """Saved on 1, 2, 4 or 8 devices and restored on any of them: the same bits; losses go on to float32's rounding."""
    for before, after in bench.some([(n, m) for n in (1, 2, 4, 8) for m in (1, 2, 4, 8)]):
        with bench.trial(f"{before} to {after} devices") as place:
            bench.copy("vae", place, *CONSTANT, "--steps", "12", devices=before)
            assert "{}: {}".format(*sha256(place, on_devices(after))) == bits(place)
            assert bench.run("vae", place, *CONSTANT, env=on_devices(after)).status == 0
            whole = bench.reference("vae", *CONSTANT, devices=after)
            losses, expected = ([row["vae/loss"] for row in read_log(r / "metrics.jsonl")] for r in (place, whole))
            assert len(losses) == len(expected) == 24
            assert np.allclose(losses, expected, rtol=1e-5, atol=0), (losses, expected)
            assert before != after or bits(place) == bits(whole)


def r11(bench: Bench) -> None:
    """Two processes, of which one is killed, stopped, told to stop or never there: the other ends, and both go on."""
    steps, kinds = (
        60,
        [(number, rank) for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM) for rank in (0, 1)],
    )
    pair = bench.folder / "whole"
    assert all(bench.end(process).status == 0 for process in start_pair(pair, *CONSTANT, "--steps", str(steps)))
    for number, rank in bench.some(kinds * 2):
        with bench.trial(f"{number.name} to {rank}") as place:
            both = start_pair(place, *CONSTANT, "--steps", "100000", "--lost-seconds", "5")
            try:
                wait_for(both[0], (place / "checkpoints" / "3" / "manifest.json").exists)
                both[rank].send_signal(number)
                began = time.monotonic()
                ended = bench.end(both[1 - rank])
                assert time.monotonic() - began < 30, "not within 30 seconds"
                if number is signal.SIGTERM:
                    assert ended.status == bench.end(both[rank]).status == 143, ended
                else:
                    assert ended.status == 76 and f"process {rank} of 2 is lost" in ended.last and ended.clean, ended
            finally:
                for process in both:
                    process.kill()
                    process.communicate()
            good = Checkpoints(place / "checkpoints").examined()[0] or 0
            assert good < steps, f"step {good} came before the signal, and {steps} are all that can be compared"
            ended = [bench.end(process) for process in start_pair(place, *CONSTANT, "--steps", str(steps))]
            assert all(process.status == 0 for process in ended), ended
            assert bits(place) == bits(pair)
    for rank in bench.some([0, 1]):
        with bench.trial(f"only process {rank} is started") as place:
            address = ["--coordinator", f"127.0.0.1:{bench.random.randint(20000, 60000)}", "--processes", "2"]
            ended = bench.run("vae", place, *address, "--process", str(rank), "--connect-seconds", "4")
            assert ended.status == 76 and ended.clean and "not all processes have come" in ended.last, ended


def r12(bench: Bench) -> None:
    """Several runs in one place: exactly one trains; after a SIGKILL the place is free."""
    for _ in range(bench.number(10)):
        with bench.trial("three at once") as place:
            three = [bench.start("vae", place, "--steps", "100000") for _ in range(3)]
            deadline = time.monotonic() + 60
            while sum(process.poll() is None for process in three) > 1 and time.monotonic() < deadline:
                time.sleep(0.1)
            alive = [process for process in three if process.poll() is None]
            for process in alive[1:]:
                process.kill()
            losers = [bench.end(process) for process in three if process not in alive[:1]]
            assert len(alive) == 1, losers
            assert all(ended.status == 2 and f"in use by process {alive[0].pid} on" in ended.last for ended in losers)
            bench.wait_for_rows(alive[0], place, 3)
            alive[0].kill()
            bench.end(alive[0])
            good = Checkpoints(place / "checkpoints").examined()[0] or 0
            assert bench.run("vae", place, "--steps", str(good + 1)).status == 0
