"""R4, R5, R9 to R12, R16, R19 to R21: data, devices, divergence, hangs, processes, places, bits, clocks, memory."""

import os
import re
import resource
import signal
import time
from pathlib import Path

import numpy as np

from gen_jax import data
from gen_jax.train.checkpoint import Checkpoints, describe
from gen_jax.train.files import read_log
from soak.bench import Bench, cores, python
from tests.processes import MODELS, STUCK, sha256, start_pair, wait_for


def r4(bench: Bench) -> None:
    """Data go on at every position of two epochs as if nothing had happened: no example twice, none left out."""
    images = np.arange(60, dtype=np.uint8).repeat(4).reshape(60, 2, 2, 1)
    for size in (6, 7, 60):
        batches = data.Batches(data.from_arrays(images), size, 3)
        count = -(-2 * 60 // size)
        iterator = batches.iterate(0)
        whole = [next(iterator)["image"] for _ in range(count)]
        for first in bench.some(list(range(count))):
            iterator = batches.iterate(first)
            found = [next(iterator)["image"] for _ in range(count - first)]
            bench.check(f"from {first} by {size}", all(map(np.array_equal, found, whole[first:])))
        ids = np.concatenate(whole)[:60, 0, 0, 0]
        bench.check(f"one epoch by {size}", 60 % size != 0 or sorted(ids) == list(range(60)), sorted(ids))


def _devices(count: int) -> dict[str, str]:
    return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}


def r5(bench: Bench) -> None:
    """Saved on 1, 2, 4 or 8 devices and restored on any of them: the same bits; losses go on to float32's rounding."""
    for before, after in bench.some([(n, m) for n in (1, 2, 4, 8) for m in (1, 2, 4, 8)]):
        with bench.trial(f"{before} to {after} devices") as place:
            assert bench.run("vae", place, "--steps", "12", env=_devices(before)).status == 0
            assert sha256(place, _devices(before)) == sha256(place, _devices(after))
            assert bench.run("vae", place, env=_devices(after)).status == 0
            here, alone = (
                [row["vae/loss"] for row in read_log(run / "metrics.jsonl")] for run in (place, bench.reference("vae"))
            )
            assert len(here) == len(alone) == 24
            assert np.allclose(here[:4], alone[:4], rtol=1e-5) and np.allclose(here, alone, rtol=1e-3)


def r9(bench: Bench) -> None:
    """Learning rates without sense: it stops with 5, names step and player, and saves nothing that is not finite."""
    flags = {"vae": "--learning-rate", "dcgan": "--generator.learning-rate", "ddpm": "--learning-rate"}
    for family, rate in bench.some([(f, r) for f in MODELS for r in ("1e10", "1e20", "1e30", "1e38")]):
        with bench.trial(f"{family} at {rate}") as place:
            ended = bench.run(family, place, flags[family], rate, "--checkpoint-every", "1")
            assert ended.status in (0, 5), ended
            assert ended.status == 0 or re.search(r"step \d+: \S+ .*of player '\w+' is", ended.last), ended
            for step in Checkpoints(place / "checkpoints").steps():
                assert not _bad_leaves(place / "checkpoints" / str(step)), step


def _bad_leaves(path: Path) -> list[str]:
    import jax

    from gen_jax.train import checkpoint, shard

    where = shard.replicated(shard.data_mesh())
    abstract = {n: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where) for n, a in describe(path).items()}
    arrays = {name: np.asarray(array) for name, array in checkpoint.read(path, abstract).items()}
    return [n for n, a in arrays.items() if a.dtype.kind == "f" and not np.isfinite(a).all()]


def r10(bench: Bench) -> None:
    """A run in which nothing moves ends with 75 and stacks; one that was only stopped for a while does not."""
    for _ in range(bench.number(6)):
        with bench.trial("a reader that stops") as place:
            began = time.monotonic()
            ended = bench.run("vae", place, "--stall-seconds", "3", program=("-c", STUCK))
            assert ended.status == 75 and "in stuck" in ended.errors, ended
            assert time.monotonic() - began < 60
            bench.goes_on("vae", place)
    for _ in range(bench.number(6)):
        with bench.trial("stopped for five seconds") as place:
            process = bench.start("vae", place, "--stall-seconds", "3")
            bench.wait_for_rows(process, place, bench.random.randint(1, 20))
            process.send_signal(signal.SIGSTOP)
            time.sleep(5)
            process.send_signal(signal.SIGCONT)
            assert bench.end(process).status == 0
            bench.same("vae", place)


def r11(bench: Bench) -> None:
    """Two processes, of which one is killed, stopped, told to stop or never there: the other ends, and both go on."""
    kinds = [(number, rank) for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM) for rank in (0, 1)]
    pair = bench.references / "pair"
    if not pair.exists():
        assert all(bench.end(process).status == 0 for process in start_pair(pair))
    for number, rank in bench.some(kinds * 3):
        with bench.trial(f"{number.name} to {rank}") as place:
            both = start_pair(place, "--steps", "100000", "--lost-seconds", "5")
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
            steps = str(max(24, (Checkpoints(place / "checkpoints").examined()[0] or 0) + 3))
            assert all(bench.end(process).status == 0 for process in start_pair(place, "--steps", steps))
            rows = [row["vae/loss"] for row in read_log(place / "metrics.jsonl")][:3]
            assert rows == [row["vae/loss"] for row in read_log(pair / "metrics.jsonl")][:3]
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
            bench.wait_for_rows(three[0], place, 3)
            deadline = time.monotonic() + 60
            while sum(process.poll() is None for process in three) > 1 and time.monotonic() < deadline:
                time.sleep(0.1)
            alive = [process for process in three if process.poll() is None]
            assert len(alive) == 1, [process.poll() for process in three]
            losers = [bench.end(process) for process in three if process not in alive]
            assert all(ended.status == 2 and f"in use by process {alive[0].pid} on" in ended.last for ended in losers)
            alive[0].kill()
            bench.end(alive[0])
            good = Checkpoints(place / "checkpoints").examined()[0] or 0
            assert bench.run("vae", place, "--steps", str(good + 1)).status == 0


def r16(bench: Bench) -> None:
    """What should change no bit changes none: rows, saves, pictures, measurements, cores, programs, zones of time."""
    toggles: dict[str, tuple[list[str], dict[str, str], list[str]]] = {
        "again": ([], {}, []),
        "rows": (["--log-every", "5"], {}, []),
        "saves": (["--checkpoint-every", "7"], {}, []),
        "pictures": (["--sample-every", "2"], {}, []),
        "measurements": (["--evaluate-every", "4", "--evaluate-images", "100", "--metrics", "fid"], {}, []),
        "no stored programs": ([], {"JAX_ENABLE_COMPILATION_CACHE": "false"}, []),
        "a zone of time": ([], {"TZ": "Pacific/Auckland"}, []),
        "hashes of strings": ([], {"PYTHONHASHSEED": "7"}, []),
        "another language": ([], {"LC_ALL": "tr_TR.UTF-8", "LANG": "C"}, []),
        "watched": (["--stall-seconds", "100"], {}, []),
    }
    if len(cores()) > 1:
        toggles["one core"] = ([], {}, ["taskset", "-c", str(cores()[0])])
    for name, (flags, env, prefix) in toggles.items() if bench.scale >= 1 else bench.some(list(toggles.items())):
        with bench.trial(name) as place:
            ended = bench.run("vae", place, *flags, env=env, prefix=prefix)
            assert ended.status == 0, ended
            assert sha256(place) == sha256(bench.reference("vae"))


def r19(bench: Bench) -> None:
    """Clocks and times of files are not gone by: shuffled, decades away, in other zones."""
    for zone in bench.some(["UTC", "Pacific/Kiritimati", "America/St_Johns"]):
        for how in ("shuffled", "an hour back", "ten years on", "before 1970"):
            with bench.trial(f"{zone}, {how}") as place:
                bench.half(place)
                for file in sorted(place.rglob("*")):
                    now = time.time()
                    at = {"an hour back": now - 3600, "ten years on": now + 3e8, "before 1970": -1e8}.get(how)
                    at = bench.random.uniform(0, 4e9) if at is None else at
                    os.utime(file, (at, at))
                bench.goes_on("vae", place, env={"TZ": zone})


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
    for dense in bench.some(["1000000", "2000000", "20000000", "200000000"]):
        with bench.trial(f"a layer of {dense} in 6 GiB") as place:
            ended = bench.run("vae", place, "--dense", dense, preexec_fn=_six_gigabytes)
            assert ended.status == 4 and ended.clean and "out of memory" in ended.last, ended


def _six_gigabytes() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))


INTERRUPTED = """
import signal, sys, threading
import gen_jax
from gen_jax.data import Batches
from gen_jax.models import VAEConfig
import numpy as np
images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
training = gen_jax.Training(steps=12, batch_size=8, checkpoint_every=5)
model = VAEConfig(latent=2, widths=(4,), dense=(8,))
handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
iterate = Batches.iterate
def interrupted(self, start, at=int(sys.argv[1])):
    for step, batch in enumerate(iterate(self, start), start):
        if step == at:
            signal.raise_signal(signal.SIGINT)
        yield batch
Batches.iterate = interrupted
try:
    gen_jax.fit(model, images, training=training, directory=sys.argv[2], quiet=True)
    raise SystemExit("it was not interrupted")
except gen_jax.InterruptedRun:
    pass
Batches.iterate = iterate
again = gen_jax.fit(model, images, training=training, directory=sys.argv[2], quiet=True)
whole = gen_jax.fit(model, images, training=training, quiet=True)
assert np.array_equal(again.sample(0, 4), whole.sample(0, 4))
assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
left = [t.name for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
assert not left, left
"""


def r21(bench: Bench) -> None:
    """In one Python, as in a notebook: interrupted, and called again; nothing is left behind, and it ends."""
    for at in bench.some(list(range(1, 11))):
        with bench.trial(f"interrupted at {at}") as place:
            ended = python(INTERRUPTED, str(at), str(place))
            assert ended.status == 0, ended
