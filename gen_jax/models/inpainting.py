"""An autoencoder that fills in what is hidden of an image.

Pathak et al. 2016, "Context Encoders: Feature Learning by Inpainting" (arXiv:1604.07379), its reconstruction loss
without the adversarial one.

(1) y = g(f((1 - M) x, M))                      M is 1 where x is hidden, and is seen beside it
(2) L = E |M (x - y)|^2                         on the hidden pixels alone, summed over an image
(3) sample = (1 - M) x + M y                    of an image that it is told, with a mask that is drawn

It has no prior and no image of its own: a sample is a repair of an image of the data. The mean over the data of what
is hidden is the least that (2) should beat; its error is logged beside that of the network, squares of pixels in
[-1, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from gen_jax.checks import plain
from gen_jax.fields import Fields, of_images
from gen_jax.networks.autoencoders import Coder
from gen_jax.nn import corrupt
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn

DECAY = 0.99  # a step, of the running mean image
MASKS = {"block": corrupt.block, "half": corrupt.half}


@dataclass(frozen=True)
class InPainting:
    """A game of one player, ``autoencoder``."""

    shape: tuple[int, int, int]
    encoder: Network  # what is left of x, and the mask, [B, H, W, C + 1] -> [B, latent]
    decoder: Network  # [B, latent] -> y [B, H, W, C]
    mask: Callable[[jax.Array, int, int, int], jax.Array]  # (key, n, H, W) -> M [n, H, W, 1]

    makes: ClassVar[str] = "image"
    given: ClassVar[tuple[str, ...]] = ("image",)
    network_evaluations: ClassVar[int] = 1

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (2)."""
        return (Turn("autoencoder", self.loss),)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Both networks; a grey mean image."""
        keys = jax.random.split(key)
        encoder, encoder_buffers = self.encoder.init(keys[0])
        decoder, decoder_buffers = self.decoder.init(keys[1])
        carried = {"encoder": encoder_buffers, "decoder": decoder_buffers, "mean": jnp.zeros(self.shape)}
        return {"autoencoder": {"encoder": encoder, "decoder": decoder}}, {"autoencoder": carried}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """(2); the mean image is that of the steps before."""
        x, own = batch["image"], buffers["autoencoder"]
        mask = self.mask(key, *x.shape[:3])
        now = x.mean(axis=0)
        mean = jnp.where(step == 0, now, own["mean"])
        loss = jnp.square(mask * (x - self.predict(params, buffers, x, mask))).sum() / x.shape[0]
        hidden = mask.sum() * x.shape[-1]
        figures = {
            "error": loss * x.shape[0] / hidden,
            "mean_image_error": jnp.square(mask * (x - mean)).sum() / hidden,
        }
        carried = {"autoencoder": {**own, "mean": DECAY * mean + (1 - DECAY) * now}}
        return loss, Aux(figures, carried)

    def predict(self, params: Params, buffers: Buffers, x: jax.Array, mask: jax.Array) -> jax.Array:
        """(1) of images ``[B, H, W, C]`` and masks ``[B, H, W, 1]``, 1 where they are hidden."""
        own, carried = params["autoencoder"], buffers["autoencoder"]
        seen = jnp.concatenate([jnp.where(mask > 0, 0.0, x), mask], axis=-1)
        code, _ = self.encoder.apply(own["encoder"], carried["encoder"], seen)
        return self.decoder.apply(own["decoder"], carried["decoder"], code)[0]

    def fill(self, params: Params, buffers: Buffers, x: jax.Array, mask: jax.Array) -> jax.Array:
        """(3) with a mask of one's own."""
        return jnp.where(mask > 0, jnp.clip(self.predict(params, buffers, x, mask), -1.0, 1.0), x)

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, image: jax.Array) -> jax.Array:
        """(3) of the images that are given."""
        return self.fill(params, buffers, image, self.mask(key, n, *self.shape[:2]))


@plain
class InPaintingConfig:
    """An autoencoder that fills in the hidden part of an image."""

    net: Coder = Coder(latent=128)
    """Both networks."""
    mask: Literal["block", "half"] = "block"
    """What is hidden: a rectangle of half the sides somewhere, or one of four halves."""

    def build(self, fields: Fields) -> InPainting:
        """The game for images of any size."""
        shape, _ = of_images(fields)
        encoder, decoder = self.net.build(shape, seen=1)
        return InPainting(shape, encoder, decoder, MASKS[self.mask])


SMALL = InPaintingConfig()
"""For 8x8 digits and 28x28 Fashion-MNIST on a CPU."""
