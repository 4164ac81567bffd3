"""The networks of GANs: the published sizes of the references, what each is by definition, and every kind at work."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gen_jax.fields import REAL, Field, images
from gen_jax.models import dcgan, r3gan, sngan, wgan, wgan_gp
from gen_jax.networks import r3gan as r3
from gen_jax.networks import resnet_gan
from gen_jax.networks.adversaries import NETWORKS, Adversaries
from gen_jax.networks.wgan_gp import levels
from gen_jax.nn.functional import network
from gen_jax.nn.resample import TENT

CIFAR = (32, 32, 3)
CONDITIONAL = {"sngan": sngan.SNGANConfig(conditional=True), "r3gan": r3gan.R3GANConfig(conditional=True)}
SIZES = [
    ("DCGAN", dcgan.REFERENCE, (64, 64, 3), 3_576_704, 2_765_568),
    ("WGAN", wgan.REFERENCE, (64, 64, 3), 3_576_704, 2_765_568),
    ("WGAN-GP", wgan_gp.REFERENCE, CIFAR, 1_204_483, 1_053_825),
    ("WGAN-GP, colour", wgan_gp.COLOUR, CIFAR, 5_179_907, 4_114_689),
    ("WGAN-GP, digits", wgan_gp.DIGITS, (28, 28, 1), 1_554_177, 1_030_145),
    ("SNGAN", sngan.REFERENCE, CIFAR, 4_276_739, 1_053_824),
    ("SNGAN, classes", CONDITIONAL["sngan"], CIFAR, 4_304_387, 1_055_104),
    ("R3GAN", r3gan.REFERENCE, CIFAR, 20_732_160, 20_683_776),
    ("R3GAN, classes", CONDITIONAL["r3gan"], CIFAR, 20_781_952, 21_280_512),
    ("R3GAN, 64x64", r3gan.REFERENCE, (64, 64, 3), 22_429_824, 22_381_440),
    ("R3GAN, 256x256", r3gan.REFERENCE, (256, 256, 3), 23_057_952, 23_009_568),
]


@pytest.mark.parametrize(
    ("configuration", "shape", "generator", "critic"), [pytest.param(*r[1:], id=r[0]) for r in SIZES]
)
def test_references_have_the_published_sizes(configuration, shape, generator, critic):
    model = configuration.build(images(shape, 10))
    params, _ = jax.eval_shape(model.init, jax.random.key(0), {})
    found = {player: sum(leaf.size for leaf in jax.tree.leaves(tree)) for player, tree in params.items()}
    assert found == {"generator": generator, "critic": critic}


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", [*NETWORKS, "mlp"])
def test_every_network_makes_and_judges_images(name, classes):
    pair = Adversaries(name, latent=4, channels=4, blocks=1, group=4).build((9, 12, 3), classes, limit=1.0)

    def once(key, z, label):
        made = [net.init(key) for net in pair]
        x = pair.generator.apply(*made[0], z, label, train=True)[0]
        return x, pair.critic.apply(*made[1], x, label, train=True)[0]

    label = jnp.arange(2) if classes else None
    x, logits = jax.eval_shape(once, jax.random.key(0), jnp.zeros((2, 4)), label)
    assert x.shape == (2, 9, 12, 3) and logits.shape == (2,)


def test_any_game_plays_with_any_network():
    net = Adversaries("mlp", latent=4, channels=8)
    model = wgan_gp.WGANGPConfig(net).build({"point": Field((2,), REAL)})
    assert model.makes == "point" and model.generator_every == 5
    with pytest.raises(ValueError, match="'mlp' takes these"):
        sngan.SMALL.build({"point": Field((2,), REAL)})
    with pytest.raises(ValueError, match="group: expected a divisor of twice the 12 channels"):
        Adversaries("r3gan", channels=12, group=16)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((28, 28), [28, 14, 7, 4]), ((32, 32), [32, 16, 8, 4]), ((5, 5), [5, 3]), ((3, 3), [3, 2]), ((9, 9), [9, 5, 3])],
)
def test_the_levels_of_wgan_gp(size, expected):
    assert levels(size) == [(side, side) for side in expected]


def test_the_tent_s_way_up_is_four_times_its_way_down_transposed():
    down = np.asarray(jax.jit(TENT.down)(np.eye(24, dtype="f4").reshape(24, 4, 6, 1))).reshape(24, 6)
    up = np.asarray(jax.jit(TENT.up)(np.eye(6, dtype="f4").reshape(6, 2, 3, 1))).reshape(6, 24)
    np.testing.assert_allclose(up, 4 * down.T, atol=1e-6)
    along = np.zeros(6)
    along[[1, 2, 3]] = [0.25, 0.5, 0.25]
    np.testing.assert_allclose(down.reshape(4, 6, 2, 3)[:, :, 1, 1], np.outer([0, 0.25, 0.5, 0.25], along), atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), pytest.param((64, 64), marks=pytest.mark.slow)])
def test_an_untrained_r3gan_is_linear(size):
    """Every branch begins at zero: a critic of a sum is the sum of its critics, a generator one in its latents."""
    critic = network(r3.Critic, size=size, channels=3, width=8, blocks=1, group=16)
    generator = network(r3.Generator, size=size, channels=3, latent=5, width=8, blocks=1, group=16)
    draw = np.random.default_rng(0).normal

    def additive(net, x, **options):
        made = net.init(jax.random.key(1))
        parts = [net.apply(*made, a, **options)[0] for a in (*x, x[0] - 2 * x[1])]
        return parts[2], parts[0] - 2 * parts[1]

    for net, shape in ((critic, (2, 3, *size, 3)), (generator, (2, 3, 5))):
        found, expected = jax.jit(functools.partial(additive, net, train=True))(draw(size=shape).astype(np.float32))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
        assert np.std(found) > 1e-2


def test_the_blocks_of_r3gan_begin_as_fixup_says():
    """Of 16 blocks: deviation sqrt(2 / 1.04 / inputs) 16^(-1/4)."""
    block = r3.Block(64, group=16, depth=16, rngs=nnx.Rngs(0))
    gain = np.sqrt(2 / 1.04) / 2
    np.testing.assert_allclose(np.std(block.widen.kernel[...]), gain / np.sqrt(64), rtol=0.03)
    np.testing.assert_allclose(np.std(block.mix[...]), gain / np.sqrt(9 * 16), rtol=0.03)
    assert block.mix.shape == (3, 3, 16, 128) and block.groups == 8 and not np.any(block.narrow.kernel[...])


@pytest.mark.parametrize("critic", [resnet_gan.Critic, pytest.param(resnet_gan.SpectralCritic, marks=pytest.mark.slow)])
def test_a_label_moves_a_logit_by_its_projection(critic):
    """By its row alone: where all rows are alike labels do not matter."""
    net = network(critic, size=(8, 8), channels=1, width=4, classes=3)
    draw = np.random.default_rng(0).normal
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    params, buffers = jax.tree.map(lambda a: draw(size=a.shape).astype(np.float32), shapes)
    x, apply = draw(size=(3, 8, 8, 1)).astype(np.float32), jax.jit(net.apply)
    table = next(iter(params["embedding"]))
    alike = {**params, "embedding": {table: jnp.broadcast_to(params["embedding"][table][:1], (3, 4))}}
    first, second = (apply(alike, buffers, x, jnp.full(3, y))[0] for y in (0, 2))
    np.testing.assert_allclose(first, second, rtol=1e-5)
    logits = np.stack([apply(params, buffers, x, jnp.full(3, y))[0] for y in range(3)])
    assert np.abs(logits[1:] - logits[0]).min() > 1e-3
