"""The training loop: data in, saved states out; interrupted anywhere, the same call goes on.

Position in the data, randomness and the due turns are functions of the step, so the state is all that a resumed run
needs; on the same devices it ends bit-identical to one that was never stopped.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from gen_jax.checks import Amount, Count, Number, Share, plain
from gen_jax.protocol import Model, State, Tree, due
from gen_jax.train import shard, watch
from gen_jax.train.checkpoint import Checkpoints
from gen_jax.train.ema import Average
from gen_jax.train.files import cut_back
from gen_jax.train.owed import SHOWN, Owed
from gen_jax.train.report import Means, Reporter, Row
from gen_jax.train.room import check_memory
from gen_jax.train.signals import Asked, InterruptedRun, agreed, stop_signals
from gen_jax.train.state import Batches, abstract_state, check_begin, initial_state, not_finite
from gen_jax.train.step import Prepare, Report, Step, make_step


@plain
class Training:
    """How a run is trained; what it needs beside a model, data and optimizers."""

    steps: Count = 1000
    """Training steps in all, those of an earlier attempt included."""
    seconds: Amount = 0.0
    """End the run after so much training in all, whatever the steps; compiling, sampling and saving do not count. 0: no
    limit."""
    batch_size: Number | None = None
    """Examples a step, over all devices; 0 takes the whole data set. None: 64, or the whole set for models that are
    fitted to it at once."""
    seed: Number = 0
    """Seed of initialisation, data order and noise."""
    log_every: Count = 50
    """Steps between rows of metrics.jsonl."""
    checkpoint_every: Count = 500
    """Steps between checkpoints; the last step is always saved."""
    keep: Count = 2
    """Checkpoints that are kept, the newest; with one, there is none to fall back on where it is damaged."""
    sample_every: Number = 0
    """Steps between pictures of samples; 0 draws one at the end only."""
    evaluate_every: Number = 0
    """Steps between measurements of samples against the training data, kept in evaluation.jsonl; 0 makes none."""
    steps_per_call: Count = 1
    """Steps in one dispatch to the device, where the same turns are due in all of them."""
    accumulate: Count = 1
    """Microbatches that a gradient is averaged over; must divide the batch."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type that networks compute in; parameters stay float32."""
    fsdp: bool = False
    """Split parameters and optimizer state over the devices, too."""
    ema_half_life: Amount = 20_000.0
    """Half-life of the weight averages, in examples; 0 keeps the last weights."""
    ema_ramp: Share = 0.05
    """The half-life is at most this share of the examples seen so far."""


class DivergedError(RuntimeError):
    """A loss, a gradient or what a step has made of the state is not finite."""

    def __init__(self, step: int, what: str, player: str, value: str, *, saved: bool = False):
        elsewhere = " in another --workdir, as what is saved in this one is of these settings" if saved else ""
        super().__init__(
            f"step {step}: {what} of player {player!r} is {value}; not saved. Lower that player's learning rate, or "
            f"clip its gradient (--clip-norm 1){elsewhere}"
        )


@dataclass
class Result:
    """A finished run. Seconds are of all its attempts; those of training leave out compiling, sampling and saving."""

    state: State
    rows: list[Row] = field(default_factory=list)
    train_seconds: float = 0.0
    compile_seconds: float = 0.0


def fit(
    model: Model,
    batches: Batches,
    training: Training,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    prepare: Prepare = lambda batch, key: batch,
    directory: Path | None = None,
    draw: Callable[[State], None] | None = None,
    evaluate: Callable[[State], str] | None = None,
    begin: Mapping[str, tuple[Tree, Tree]] = {},
    accept: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda saved: {},
    mesh: Mesh | None = None,
    title: str = "train",
    notes: Sequence[str] = (),
    quiet: bool = False,
) -> Result:
    """Trains ``model`` to the end of ``training``, from the newest good checkpoint in ``directory`` if there is one.

    The end is that of the steps or, if there are any, of the seconds, of which those of earlier attempts are part.

    Args:
      model: the game.
      batches: raw batches.
      training: the run's settings.
      optimizers: one for every player who moves.
      prepare: from raw batch to model batch, inside the step.
      directory: where checkpoints and ``metrics.jsonl`` go; None keeps everything in memory.
      draw: called every ``sample_every`` steps and at the end, to show samples; not counted as training.
      evaluate: called every ``evaluate_every`` steps and at the end, to measure samples; what it returns is shown. Not
        counted as training either. What it keeps in the directory's ``evaluation.jsonl`` is cut back with the run.
      begin: parameters and buffers of players that do not begin as the model makes them; see
        :func:`gen_jax.train.state.overlaid`.
      accept: from what the checkpoint that the run goes on from says of itself (nothing, if there is none) to what the
        next ones are to say beside that, as JSON; called before anything is written, and what it raises ends the run.
      mesh: the devices; all by default.
      title: what the progress calls this run.
      notes: lines to say at the beginning.
      quiet: show nothing.

    Raises:
      BeginError: a player cannot begin as asked.
      DivergedError: a loss, a gradient norm or a state to be kept is not finite; nothing non-finite was saved.
      InterruptedRun: SIGINT or SIGTERM; the state was saved, and what it owes is made up for by the same call.
      CheckpointError: the directory's checkpoints cannot be used.
    """
    mesh = mesh or shard.data_mesh()
    began = time.monotonic()
    template, shardings = abstract_state(model, batches, optimizers, prepare, mesh, fsdp=training.fsdp)
    watch.moved()  # what comes before the first step, and takes as long as one
    check_memory(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(template)), "the state")
    checkpoints = Checkpoints(directory / "checkpoints", keep=training.keep) if directory else None
    saved = checkpoints.newest_good() if checkpoints else None
    earlier = {} if saved is None or checkpoints is None else checkpoints.metadata(saved)
    if saved is None:
        check_begin(template, begin)
    facts = accept(earlier)
    watch.moved()
    if saved is None or checkpoints is None:
        state = initial_state(model, batches, optimizers, prepare, mesh, shardings, seed=training.seed, begin=begin)
    else:
        state = checkpoints.restored(saved, template)
    watch.moved()
    spent = float(earlier.get("seconds", 0.0))
    step = make_step(
        model.turns,
        optimizers,
        Average(training.ema_half_life, training.ema_ramp),
        prepare=prepare,
        accumulate=training.accumulate,
        dtype=jnp.dtype(training.precision),
        out_shardings=(shardings, shard.replicated(mesh)),
    )
    first = int(state.step)
    if directory:
        directory.mkdir(parents=True, exist_ok=True)
    file = directory / "metrics.jsonl" if directory and jax.process_index() == 0 else None
    reporter = Reporter(
        training.steps, first, file, seconds=training.seconds, title=title, quiet=quiet or jax.process_index() != 0
    )
    owed = Owed(directory)
    late = owed.at(first) if first else []
    if directory and jax.process_index() == 0:
        cut_back(directory / "evaluation.jsonl", first - ("evaluate" in late))
    run = _Run(model, batches, training, step, mesh, checkpoints, draw, evaluate, owed, facts, reporter)
    run.compile_seconds = float(earlier.get("compile_seconds", 0.0)) + time.monotonic() - began
    run.train_seconds, run.clock = spent, spent
    run.window = Means(earlier.get("window", {}))
    with reporter, stop_signals() as stop:
        with checkpoints or nullcontext():  # however it ends, the last save is finished
            if first:
                reporter.say(f"goes on from step {first}")
            for note in notes:
                reporter.say(note)
            try:
                run.show(state, late)
            except Asked as asked:
                raise InterruptedRun(asked.signal, first) from None
            state = run.train(state, stop)
        number = agreed(stop())
        if number:
            raise InterruptedRun(number, int(state.step))
    return Result(state, reporter.rows, run.train_seconds, run.compile_seconds)


@dataclass
class _Run:
    """The moving parts of one call of :func:`fit`."""

    model: Model
    batches: Batches
    training: Training
    step: Step
    mesh: Mesh
    checkpoints: Checkpoints | None
    draw: Callable[[State], None] | None
    evaluate: Callable[[State], str] | None
    owed: Owed
    facts: Mapping[str, Any]
    reporter: Reporter
    compile_seconds: float = 0.0
    train_seconds: float = 0.0
    warned: bool = False
    clock: float = 0.0  # seconds of training, as all processes know them
    window_start: float = 0.0
    window_done: int = 0
    side: float = 0.0  # of this window: compiling, sampling, saving
    compiled: dict[tuple[tuple[int, ...], int], Callable] = field(default_factory=dict)
    window: Means = field(default_factory=Means)
    pending: deque[tuple[int, int, Report]] = field(default_factory=deque)

    def train(self, state: State, stop: Callable[[], int]) -> State:
        """Steps until the end or a signal."""
        done = int(state.step)
        source = self.batches.iterate(done)
        self.window_start, self.window_done, self.side = time.monotonic(), done, 0.0
        while not self._ended(done):
            count = self._steps_in_one_call(done)
            batch, turns = self._next_batch(source, count), due(self.model.turns, done)
            began = time.monotonic()
            function = self._compile(state, batch, turns, count)
            self.side += time.monotonic() - began
            state, report = function(state, batch, self._share())
            self.pending.append((done, count, report))
            before, done = done, done + count
            while len(self.pending) > 1:
                self._check_oldest()
            number = self._agreed(stop(), before, done)
            last = self._ended(done) or bool(number)
            if self._ended(done) or _crossed(before, done, self.training.log_every):
                self._log(done)
            began = time.monotonic()
            number = self._keep(state, before, done, last, number)
            self.side += time.monotonic() - began
            if number:
                raise InterruptedRun(number, done)
            if last:
                break
        return state

    def _ended(self, done: int) -> bool:
        return done >= self.training.steps or 0 < self.training.seconds <= self.clock

    def _spent(self) -> float:
        """Seconds of training so far, earlier attempts included."""
        return self.train_seconds + time.monotonic() - self.window_start - self.side

    def _share(self) -> np.ndarray:
        """Of the run's seconds, 0 where there is no limit."""
        limit = self.training.seconds
        return np.asarray(min(self.clock / limit, 1.0) if limit else 0.0, np.float32)

    def _steps_in_one_call(self, done: int) -> int:
        count = self.training.steps_per_call
        if done + count > self.training.steps:
            return 1
        sets = {due(self.model.turns, step) for step in range(done, done + count)}
        return count if len(sets) == 1 else 1

    def _next_batch(self, source: Iterator[Mapping[str, np.ndarray]], count: int) -> dict[str, jax.Array]:
        if count == 1:
            return shard.place(next(source), self.mesh)
        parts = [next(source) for _ in range(count)]
        return shard.place({name: np.stack([p[name] for p in parts]) for name in parts[0]}, self.mesh, axis=1)

    def _compile(self, state: State, batch: dict, turns: tuple[int, ...], count: int) -> Callable:
        if (turns, count) not in self.compiled:
            self._drain()
            began = time.monotonic()
            function = self.step.one if count == 1 else self.step.many
            self.compiled[turns, count] = function.lower(state, batch, np.float32(0), due=turns).compile()
            self.compile_seconds += time.monotonic() - began
        return self.compiled[turns, count]

    def _drain(self) -> None:
        while self.pending:
            self._check_oldest()

    def _check_oldest(self) -> None:
        done, count, report = self.pending.popleft()
        figures = {
            name: np.atleast_1d(value) for name, value in jax.device_get({**report.vital, **report.metrics}).items()
        }
        for offset in range(count):
            for name in report.vital:
                if not np.isfinite(figures[name][offset]):
                    player, figure = name.split("/")
                    raise self._diverged(done + offset, figure, player, str(figures[name][offset]))
            self.window.add({name: float(value[offset]) for name, value in figures.items()})
        watch.moved()
        self.reporter.advance(done + count, self._spent())

    def _diverged(self, step: int, what: str, player: str, value: str) -> DivergedError:
        saved = self.checkpoints is not None and self.checkpoints.any()
        return DivergedError(step, what, player, value, saved=saved)

    def _log(self, done: int) -> None:
        self._drain()
        elapsed = time.monotonic() - self.window_start - self.side
        self.train_seconds += elapsed
        speed = (done - self.window_done) / max(elapsed, 1e-9)
        size = self.batches.batch_size
        row = {"step": done, "examples": done * size, "seconds": self.train_seconds}
        row |= {"steps_per_second": speed, "examples_per_second": speed * size}
        self.reporter.write(row | self.window.taken())
        self._warn()
        self.window_start, self.window_done, self.side = time.monotonic(), done, 0.0

    def _warn(self) -> None:
        """Says, once, what the model finds wrong with the rows so far."""
        said = "" if self.warned or not hasattr(self.model, "warning") else self.model.warning(self.reporter.rows)
        if said:
            self.warned = True
            self.reporter.say(f"warning: {said}")

    def _keep(self, state: State, before: int, done: int, last: bool, number: int) -> int:
        """Saves and shows what is due; the signal that asked to stop, of which ``number`` is heard already."""
        saving = last or bool(self.checkpoints and _crossed(before, done, self.training.checkpoint_every))
        shown = self._due_to_be_shown(before, done)
        if saving:
            self._save(state, done, shown)
        if number:
            return number  # what is due to be shown is owed
        try:
            self.show(state, shown)
        except Asked as asked:
            if not saving:
                self._save(state, done, shown)
            return asked.signal
        return 0

    def _save(self, state: State, done: int, owed: Sequence[str]) -> None:
        self._drain()  # a state is kept only after its losses, and then itself, were found finite
        fault = not_finite(state)
        if fault:
            raise self._diverged(done, *fault, "not finite")
        if self.checkpoints:
            self.owed.note(done, owed)
            self.checkpoints.save(state, self._facts(done))

    def _due_to_be_shown(self, before: int, done: int) -> list[str]:
        ended = self._ended(done)
        samples, measurements = self.training.sample_every, self.training.evaluate_every
        drawn = self.draw and (ended or (samples and _crossed(before, done, samples)))
        measured = self.evaluate and measurements and (ended or _crossed(before, done, measurements))
        return [name for name, is_due in zip(SHOWN, (drawn, measured)) if is_due]

    def show(self, state: State, what: Sequence[str]) -> None:
        """Draws and measures, as far as it is in ``what``."""
        if not what:
            return
        self._drain()
        if self.draw and "draw" in what:
            self.draw(state)
        if self.evaluate and "evaluate" in what:
            self.reporter.say(f"step {int(state.step)}: {self.evaluate(state)}")
        self.owed.settled()

    def _facts(self, done: int) -> dict[str, Any]:
        examples = done * self.batches.batch_size
        seconds = {"seconds": self._spent(), "compile_seconds": self.compile_seconds}
        return {"step": done, "examples": examples, **seconds, "window": dict(self.window.sums), **self.facts}

    def _agreed(self, number: int, before: int, done: int) -> int:
        # Every process must stop at the same step and go by one clock; asking costs a round trip, so it is done when a
        # row is due.
        if jax.process_count() == 1:
            self.clock = self._spent()
            return number
        if not _crossed(before, done, self.training.log_every):
            return 0
        numbers, clocks = multihost_utils.process_allgather(np.array([number, self._spent()])).T
        self.clock = float(clocks.max())
        return int(numbers.max())


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every
