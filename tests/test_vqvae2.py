"""Two levels of codes: their network, their prior and its three stages."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gen_jax
from experiments.vqvae2 import PRESETS, Levels
from gen_jax import Adam, Training
from gen_jax.fields import images
from gen_jax.models import vqvae2
from gen_jax.nn.functional import parameter_count
from tests.zoo import LEVELS

KEY = jax.random.key(0)


def test_the_reference_codec_has_the_size_of_the_known_one():
    codec = vqvae2.REFERENCE.codec.build(images((256, 256, 3)))
    assert parameter_count(codec.net.init) == 1_388_867
    assert codec.grids == ((32, 32), (64, 64)) and codec.quantiser[:2] == (512, 64)


@pytest.mark.slow
def test_the_bottom_is_told_the_top_and_its_codes_are_local():
    """A code of the bottom changes the image around it, one of the top more of it."""
    game = vqvae2.TwoLevelCodecConfig(1, 8, 4, 1, codes=8, code_width=4).build(images((32, 32, 1)))
    params, buffers = game.init(KEY, {})
    index = jnp.zeros((1, sum(game.lengths)), jnp.int32)
    decode = jax.jit(game.decode)
    changed = [
        decode(params, buffers, index.at[0, place].set(3)) != decode(params, buffers, index) for place in (0, 64)
    ]
    top, bottom = (np.argwhere(np.asarray(each)[0, ..., 0]).max() for each in changed)
    assert 0 < bottom < top < 32
    x = jax.random.uniform(KEY, (2, 32, 32, 1), minval=-1)
    codes = jax.jit(game.encode)(params, buffers, x)
    other = {
        "codec": {**buffers["codec"], "top": {**buffers["codec"]["top"], "codes": buffers["codec"]["top"]["codes"] + 5}}
    }
    assert (game.split(codes)[1] != game.split(jax.jit(game.encode)(params, other, x))[1]).any()


@pytest.mark.slow
def test_both_priors_together_sum_to_one():
    config = vqvae2.VQVAE2Config(dataclasses.replace(LEVELS, codes=3), prior_width=8, top_layers=1, bottom_layers=2)
    prior = config.build(images((4, 4, 1))).prior
    params, buffers = prior.init(KEY, {})
    params = jax.tree.map(lambda leaf: leaf + jax.random.normal(KEY, leaf.shape), params)
    every = jnp.asarray(list(itertools.product(range(3), repeat=5)))  # one code of the top, four of the bottom
    nats = jax.jit(prior.log_prob)(params, buffers, KEY, {"latent": every})
    np.testing.assert_allclose(jnp.exp(nats).sum(), 1, rtol=1e-4)
    assert float(jnp.std(nats)) > 0.1


@pytest.mark.slow
def test_codec_top_and_bottom_are_trained_one_after_the_other(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1)).astype(np.uint8)
    model = vqvae2.VQVAE2Config(LEVELS, prior_width=8, top_layers=1, bottom_layers=1)
    recipes, training = PRESETS["small"].optimizer, Training(steps=3, batch_size=8, checkpoint_every=3)
    settings = Levels(model, recipes, training, codec_steps=4)
    run = gen_jax.fit_stages(settings.stages(), x, directory=tmp_path, quiet=True)
    codec, top = (gen_jax.load(tmp_path / name) for name in ("codec", "top"))
    jax.tree.map(np.testing.assert_array_equal, run.params["codec"], codec.params["codec"])
    jax.tree.map(np.testing.assert_array_equal, run.params["top"], top.params["top"])
    assert run.sample(0, 2).shape == (2, 8, 8, 1) and run.log_prob_kind == "lower bound"
    with pytest.raises(gen_jax.ConfigError, match=r"^top never moves in this game"):
        bottom = dataclasses.replace(model, trains="bottom")
        gen_jax.fit(bottom, x, training=training, optimizers={"bottom": Adam()}, begin={"codec": codec}, quiet=True)
