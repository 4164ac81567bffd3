"""StyleGAN3: a generator whose details move with what they belong to.

Karras et al. 2021, "Alias-free generative adversarial networks" (arXiv:2106.12423); the synthesis is that of
:mod:`gen_jax.networks.stylegan3`, critic and penalty are those of StyleGAN2; there are no noise, mixing and path
lengths; the game is that of :mod:`gen_jax.models.styles`.

    critic     E sp(-D(x)) + E sp(D(G(z)));   n gamma / 2 E ||gradient of D(x) in x||^2 every n-th step, n = 16   (1)
    generator  E sp(-D(G(z)))                                                                                    (2)

How well it follows a motion m of its Fourier features is told by the peak signal to noise ratio, in decibels, between
what it makes of moved features and moved images, over the pixels V that both have,

    EQ = 10 log10(2^2 / E over w, m and V of (G(m w) - m G(w))^2)                                                (3)

:func:`equivariance_to_translations` has translations by whole pixels of at most an eighth of the side, EQ-T;
:func:`equivariance_to_rotations` has rotations by any angle, EQ-R, of images resampled by a Lanczos filter.
"""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gen_jax.checks import Amount, Count, Number, plain
from gen_jax.fields import Fields, known_classes, of_images
from gen_jax.models.critics import Critic, r1
from gen_jax.models.gan import GAN
from gen_jax.models.styles import StyleGAN
from gen_jax.networks import stylegan2, stylegan3
from gen_jax.networks.styled import StyledGenerator
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.protocol import Buffers, Network, Params

LOBES = 4  # of the Lanczos filter on either side, pixels
KINDS = {"T": {"kernel": 3, "radial": False}, "R": {"kernel": 1, "radial": True}}


def canvas(shape: tuple[int, ...]) -> int:
    """The side of what is synthesised, of which an image of ``shape`` is the middle: a power of two, 8 or more."""
    return max(8, 1 << (max(shape[:2]) - 1).bit_length())


def equivariance_to_translations(
    model: StyleGAN, params: Params, buffers: Buffers, key: jax.Array, n: int, *, largest: float = 0.125
) -> jax.Array:
    """EQ-T by (3) of ``n`` images, decibels; translations are of at most ``largest`` of the side."""
    height, width, _ = model.shape
    styles, keys = _styles(model, params, buffers, key, n)
    limit = max(1, round(largest * min(height, width)))
    moves = jax.random.randint(keys, (n, 2), -limit, limit + 1)  # right and down, pixels
    motion = jnp.concatenate([jnp.broadcast_to(jnp.eye(2), (n, 2, 2)), -moves[..., None] / canvas(model.shape)], axis=2)
    still, moved = (_made(model, params, buffers, styles, m) for m in (None, motion))
    rolled = jax.vmap(lambda x, move: jnp.roll(x, (move[1], move[0]), axis=(0, 1)))(still, moves)

    def kept(side: int, by: jax.Array) -> jax.Array:
        place = jnp.arange(side) - by[:, None]
        return (place >= 0) & (place < side)  # [n, side]

    seen = kept(height, moves[:, 1])[:, :, None] & kept(width, moves[:, 0])[:, None, :]
    return _decibels(moved - rolled, seen)


def equivariance_to_rotations(model: StyleGAN, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
    """EQ-R by (3) of ``n`` images, decibels; over the disk that stays within the image for all angles."""
    height, width, _ = model.shape
    styles, keys = _styles(model, params, buffers, key, n)
    angle = jax.random.uniform(keys, (n,), minval=-jnp.pi, maxval=jnp.pi)
    back = jnp.stack(
        [jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1), jnp.stack([-jnp.sin(angle), jnp.cos(angle)], -1)], 1
    )
    motion = jnp.concatenate([back, jnp.zeros((n, 2, 1))], axis=2)
    still, moved = (_made(model, params, buffers, styles, m) for m in (None, motion))
    down, right = (jnp.arange(side) - (side - 1) / 2 for side in (height, width))
    seen = jnp.hypot(down[:, None], right) <= min(height, width) / 2 - LOBES
    return _decibels(moved - jax.vmap(rotated)(still, angle), jnp.broadcast_to(seen, moved.shape[:3]))


def rotated(x: jax.Array, angle: jax.Array) -> jax.Array:
    """``x [H, W, C]`` turned about its middle by ``angle``, radians, from right to down, by a Lanczos filter.

    It holds H W (H + W) weights at a time.
    """
    height, width, _ = x.shape
    down, right = (jnp.arange(side) - (side - 1) / 2 for side in (height, width))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    from_right = cosine * right + sine * down[:, None] + (width - 1) / 2  # [H, W]
    from_down = cosine * down[:, None] - sine * right + (height - 1) / 2

    def weights(place: jax.Array, side: int) -> jax.Array:
        t = place[..., None] - jnp.arange(side)
        w = jnp.where(jnp.abs(t) < LOBES, jnp.sinc(t) * jnp.sinc(t / LOBES), 0.0)
        return w / jnp.where(jnp.abs(w.sum(-1, keepdims=True)) > 0.5, w.sum(-1, keepdims=True), 1.0)

    return jnp.einsum("hwy,hwx,yxc->hwc", weights(from_down, height), weights(from_right, width), x)


def _styles(model: StyleGAN, params: Params, buffers: Buffers, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(key)
    return model.styles(params, buffers, model.latents(keys[0], n)), keys[1]


def _made(model: StyleGAN, params: Params, buffers: Buffers, styles: jax.Array, motion: jax.Array | None) -> jax.Array:
    apply = partial(model.game.generator.apply, params["generator"], buffers["generator"])
    further = () if motion is None else (motion,)
    return apply(styles, *further, method=StyledGenerator.synthesise)[0]


def _decibels(difference: jax.Array, seen: jax.Array) -> jax.Array:
    """Of differences ``[n, H, W, C]`` over the pixels ``[n, H, W]`` that are seen, where white less black is 2."""
    squares = jnp.square(difference).mean(axis=-1)
    return 10 * jnp.log10(4 / squares.mean(where=seen))


@plain
class StyleGAN3Config:
    """A StyleGAN3 as plain data."""

    kind: Literal["T", "R"] = "T"
    """Whether it follows translations, or rotations, too."""
    latent: Count = 512
    """Width of z."""
    style_width: Count = 512
    """Width of w."""
    mapping_layers: Count = 2
    """Dense layers from z to w."""
    layers: Count = 14
    """Layers between the Fourier features and the image."""
    critical: Count = 2
    """Of them, the last ones, that are critically sampled."""
    base: Count = 32
    """Channels at full resolution; those of lower cutoffs are in inverse proportion to them."""
    most: Count = 512
    """Channels that no layer exceeds."""
    margin: Number = 10
    """Pixels around the canvas of every layer."""
    critic_base: Count = 32
    """The critic's channels at full resolution; each halving of the side doubles them."""
    critic_most: Count = 512
    """Channels that no level of the critic exceeds."""
    r1: Amount = 32.8
    """Weight gamma of the penalty gamma / 2 ||gradient||^2 at real images; 0 for none."""
    r1_every: Count = 16
    """Steps from one penalty to the next, each as many times as large."""
    group: Count = 4
    """Images that the critic's minibatch deviation compares."""
    conditional: bool = False
    """Tell generator and critic the label; needs labelled data."""

    def __post_init__(self) -> None:
        if not self.critical < self.layers:
            raise ValueError(f"critical: expected fewer than the {self.layers} layers, got {self.critical}")

    def build(self, fields: Fields) -> StyleGAN:
        """The game on images of any size, which are the middle of squares of powers of two.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        shape, _ = of_images(fields)
        classes = known_classes(fields, conditional=self.conditional)
        numbers = {"layers": self.layers, "critical": self.critical, "base": self.base, "most": self.most}
        options: dict[str, Any] = {**numbers, "margin": self.margin, **KINDS[self.kind]}

        def generate(size: tuple[int, int]) -> Network:
            return network(
                StyledGenerator,
                synthesis=partial(stylegan3.Synthesis, size, shape[2], width=self.style_width, **options),
                latent=self.latent,
                width=self.style_width,
                mapping_layers=self.mapping_layers,
                classes=classes,
                mixing=0.0,
                mean_decay=0.998,
            )

        own = {"channels": shape[2], "base": self.critic_base, "most": self.critic_most}
        criticise = partial(network, stylegan2.Critic, group=self.group, classes=classes, **own)
        critic = padded(criticise, shape[:2], stylegan2.MULTIPLE)
        penalties = (r1(self.r1 * self.r1_every, self.r1_every),) if self.r1 else ()
        generator = padded(generate, shape[:2], canvas(shape))
        game = GAN(shape, classes, generator, (Critic("critic", critic, penalties=penalties),), self.latent)
        return StyleGAN(game, self.layers + 2)


REFERENCE = StyleGAN3Config()
"""T at 1024x1024 colour: generator 22,313,167 and critic 29,012,513 parameters. Adam 0.0025 and 0.002, betas 0 and
0.99, batches of 32."""

ROTATIONS = StyleGAN3Config(kind="R", base=64, most=1024)
"""R at 1024x1024 colour: generator 15,093,151 parameters, the same critic and optimizers."""

SMALL = StyleGAN3Config(
    latent=64,
    style_width=64,
    layers=6,
    base=16,
    most=64,
    margin=3,
    critic_base=16,
    critic_most=64,
    r1=0.5,
    r1_every=8,
)
"""28x28 Fashion-MNIST, in squares of 32x32, or 8x8 digits on two CPU cores."""
