"""Guided denoisers where the guided law is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.diffusion import guidance, samplers, schedules, solvers, times
from gen_jax.diffusion.langevin import predictor_corrector

VP = schedules.vp()


def normal(mean, spread):
    def denoise(x, t):
        alpha, sigma = VP.at(t, x)
        return (mean * sigma**2 + alpha * spread**2 * x) / (alpha**2 * spread**2 + sigma**2)

    return denoise


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_a_classifier_turns_the_whole_into_a_part(scale):
    """Data +-1 of equal weight and the classifier of their sign, which is known at every noise, give the one at +1."""
    whole_variance = lambda t, x: VP.at(t, x)[1] ** 2 + VP.at(t, x)[0] ** 2 * 0.04  # noqa: E731

    def logit(x, t):
        return 2 * VP.at(t, x)[0] * x / whole_variance(t, x)

    def whole(x, t):
        alpha, sigma = VP.at(t, x)
        means = [(m * sigma**2 + alpha * 0.04 * x) / whole_variance(t, x) for m in (-1.0, 1.0)]
        share = jax.nn.sigmoid(logit(x, t))
        return share * means[1] + (1 - share) * means[0]

    guided = guidance.by_classifier(VP, whole, lambda x, t: jax.nn.log_sigmoid(logit(x, t)).sum(-1), scale=scale)
    x, t = jnp.linspace(-2, 2, 9)[:, None], jnp.full(9, 0.4)
    expected = {0.0: whole(x, t), 1.0: normal(1.0, 0.2)(x, t)}.get(scale)
    if expected is None:
        expected = whole(x, t) + scale * (normal(1.0, 0.2)(x, t) - whole(x, t))
    np.testing.assert_allclose(guided(x, t), expected, rtol=1e-4, atol=1e-5)


SAMPLERS = {"ancestral": samplers.ancestral, "ddim": samplers.ddim, "heun": solvers.heun, "pc": predictor_corrector}


@pytest.mark.parametrize("name", SAMPLERS)
def test_inpainting_keeps_what_is_known_and_draws_the_rest(name):
    """Of independent pixels the unknown ones must follow their own law."""
    known = jnp.linspace(-0.9, 0.9, 12).reshape(1, 3, 4, 1)
    mask = jnp.zeros((1, 3, 4, 1), bool).at[:, 1:].set(True)
    denoise = guidance.inpainted(normal(0.3, 0.5), known, mask)
    when = np.append(times.even(1.0, 0.004, 250), 0.0)
    x = jax.random.normal(jax.random.key(0), (2000, 3, 4, 1))
    got = np.asarray(jax.jit(lambda x: SAMPLERS[name](VP, denoise, when, jax.random.key(1), x))(x))
    # reverse diffusion does not end in the denoiser itself, but in (1 - alpha) x + alpha D
    atol = 1e-3 if name == "pc" else 1e-5
    np.testing.assert_allclose(got[:, 1:], np.broadcast_to(known[:, 1:], (2000, 2, 4, 1)), atol=atol)
    assert stats.kstest(got[:, 0].ravel(), stats.norm(0.3, 0.5).cdf).statistic < 0.04


def test_colourising_keeps_the_grey():
    """Independent channels N(m, s^2): given the grey, colours are their law with its mean moved to the grey."""
    grey = jnp.array([0.4, -0.2]).reshape(1, 1, 2, 1)
    denoise = guidance.colourised(normal(0.1, 0.5), grey)
    when = np.append(times.even(1.0, 0.004, 250), 0.0)
    x = jax.random.normal(jax.random.key(0), (4000, 1, 2, 3))
    sample = jax.jit(lambda x: samplers.ancestral(VP, denoise, when, jax.random.key(1), x))
    got = np.asarray(sample(x))
    np.testing.assert_allclose(got.mean(axis=-1), np.broadcast_to(grey[..., 0], (4000, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(got.std(axis=0), 0.5 * np.sqrt(2 / 3), rtol=0.06)
    np.testing.assert_allclose(got.mean(axis=0), np.broadcast_to(grey[0], (1, 2, 3)), atol=0.04)


def test_autoguidance_is_guidance_by_a_worse_model():
    good, worse = normal(0.0, 0.5), normal(0.0, 0.8)
    x, t = jnp.ones((3, 1)), jnp.array([0.2, 0.5, 0.9])
    got = guidance.classifier_free(good, worse, scale=2.0)(x, t)
    np.testing.assert_allclose(got, 2 * good(x, t) - worse(x, t), rtol=1e-5)


@pytest.mark.parametrize(
    ("quantile", "largest", "expected"),
    [
        (0.5, np.inf, [[1.0, -1.0, 0.5, 1.0, 0.0], [0.2, -0.1, 0.3, 0.4, -0.9]]),  # the median of |D| is 2, and below 1
        (0.75, np.inf, [[2 / 3, -1.0, 1 / 3, 1.0, 0.0], [0.2, -0.1, 0.3, 0.4, -0.9]]),
        (0.75, 2.0, [[1.0, -1.0, 0.5, 1.0, 0.0], [0.2, -0.1, 0.3, 0.4, -0.9]]),
        (0.75, 1.0, [[1.0, -1.0, 1.0, 1.0, 0.0], [0.2, -0.1, 0.3, 0.4, -0.9]]),
    ],
)
def test_thresholds_by_hand(quantile, largest, expected):
    x_0 = jnp.array([[2.0, -3.0, 1.0, 4.0, 0.0], [0.2, -0.1, 0.3, 0.4, -0.9]])
    denoise = guidance.thresholded(lambda x, t: x_0, quantile=quantile, largest=largest)
    np.testing.assert_allclose(jax.jit(denoise)(x_0, jnp.zeros(2)), expected, rtol=1e-6)
