"""A run: a trained model with the weights to use it by, and how it comes back from its directory."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import data
from gen_jax import fields as kinds
from gen_jax.fields import SYMBOL, Field, Fields
from gen_jax.programs import Program
from gen_jax.protocol import Batch, Buffers, Configuration, Model, Params
from gen_jax.settings import ConfigError, configuration_from, last_stage, read_settings
from gen_jax.train import checkpoint, shard, signals
from gen_jax.train.loop import Result
from gen_jax.train.room import check_memory

if TYPE_CHECKING:
    from PIL import Image

_DRAWN = 2**32 - 1  # keys of what is drawn for samples count down from here, those of the samples up from 0


@dataclass
class Run:
    """A trained model with the weights to use it by: averages of parameters and buffers unless loaded raw.

    >>> import gen_jax, numpy as np
    >>> points = np.random.default_rng(0).normal(size=(64, 2))
    >>> training = gen_jax.Training(steps=2)
    >>> run = gen_jax.fit(gen_jax.models.GMMConfig(components=2), {"point": points}, training=training, quiet=True)
    >>> run.sample(0, 3).shape
    (3, 2)
    """

    model: Model
    configuration: Configuration
    params: Params
    buffers: Buffers
    step: int
    settings: dict[str, Any]
    directory: Path | None = None
    result: Result | None = field(default=None, repr=False)
    sources: Sequence[data.Source] = field(default=(), repr=False)
    """What it was trained on, where that is at hand; otherwise it is looked for when it is needed."""
    programs: dict[tuple[str, int], Program] = field(default_factory=dict, repr=False, compare=False)
    """What was compiled, by name and model; the snapshots of one training share it."""

    @functools.cached_property
    def fields(self) -> Fields:
        """Those of its data."""
        return kinds.from_json(self.settings["fields"])

    @property
    def makes(self) -> Field:
        """The field of its samples."""
        return self.fields[self.model.makes]

    def sample(self, key: jax.Array | int, n: int, *, batch_size: int = 256, **given: Any) -> np.ndarray:
        """``n`` samples as they are stored: images uint8 ``[n, H, W, C]``, points float32 ``[n, D]``, and so on.

        Args:
          key: a PRNG key, or a seed. Every sample has a key of its own, by its place: neither how many are drawn nor
            how many at a time changes it.
          n: how many.
          batch_size: samples at a time.
          **given: what the samples are told, by field, one value for all or one for each: ``label=3``. What is not said
            is drawn, see :meth:`conditions`.

        Raises:
          ValueError: for what the model is not told, values out of range, or what cannot be drawn.
        """
        pieces = list(self.draws(key, n, batch_size=batch_size, **given))
        return np.concatenate(pieces) if pieces else np.zeros((0, *self.makes.shape), self.makes.kind.stored)

    def draws(self, key: jax.Array | int, n: int, *, batch_size: int = 256, **given: Any) -> Iterator[np.ndarray]:
        """The samples of :meth:`sample`, at most ``batch_size`` at a time and only when they are asked for."""
        key = jax.random.key(key) if isinstance(key, int) else key
        together = min(n, batch_size) * math.prod(self.makes.shape)
        check_memory(4 * together, "so many samples at a time")  # of real numbers, before they are stored
        told = self.conditions(key, n, **given)
        for x, real in self._each("sample", self._sample_one, key, n, told, batch_size):
            yield np.asarray(self.makes.kind.store(x))[:real]

    def conditions(self, key: jax.Array | int, n: int, **given: Any) -> dict[str, np.ndarray]:
        """What ``n`` samples drawn by ``key`` are told: what is given here, and what is drawn for the rest.

        One symbol of an example, a class or a length, is drawn with the frequencies of the training data; where
        anything else is told, all that is drawn comes together from examples of those data, picked at random.
        """
        key = jax.random.key(key) if isinstance(key, int) else key
        told = {name: self._checked(name, x, n) for name, x in given.items() if x is not None}
        missing = [name for name in self.model.given if name not in told]
        counts = self.settings["data"]["counts"]
        if all(name in counts for name in missing):
            for place, name in enumerate(missing):
                u = _uniform(jax.random.fold_in(key, _DRAWN - 1 - place), n)
                shares = np.cumsum(counts[name], dtype=np.float64)
                drawn = np.searchsorted(shares, u * shares[-1], side="right")
                told[name] = np.minimum(drawn, len(shares) - 1).astype(SYMBOL.stored)
        elif missing:
            told |= self._examples(missing, _uniform(jax.random.fold_in(key, _DRAWN), n))
        return {name: told[name] for name in self.model.given}

    def picture(self, key: jax.Array | int = 0, n: int = 64, **given: Any) -> "Image.Image":
        """A picture of the samples that :meth:`sample` draws, of their kind; see :mod:`gen_jax.pictures`."""
        from gen_jax import pictures

        told, field = self.conditions(key, n, **given), kinds.measured(self.fields, self.model.makes)
        samples, length = self.sample(key, n, **told), told.get("length")  # type: ignore[arg-type]
        words = self.settings["data"]["names"].get(self.model.makes)
        if field is not self.makes:  # words in no order: once each, as far as a document goes
            there = np.arange(field.shape[0]) < (np.full(n, field.shape[0]) if length is None else length)[:, None]
            samples = np.stack([samples, there.astype(samples.dtype)], axis=-1)
            length = None
        length = None if length is None or not field.shape else np.minimum(length, field.shape[0])
        return pictures.picture(field, samples, length=length, words=words)

    def log_prob(
        self, key: jax.Array | int, examples: Mapping[str, Any] | np.ndarray, *, batch_size: int = 100, **given: Any
    ) -> np.ndarray:
        """Log-probability of examples as they are stored, nats ``[N]``; :attr:`log_prob_kind` says of which kind.

        ``distributions.bits_per_dim(log_prob, run.makes.shape)`` are the bits of images; a uniform density has 8.

        Args:
          key: a PRNG key, or a seed; every example has a key of its own, by its place.
          examples: ``[N, ...]`` of the field that the model makes, or a batch of all fields by name.
          batch_size: examples at a time.
          **given: what else the model is told of them, by field.

        Raises:
          ValueError: if the model has no likelihood, or what it is told is missing.
        """
        _ = self.log_prob_kind
        key = jax.random.key(key) if isinstance(key, int) else key
        n, batch = self._batch(examples, given)
        pieces = self._each("log_prob", self._log_prob_one, key, n, batch, batch_size)
        return np.concatenate([np.asarray(nats)[:real] for nats, real in pieces])

    @property
    def log_prob_kind(self) -> str:
        """What :meth:`log_prob` is: exact, a lower bound or an estimate; only figures of one kind can be compared.

        Raises:
          ValueError: if the model has no likelihood.
        """
        if not hasattr(self.model, "log_prob"):
            raise ValueError(f"{type(self.model).__name__} has no likelihood; use a model with log_prob")
        return self.model.log_prob_kind  # type: ignore[attr-defined]

    def encode(self, examples: Mapping[str, Any] | np.ndarray, *, batch_size: int = 256, **given: Any) -> np.ndarray:
        """Latents ``[N, ...]`` of examples as they are stored: of a VAE the means, of a VQ-VAE's codec its symbols.

        Args:
          examples: ``[N, ...]`` of the field that the model makes, or a batch of all fields by name.
          batch_size: examples at a time.
          **given: what else the model is told of them, by field.

        Raises:
          ValueError: if the model has no encoder, the examples are of another shape or type, or what it is told is
            missing.
        """
        return self._coded("encode", self._encode_one, examples, given, batch_size)

    def reconstruct(
        self, examples: Mapping[str, Any] | np.ndarray, *, batch_size: int = 256, **given: Any
    ) -> np.ndarray:
        """What the decoder makes of the latents of :meth:`encode`, ``[N, ...]``, stored as the examples are."""
        return self._coded("reconstruct", self._reconstruct_one, examples, given, batch_size)

    def _coded(
        self, name: str, function: Callable[..., jax.Array], examples: Any, given: Mapping[str, Any], batch_size: int
    ) -> np.ndarray:
        model, made = self.model, self.makes
        if not hasattr(model, "to_latents"):
            raise ValueError(
                f"{type(model).__name__} has no encoder; autoencoders, VAEs and the codec of a VQ-VAE have one"
            )
        field: Field = made if name == "reconstruct" else model.latent_field  # type: ignore[attr-defined]
        n, batch = self._batch(examples, given)
        x = batch[model.makes]
        if x.shape[1:] != tuple(made.shape) or not np.can_cast(x.dtype, made.kind.stored, "same_kind"):
            expected = f"{np.dtype(made.kind.stored)} {['N', *made.shape]}".replace("'", "")
            raise ValueError(f"{model.makes}: expected {expected}, got {x.dtype} {list(x.shape)}")
        pieces = self._each(name, function, jax.random.key(0), n, batch, batch_size)
        parts = [np.asarray(field.kind.store(y))[:real] for y, real in pieces]
        return np.concatenate(parts) if parts else np.zeros((0, *field.shape), field.kind.stored)

    def _batch(self, examples: Any, given: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """How many examples there are, and they with what they are told."""
        batch = dict(examples) if isinstance(examples, Mapping) else {self.model.makes: examples}
        if self.model.makes not in batch:
            raise ValueError(f"this model is of {self.model.makes}, got {', '.join(batch)}; give it by that name")
        x = batch[self.model.makes] = np.atleast_1d(batch[self.model.makes])
        n = len(x)
        batch |= {name: self._checked(name, x, n) for name, x in given.items() if x is not None}
        for name in self.model.given:
            if name not in batch:
                raise ValueError(f"this model is told {name}, got {', '.join(batch)}; give {name}=")
        return n, batch

    def _each(
        self,
        name: str,
        function: Callable[..., jax.Array],
        key: jax.Array,
        n: int,
        batch: Mapping[str, np.ndarray],
        batch_size: int,
    ) -> Iterator[tuple[jax.Array, int]]:
        """``function`` of each of ``n`` examples by itself, with a key of its own, at most ``batch_size`` at a time.

        Every piece is as long as the first, so that one program serves all; beside it stands how much of it is asked
        for.
        """

        def many(params: Params, buffers: Buffers, key: jax.Array, indices: jax.Array, batch: Batch) -> jax.Array:
            def one(index: jax.Array, example: Batch) -> jax.Array:
                alone = {field: x[None] for field, x in example.items()}
                return function(params, buffers, jax.random.fold_in(key, index), alone)[0]

            return jax.vmap(one)(indices, batch)

        compiled = self.programs.setdefault((name, id(self.model)), Program(many))
        size = max(1, min(n, batch_size))
        for start in range(0, n, size):
            signals.heed()
            part = {field: np.resize(x[start : start + size], (size, *np.shape(x)[1:])) for field, x in batch.items()}
            indices = np.arange(start, start + size, dtype=np.uint32)
            yield compiled(self.params, self.buffers, key, indices, data.prepare(part, fields=self.fields)), n - start

    def _sample_one(self, params: Params, buffers: Buffers, key: jax.Array, given: Batch) -> jax.Array:
        return self.model.sample(params, buffers, key, 1, **given)

    def _log_prob_one(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        return self.model.log_prob(params, buffers, key, batch)  # type: ignore[attr-defined]

    def _encode_one(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        told = {name: batch[name] for name in self.model.given}
        return self.model.to_latents(params, buffers, batch[self.model.makes], **told)  # type: ignore[attr-defined]

    def _reconstruct_one(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        told = {name: batch[name] for name in self.model.given}
        z = self._encode_one(params, buffers, key, batch)
        return self.model.from_latents(params, buffers, z, **told)  # type: ignore[attr-defined]

    def _checked(self, name: str, x: Any, n: int) -> np.ndarray:
        if name not in self.model.given:
            told = f"is told {', '.join(self.model.given)}" if self.model.given else "is unconditional"
            raise ValueError(f"{name} was given, but this model {told}; leave it out")
        field = self.fields[name]
        x = np.asarray(x)
        x = np.broadcast_to(x, (n, *field.shape)) if x.shape == tuple(field.shape) else x
        if x.shape != (n, *field.shape):
            expected = f"{list(field.shape)} for all or {[n, *field.shape]}"
            raise ValueError(f"{name} must have the shape {expected}, got {list(x.shape)}")
        if field.size and n and not 0 <= x.min() <= x.max() < field.size:
            raise ValueError(f"{name} must be in 0..{field.size - 1}, got {x.min()}..{x.max()}")
        return x.astype(field.kind.stored)

    def _examples(self, names: Sequence[str], u: np.ndarray) -> dict[str, np.ndarray]:
        """The fields ``names`` of random examples, by numbers in [0, 1) ``[n]``."""
        found: dict[str, np.ndarray] = {}
        for source in self.sources or self._found_sources(names):
            own = [name for name in names if name in source.fields]
            if own:
                examples = source.read(np.floor(u * source.size).astype(np.int64))
                found |= {name: examples[name] for name in own}
        return found

    def _found_sources(self, names: Sequence[str]) -> list[data.Source]:
        sources = []
        for part in self.settings["data"]["parts"]:
            try:
                source = data.load(part["name"], split=part["split"], image_size=self.settings["data"]["resized"])
            except data.DataError as error:
                raise ValueError(
                    f"this model is told {', '.join(names)}, which are drawn from its data, and these are not at hand "
                    f"({error}); give {names[0]}="
                ) from None
            renamed = {old: new for old, new in zip(source.fields, part["fields"]) if old != new}
            sources.append(source.renamed(**renamed) if renamed else source)
        self.sources = sources
        return sources


def load(directory: str | Path, *, raw: bool = False) -> Run:
    """A run from its directory, on this machine's devices, whatever it was trained on; nothing is written.

    Args:
      directory: of the run, or of a sequence of stages, whose last one is taken.
      raw: take the last weights instead of their averages.

    Raises:
      ConfigError: if there is no run in the directory.
      CheckpointError: if it has no good checkpoint.
    """
    directory = last_stage(Path(directory))
    settings = read_settings(directory)
    configuration, model, tree = model_of(settings)
    path = newest_checkpoint(directory)
    where = shard.replicated(shard.data_mesh())
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree if raw else {"ema": tree}
    )
    arrays = checkpoint.read(path, checkpoint.flatten_abstract(abstract))
    restored = checkpoint.unflatten(abstract, arrays)
    restored = restored if raw else restored["ema"]
    return Run(model, configuration, restored["params"], restored["buffers"], int(path.name), settings, directory)


def model_of(settings: Mapping[str, Any]) -> tuple[Configuration, Model, dict[str, Any]]:
    """What ``config.json`` says: the configuration, its model, and the shapes of its parameters and buffers.

    Raises:
      ConfigError: if it contradicts itself.
    """
    configuration = configuration_from(settings["model"])
    try:
        fields = kinds.from_json(settings["fields"])
        model = configuration.build(fields)
        size = settings["training"]["batch_size"] or settings["data"]["size"]
        batch = {name: jax.ShapeDtypeStruct((size, *f.shape), f.kind.seen) for name, f in fields.items()}
        params, buffers = jax.eval_shape(model.init, jax.eval_shape(jax.random.key, 0), batch)
    except Exception as error:  # settings that contradict each other fail wherever a network is built
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"the settings in config.json make no model ({reason:.300}); bring it back from a copy"
        ) from error
    return configuration, model, {"params": params, "buffers": buffers}


def newest_checkpoint(directory: Path) -> Path:
    """The newest good checkpoint of a run; it writes nothing.

    Raises:
      CheckpointError: if there is none.
    """
    saved = checkpoint.Checkpoints(directory / "checkpoints")
    good, faults = saved.examined()
    if good is not None:
        return saved.directory / str(good)
    reason = "; ".join(f"step {step}: {fault}" for step, fault in faults.items()) or "nothing was saved yet"
    raise checkpoint.CheckpointError(f"{directory} has no good checkpoint ({reason})")


def _uniform(key: jax.Array, n: int) -> np.ndarray:
    """Numbers in [0, 1) ``[n]``, each of a key of its own."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(n, dtype=jnp.uint32))
    return np.asarray(jax.vmap(jax.random.uniform)(keys), np.float64) if n else np.zeros(0)
