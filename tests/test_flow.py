"""Normalising flows: every layer and chain beside its Jacobian, its inverse, and densities that are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from gen_jax.fields import PIXELS, REAL, Field, images
from gen_jax.models.flow import GlowConfig, MAFConfig, RealNVPConfig, SplineFlowConfig
from gen_jax.networks.flow import Conditioner
from gen_jax.nn import splines
from gen_jax.nn.bijections import (
    ActNorm,
    Autoregressive,
    Chain,
    Coupling,
    Deeper,
    Linear,
    Logit,
    Squeeze,
    alternating,
    halves,
)
from gen_jax.nn.functional import network
from gen_jax.nn.transforms import AFFINE, spline
from tests.tiers import mostly_slow

SHAPE = (2, 4, 2)
SPLINE = spline(bins=5, bound=2.0)


def coupling(rngs, shape, mask, parity, transform):
    told = Conditioner(shape, transform.parameters, width=6, rngs=rngs)
    return Coupling(shape, functools.partial(mask, parity=parity), transform, told)


def deeper(rngs):
    inside = (1, 2, 4)
    after = Chain([Linear((1, 2, 8), rngs=rngs), coupling(rngs, (1, 2, 8), halves, 1, AFFINE)])
    return Deeper(Squeeze((2, 2)), after, Chain([ActNorm(inside), coupling(rngs, inside, alternating, 0, SPLINE)]))


LAYERS = {
    "chessboard": lambda rngs: coupling(rngs, SHAPE, alternating, 0, AFFINE),
    "channels": lambda rngs: coupling(rngs, SHAPE, halves, 1, AFFINE),
    "spline": lambda rngs: coupling(rngs, SHAPE, halves, 0, SPLINE),
    "autoregressive": lambda rngs: Autoregressive(SHAPE, (20, 12), AFFINE, rngs=rngs),
    "backwards": lambda rngs: Autoregressive(SHAPE, (20,), SPLINE, backwards=True, rngs=rngs),
    "norm": lambda rngs: ActNorm(SHAPE),
    "linear": lambda rngs: Linear(SHAPE, rngs=rngs),
    "deeper": deeper,
}


def built(names, seed=0, dtype=jnp.float32):
    """A chain of these layers with random parameters, its parameters and buffers, and two points."""
    net = network(lambda rngs: Chain([LAYERS[name](rngs) for name in names]))
    params, buffers = net.init(jax.random.key(seed))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    # No layer stays what it begins as; the weights of a layer of n inputs stay of the size 1 / sqrt(n).
    moved = [leaf + rng.normal(0, 0.3 / np.sqrt(max(leaf.shape[0], 1)), leaf.shape) for leaf in leaves]
    params, buffers = (jax.tree.map(lambda x: jnp.asarray(x, dtype), t) for t in (tree.unflatten(moved), buffers))
    return net, params, buffers, jnp.asarray(rng.normal(0, 1, (2, *SHAPE)), dtype)


def both_ways(net, params, buffers, x):
    """f(x), its log-determinants, the Jacobians of f and the inverse of f(x)."""

    def one(x):
        return net.apply(params, buffers, x[None], method=Chain.forward)[0][0][0]

    y, log_determinant = net.apply(params, buffers, x, method=Chain.forward)[0]
    jacobian = jax.vmap(jax.jacfwd(one))(x).reshape(len(x), x[0].size, x[0].size)
    return y, log_determinant, jacobian, net.apply(params, buffers, y, method=Chain.inverse)[0]


ORDERS = np.random.default_rng(0)
ALONE = [(name,) for name in LAYERS]
MIXED = [tuple(map(str, ORDERS.permutation(list(LAYERS))[:4])) for _ in range(4)]


@pytest.mark.parametrize("names", mostly_slow([*ALONE, *MIXED], *ALONE, MIXED[0]), ids="-".join)
def test_the_log_determinant_is_that_of_the_jacobian_and_the_inverse_finds_back(names):
    with jax.enable_x64(True):
        net, params, buffers, x = built(names, seed=len(names), dtype=jnp.float64)
        y, log_determinant, jacobian, back = jax.jit(functools.partial(both_ways, net))(params, buffers, x)
        assert np.abs(y - x).max() > 1e-2
        np.testing.assert_allclose(log_determinant, np.linalg.slogdet(jacobian)[1], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(back, x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("names", mostly_slow(MIXED, MIXED[1]), ids="-".join)
def test_in_single_precision_the_inverse_finds_back_to_a_ten_thousandth(names):
    net, params, buffers, x = built(names, seed=1)

    def there_and_back(x):
        y, _ = net.apply(params, buffers, x, method=Chain.forward)[0]
        return net.apply(params, buffers, y, method=Chain.inverse)[0]

    np.testing.assert_allclose(jax.jit(there_and_back)(x), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "backwards"), [("autoregressive", False), ("backwards", True)])
def test_autoregressive_jacobians_are_triangular(name, backwards):
    net, params, buffers, x = built([name])
    _, _, jacobian, _ = jax.jit(functools.partial(both_ways, net))(params, buffers, x[:1])
    ordered = np.asarray(jacobian[0])[:: -1 if backwards else 1, :: -1 if backwards else 1]
    assert np.abs(np.triu(ordered, 1)).max() == 0
    assert (np.diagonal(ordered) > 0).all() and (np.tril(ordered, -1)[-1, :-1] != 0).all()


def test_splines_are_smooth_increasing_and_the_identity_outside():
    with jax.enable_x64(True):
        raw = jnp.asarray(np.random.default_rng(0).normal(0, 2, SPLINE.parameters))
        x = jnp.linspace(-3.0, 3.0, 60_001)
        everywhere = jnp.broadcast_to(raw, (len(x), len(raw)))
        y, log_derivative = splines.forward(x, everywhere, 2.0)
        outside = np.abs(x) >= 2
        np.testing.assert_array_equal(y[outside], x[outside])
        np.testing.assert_array_equal(log_derivative[outside], 0)
        assert (np.diff(y) > 0).all()
        derivative = np.exp(log_derivative)
        np.testing.assert_allclose(np.gradient(y, x)[1:-1], derivative[1:-1], rtol=0.02)
        # Continuous at knots, ends and everywhere: no two neighbours differ by more than a step's worth of curvature.
        assert np.abs(np.diff(derivative)).max() < 0.02 * derivative.max()
        np.testing.assert_allclose(splines.inverse(y, everywhere, 2.0), x, atol=1e-9)
        still, _ = splines.forward(x, jnp.zeros_like(everywhere), 2.0)
        np.testing.assert_allclose(still, x, atol=1e-12)


def test_a_linear_map_begins_as_a_rotation_and_a_normalisation_at_the_data():
    net = network(lambda rngs: Chain([ActNorm((3, 3, 5)), Linear((3, 3, 5), rngs=rngs)]))
    params, buffers = net.init(jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(0).normal([1, 2, 3, 4, 5], [1, 2, 0.5, 3, 1], (8, 3, 3, 5)), jnp.float32)
    y, log_determinant = net.apply(params, buffers, x, method=Chain.forward)[0]
    np.testing.assert_allclose(log_determinant, 0, atol=1e-5)
    np.testing.assert_allclose((y**2).sum(-1), (x**2).sum(-1), rtol=1e-4)
    started, _ = net.apply(params, buffers, x, method=Chain.started)
    normal, _ = network(lambda rngs: Chain([ActNorm((3, 3, 5))])).apply(
        {"layers": {"0": started["layers"]["0"]}}, {"layers": {"0": {}}}, x, method=Chain.forward
    )[0]
    np.testing.assert_allclose(normal.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std((0, 1, 2)), 1, rtol=1e-5)


def test_a_squeeze_takes_the_pixels_of_a_block_in_reading_order():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    y, _ = Squeeze((2, 2)).forward(x)
    np.testing.assert_array_equal(y[0, 0, 1], [2, 3, 6, 7])
    np.testing.assert_array_equal(Squeeze((2, 2)).inverse(y), x)


def test_logits_beside_their_derivative():
    with jax.enable_x64(True):
        layer = Logit(1 + 1 / 255)
        x = jnp.linspace(-1.0, 1.0, 21)[:, None]
        y, log_determinant = layer.forward(x)
        slope = jax.vmap(jax.grad(lambda x: layer.forward(x[None, None])[0][0, 0]))(x[:, 0])
        np.testing.assert_allclose(log_determinant, np.log(slope), rtol=1e-9)
        np.testing.assert_allclose(layer.inverse(y), x, atol=1e-12)


POINTS = {"point": Field((2,), REAL)}
FLOWS = {
    "real_nvp": RealNVPConfig(levels=1, depth=2, width=8),
    "glow": GlowConfig(levels=2, depth=1, width=8),
    "maf": MAFConfig(layers=2, hidden=(8,)),
    "spline": SplineFlowConfig(levels=1, depth=2, width=8, bins=4),
}


@pytest.mark.parametrize("name", mostly_slow(FLOWS, "maf", "spline"))
def test_densities_of_the_plane_integrate_to_one(name):
    model = FLOWS[name].build(POINTS)
    rng = np.random.default_rng(1)
    params, buffers = model.init(jax.random.key(0), {"point": jnp.asarray(rng.normal(size=(64, 2)), jnp.float32)})
    params = jax.tree.map(lambda p: p + jnp.asarray(rng.normal(0, 0.1, p.shape), jnp.float32), params)
    axis = (np.arange(600) + 0.5) / 600 * 24 - 12
    plane = {"point": jnp.asarray(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2), jnp.float32)}
    log_prob = jax.jit(model.log_prob)(params, buffers, jax.random.key(0), plane)
    np.testing.assert_allclose(np.exp(np.asarray(log_prob, np.float64)).sum() * (24 / 600) ** 2, 1, atol=2e-3)
    assert model.log_prob_kind == "exact"


def test_a_linear_flow_is_a_gaussian_and_finds_that_of_its_data():
    """Fitted, its likelihood is the entropy of the Gaussian of the data's mean and covariance."""
    net = network(lambda rngs: Chain([ActNorm((3,)), Linear((3,), rngs=rngs)]))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + [1.0, -2.0, 0.5]
    x = jnp.asarray(x, jnp.float32)
    params, buffers = net.init(jax.random.key(0))
    params, _ = net.apply(params, buffers, x, method=Chain.started)

    def loss(params):
        z, log_determinant = net.apply(params, buffers, x, method=Chain.forward)[0]
        return -(stats_of_normal(z) + log_determinant).mean()

    def stats_of_normal(z):
        return -0.5 * (z**2 + np.log(2 * np.pi)).sum(-1)

    def step(params, _):
        value, gradient = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), value

    fitted, values = jax.jit(lambda p: jax.lax.scan(step, p, length=1000))(params)
    gaussian = stats.multivariate_normal(np.mean(x, 0), np.cov(x.T, bias=True))
    expected = -gaussian.logpdf(x).mean()
    assert values[0] > expected + 0.1
    np.testing.assert_allclose(loss(fitted), expected, atol=1e-3)


SIDES = [(4, 6, 1), (5, 4, 3), (5, 3, 1), (2, 4, 4, 1)]
FOUND = [(name, shape) for name in FLOWS for shape in SIDES]


@pytest.mark.parametrize("case", mostly_slow(FOUND, ("glow", (5, 4, 3)), ("maf", (5, 3, 1))), ids=str)
def test_images_and_videos_of_any_sides_are_found_back(case):
    name, shape = case
    field = images(shape) if len(shape) == 3 else {"image": Field(shape, PIXELS)}
    model = FLOWS[name].build(field)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, *shape)) / 127.5 - 1, jnp.float32)

    @jax.jit
    def there_and_back(x):
        params, buffers = model.init(jax.random.key(0), {"image": x})
        z, _ = model.encode(params, buffers, x)
        return z, model.decode(params, buffers, z)

    z, back = there_and_back(x)
    assert z.shape == x.shape
    np.testing.assert_allclose(back, x, atol=1e-4)
    assert model.log_prob_kind == "lower bound"


def test_layers_hold_no_state_of_their_own():
    for make in LAYERS.values():
        rest = nnx.state(make(nnx.Rngs(0)), nnx.Not(nnx.Any(nnx.Param, nnx.BatchStat)))
        assert not jax.tree.leaves(rest)
