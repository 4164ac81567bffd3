"""CycleGAN: two domains, no pairs; what is translated there and back is to be what it was.

Zhu, Park, Isola and Efros 2017, "Unpaired image-to-image translation using cycle-consistent adversarial networks"
(arXiv:1703.10593), by its code. Examples x of one domain, ``image``, and y of the other, ``other``, lie side by side
in a batch by chance; G takes x there, F takes y back, each domain has a critic of patches. Means over numbers:

    generators  minimise  E (D_y(G(x)) - 1)^2 + E (D_x(F(y)) - 1)^2                                       (1)
                          + cycle (E |F(G(x)) - x| + E |G(F(y)) - y|)                                     (2)
                          + cycle identity (E |G(y) - y| + E |F(x) - x|)                                  (3)
    critics     minimise  1/2 E (D_y(y) - 1)^2 + 1/2 E D_y(y')^2, and the same of x                       (4)

y' and x' come through a pool of as many generated images as ``pool`` says, which is carried in the critics' buffers:
until it is full they are kept and shown; then each is shown itself, or, half of the time, takes the place of a random
one of the pool and that one is shown (Shrivastava et al. 2017, arXiv:1612.07828).                        (5)

In the code the critics see what the generators made before their step, here what they make behind it.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.checks import Amount, Number, plain
from gen_jax.fields import PIXELS, Fields, describe
from gen_jax.losses.adversarial import least_squares
from gen_jax.networks.translators import Translators
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Tree, Turn

DOMAINS = ("image", "other")
"""The fields."""


class Sides(NamedTuple):
    """Of both directions: there and back, or of both domains: ``other`` and ``image``, to which they lead."""

    other: Network
    image: Network


@dataclass(frozen=True)
class CycleGAN:
    """The game of (1) to (5), of players ``generators`` and ``critics``.

    Attributes:
      generators: to ``other`` from ``image``, and to ``image`` from ``other``.
      critics: of ``other`` and of ``image``, to logits ``[B, ...]``.
      shapes: of an example of either, in that order.
      cycle: weight of (2).
      identity: weight of (3) in multiples of it; 0 where the domains differ in channels.
      pool: images of it in each domain; 0 for none.
      makes: the domain that samples are of; they are told the other one.
    """

    generators: Sides
    critics: Sides
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    cycle: float = 10.0
    identity: float = 0.5
    pool: int = 50
    makes: str = "other"

    @property
    def given(self) -> tuple[str, ...]:
        """The domain that is translated."""
        return ("image" if self.makes == "other" else "other",)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The generators, then the critics."""
        return (Turn("generators", self.generator_loss), Turn("critics", self.critic_loss))

    @property
    def network_evaluations(self) -> int:
        """One per sample."""
        return 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters and buffers of both players, with empty pools."""
        keys = jax.random.split(key, 4)
        made = [net.init(own) for net, own in zip((*self.generators, *self.critics), keys)]
        params = [{"other": pair[0][0], "image": pair[1][0]} for pair in (made[:2], made[2:])]
        pools = {
            name: {"images": jnp.zeros((self.pool, *shape)), "filled": jnp.zeros(())}
            for name, shape in zip(Sides._fields, self.shapes)
        }
        return {"generators": params[0], "critics": params[1]}, {"generators": {}, "critics": pools}

    def generator_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(1) to (3); its metrics are the distance of (2) and, where it counts, of (3)."""
        x, y = (batch[name] for name in DOMAINS)
        there, back = self.translate(params, x), self.translate(params, y, to="image")
        judged = sum(
            2 * least_squares.generator(self._logits(params, name, made))
            for name, made in (("other", there), ("image", back))
        )
        cycle = _distance(self.translate(params, there, to="image"), x) + _distance(self.translate(params, back), y)
        loss, metrics = judged + self.cycle * cycle, {"cycle": cycle}
        if self.identity:
            same = _distance(self.translate(params, y), y) + _distance(self.translate(params, x, to="image"), x)
            loss, metrics = loss + self.cycle * self.identity * same, {**metrics, "identity": same}
        return loss, Aux(metrics)

    def critic_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(4), of what comes through the pools."""
        x, y = (batch[name] for name in DOMAINS)
        fakes = {"other": self.translate(params, x), "image": self.translate(params, y, to="image")}
        loss, pools = jnp.zeros(()), {}
        for (name, fake), own in zip(fakes.items(), jax.random.split(key)):
            shown, pools[name] = pooled(buffers["critics"][name], fake, own)
            real_logits, fake_logits = (self._logits(params, name, each) for each in (batch[name], shown))
            loss = loss + least_squares.critic(real_logits, fake_logits)
        return loss, Aux({}, {"critics": pools})

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int, **given: jax.Array) -> jax.Array:
        """``n`` examples of the domain it makes, each the translation of the one given."""
        return self.translate(params, given[self.given[0]], to=self.makes)

    def translate(self, params: Params, x: jax.Array, *, to: str = "other") -> jax.Array:
        """Images ``[B, H, W, C]`` of one domain in the other, ``to``."""
        return getattr(self.generators, to).apply(params["generators"][to], {}, x)[0]

    def _logits(self, params: Params, name: str, x: jax.Array) -> jax.Array:
        return getattr(self.critics, name).apply(params["critics"][name], {}, x)[0]


def pooled(pool: Tree, fakes: jax.Array, key: jax.Array) -> tuple[jax.Array, Tree]:
    """(5) of ``fakes [B, ...]``, one after the other: what is shown, and the pool behind it."""
    size = len(pool["images"])
    if not size:
        return fakes, pool
    keys = jax.random.split(key)
    swaps = jax.random.bernoulli(keys[0], 0.5, (len(fakes),))
    places = jax.random.randint(keys[1], (len(fakes),), 0, size)

    def one(carry: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
        images, filled = carry
        fake, is_swapped, place = inputs
        is_filling = filled < size
        place = jnp.where(is_filling, filled.astype(jnp.int32), place)
        kept = images[place]
        images = images.at[place].set(jnp.where(is_filling | is_swapped, fake, kept))
        return (images, jnp.minimum(filled + 1, size)), jnp.where(is_swapped & ~is_filling, kept, fake)

    (images, filled), shown = jax.lax.scan(one, (pool["images"], pool["filled"]), (fakes, swaps, places))
    return shown, {"images": images, "filled": filled}


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.abs(a - b).mean()


def two_domains(fields: Fields) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The shapes of ``image`` and ``other``, images of one size.

    Raises:
      ValueError: of other data.
    """
    shapes = [fields[name].shape for name in DOMAINS if name in fields and fields[name].kind is PIXELS]
    if len(shapes) < 2 or any(len(shape) != 3 for shape in shapes) or shapes[0][:2] != shapes[1][:2]:
        raise ValueError(
            f"expected images of two domains and one size, 'image' and 'other', got {describe(fields)}; fit takes a"
            " tuple of two data sets"
        )
    (height, width, *channels), (*_, other) = shapes
    return (height, width, *channels), (height, width, other)  # type: ignore[return-value]


@plain
class CycleGANConfig:
    """A CycleGAN as plain data."""

    net: Translators = Translators()
    """The networks of both directions."""
    cycle: Amount = 10.0
    """Weight of what is there and back again."""
    identity: Amount = 0.5
    """Weight of what should stay as it is, in multiples of that; 0 where the domains differ in channels."""
    pool: Number = 50
    """Generated images of each domain that the critics may see again; 0 for none."""
    makes: Literal["other", "image"] = "other"
    """The domain that samples are of."""

    def build(self, fields: Fields) -> CycleGAN:
        """The game on images of two domains.

        Raises:
          ValueError: of other data, or an identity between colour and grey.
        """
        image, other = two_domains(fields)
        if self.identity and image != other:
            raise ValueError(
                f"identity: expected 0 where the domains differ in channels, {image[2]} and {other[2]}, got"
                f" {self.identity:g}"
            )
        size, net = image[:2], self.net
        generators = Sides(net.generator(size, image[2], other[2]), net.generator(size, other[2], image[2]))
        critics = Sides(net.critic(size, other[2]), net.critic(size, image[2]))
        return CycleGAN(generators, critics, (other, image), self.cycle, self.identity, self.pool, self.makes)


REFERENCE = CycleGANConfig()
"""256x256 colour: each generator 11,378,179, each critic 2,764,737 parameters; 128x128 with six blocks 7,837,699. Adam
2e-4, beta1 0.5, for a hundred epochs and then falling linearly to 0, one example a step."""

SMALL = CycleGANConfig(Translators(channels=8, blocks=3, critic_channels=16, strides=2))
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
