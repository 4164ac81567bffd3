"""VAE-GAN: its sizes, which loss reaches which player, and who rests."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import distributions
from gen_jax.fields import images
from gen_jax.models import vae_gan
from gen_jax.nn.functional import parameter_count
from gen_jax.protocol import Network
from tests.zoo import ZOO

KEY = jax.random.key(0)


def test_the_reference_has_the_published_sizes():
    game = vae_gan.REFERENCE.build(images((64, 64, 3)))
    sizes = [parameter_count(net.init) for net in (game.encoder, game.decoder, game.critic)]
    assert sizes == [18_071_360, 4_693_155, 10_953_857] and sum(sizes) == 33_718_372
    _, features = jax.eval_shape(
        lambda p, b, x: game.critic.apply(p, b, x)[0], *jax.eval_shape(game.critic.init, KEY), _FACES
    )
    assert features.shape == (2, 8 * 8 * 256)


_FACES = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)


@pytest.mark.parametrize(
    ("real", "fake", "moves"),
    [  # costs of 0.05, 0.69 and 2.1
        (0.0, 0.0, (True, True)),
        (3.0, 0.0, (False, True)),  # the critic knows images too well
        (0.0, -3.0, (False, True)),
        (-2.0, 0.0, (True, False)),  # the decoder wins
        (0.0, 2.0, (True, False)),
        (3.0, 2.0, (True, True)),  # both would rest
        (-2.0, -3.0, (True, True)),
    ],
)
def test_who_wins_rests(real, fake, moves):
    found = vae_gan.balance(jnp.full(4, real), jnp.full(4, fake), 0.68, 0.35)
    assert tuple(map(bool, found)) == moves
    assert all(map(bool, vae_gan.balance(jnp.full(4, real), jnp.full(4, fake), 0.68, 0.0)))


def _entry(**options):
    entry = ZOO["vae_gan"]
    game = dataclasses.replace(entry.configuration, margin=0.0, **options).build(entry.fields)
    params, buffers = game.init(KEY, {})
    batch = {"image": jax.random.uniform(KEY, (8, 4, 4, 1), minval=-1)}
    return game, params, buffers, batch


def _gradients(game, params, buffers, batch):
    """By turn, the gradient of its loss in all players."""

    @jax.jit
    def every(params):
        return {
            turn.player: jax.grad(lambda p, t=turn: t.loss(p, buffers, batch, KEY, step=0, ema=None)[0])(params)
            for turn in game.turns
        }

    return every(params)


@pytest.mark.slow
def test_which_loss_reaches_which_player():
    game, params, buffers, batch = _entry()
    found = _gradients(game, params, buffers, batch)
    # What only the critic's verdict depends on is nothing to the encoder.
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(found["encoder"]["critic"]["head"]))
    # The decoder descends both in their shares; neither the critic nor the encoder knows of a share.
    ends = [_gradients(*(_entry(share=share)[0], params, buffers, batch)) for share in (0.0, 1.0)]
    mixed = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, *(end["decoder"]["decoder"] for end in ends))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found["decoder"]["decoder"], mixed)
    for player in ("encoder", "critic"):
        jax.tree.map(np.testing.assert_array_equal, ends[0][player][player], ends[1][player][player])


@pytest.mark.slow
def test_with_a_critic_that_sees_pixels_the_encoder_is_that_of_a_vae():
    game, params, buffers, batch = _entry()
    pixels = Network(
        lambda key: ({}, {}),
        lambda params, buffers, x, *, key=None, train=False: ((x.mean((1, 2, 3)), x.reshape(len(x), -1)), buffers),
    )
    game = dataclasses.replace(game, critic=pixels)
    x = batch["image"]

    def bound(own):
        output, _ = game.encoder.apply(own, buffers["encoder"], x, train=True)
        mean, log_variance = jnp.split(output, 2, axis=-1)
        z = distributions.normal_sample(jax.random.fold_in(KEY, 0), mean, log_variance)
        made, _ = game.decoder.apply(params["decoder"], buffers["decoder"], z, train=True)
        log_p = distributions.normal_log_prob(x, made, 0.0).sum((1, 2, 3)) + x[0].size * 0.5 * jnp.log(2 * jnp.pi)
        return (0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(-1) - log_p).mean()

    def loss(own):
        return game.encoder_loss({**params, "encoder": own}, buffers, batch, KEY, step=0, ema=None)[0]

    ours, theirs = (jax.jit(jax.value_and_grad(of))(params["encoder"]) for of in (loss, bound))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), ours[1], theirs[1])


def test_who_rests_has_no_gradient_and_the_same_loss():
    def loss(moves):
        return jax.value_and_grad(lambda x: vae_gan._if(jnp.asarray(moves), x**2))(3.0)

    assert loss(True) == (9.0, 6.0) and loss(False) == (9.0, 0.0)
