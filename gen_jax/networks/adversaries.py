"""The generators and critics of GANs of images, from plain data.

    network          what they are                                                  module
    dcgan            strided convolutions under batch normalisation                 :mod:`gen_jax.networks.dcgan`
    wgan-gp          5x5 convolutions without any                                   :mod:`gen_jax.networks.wgan_gp`
    wgan-gp colour   the same, the generator's under batch normalisation            :mod:`gen_jax.networks.wgan_gp`
    resnet           residual blocks, the critic's without normalisation            :mod:`gen_jax.networks.resnet_gan`
    sngan            the same, the critic's weights under spectral normalisation    :mod:`gen_jax.networks.resnet_gan`
    r3gan            residual blocks of grouped convolutions, without any           :mod:`gen_jax.networks.r3gan`
    mlp              ``blocks`` hidden layers, for what is no image                 :mod:`gen_jax.networks.dense_gan`

Any game plays with any of them; a penalty on gradients wants a critic that does not normalise by batches.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from gen_jax.checks import Count, Number, plain
from gen_jax.networks import dcgan, r3gan, resnet_gan, wgan_gp
from gen_jax.networks.dense_gan import DenseCritic, DenseGenerator
from gen_jax.nn.batch_norm import ClassBatchNorm
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.protocol import Network


class Pair(NamedTuple):
    """Two players: ``z [B, latent], label [B] or None -> x [B, *shape]`` and ``x, label -> logits [B]``."""

    generator: Network
    critic: Network


@plain
class Adversaries:
    """The networks of a GAN as plain data."""

    network: Literal["dcgan", "wgan-gp", "wgan-gp colour", "resnet", "sngan", "r3gan", "mlp"] = "dcgan"
    """Which networks, of those in gen_jax.networks.adversaries."""
    latent: Count = 64
    """Width of z."""
    channels: Count = 32
    """At the highest resolution, doubled at each halving of the side, of "dcgan" and "wgan-gp"; of all layers of the
    others."""
    critic_channels: Number = 0
    """The same of the critic; 0: as many as the generator."""
    blocks: Count = 2
    """Residual blocks per level of "r3gan", hidden layers of "mlp"."""
    group: Count = 16
    """Channels of a group of convolutions of "r3gan"."""
    full: Count = 32
    """Side, in pixels, up to which levels of "r3gan" have all channels; above they have half as many each."""

    def __post_init__(self) -> None:
        for channels in (self.channels, self.critic_channels):
            if self.network == "r3gan" and 2 * channels % self.group:
                raise ValueError(f"group: expected a divisor of twice the {channels} channels, got {self.group}")

    def build(self, shape: tuple[int, ...], classes: int, *, limit: float) -> Pair:
        """Both networks, for examples of ``shape`` in [-limit, limit], told labels where there are classes.

        Raises:
          ValueError: if the networks take only images.
        """
        if self.network == "mlp":
            common: dict[str, Any] = {"shape": shape, "classes": classes}
            widths = [(width,) * self.blocks for width in (self.channels, self.critic_channels or self.channels)]
            generator = network(DenseGenerator, latent=self.latent, hidden=widths[0], limit=limit, **common)
            return Pair(generator, network(DenseCritic, hidden=widths[1], **common))
        if len(shape) != 3:
            raise ValueError(
                f"expected images [H, W, C] for network {self.network!r}, got {list(shape)}; 'mlp' takes these"
            )
        return NETWORKS[self.network](self, (shape[0], shape[1]), channels=shape[2], classes=classes)


def _whole(
    generator: Callable[..., Any],
    critic: Callable[..., Any],
    net: Adversaries,
    size: tuple[int, int],
    *,
    multiple: int = 1,
    width: str = "width",
    own: Callable[[Adversaries], dict[str, Any]] = lambda net: {},
    **common: Any,
) -> Pair:
    options = {**common, **own(net)}
    make = partial(network, generator, latent=net.latent, **{width: net.channels}, **options)
    judge = partial(network, critic, **{width: net.critic_channels or net.channels}, **options)
    return Pair(padded(make, size, multiple), padded(judge, size, multiple))


NETWORKS: dict[str, Callable[..., Pair]] = {
    "dcgan": partial(_whole, dcgan.Generator, dcgan.Critic, multiple=dcgan.MULTIPLE, width="base"),
    "wgan-gp": partial(_whole, wgan_gp.Generator, wgan_gp.Critic),
    "wgan-gp colour": partial(_whole, partial(wgan_gp.Generator, norm=ClassBatchNorm), wgan_gp.Critic),
    "resnet": partial(_whole, resnet_gan.Generator, resnet_gan.Critic, multiple=resnet_gan.MULTIPLE),
    "sngan": partial(_whole, resnet_gan.Generator, resnet_gan.SpectralCritic, multiple=resnet_gan.MULTIPLE),
    "r3gan": partial(
        _whole,
        r3gan.Generator,
        r3gan.Critic,
        multiple=r3gan.MULTIPLE,
        own=lambda net: {"blocks": net.blocks, "group": net.group, "full": net.full},
    ),
}
