"""What a run says of itself when a GAN goes wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gen_jax
from gen_jax import Adam, Training
from gen_jax.fields import REAL, Field
from gen_jax.models import GANConfig, ImprovedGANConfig
from gen_jax.models.collapse import distinct, gap, warning

POINTS = {"point": Field((2,), REAL)}


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("far", [0.0, 1000.0])
def test_samples_are_distinct_where_they_differ_as_data_do(far):
    """Against all distances; also where everything lies far from the origin."""
    data, samples = normals(64, 3) + far, normals(64, 3, seed=1) + far
    samples[32:48] = samples[:16] + 1e-3
    between = [np.sqrt(((x[:, None] - x).astype(np.float64) ** 2).sum(-1)) + 1e9 * np.eye(64) for x in (samples, data)]
    expected = (between[0].min(0) > np.median(between[1].min(0)) / 2).mean()
    found = jax.jit(distinct)(samples, data)
    np.testing.assert_allclose(found, expected, atol=1 / 64)
    assert 0.2 < found < 0.8


def test_samples_that_are_all_alike_are_not_distinct():
    data = normals(32, 4, 4, 1)
    assert distinct(np.repeat(data[:1], 32, axis=0), data) == 0
    assert distinct(data[0] + 1e-2 * normals(32, 4, 4, 1, seed=1), data) == 0
    assert distinct(data, data) == 1
    assert distinct(data[:1], data[:1]) == 1  # of one nothing can be said


def test_the_gap_is_that_of_all_pairs():
    real, fake = normals(20), normals(30, seed=1) - 0.5
    expected = np.mean([np.sign(a - b) for a in real for b in fake])
    np.testing.assert_allclose(gap(real, fake), expected, rtol=1e-5)
    assert gap(jnp.ones(4), jnp.zeros(4)) == 1 and gap(jnp.zeros(4), jnp.zeros(4)) == 0


def test_a_warning_wants_three_rows_that_agree():
    alike = [{"generator/distinct": x} for x in (0.0, 0.05, 0.02)]
    assert "collapsed" in warning(alike, ["critic"]) and "0.02 of them" in warning(alike, ["critic"])
    assert warning(alike[:2], ["critic"]) == ""
    assert warning([*alike[:2], {"generator/distinct": 0.3}], ["critic"]) == ""
    sure = [{"critic/gap": 0.9995, "generator/distinct": 0.9}] * 3
    assert "penalty on its gradient" in warning(sure, ["critic"])
    assert warning(sure, []) == "" and warning([{}] * 5, ["critic"]) == ""
    rewarding = [{"sample_critic/gap": -1.0}] * 3
    assert "sample_critic tells" in warning(rewarding, ["data_critic", "sample_critic"])


def test_losses_of_critics_that_never_cease_to_teach_are_not_complained_of():
    sure = [{"critic/gap": 1.0}] * 3
    for loss, complains in (("minimax", True), ("relativistic", True), ("wasserstein", False), ("hinge", False)):
        model = GANConfig(latent=2, hidden=(4,), loss=loss).build(POINTS)
        assert bool(model.warning(sure)) == complains
    assert "collapsed" in ImprovedGANConfig(2, (4,), 4, (4,), 2, 2).build(POINTS).warning(
        [{"generator/distinct": 0}] * 3
    )


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_a_run_whose_samples_are_alike_says_so_once(spread, capsys):
    """A generator that cannot move begins collapsed, or not, and stays so."""
    points = {"point": normals(256, 2)}
    still = Adam(learning_rate=0.0)
    training = Training(steps=10, batch_size=32, log_every=2)
    config = GANConfig(latent=2, hidden=(), loss="hinge")
    start = {"body": {"layers": {"0": {"kernel": spread * np.eye(2, dtype="f4"), "bias": np.zeros(2, "f4")}}}}
    begin = {"generator": (start, {})}
    run = gen_jax.fit(config, points, training=training, optimizers=still, begin=begin)
    said = capsys.readouterr().err
    assert said.count("warning: the generator has collapsed") == (1 if spread == 0 else 0)
    found = run.result.rows[-1]
    assert (found["generator/distinct"] < 0.1) == (spread == 0) and -1 <= found["critic/gap"] <= 1
