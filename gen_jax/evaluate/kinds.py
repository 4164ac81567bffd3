"""Features of what is no image: one function for every kind of field, each with a name and a hash as a network has.

Videos ``[T, H, W, C]`` (``random-frames``, ``inception-frames``): with ``f_t`` an image network's features of a frame,

    mean over t of f_t,  and  (mean over t of (f_t - mean)^2)^(1/2)                                       (1)

side by side, so that a clip of one frame has the image's features, and zeros.

Real numbers (``identity``): themselves, in a row.

Symbols ``x [T]`` of an alphabet of ``V`` (``pairs``): how often each symbol and each pair of neighbours stands there,

    #{t: x_t = a} / T,    #{t: x_t = a, x_t+1 = b} / (T - 1)                                              (2)

Words of a vocabulary of ``V`` (``words``): with ``n_w`` the times that a document has the word ``w``,

    n_w / sum of n                                                                                        (3)

whether the document is a list of its words, or of pairs of a word and its count, or all ``n_w``.

An alphabet of more than 64, or a vocabulary of more than 256, would give too many numbers, of which a covariance says
nothing. There frequencies ``p`` are projected at random to ``D`` = 256 (``pairs-256``, ``words-256``),

    R' p / D^(1/2),    R [V, D] of independent signs;  of pairs: with rows R_ab = A_a B_b                 (4)

which keeps inner products in the mean over the signs (Achlioptas 2003, "Database-friendly random projections"). The
signs come from a fixed seed and are what the hash is of. All sums are of whole numbers, so that a document that is
written in two ways has the same features, to the last bit.

What is behind the length of a padded example is not seen: frames, symbols and words do not count, and numbers are 0.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.evaluate.features import Compute, FeatureNetwork, load_feature_network, weights_hash
from gen_jax.fields import COUNT, PIXELS, REAL, SYMBOL, Field
from gen_jax.protocol import Tree

LARGEST_ALPHABET = 64  # whose pairs are counted one by one
LARGEST_VOCABULARY = 256  # whose words are
WIDTH = 256  # D of (4)
_SEED = 0


def features_of(field: Field, name: str = "", classes: int = 0) -> FeatureNetwork:
    """What a field's examples are measured in.

    Args:
      field: of the examples; a side of 0 may be anything.
      name: of the data set, since some have networks of their own.
      classes: of its labels.

    Raises:
      ValueError: of a field that nothing measures.
    """
    rank = len(field.shape)
    if field.kind is PIXELS and rank in (3, 4):
        height, width, channels = field.shape[-3:]
        images = load_feature_network(name, (height, width, channels), classes)
        return images if rank == 3 else frame_features(images, field.shape[0])
    if field.kind is REAL:
        return identity(field.shape)
    if field.kind is SYMBOL and rank == 1:
        return pair_frequencies(field.size)
    if field.kind is COUNT:
        return word_frequencies(field)
    raise ValueError(
        "expected images [H, W, C], videos [T, H, W, C], real numbers, symbols [T], or words, got"
        f" {field.kind.name} {list(field.shape)}; measure another field"
    )


def frame_features(images: FeatureNetwork, frames: int = 1) -> FeatureNetwork:
    """(1) in the features of a network of images, for clips of about so many frames; its hash is that network's."""
    return FeatureNetwork(
        f"{images.name}-frames",
        images.hash,
        tuple(Field((0, *field.shape), PIXELS) for field in images.takes),
        False,
        functools.partial(_over_time, images.compute),
        images.weights,
        resize=images.resize,
        batch_size=max(1, images.batch_size // max(1, frames)),
        prepare=functools.partial(_frames, images.prepare),
    )


def identity(shape: tuple[int, ...]) -> FeatureNetwork:
    """The numbers themselves, of examples of this shape."""
    weights = {"shape": np.array(shape, np.int32)}
    takes = (Field(tuple(shape), REAL),)
    return FeatureNetwork("identity", weights_hash(weights, {}), takes, False, _flat, weights, prepare=_real)


def pair_frequencies(size: int) -> FeatureNetwork:
    """(2) over an alphabet of so many symbols: ``size + size^2`` features, or by (4) twice 256."""
    _check_size(size, "an alphabet")
    takes = Field((0,), SYMBOL, size)
    if size <= LARGEST_ALPHABET:
        weights = {"size": np.array(size, np.int32)}
        return _counting("pairs", weights, takes, functools.partial(_counted_pairs, size), _tokens)
    signs = _signs(3, size)
    weights = dict(zip(("symbols", "first", "second"), signs))
    return _counting(f"pairs-{WIDTH}", weights, takes, _projected_pairs, _tokens)


def word_frequencies(field: Field) -> FeatureNetwork:
    """(3), or by (4): ``size`` or 256 features.

    Args:
      field: words in a row, SYMBOL ``[T]``; pairs of a word and its count, COUNT ``[P, 2]``, of which those with a
        count of 0 say nothing; or the counts of all words, COUNT ``[V]``. One vocabulary makes one network of all
        three, in name and hash.

    Raises:
      ValueError: if it is none of these.
    """
    size, rank = field.size, len(field.shape)
    if field.kind is COUNT and rank == 1:
        return _counts_of_words(field)
    if field.kind is SYMBOL and rank == 1:
        takes, prepare = Field((0,), SYMBOL, size), _tokens
    elif field.kind is COUNT and field.shape[1:] == (2,):
        takes, prepare = Field((0, 2), COUNT, size), _pairs
    else:
        raise ValueError(
            "expected words as symbol [T], or as count [P, 2] or [V], got"
            f" {field.kind.name} {list(field.shape)}; make them one of these"
        )
    _check_size(size, "a vocabulary")
    if size <= LARGEST_VOCABULARY:
        weights = {"size": np.array(size, np.int32)}
        return _counting("words", weights, takes, functools.partial(_counted_words, size), prepare)
    (signs,) = _signs(1, size)
    return _counting(f"words-{WIDTH}", {"words": signs}, takes, _projected_words, prepare)


def _counts_of_words(field: Field) -> FeatureNetwork:
    """:func:`word_frequencies` of the counts of all words: the same sums, as one product."""
    like = word_frequencies(Field((0,), SYMBOL, field.shape[0]))
    compute = _shares if field.shape[0] <= LARGEST_VOCABULARY else _projected_shares
    return _counting(like.name, like.weights, Field(field.shape, COUNT), compute, _counts)


def _counting(name: str, weights: Tree, takes: Field, compute: Compute, prepare: Callable[..., Any]) -> FeatureNetwork:
    digest = weights_hash(weights, {})
    return FeatureNetwork(name, digest, (takes,), False, compute, weights, resize="frequencies", prepare=prepare)


def _check_size(size: int, of_what: str) -> None:
    if size < 1:
        raise ValueError(f"frequencies need {of_what} of known size, got {size}; give the field its size")


def _signs(tables: int, size: int) -> np.ndarray:
    """int8 ``[tables, size, D]`` of 1 and -1. The raw words of the generator, which no version of numpy may change."""
    words = np.random.Philox(key=_SEED).random_raw(tables * size * WIDTH // 64)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8))
    return bits.reshape(tables, size, WIDTH).astype(np.int8) * 2 - 1


# From what is stored to what is summed: places and how often each counts, both [B, P], or how often all do, [B, V].


def _within(x: jax.Array, length: jax.Array | None) -> jax.Array:
    """1 before the length and 0 behind it, float32 ``[B, T]``."""
    places = jnp.arange(x.shape[1])
    real = jnp.ones(x.shape[:2], bool) if length is None else places < length[:, None]
    return real.astype(jnp.float32)


def _tokens(x: jax.Array, length: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    return x, _within(x, length)


def _pairs(x: jax.Array, length: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    return x[..., 0], x[..., 1] * _within(x, length)


def _counts(x: jax.Array, length: jax.Array | None = None) -> jax.Array:
    return x * _within(x, length)


def _real(x: jax.Array, length: jax.Array | None = None) -> jax.Array:
    if length is None:
        return x
    within = _within(x, length)
    return jnp.where(within.reshape(within.shape + (1,) * (x.ndim - 2)) > 0, x, 0.0)


def _frames(prepare: Callable[..., Tree], x: jax.Array, length: jax.Array | None = None) -> tuple[Tree, jax.Array]:
    return prepare(x.reshape(-1, *x.shape[2:])), _within(x, length)


# Features of these.


def _flat(weights: Tree, x: jax.Array) -> tuple[jax.Array, None]:
    return x.reshape(len(x), -1), None


def _over_time(compute: Compute, weights: Tree, prepared: tuple[Tree, jax.Array]) -> tuple[jax.Array, None]:
    """(1)."""
    frames, within = prepared
    features, _ = compute(weights, frames)
    features, within = features.reshape(*within.shape, -1), within[..., None]
    length = jnp.maximum(within.sum(1), 1.0)
    mean = (features * within).sum(1) / length
    variance = ((features - mean[:, None]) ** 2 * within).sum(1) / length
    return jnp.concatenate([mean, jnp.sqrt(variance)], -1), None


def _counted_pairs(size: int, weights: Tree, prepared: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    """(2)."""
    x, within = prepared
    pairs, both = x[:, :-1] * size + x[:, 1:], within[:, 1:]
    return jnp.concatenate([_counted(size, x, within), _counted(size**2, pairs, both)], -1), None


def _projected_pairs(weights: Tree, prepared: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    """(4) of (2)."""
    x, within = prepared
    symbols = _projected([weights["symbols"]], [x], within)
    pairs = _projected([weights["first"], weights["second"]], [x[:, :-1], x[:, 1:]], within[:, 1:])
    return jnp.concatenate([symbols, pairs], -1), None


def _counted_words(size: int, weights: Tree, prepared: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    """(3)."""
    return _counted(size, *prepared), None


def _projected_words(weights: Tree, prepared: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    """(4) of (3)."""
    index, count = prepared
    return _projected([weights["words"]], [index], count), None


def _shares(weights: Tree, count: jax.Array) -> tuple[jax.Array, None]:
    """(3)."""
    return count / _total(count), None


def _projected_shares(weights: Tree, count: jax.Array) -> tuple[jax.Array, None]:
    """(4) of (3)."""
    sums = jnp.matmul(count, weights["words"].astype(jnp.float32), precision="highest")
    return sums / (_total(count) * np.sqrt(WIDTH)), None


def _counted(size: int, index: jax.Array, count: jax.Array) -> jax.Array:
    rows = jnp.arange(len(index))[:, None]
    return jnp.zeros((len(index), size)).at[rows, index].add(count) / _total(count)


def _projected(signs: list[jax.Array], index: list[jax.Array], count: jax.Array) -> jax.Array:
    def add(total: jax.Array, column: tuple[list[jax.Array], jax.Array]) -> tuple[jax.Array, None]:
        places, often = column
        rows = functools.reduce(jnp.multiply, (table[place] for table, place in zip(signs, places)))
        return total + often[:, None] * rows, None

    columns = [places.T for places in index], count.T
    total, _ = jax.lax.scan(add, jnp.zeros((len(count), WIDTH)), columns)
    return total / (_total(count) * np.sqrt(WIDTH))


def _total(count: jax.Array) -> jax.Array:
    return jnp.maximum(count.sum(1, keepdims=True), 1.0)  # of nothing the frequencies are 0
