"""Guidance by a trained classifier, where classifier and denoiser are known, and where they are learned."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from gen_jax.diffusion import process as p
from gen_jax.fields import images
from gen_jax.models.classifier_guidance import ClassifierGuidedConfig
from gen_jax.models.edm import EDMConfig
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Network, players

SHAPE = (8, 8, 1)
TINY = ClassifierGuidedConfig(
    EDMConfig(net=Denoiser(channels=4, multipliers=(1,), blocks=1)), widths=(8, 16), features=16
)
SPREAD = 0.2


def test_with_exact_networks_a_label_draws_its_class():
    """One pixel of +-0.5 alike: the denoiser and the classifier of its sign are known at every noise."""
    model = TINY.build(images(SHAPE, 2))
    channel = lambda x: x.reshape(len(x), -1)[:, :1]  # noqa: E731

    def logit(x, t):
        return x / (SPREAD**2 + t**2)  # 2 m x / variance

    def denoise(params, buffers, x, t, *_, **__):
        t = t.reshape(-1, 1, 1, 1)
        share, variance = jax.nn.sigmoid(logit(x, t)), SPREAD**2 + t**2
        means = [(m * t**2 + SPREAD**2 * x) / variance for m in (-0.5, 0.5)]
        return share * means[1] + (1 - share) * means[0], buffers

    def classify(params, buffers, both, **_):
        t = jnp.exp(both[..., 1:])
        x = both[..., :1]
        return jnp.concatenate([jnp.zeros((len(x), 1)), channel(logit(x, t))], axis=-1), buffers

    inputs = model.diffusion.inputs._replace(scale=lambda _, t: jnp.ones(()), noise=lambda _, t: t)
    nothing = lambda key: ({}, {})  # noqa: E731
    known = dataclasses.replace(
        model.diffusion, shape=(1, 1, 1), network=Network(nothing, denoise), prediction=p.X0, inputs=inputs
    )
    model = dataclasses.replace(model, diffusion=known, classifier=Network(nothing, classify))
    params, buffers = model.init(jax.random.key(0), {})
    label = jnp.arange(2000) % 2
    x = jax.jit(model.sample, static_argnums=3)(params, buffers, jax.random.key(1), 2000, label=label)
    x = np.asarray(x).ravel()
    for value, mean in ((0, -0.5), (1, 0.5)):
        assert stats.kstest(x[np.asarray(label) == value], stats.norm(mean, SPREAD).cdf).statistic < 0.05
    unguided = dataclasses.replace(model, scale=0.0)
    x = np.asarray(jax.jit(unguided.sample, static_argnums=3)(params, buffers, jax.random.key(1), 2000, label=label))
    np.testing.assert_allclose((x.ravel() > 0)[np.asarray(label) == 1].mean(), 0.5, atol=0.05)


@pytest.mark.slow
def test_the_classifier_learns_beside_the_denoiser():
    """Stripes of two directions: told apart where the noise lets them, and the gradient points to the class."""
    model = TINY.build(images(SHAPE, 2))
    assert players(model.turns) == ("denoiser", "classifier")
    params, buffers = jax.jit(lambda: model.init(jax.random.key(0), {}))()
    rows = jnp.where(jnp.arange(8) < 4, 0.8, -0.8)
    pair = jnp.stack([jnp.broadcast_to(rows[:, None], (8, 8)), jnp.broadcast_to(rows[None], (8, 8))])[..., None]
    batch = {"image": pair.repeat(32, 0), "label": jnp.arange(2).repeat(32)}
    optimizer = optax.adam(3e-3)

    @jax.jit
    def train(own, carried):
        def step(carry, i):
            own, carried, opt = carry

            def objective(own):
                return model.cross_entropy(
                    {**params, "classifier": own}, {**buffers, "classifier": carried}, batch,
                    jax.random.fold_in(jax.random.key(1), i), step=i, ema=None,
                )  # fmt: skip

            (value, aux), gradient = jax.value_and_grad(objective, has_aux=True)(own)
            updates, opt = optimizer.update(gradient, opt)
            return (optax.apply_updates(own, updates), aux.buffers["classifier"], opt), (value, aux.metrics["accuracy"])

        return jax.lax.scan(step, (own, carried, optimizer.init(own)), jnp.arange(150))

    (own, carried, _), (losses, accuracy) = train(params["classifier"], buffers["classifier"])
    assert losses[-20:].mean() < 0.5 * np.log(2) and accuracy[-20:].mean() > 0.9
    params, buffers = {**params, "classifier": own}, {**buffers, "classifier": carried}
    t = jnp.full(2, 0.5)
    got = model.label_log_prob(params, buffers, pair, t, jnp.arange(2))
    np.testing.assert_array_less(-0.3, got)
    both = jnp.stack([model.label_log_prob(params, buffers, pair, t, jnp.full(2, k)) for k in range(2)])
    np.testing.assert_allclose(jnp.exp(both).sum(0), 1.0, rtol=1e-5)


def test_configurations_are_plain_data_and_refuse_what_they_cannot_build():
    assert ClassifierGuidedConfig(**json.loads(json.dumps(dataclasses.asdict(TINY)))).diffusion == TINY.diffusion
    with pytest.raises(ValueError, match="labelled data"):
        TINY.build(images(SHAPE))
    with pytest.raises(ValueError, match="without labels"):
        dataclasses.replace(TINY, diffusion=dataclasses.replace(TINY.diffusion, conditional=True))
