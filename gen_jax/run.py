"""A run: data in, a trained model out, and back from its directory.

A directory holds ``config.json`` (model, data, training, optimizers, versions, devices), ``metrics.jsonl``,
``samples/``, and ``checkpoints/``. The same call on the same directory goes on where it stopped; another
configuration on it is refused.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from gen_jax import data
from gen_jax.models import Configuration
from gen_jax.pictures import image_grid
from gen_jax.protocol import Batch, Buffers, Model, Params, State, players
from gen_jax.settings import ConfigError, claimed, configuration_from, describe, read_settings
from gen_jax.train import checkpoint, loop, shard
from gen_jax.train.loop import Result, Training
from gen_jax.train.optimizers import Adam, Optimizer
from gen_jax.train.step import init_state

Images: TypeAlias = np.ndarray | str | data.Source

_GRID = 64  # images of a sample grid


@dataclass
class Run:
    """A trained model with the weights to use it by: averages of parameters and buffers unless loaded raw."""

    model: Model
    configuration: Configuration
    params: Params
    buffers: Buffers
    step: int
    settings: dict[str, Any]
    directory: Path | None = None
    result: Result | None = field(default=None, repr=False)
    programs: dict[tuple[str, int], Any] = field(default_factory=dict, repr=False, compare=False)
    """What was compiled, by name and model; the snapshots of one training share it."""

    def sample(
        self, key: jax.Array | int, n: int, *, label: np.ndarray | int | None = None, batch_size: int = 256
    ) -> np.ndarray:
        """``n`` images, uint8 ``[n, H, W, C]``.

        Args:
          key: a PRNG key, or a seed.
          n: how many; the first images of a larger draw from the same key are the same images.
          label: one class for all or one for each; drawn uniformly if the model has classes and none is given.
          batch_size: images at a time.
        """
        pieces = list(self.draws(key, n, label=label, batch_size=batch_size))
        return np.concatenate(pieces) if pieces else np.zeros((0, *self.model.shape), np.uint8)

    def draws(
        self, key: jax.Array | int, n: int, *, label: np.ndarray | int | None = None, batch_size: int = 256
    ) -> Iterator[np.ndarray]:
        """The images of :meth:`sample`, at most ``batch_size`` at a time and only when they are asked for."""
        key = jax.random.key(key) if isinstance(key, int) else key
        if label is not None and not self.model.classes:
            raise ValueError("label was given, but this model is unconditional; leave it out")
        labels = None if label is None else np.broadcast_to(np.asarray(label, np.int32), (n,))
        if labels is not None and n and not 0 <= labels.min() <= labels.max() < self.model.classes:
            raise ValueError(f"label must be in 0..{self.model.classes - 1}, got {labels.min()}..{labels.max()}")
        size = max(1, min(n, batch_size))
        for start in range(0, n, size):
            part = None if labels is None else np.resize(labels[start : start + size], size)
            x = self._sampler(self.params, self.buffers, jax.random.fold_in(key, start), size, label=part)
            yield np.asarray(data.to_uint8(x))[: n - start]

    def log_prob(self, key: jax.Array | int, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Log-probability of 8-bit images, nats ``[N]``; :attr:`log_prob_kind` says of which kind.

        ``distributions.bits_per_dim(log_prob, run.model.shape)`` are the bits; a uniform density has 8.

        Raises:
          ValueError: if the model has no likelihood.
        """
        _ = self.log_prob_kind
        key = jax.random.key(key) if isinstance(key, int) else key
        batch = {"image": jnp.asarray(images)}
        if labels is not None:
            batch["label"] = jnp.asarray(labels)
        return np.asarray(self._log_prob(self.params, self.buffers, key, batch))

    @property
    def log_prob_kind(self) -> str:
        """What :meth:`log_prob` is: exact, a lower bound or an estimate; only figures of one kind can be compared.

        Raises:
          ValueError: if the model has no likelihood.
        """
        if not hasattr(self.model, "log_prob"):
            raise ValueError(f"{type(self.model).__name__} has no likelihood; use a model with log_prob")
        return self.model.log_prob_kind  # type: ignore[attr-defined]

    @property
    def _sampler(self) -> Any:
        return self.programs.setdefault(("sample", id(self.model)), jax.jit(self.model.sample, static_argnums=3))

    @property
    def _log_prob(self) -> Any:
        def log_prob(params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
            return self.model.log_prob(params, buffers, key, data.prepare(batch))  # type: ignore[attr-defined]

        return self.programs.setdefault(("log_prob", id(self.model)), jax.jit(log_prob))


def fit(
    configuration: Configuration,
    images: Images,
    labels: np.ndarray | None = None,
    *,
    training: Training = Training(),
    optimizers: Mapping[str, Optimizer] | None = None,
    directory: str | Path | None = None,
    image_size: int | None = None,
    flip: bool = False,
    crop: int = 0,
    start: State | None = None,
    teacher: Run | None = None,
    label: str = "train",
    quiet: bool = False,
) -> Run:
    """Trains a model on images.

    Args:
      configuration: which model, e.g. ``gen_jax.models.VAEConfig()``.
      images: uint8 ``[N, H, W, C]``, the name or path of a data set, or a ``Source``.
      labels: integers ``[N]``, beside an array of images.
      training: steps, batch, seed, and the rest of the run's settings.
      optimizers: by player; Adam at 2e-4 by default, with a first moment of 0.5 where two players or more move.
      directory: where the run is kept; it goes on from what is there. None keeps it in memory.
      image_size: resize a data set's images to this side.
      flip: mirror half of the training images at random.
      crop: pad training images by this many pixels and crop them back at random.
      start: the state of an earlier run of the same networks to go on from; it is donated.
      teacher: for distillation and rectification, the trained run that the student learns from and begins as.
      label: what the progress calls the run.
      quiet: show nothing.

    Raises:
      DataError, ConfigError, CheckpointError, DivergedError, InterruptedRun: see there.
    """
    source = _source(images, labels, image_size)
    size = training.batch_size or source.size
    model = _build(configuration, source.shape, source.classes)
    recipes = dict(optimizers or _default_optimizers(model))
    _check_players(model, recipes)
    mesh = shard.data_mesh() if training.batch_size else _whole_set_mesh(size)
    if size % mesh.devices.size:
        raise ConfigError(f"batch size {size} is not divisible by the {mesh.devices.size} devices; change it")
    if size % training.accumulate:
        raise ConfigError(f"batch size {size} is not divisible by --accumulate {training.accumulate}; change either")
    batches = data.Batches(source, size, training.seed, jax.process_index(), jax.process_count())
    settings = describe(configuration, source, image_size, training, recipes, flip, crop)
    transformations = {name: _optax(recipe, training.steps) for name, recipe in recipes.items()}
    if teacher is not None:
        start = _taught(model, teacher, transformations, training.seed)
    sampled = functools.partial(_run_of, model, configuration, settings, {})

    def draw(state: State) -> None:
        if directory is None:
            return
        images = sampled(state).sample(jax.random.fold_in(jax.random.key(training.seed), _GRID), _GRID)
        if jax.process_index() == 0:
            folder = Path(directory) / "samples"
            folder.mkdir(exist_ok=True)
            image_grid(images).save(folder / f"{int(state.step):08d}.png")

    evaluate = None
    if training.evaluate_every:
        from gen_jax import ruler  # which knows runs

        _check_metrics(training)
        measured = ruler.during_training(
            source,
            None if directory is None else Path(directory),
            metrics=training.metrics,
            number=training.evaluate_images,
            seed=training.seed,
        )
        evaluate = lambda state: measured(sampled(state))  # noqa: E731

    with claimed(directory, settings) as path:
        result = loop.fit(
            model,
            batches,
            training,
            transformations,
            prepare=functools.partial(data.prepare, flip=flip, crop=crop),
            directory=path,
            metadata={"data_seed": training.seed},
            draw=draw,
            evaluate=evaluate,
            start=start,
            mesh=mesh,
            label=label,
            quiet=quiet,
        )
    return dataclasses.replace(sampled(result.state), directory=path, result=result)


def load(directory: str | Path, *, raw: bool = False) -> Run:
    """A run from its directory, on this machine's devices, whatever it was trained on; nothing is written.

    Args:
      directory: of the run.
      raw: take the last weights instead of their averages.

    Raises:
      ConfigError: if there is no run in the directory.
      CheckpointError: if it has no good checkpoint.
    """
    directory = Path(directory)
    settings = read_settings(directory)
    configuration = configuration_from(settings["model"])
    model = configuration.build(tuple(settings["shape"]), settings["classes"])
    path = newest_checkpoint(directory)
    size = settings["training"]["batch_size"] or settings["data"]["size"]
    batch = {
        "image": jax.ShapeDtypeStruct((size, *settings["shape"]), jnp.float32),
        "label": jax.ShapeDtypeStruct((size,), jnp.int32),
    }
    params, buffers = jax.eval_shape(model.init, jax.eval_shape(jax.random.key, 0), batch)
    tree = {"params": params, "buffers": buffers}
    where = shard.replicated(shard.data_mesh())
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree if raw else {"ema": tree}
    )
    arrays = checkpoint.read(path, checkpoint.flatten_abstract(abstract))
    restored = checkpoint.unflatten(abstract, arrays)
    restored = restored if raw else restored["ema"]
    return Run(model, configuration, restored["params"], restored["buffers"], int(path.name), settings, directory)


def newest_checkpoint(directory: Path) -> Path:
    """The newest good checkpoint of a run; it writes nothing.

    Raises:
      CheckpointError: if there is none.
    """
    saved = checkpoint.Checkpoints(directory / "checkpoints")
    faults = {}
    for step in reversed(saved.steps()):
        path = saved.directory / str(step)
        fault = checkpoint.verify(path)
        if fault is None:
            return path
        faults[step] = fault
    reason = "; ".join(f"step {step}: {fault}" for step, fault in faults.items()) or "nothing was saved yet"
    raise checkpoint.CheckpointError(f"{directory} has no good checkpoint ({reason})")


def _source(images: Images, labels: np.ndarray | None, image_size: int | None) -> data.Source:
    if isinstance(images, data.Source):
        return images
    if isinstance(images, str):
        return data.load(images, image_size=image_size)
    return data.from_arrays(np.asarray(images), labels)


def _build(configuration: Configuration, shape: tuple[int, int, int], classes: int) -> Model:
    if shape[0] % 4:
        raise data.DataError(f"images are {shape[0]}x{shape[1]}; the side must be divisible by 4 (try --image-size)")
    if getattr(configuration, "conditional", False) and not classes:
        raise data.DataError("the model is conditional, but the data has no labels; use --no-conditional")
    try:
        return configuration.build(shape, classes)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _taught(model: Any, teacher: Run, optimizers: Mapping[str, optax.GradientTransformation], seed: int) -> State:
    """The first state of a student of ``teacher``, whose own arrays are left alone."""
    if not hasattr(model, "taught_by"):
        raise ConfigError(f"{type(model).__name__} learns from data alone; leave the teacher out")

    def shapes(make: Callable[..., Any], *inputs: Any) -> Any:
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), jax.eval_shape(make, *inputs))

    known = set(teacher.params) == {"denoiser"}
    taught = functools.partial(model.taught_by, teacher.params, teacher.buffers)
    if not known or shapes(taught) != shapes(model.init, jax.random.key(0), {}):
        raise ConfigError(
            f"the teacher, {teacher.directory or type(teacher.model).__name__}, is not of the networks that the "
            "student's configuration asks for; give the student the teacher's settings"
        )
    init = functools.partial(init_state, lambda key, batch: taught(), model.turns, optimizers)
    return jax.jit(init)(jax.random.key(seed), {})


def _whole_set_mesh(size: int) -> Mesh:
    """As many devices as divide a batch whose size is the data's and not a choice."""
    if jax.process_count() > 1:
        return shard.data_mesh()
    devices = jax.devices()
    return shard.data_mesh(devices[: max(n for n in range(1, len(devices) + 1) if size % n == 0)])


def _default_optimizers(model: Model) -> dict[str, Optimizer]:
    names = players(model.turns)
    return {name: Adam(b1=0.5 if len(names) > 1 else 0.9) for name in names}


def _check_players(model: Model, optimizers: Mapping[str, Optimizer]) -> None:
    names = set(players(model.turns))
    if names != set(optimizers):
        raise ConfigError(f"optimizers are for {sorted(optimizers)}, the model's players are {sorted(names)}")


def _check_metrics(training: Training) -> None:
    from gen_jax.evaluate import METRICS

    for name in training.metrics:
        if name not in METRICS:
            raise ConfigError(f"--metrics: unknown metric {name!r}; there are {', '.join(METRICS)}")


def _optax(optimizer: Optimizer, steps: int) -> optax.GradientTransformation:
    return optimizer.build(steps) if isinstance(optimizer, Adam) else optimizer


def _run_of(
    model: Model,
    configuration: Configuration,
    settings: dict[str, Any],
    programs: dict[tuple[str, int], Any],
    state: State,
) -> Run:
    average = state.ema
    step = int(state.step)
    return Run(model, configuration, average["params"], average["buffers"], step, settings, programs=programs)
