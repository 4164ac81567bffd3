"""Encoder and decoder of an autoencoder as plain data: the networks of the VAEs, with one code and no variance."""

from functools import partial

from gen_jax.checks import Count, plain
from gen_jax.networks.vae import ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.protocol import Network


@plain
class Coder:
    """An encoder and its mirror image."""

    latent: Count = 32
    """Numbers of a code."""
    widths: tuple[Count, ...] = (32, 64)
    """Channels of the stride-2 convolutions of images, from the image inwards; none: perceptrons, of any numbers."""
    dense: tuple[Count, ...] = (256,)
    """Widths of the dense layers between these, or the data, and the code; perceptrons of none are linear."""

    def build(self, shape: tuple[int, ...], *, seen: int = 0) -> tuple[Network, Network]:
        """From ``[B, *shape]`` to codes ``[B, latent]``, and back.

        Args:
          shape: of an example; images of any size where there are convolutions.
          seen: channels that the encoder sees beside those of ``shape``.

        Raises:
          ValueError: if there are convolutions and the data are no images.
        """
        *sides, channels = shape
        mirrored = self.dense[::-1]
        if not self.widths:
            encoder = network(DenseEncoder, shape=(*sides, channels + seen), outputs=self.latent, hidden=self.dense)
            return encoder, network(DenseDecoder, shape=shape, outputs=channels, latent=self.latent, hidden=mirrored)
        if len(shape) != 3:
            raise ValueError(
                f"widths: convolutions are of images [H, W, C], got data {list(shape)}; give no widths for perceptrons"
            )
        encode = partial(
            network, ConvEncoder, channels=channels + seen, outputs=self.latent, widths=self.widths, dense=self.dense
        )
        decode = partial(network, ConvDecoder, outputs=channels, latent=self.latent, widths=self.widths, dense=mirrored)
        height, width = sides
        return padded(encode, (height, width), 1 << len(self.widths)), padded(
            decode, (height, width), 1 << len(self.widths)
        )
