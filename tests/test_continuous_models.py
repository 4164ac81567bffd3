"""Score SDE, EDM and flow matching: their losses, samplers and likelihoods on data whose denoiser is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from scipy import stats

from gen_jax import distributions
from gen_jax.diffusion import training
from gen_jax.diffusion.precondition import Inputs
from gen_jax.diffusion.process import X0
from gen_jax.fields import images
from gen_jax.models import edm, flow_matching, score_sde
from gen_jax.models.edm import EDMConfig
from gen_jax.models.flow_matching import FlowMatchingConfig
from gen_jax.models.score_sde import ScoreSDEConfig
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Network
from tests.tiers import mostly_slow

SHAPE = (8, 8, 1)
MEAN, SPREAD = 0.2, 0.3
MODELS = {
    "vp": ScoreSDEConfig(path="vp"),
    "sub_vp": ScoreSDEConfig(path="sub_vp"),
    "ve": ScoreSDEConfig(path="ve"),
    "edm": EDMConfig(),
    "flow": FlowMatchingConfig(),
}
SAMPLED = {
    "vp": (ScoreSDEConfig(path="vp"), 200),
    "sub_vp": (ScoreSDEConfig(path="sub_vp", sampler="euler_maruyama"), 200),
    "ve": (ScoreSDEConfig(path="ve", corrections=1, ratio=0.1, sampling_steps=300), 600),
    "flow_of_vp": (ScoreSDEConfig(path="vp", sampler="probability_flow", sampling_steps=40), 80),
    "flow_of_ve": (ScoreSDEConfig(path="ve", sampler="probability_flow", sampling_steps=40), 80),
    "edm": (EDMConfig(sampling_steps=40), 79),
    "edm_churned": (EDMConfig(sampling_steps=60, churn=20.0), 119),
    "edm_2m": (EDMConfig(sampler="dpm_solver_2m", sampling_steps=60), 60),
    "edm_ddim": (EDMConfig(sampler="ddim", sampling_steps=200), 200),
    "euler": (FlowMatchingConfig(sampling_steps=100), 100),
    "midpoint": (FlowMatchingConfig(rule="midpoint", sampling_steps=20), 40),
}


def with_network(model, apply, params=None):
    """A model whose network is ``apply(params, seen, label)``."""

    def run(params, buffers, x, t, label=None, **_):
        return apply(params, x, t), buffers

    params = {} if params is None else params
    model = dataclasses.replace(model, network=Network(lambda key: (params, {}), run))
    return model, {"denoiser": params}, {"denoiser": {}}


def with_denoiser(model, denoise):
    """A model whose network is the denoiser itself, ``denoise(process, x_t, t)``."""
    plain = Inputs(lambda process, t: jnp.ones(()), lambda process, t: t)
    model = dataclasses.replace(model, inputs=plain, prediction=X0)
    return with_network(model, lambda params, x, t: denoise(model.process, x, t))


def normal(process, x, t, mean=MEAN, spread=SPREAD):
    alpha, sigma = process.at(t, x)
    return (mean * sigma**2 + alpha * spread**2 * x) / (alpha**2 * spread**2 + sigma**2)


@pytest.mark.parametrize("name", MODELS)
def test_loss_of_a_network_that_says_zero(name):
    """1 for eps; 1 for EDM where the data have the variance it is made for; 1 + E x^2 for a velocity."""
    model, *state = with_network(MODELS[name].build(images(SHAPE)), lambda params, x, t: jnp.zeros_like(x))
    x = 0.5 * jax.random.normal(jax.random.key(0), (256, *SHAPE))
    x = (x - x.mean()) / x.std() * 0.5
    loss = jax.jit(jax.vmap(lambda key: model.loss(*state, {"image": x}, key, step=0, ema=None)[0]))
    expected = 1.25 if name == "flow" else 1.0
    np.testing.assert_allclose(loss(jax.random.split(jax.random.key(1), 8)).mean(), expected, rtol=0.01)


@pytest.mark.parametrize("name", mostly_slow(MODELS, "edm"))
def test_the_best_affine_network_is_the_exact_denoiser_of_normal_data(name):
    """At any one time; a quadratic loss is minimised by one step of Newton's."""
    model = MODELS[name].build(images(SHAPE))
    affine, *_ = with_network(model, lambda params, x, t: params[0] * x + params[1])
    x = MEAN + SPREAD * jax.random.normal(jax.random.key(2), (4000, *SHAPE))
    for time in (0.05, 0.3, 0.9):
        still = dataclasses.replace(affine, law=lambda u, time=time: jnp.full_like(u, time))

        def loss(params, still=still):
            key = jax.random.key(3)
            return still.loss({"denoiser": params}, {"denoiser": {}}, {"image": x}, key, step=0, ema=None)[0]

        zero = jnp.zeros(2)
        best = -jnp.linalg.solve(jax.jit(jax.hessian(loss))(zero), jax.jit(jax.grad(loss))(zero))
        x_t, t = jnp.linspace(-1, 1, 5)[:, None, None, None] * jnp.ones((5, *SHAPE)), jnp.full(5, time)
        got = still.denoise({"denoiser": best}, {"denoiser": {}}, x_t, t)
        np.testing.assert_allclose(got, normal(model.process, x_t, t), atol=0.01)


@pytest.mark.parametrize("name", mostly_slow(SAMPLED, "ve", "flow_of_vp"))
def test_every_sampler_reaches_the_law_of_the_data(name):
    configuration, evaluations = SAMPLED[name]
    model, *state = with_denoiser(configuration.build(images(SHAPE)), normal)
    x = np.asarray(jax.jit(model.sample, static_argnums=3)(*state, jax.random.key(0), 64))
    assert model.network_evaluations == evaluations
    law = stats.norm(MEAN, SPREAD)  # clipped to [-1, 1], which is 0.4 % of it
    assert stats.kstest(x.ravel(), law.cdf).statistic < 0.03
    np.testing.assert_allclose([x.mean(), x.std()], [MEAN, SPREAD], atol=0.02)


@pytest.mark.parametrize("name", mostly_slow(MODELS, "flow"))
def test_log_probabilities_of_normal_data_are_exact(name):
    """Of the dequantised image, pixels being independent, so that probes are exact."""
    configuration = dataclasses.replace(MODELS[name], probes=2)
    with jax.enable_x64(True):
        model, *state = with_denoiser(configuration.build(images((4, 4, 1))), normal)
        levels = np.random.default_rng(0).integers(80, 220, (8, 4, 4, 1)) / 127.5 - 1
        batch, key = {"image": jnp.asarray(levels)}, jax.random.key(0)
        got = jax.jit(model.evidence)(*state, key, batch)
        seen = distributions.dequantise(jax.random.split(key)[0], batch["image"])
    spread = np.hypot(SPREAD, 0.01 if name == "ve" else 0.0)  # images are taken for those at VE's least noise
    expected = stats.norm(MEAN, spread).logpdf(seen).sum((1, 2, 3)) + 16 * np.log(distributions.LEVEL)
    assert model.log_prob_kind == "estimate"
    np.testing.assert_allclose(got.standard_error, 0.0, atol=1e-3)
    np.testing.assert_allclose(got.log_prob, expected, atol=0.05)  # nats of 16 pixels; the start's law is not exact
    np.testing.assert_allclose(model.log_prob(*state, key, batch), got.log_prob, rtol=1e-3)


@pytest.mark.slow
def test_uniform_grey_levels_take_eight_bits():
    """Under the exact denoiser of their dequantised law: a normal distribution cut at the edges."""
    edge = 1 + distributions.LEVEL / 2

    def uniform(process, x, t):
        spread = jnp.minimum(process.sigma(t)[:, None, None, None], 20.0)  # beyond, all is noise
        a, b = (-edge - x) / spread, (edge - x) / spread
        inside = jnp.maximum(norm.cdf(b) - norm.cdf(a), 1e-30)
        return jnp.clip(x + spread * (norm.pdf(a) - norm.pdf(b)) / inside, -edge, edge)

    with jax.enable_x64(True):
        model, *state = with_denoiser(EDMConfig(largest_noise=20.0).build(images((4, 4, 1))), uniform)
        levels = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 1)) / 127.5 - 1
        got = jax.jit(model.log_prob)(*state, jax.random.key(0), {"image": jnp.asarray(levels)})
    np.testing.assert_allclose(distributions.bits_per_dim(got, (4, 4, 1)).mean(), 8.0, atol=0.05)


@pytest.mark.slow
def test_objectives_of_the_likelihood_agree():
    """Averaged over their times, both are the same integral; that of importance with less variance."""
    batch = {"image": MEAN + SPREAD * jax.random.normal(jax.random.key(0), (64, *SHAPE))}
    found = {}
    for objective in ("likelihood", "importance"):
        configuration = dataclasses.replace(MODELS["vp"], objective=objective)
        zero, *state = with_network(configuration.build(images(SHAPE)), lambda params, x, t: jnp.zeros_like(x))
        loss = jax.vmap(lambda key, m=zero, s=state: m.loss(*s, batch, key, step=0, ema=None)[0])
        found[objective] = np.asarray(jax.jit(loss)(jax.random.split(jax.random.key(1), 2000)))
    # of a network that says zero: the integral of g^2 / sigma^2 = d log r^2 / dt, which is 2 log(r_1 / r_0)
    process = MODELS["vp"].build(images(SHAPE)).process
    r = [float(process.sigma(t) / process.alpha(t)) for t in (jnp.array(1e-5), jnp.array(1.0))]
    exact = 2 * np.log(r[1] / r[0]) / (1 - 1e-5)
    np.testing.assert_allclose(found["importance"].mean(), exact, rtol=0.005)
    assert abs(found["likelihood"].mean() - exact) < 5 * found["likelihood"].std() / np.sqrt(2000)
    assert found["importance"].std() < 0.2 * found["likelihood"].std()


def test_times_may_prefer_the_middle():
    middle = dataclasses.replace(MODELS["flow"], times="logit_normal").build(images(SHAPE))
    t = middle.law(training.spread(jax.random.key(0), 1000))
    assert t.min() > 0 and t.max() < 1 and np.mean((t > 0.25) & (t < 0.75)) > 0.7


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (lambda: EDMConfig(least_noise=0.0), "least_noise: expected above 0"),
        (lambda: EDMConfig(net=Denoiser("vdm")), "expected a network of 'unet', .*, got 'vdm'"),
        (lambda: ScoreSDEConfig(corrections=-1), "corrections: expected 0 or more"),
        (lambda: ScoreSDEConfig(path="ve", least_noise=60.0), "least_noise: expected less than largest_noise"),
        (lambda: FlowMatchingConfig(sampling_steps=0), "sampling_steps: expected 1 to 100000"),
        (lambda: FlowMatchingConfig(conditional=True), "labelled data"),
    ],
)
def test_what_cannot_be_built_is_refused(configuration, message):
    with pytest.raises(ValueError, match=message):
        configuration().build(images(SHAPE))


def test_references_have_the_papers_evaluations():
    shape = (32, 32, 3)
    counts = [m.REFERENCE.build(images(shape)).network_evaluations for m in (score_sde, edm)]
    assert [*counts, score_sde.EXPLODING.build(images(shape)).network_evaluations] == [1000, 35, 2000]
    assert flow_matching.SMALL.build(images((28, 28, 1), 10)).classes == 0
