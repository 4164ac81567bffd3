"""R1, R3, R10, R21: killed, told to stop, stuck, and interrupted in one Python."""

import signal
import time
from pathlib import Path

from gen_jax.train.checkpoint import ASIDE, Checkpoints
from soak.bench import Bench, python
from soak.disk import calls_of_a_save, struck
from tests.processes import COMMON, MODELS, STUCK

MANY_ROWS = 24  # of a run that nothing happens to
INTERVAL = int(COMMON[COMMON.index("--checkpoint-every") + 1])
SHOWING = ["--sample-every", "6", "--evaluate-every", "12", "--evaluate-images", "300", "--metrics", "fid"]


def r1(bench: Bench) -> None:
    """SIGKILL at random moments, several in a run, of three families: the same command ends with the same bits."""
    for index in range(bench.number(15)):
        family = list(MODELS)[index % 3]
        options, kills = SHOWING if index % 2 else [], bench.random.choice((2, 3, 5))
        with bench.trial(f"{family}, killed {kills} times", counts=kills) as place:
            for _ in range(kills):
                process = bench.start(family, place, *options)
                wait_somewhere(bench, process, place)
                process.kill()
                bench.end(process)
                good, rows = Checkpoints(place / "checkpoints").examined()[0] or 0, rows_of(place)
                assert good >= rows - 2 * INTERVAL, f"step {good} is left of {rows}"  # of which one was being saved
            bench.goes_on(family, place, *options)
            left = [path.name for path in (place / "checkpoints").glob(f"*{ASIDE}")]
            assert not left, f"{left} stay for ever"


def wait_somewhere(bench: Bench, process, place: Path) -> None:
    """Until a random moment of a run: before the first row, or soon after any."""
    if bench.random.random() < 0.3:
        time.sleep(bench.random.uniform(0.2, 5))
    else:
        bench.wait_for_rows(process, place, bench.random.randint(1, MANY_ROWS))
        time.sleep(bench.random.uniform(0, 0.1))


def rows_of(place: Path) -> int:
    """Whole rows of a run's log."""
    log = place / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def r3(bench: Bench) -> None:
    """SIGTERM and Ctrl-C in every phase, also twice: a status of its own within 25 s, no step lost, the same bits."""
    for index in range(bench.number(30)):
        number, twice = (signal.SIGTERM, signal.SIGINT)[index % 2], index % 5 == 4
        where = "while something is shown" if index % 3 == 2 else "at a random moment"
        with bench.trial(f"{number.name} {where}") as place:
            process = bench.start("vae", place, *SHOWING)
            if index % 3 == 2:
                shows = bench.random.choice((6, 12, 18, 24))
                bench.wait_until(process, lambda place=place, step=shows: f'"step": {step},' in _owed(place))
            else:
                wait_somewhere(bench, process, place)
            began = time.monotonic()
            process.send_signal(number)
            if twice:
                process.send_signal(number)  # at once, as a group and its leader are sent one
            ended = bench.end(process)
            assert time.monotonic() - began < 25, "not within 25 seconds"
            # A signal in the imports, before anything listens, ends Python by itself.
            early = not place.exists()
            assert ended.status in (128 + number, 0, *((-number, 1) if early else ())), ended
            assert early or ended.clean, ended
            good, rows = Checkpoints(place / "checkpoints").examined()[0] or 0, rows_of(place)
            assert (twice and number is signal.SIGINT) or good == rows, f"step {good} is saved of {rows}"
            bench.goes_on("vae", place, *SHOWING)


def _owed(place: Path) -> str:
    try:
        return (place / "owed.json").read_text()
    except FileNotFoundError:
        return ""


def r10(bench: Bench) -> None:
    """A run in which nothing moves ends with 75 and stacks; one that was only stopped for a while does not."""
    for _ in range(bench.number(4)):
        with bench.trial("a reader that stops") as place:
            _stalls(bench, place, shows="in stuck", program=("-c", STUCK))
            bench.goes_on("vae", place)
    calls = calls_of_a_save(bench) if bench.shim else 0
    for _ in range(bench.number(4) if calls else 0):
        call = bench.random.randint(1, calls)
        with bench.trial(f"a disk that answers no more, from call {call} of {calls} on") as place:
            _stalls(bench, bench.half(place), shows="File ", env={**struck(bench, place, call), "SOAK_WAITS": "1"})
            bench.goes_on("vae", place)
    for _ in range(bench.number(6)):
        with bench.trial("stopped for six seconds") as place:
            process = bench.start("vae", place, "--stall-seconds", "4")
            bench.wait_for_rows(process, place, bench.random.randint(1, 20))
            process.send_signal(signal.SIGSTOP)
            time.sleep(6)
            process.send_signal(signal.SIGCONT)
            ended = bench.end(process)
            assert ended.status == 0, ended
            bench.same("vae", place)


def _stalls(bench: Bench, place: Path, *, shows: str, **options) -> None:
    began = time.monotonic()
    ended = bench.run("vae", place, "--stall-seconds", "3", **options)
    assert ended.status == 75 and shows in ended.errors and "--stall-seconds" in ended.last, ended
    assert time.monotonic() - began < 60, "not within a minute"


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
