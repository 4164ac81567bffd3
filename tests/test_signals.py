"""Signals and the watch: wherever a run is, it hears; and what was cut off is made up for."""

import contextlib
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import ConfigError, cli, data, fitting, ruler
from gen_jax.evaluate import FeatureNetwork
from gen_jax.fields import to_json
from gen_jax.run import Run
from gen_jax.train import loop, signals, watch
from gen_jax.train.checkpoint import Checkpoints, flatten, state_sha256
from gen_jax.train.signals import Asked, InterruptedRun, Terminated, heed, stop_signals
from tests.processes import COMMON, MODELS, ROOT, STUCK, environment
from tests.test_train import IMAGES, MESH, QUICK, SGD, Constant, Point, fit, play

SHOWING = dataclasses.replace(QUICK, sample_every=2, evaluate_every=4, steps=8, checkpoint_every=3)
EVERYTHING = {("draw", 2), ("draw", 4), ("draw", 6), ("draw", 8), ("evaluate", 4), ("evaluate", 8)}


def _attempt(directory, place, number, shown):
    """A run that is sent a signal once: in what it shows at a step, or where it saves one."""
    waiting = [place]

    def strike(here):
        if here in waiting:
            waiting.remove(here)
            os.kill(os.getpid(), number)

    def show(name, state):
        strike((name, int(state.step)))
        heed()  # as between two batches
        shown.add((name, int(state.step)))
        return "measured"

    def save(self, state, facts):
        strike(("save", int(state.step)))
        saved(self, state, facts)

    saved, Checkpoints.save = Checkpoints.save, save
    try:
        options = {name: (lambda state, name=name: show(name, state)) for name in ("draw", "evaluate")}
        return play(training=SHOWING, directory=directory, **options)
    finally:
        Checkpoints.save = saved


PLACES = [*sorted(EVERYTHING - {("draw", 6)}), ("save", 3), ("save", 8)]


@pytest.mark.parametrize(("place", "number"), [*zip(PLACES, [signal.SIGTERM, signal.SIGINT] * 4)], ids=str)
def test_a_signal_in_what_is_shown_or_saved_is_heard_there_and_nothing_is_left_out(tmp_path, place, number):
    shown: set = set()
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(InterruptedRun) as stopped:
        _attempt(tmp_path, place, number, shown)
    assert stopped.value.signal == number
    if place[0] != "save":  # the step at which it was heard is kept
        assert Checkpoints(tmp_path / "checkpoints").newest_good() == place[1] and place not in shown
    resumed = _attempt(tmp_path, None, number, shown)
    assert shown == EVERYTHING and not (tmp_path / "owed.json").exists()
    assert state_sha256(flatten(resumed.state)) == state_sha256(flatten(play(training=SHOWING).state))
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_a_signal_at_the_last_step_leaves_its_picture_to_the_same_call(tmp_path):
    class Signalling(Constant):
        def iterate(self, start):
            for step, batch in enumerate(super().iterate(start), start):
                if step == 5 and start == 0:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

    drawn = []
    for attempt in range(2):
        options = {"draw": lambda state: drawn.append(int(state.step)), "directory": tmp_path, "mesh": MESH}
        try:
            loop.fit(Point(), Signalling(), QUICK, SGD, quiet=True, **options)
            assert attempt == 1
        except InterruptedRun:
            assert attempt == 0 and drawn == []
    assert drawn == [6]


def test_drawing_and_measuring_stop_between_two_batches(monkeypatch):
    source = data.from_arrays(IMAGES)
    model = SimpleNamespace(makes="image", given=(), sample=lambda params, buffers, key, n: jnp.zeros((n, 8, 8, 1)))
    settings = {"fields": to_json(source.fields), "data": {"counts": {}}}
    run, pieces = Run(model, None, {}, {}, 6, settings), []
    with stop_signals(), pytest.raises(Asked):
        for piece in run.draws(0, 80, batch_size=8):
            pieces.append(piece)
            if len(pieces) == 3:
                signal.raise_signal(signal.SIGTERM)
    assert len(pieces) == 3
    batches, measure = [], ruler.during_training(source, None, metrics=("fid",), number=64, seed=0)

    def batch(self, examples, size, length=None):
        batches.append(examples)
        signal.raise_signal(signal.SIGTERM)
        return lambda: (np.zeros((len(examples), 2), np.float32), None)

    monkeypatch.setattr(FeatureNetwork, "begin", batch)
    monkeypatch.setattr(Run, "draws", lambda *_, **__: pytest.fail("the batches of the reference did not stop"))
    with stop_signals(), pytest.raises(Asked):
        measure(run)
    assert len(batches) == 1


def test_who_asks_twice_does_not_wait(monkeypatch):
    with stop_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # at once: sent to a process and to its group
        assert stop() == signal.SIGTERM
        with pytest.raises(Asked):
            heed()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(signals, "_TWICE", 0.0)
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
    heed()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_before_anything_is_trained_a_signal_ends_the_command_with_a_line(number, status, capsys, request):
    # A job in the background is born with interrupts ignored.
    request.addfinalizer(functools.partial(signal.signal, number, signal.getsignal(number)))
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def read_data():
        signal.raise_signal(number)
        pytest.fail("the signal was not heard")

    before = signal.getsignal(number)
    assert cli.execute(read_data, data_error=data.DataError) == status
    assert len(capsys.readouterr().err.splitlines()) == 1 and signal.getsignal(number) == before


# The watch


def _rung(work, limit=0.2):
    rung = []
    with watch.limited(limit), watch.watched(rung.append):
        work()
    return rung


def _still(seconds, step=0.0):
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(0.01)
        if step:
            watch.moved()


def test_the_watch_rings_where_nothing_moves_and_nowhere_else():
    assert _rung(lambda: _still(0.4)) == [0.2]
    assert _rung(lambda: _still(0.4, step=0.01)) == []
    assert _rung(lambda: _still(0.4), limit=0.0) == []
    compiler = SimpleNamespace()
    exec(compile("def wait(work): work()", "/x/jax/_src/compiler.py", "exec"), vars(compiler))
    assert _rung(lambda: compiler.wait(lambda: _still(0.4))) == []


def test_a_directory_that_does_not_answer_is_a_stall_too(tmp_path, monkeypatch):
    rung = []

    @contextlib.contextmanager
    def stuck(*_):
        deadline = time.monotonic() + 10
        while not rung and time.monotonic() < deadline:
            time.sleep(0.01)
        raise ConfigError("it has answered at last")
        yield

    monkeypatch.setattr(watch, "_end", rung.append)
    monkeypatch.setattr(fitting, "claimed", stuck)
    with watch.limited(0.3), pytest.raises(ConfigError, match="at last"):
        fit(tmp_path)
    assert rung == [0.3]


def test_what_compiles_is_told_by_where_it_stands():
    me, over, seen = threading.get_ident(), threading.Event(), []
    traced = []

    def program(x):
        traced.append(watch._compiles(me))
        for _ in range(60):
            x = jnp.sin(x) @ x + time.time_ns() % 7  # not in any cache
        return x

    def look():
        while not over.wait(0.001):
            seen.append(watch._compiles(me))

    assert not watch._compiles(me)
    lowered = jax.jit(program).lower(jnp.ones((7, 7)))
    looker = threading.Thread(target=look)
    looker.start()
    lowered.compile()
    over.set()
    looker.join()
    assert traced == [True] and any(seen)


@pytest.mark.slow
def test_a_stuck_reader_ends_the_process_with_stacks_and_the_same_command_goes_on(tmp_path):
    options = [*COMMON, *MODELS["vae"], "--workdir", str(tmp_path), "--stall-seconds", "2"]
    command = [sys.executable, "-c", STUCK, *options]
    ended = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240)
    lines = ended.stderr.splitlines()
    assert ended.returncode == 75 and "nothing has moved for 2 seconds" in lines[-1]
    assert "in stuck" in ended.stderr and "in _next_batch" in ended.stderr
    assert Checkpoints(tmp_path / "checkpoints").newest_good() == 6
    ended = subprocess.run(
        [sys.executable, "-m", "experiments.vae", *options[:-2]], cwd=ROOT, env=environment(), timeout=240
    )
    assert ended.returncode == 0 and Checkpoints(tmp_path / "checkpoints").newest_good() == 24
