"""Augmentations of what a critic sees, real and generated, that a generator's gradient passes through.

Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training" (arXiv:2006.10738), for images
``[B, H, W, C]`` in [-1, 1], every draw for each image:

    brightness   x + u, u ~ U(-1/2, 1/2)
    saturation   about the mean over channels, times u ~ U(0, 2)
    contrast     about the mean over the image, times u ~ U(1/2, 3/2)
    translation  by up to an eighth of each side, zeros behind it
    cutout       a window of half of each side, anywhere, is 0                                            (1)

Karras et al. 2020, "Training generative adversarial networks with limited data" (arXiv:2006.06676): each with
probability p alone, one after the other; the first eight are one map of positions, whose border is a mirror,

    mirror       half of them                        turn         by a multiple of 90 degrees, any of four
    shift        by whole pixels, up to an eighth    size         2^N(0, 0.2^2)
    rotation     by any angle, before and behind     aspect       2^N(0, 0.2^2) and its inverse
                 aspect, with 1 - sqrt(1 - p) each   drift        N(0, 1/8^2) of each side
    brightness   + N(0, 0.2^2)                       contrast     times 2^N(0, 1/2^2)
    and, in colour, about the grey axis: reflection of half of them, rotation by any angle, saturation 2^N(0, 1)   (2)

Where p < 1 each of the first three leaves the law of images to be told from that of the augmented ones: a turn is, on
the four turns of an image, (1 - p) I + p / 4, whose eigenvalues are 1 and 1 - p. At p = 0 nothing at all is changed.
"""

import math

import jax
import jax.numpy as jnp

_NUMBERS = 10  # of an example: its positions take as many, its colours fewer
_GREY = 1 / math.sqrt(3)  # the grey axis is (1, 1, 1) times it


def differentiable(x: jax.Array, key: jax.Array) -> jax.Array:
    """(1) of ``x [B, H, W, C]``."""
    batch, height, width, _ = x.shape
    u = jax.random.uniform(key, (batch, 7), x.dtype)
    of_image = u[:, :, None, None, None]
    x = x + of_image[:, 0] - 0.5
    x = _about(x.mean(axis=3, keepdims=True), x, 2 * of_image[:, 1])
    x = _about(x.mean(axis=(1, 2, 3), keepdims=True), x, 0.5 + of_image[:, 2])
    shifts = [_whole(u[:, 3 + axis], -_eighth(side), _eighth(side)) for axis, side in enumerate((height, width))]
    cuts = [int(side / 2 + 0.5) for side in (height, width)]
    starts = [
        _whole(u[:, 5 + axis], 0, side - cut % 2) - cut // 2
        for axis, (side, cut) in enumerate(zip((height, width), cuts))
    ]
    rows, columns = jnp.arange(height), jnp.arange(width)
    x, seen = _moved(x, shifts)
    inside = [
        (position >= start[:, None]) & (position < start[:, None] + cut)
        for position, start, cut in zip((rows, columns), starts, cuts)
    ]
    hidden = inside[0][:, :, None] & inside[1][:, None, :]
    return jnp.where((seen & ~hidden)[..., None], x, 0).astype(x.dtype)


def pipe(x: jax.Array, key: jax.Array, share: jax.Array | float) -> jax.Array:
    """(2) of ``x [B, H, W, C]``, with p = ``share``."""
    keys = jax.random.split(key)
    return _coloured(_warped(x, _positions(keys[0], x.shape, share)), keys[1], share).astype(x.dtype)


def blits(x: jax.Array, key: jax.Array, share: jax.Array | float) -> jax.Array:
    """The first three of (2) alone."""
    draws = _Draws(jax.random.split(key)[0], len(x), share)
    return _warped(x, _blits(draws, x.shape))


class _Draws:
    """One array after another of a number for each example, ``[B]``, at rest where it is not its turn."""

    def __init__(self, key: jax.Array, batch: int, share: jax.Array | float):
        keys = jax.random.split(key, 3)
        self.due, self.uniforms = (jax.random.uniform(own, (batch, _NUMBERS)) for own in keys[:2])
        self.normals = jax.random.normal(keys[2], (batch, _NUMBERS))
        self.share, self.drawn = share, 0

    def uniform(self, limit: float, share: jax.Array | None = None) -> jax.Array:
        """Of U(-limit, limit), at rest 0."""
        return self._next(limit * (2 * self.uniforms - 1), 0.0, share)

    def normal(self, deviation: float) -> jax.Array:
        """Of N(0, deviation^2), at rest 0."""
        return self._next(deviation * self.normals, 0.0)

    def power(self, deviation: float) -> jax.Array:
        """2 to the power of such, at rest 1."""
        return self._next(2 ** (deviation * self.normals), 1.0)

    def among(self, count: int) -> jax.Array:
        """One of 0 .. count - 1, at rest 0."""
        return self._next(jnp.floor(count * self.uniforms), 0.0)

    def _next(self, values: jax.Array, rest: float, share: jax.Array | None = None) -> jax.Array:
        index, self.drawn = self.drawn, self.drawn + 1
        is_due = self.due[:, index] < (self.share if share is None else share)
        return jnp.where(is_due, values[:, index], rest)


def _blits(draws: _Draws, shape: tuple[int, ...]) -> jax.Array:
    """Where each pixel comes from, about the middle: ``[B, 2, 3]``."""
    mirrored = draws.among(2)
    turns = draws.among(4)
    shifts = [jnp.round(draws.uniform(side / 8)) for side in shape[1:3]]
    one, none = jnp.ones_like(turns), jnp.zeros_like(turns)
    # Exact, so that a pixel stays a pixel: sines of multiples of 90 degrees are not.
    quarter = turns % 2
    cosine = jnp.where(quarter == 1, 0.0, 1 - turns)
    sine = jnp.where(quarter == 1, 2 - turns, 0.0)
    mirror = _matrix([[one, none, none], [none, 1 - 2 * mirrored, none]])
    turn = _matrix([[cosine, sine, none], [-sine, cosine, none]])
    shift = _matrix([[one, none, -shifts[0]], [none, one, -shifts[1]]])
    return _then(_then(mirror, turn), shift)


def _positions(key: jax.Array, shape: tuple[int, ...], share: jax.Array | float) -> jax.Array:
    draws = _Draws(key, shape[0], share)
    found = _blits(draws, shape)
    none = jnp.zeros((shape[0],))
    either = 1 - jnp.sqrt(1 - jnp.minimum(share, 1.0))
    size = 1 / draws.power(0.2)
    before = draws.uniform(math.pi, either)
    aspect = draws.power(0.2)
    behind = draws.uniform(math.pi, either)
    drift = [draws.normal(side / 8) for side in shape[1:3]]
    for matrix in (
        _matrix([[size, none, none], [none, size, none]]),
        _rotation(before),
        _matrix([[aspect, none, none], [none, 1 / aspect, none]]),
        _rotation(behind),
        _matrix([[none + 1, none, -drift[0]], [none, none + 1, -drift[1]]]),
    ):
        found = _then(found, matrix)
    return found


def _warped(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """``x`` at the positions that ``matrix [B, 2, 3]`` has of each of its own, between pixels and mirrored beyond."""
    batch, height, width, channels = x.shape
    middle = [(side - 1) / 2 for side in (height, width)]
    rows, columns = jnp.meshgrid(*(jnp.arange(n) - m for n, m in zip((height, width), middle)), indexing="ij")
    m = matrix[:, :, :, None, None]
    places = [m[:, axis, 0] * rows + m[:, axis, 1] * columns + m[:, axis, 2] + middle[axis] for axis in range(2)]
    places = [_mirrored(place, side) for place, side in zip(places, (height, width))]
    low = [jnp.floor(place).astype(jnp.int32) for place in places]
    beyond = [place - under for place, under in zip(places, low)]
    flat, found = x.reshape(batch, height * width, channels), jnp.zeros_like(x)
    for row in (0, 1):
        for column in (0, 1):
            at = [jnp.minimum(under + step, side - 1) for under, step, side in zip(low, (row, column), (height, width))]
            of_row, of_column = (part if step else 1 - part for step, part in zip((row, column), beyond))
            index = (at[0] * width + at[1]).reshape(batch, -1, 1)
            pixels = jnp.take_along_axis(flat, index, axis=1).reshape(x.shape)
            found = found + (of_row * of_column)[..., None] * pixels
    return found.astype(x.dtype)


def _coloured(x: jax.Array, key: jax.Array, share: jax.Array | float) -> jax.Array:
    draws = _Draws(key, len(x), share)

    def of_image(value: jax.Array) -> jax.Array:
        return value[:, None, None, None]

    x = x + of_image(draws.normal(0.2))
    x = x * of_image(draws.power(0.5))
    if x.shape[-1] != 3:
        return x
    grey = x.mean(axis=-1, keepdims=True)  # the part along the grey axis
    x = x - 2 * of_image(draws.among(2)) * grey
    angle = of_image(draws.uniform(math.pi))
    grey = x.mean(axis=-1, keepdims=True)
    colour = x - grey
    across = _GREY * (jnp.roll(colour, 1, axis=-1) - jnp.roll(colour, -1, axis=-1))  # the axis times the colour
    turned = of_image(draws.power(1.0)) * (jnp.cos(angle) * colour + jnp.sin(angle) * across)
    return x + (turned - colour)  # and not grey + turned, which is x but for rounding where nothing is turned


def _moved(x: jax.Array, shifts: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """``x`` by whole pixels, and where it is still an image: ``[B, H, W]``."""
    sides, seen = x.shape[1:3], jnp.ones(x.shape[:3], bool)
    for axis, (shift, side) in enumerate(zip(shifts, sides)):
        source = jnp.arange(side) - shift[:, None]  # [B, side]
        inside = (source >= 0) & (source < side)
        shape = (len(x), *(side if i == axis else 1 for i in range(2)))
        index = jnp.clip(source, 0, side - 1).reshape(*shape, 1)
        x = jnp.take_along_axis(x, index, axis=1 + axis)
        seen = seen & inside.reshape(shape)
    return x, seen


def _mirrored(place: jax.Array, side: int) -> jax.Array:
    last = max(side - 1, 1)
    return jnp.clip(last - jnp.abs(place % (2 * last) - last), 0, side - 1)


def _about(middle: jax.Array, x: jax.Array, factor: jax.Array) -> jax.Array:
    return middle + factor * (x - middle)


def _eighth(side: int) -> int:
    return int(side / 8 + 0.5)


def _whole(u: jax.Array, low: int, high: int) -> jax.Array:
    """A whole number from ``low`` to ``high``, of ``u [B]`` in [0, 1)."""
    return low + jnp.floor(u * (high - low + 1)).astype(jnp.int32)


def _matrix(rows: list[list[jax.Array]]) -> jax.Array:
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def _rotation(angle: jax.Array) -> jax.Array:
    c, s, none = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)
    return _matrix([[c, s, none], [-s, c, none]])


def _then(first: jax.Array, second: jax.Array) -> jax.Array:
    """The map of positions that takes ``second`` and from there ``first``, without rounding where both are whole."""
    rows = []
    for i in range(2):
        row = [first[:, i, 0] * second[:, 0, j] + first[:, i, 1] * second[:, 1, j] for j in range(3)]
        rows.append([*row[:2], row[2] + first[:, i, 2]])
    return _matrix(rows)
