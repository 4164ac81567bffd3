"""The Gaussian mixture against scikit-learn, scipy, and closed forms."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from gen_jax import data, distributions, fields
from gen_jax.models import gmm
from gen_jax.train import ema, step

KINDS = ("full", "diagonal")
em_step = jax.jit(gmm.em_step)
initial_mixture = jax.jit(gmm.initial_mixture, static_argnums=(2, 3))
sample = jax.jit(gmm.sample, static_argnums=2)


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def points(n=300, width=4, seed=0):
    """Three overlapping clusters."""
    g = np.random.default_rng(seed)
    centres = 2 * g.normal(size=(3, width))
    return np.concatenate([g.normal(size=(n // 3, width)) @ g.normal(size=(width, width)) + c for c in centres])


def some_mixture(kind, components=3, width=4, seed=0):
    g = np.random.default_rng(seed)
    roots = g.normal(size=(components, width, width)) + 2 * np.eye(width)
    covariances = roots @ roots.transpose(0, 2, 1)
    if kind == "diagonal":
        covariances = np.stack([np.diag(c) for c in covariances])
    weights = g.dirichlet(np.full(components, 3.0))
    arrays = {"weights": weights, "means": 3 * g.normal(size=(components, width)), "covariances": covariances}
    return {name: jnp.asarray(values) for name, values in arrays.items()}


def matrices(mixture):
    covariances = np.asarray(mixture["covariances"])
    return covariances if covariances.ndim == 3 else np.stack([np.diag(c) for c in covariances])


def oracle(mixture, kind, steps, regularisation):
    """scikit-learn's mixture, at the same point."""
    inverse = np.linalg.inv(matrices(mixture))
    precisions = inverse if kind == "full" else np.stack([np.diag(c) for c in inverse])
    return GaussianMixture(
        len(mixture["weights"]),
        covariance_type="full" if kind == "full" else "diag",
        tol=0.0,
        reg_covar=regularisation,
        max_iter=steps,
        weights_init=np.asarray(mixture["weights"]),
        means_init=np.asarray(mixture["means"]),
        precisions_init=precisions,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("regularisation", [1e-6, 0.1])
@pytest.mark.parametrize("steps", [1, 30])
def test_em_equals_scikit_learns_from_the_same_start(kind, regularisation, steps):
    x = points()
    mixture = some_mixture(kind)
    theirs = oracle(mixture, kind, steps, regularisation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged, as it was told
        theirs.fit(x)
    for _ in range(steps):
        mixture, _ = em_step(mixture, x, regularisation)
    np.testing.assert_allclose(mixture["weights"], theirs.weights_, rtol=1e-6)
    np.testing.assert_allclose(mixture["means"], theirs.means_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(mixture["covariances"], theirs.covariances_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gmm.log_likelihood(mixture, x), theirs.score_samples(x), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_em_in_float32_stays_with_float64(kind):
    x = points() + 100.0  # an offset that E x^2 - m^2 would not survive
    start = initial_mixture(jax.random.key(0), jnp.asarray(x), 3, kind, 1e-3)
    exact = start
    rough = jax.tree.map(lambda a: a.astype(jnp.float32), start)
    for _ in range(5):
        exact, _ = em_step(exact, x, 1e-3)
        rough, _ = em_step(rough, jnp.asarray(x, jnp.float32), jnp.float32(1e-3))
    assert rough["means"].dtype == jnp.float32
    np.testing.assert_allclose(rough["covariances"], exact["covariances"], rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(rough["means"], exact["means"], rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_em_never_lowers_the_likelihood(kind, seed):
    x = jnp.asarray(points(seed=seed))
    mixture = initial_mixture(jax.random.key(seed), x, 4, kind, 0.0)
    means = []
    for _ in range(40):
        mixture, evidence = em_step(mixture, x, 0.0)
        means.append(float(evidence.mean()))
    assert np.diff(means).min() > -1e-9 and means[-1] > means[0] + 1e-3
    np.testing.assert_allclose(mixture["weights"].sum(), 1)


def test_one_full_gaussian_is_the_maximum_of_the_likelihood():
    x = points()
    mixture, _ = em_step(some_mixture("full", 1), x, 0.25)
    np.testing.assert_allclose(mixture["means"][0], x.mean(0))
    np.testing.assert_allclose(mixture["covariances"][0], np.cov(x, rowvar=False, ddof=0) + 0.25 * np.eye(4))
    np.testing.assert_allclose(mixture["weights"], [1.0])
    mixture, _ = em_step(some_mixture("diagonal", 1), x, 0.25)
    np.testing.assert_allclose(mixture["covariances"][0], x.var(0) + 0.25)


@pytest.mark.parametrize("kind", KINDS)
def test_density_is_that_of_scipy(kind):
    mixture = some_mixture(kind)
    x = points(30)
    densities = [
        weight * scipy.stats.multivariate_normal(mean, covariance).pdf(x)
        for weight, mean, covariance in zip(mixture["weights"], mixture["means"], matrices(mixture), strict=True)
    ]
    np.testing.assert_allclose(gmm.log_likelihood(mixture, x), np.log(sum(densities)), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_density_integrates_to_one(kind):
    mixture = some_mixture(kind, width=2)
    axis = np.linspace(-40, 40, 801)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    mass = np.exp(gmm.log_likelihood(mixture, grid)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_moments_of_the_mixture(kind):
    mixture = some_mixture(kind)
    n = 20000
    x = np.asarray(sample(mixture, jax.random.key(0), n))
    weights, means = np.asarray(mixture["weights"]), np.asarray(mixture["means"])
    mean = weights @ means
    between = (means - mean).T * weights @ (means - mean)
    covariance = np.tensordot(weights, matrices(mixture), 1) + between
    assert np.abs(x.mean(0) - mean).max() < 5 * np.sqrt(np.diag(covariance).max() / n)
    np.testing.assert_allclose(np.cov(x, rowvar=False), covariance, atol=0.05 * np.diag(covariance).max())
    # The mean log-likelihood of its own draws is minus the entropy, which lies within these bounds.
    entropy = -float(gmm.log_likelihood(mixture, x).mean())
    parts = [scipy.stats.multivariate_normal(m, c).entropy() for m, c in zip(means, matrices(mixture), strict=True)]
    inside = weights @ parts
    assert inside - 0.1 < entropy < inside - weights @ np.log(weights) + 0.1


def test_draws_do_not_depend_on_their_number():
    mixture = some_mixture("full")
    key = jax.random.key(3)
    np.testing.assert_allclose(sample(mixture, key, 8)[:4], sample(mixture, key, 4), rtol=1e-12)


def test_k_means_plus_plus_draws_rows_by_squared_distance():
    x = jnp.asarray([[0.0], [1.0], [3.0]])
    draw = jax.jit(jax.vmap(functools.partial(gmm.k_means_plus_plus, x=x, components=2)))
    centres = np.asarray(draw(jax.random.split(jax.random.key(0), 6000)))[..., 0]
    counts = np.array([[np.sum((centres == (a, b)).all(1)) for b in (0, 1, 3)] for a in (0, 1, 3)]) / 6000
    expected = np.array([[0, 1 / 10, 9 / 10], [1 / 5, 0, 4 / 5], [9 / 13, 4 / 13, 0]]) / 3
    np.testing.assert_allclose(counts, expected, atol=5 * np.sqrt(0.25 / 6000))


def test_k_means_plus_plus_finds_clusters_far_apart_and_survives_copies():
    g = np.random.default_rng(0)
    x = jnp.asarray(np.repeat(1000 * np.eye(5), 20, axis=0) + g.normal(size=(100, 5)))
    draw = jax.jit(gmm.k_means_plus_plus, static_argnums=2)
    for seed in range(5):
        assert sorted(np.asarray(draw(jax.random.key(seed), x, 5)).argmax(1)) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(draw(jax.random.key(0), jnp.ones((10, 3)), 4), np.ones((4, 3)))


def test_k_means_equals_scikit_learns_from_the_same_start():
    x = points()
    centres = x[[0, 100, 200, 250]]
    theirs = KMeans(4, init=centres, n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(x)
    ours = jax.jit(gmm.k_means, static_argnums=2)(x, centres, 300)
    np.testing.assert_allclose(ours, theirs.cluster_centers_, rtol=1e-9)
    far = np.concatenate([x, x[:1]]) + 0.0
    lonely = np.concatenate([centres, np.full((1, 4), 1e6)])  # nearest to nothing: it stays
    np.testing.assert_array_equal(gmm.k_means(far, jnp.asarray(lonely), 3)[4], lonely[4])


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_the_statistics_of_the_nearest_rows(kind):
    g = np.random.default_rng(0)
    clusters = [g.normal(size=(n, 3)) + 100 * i for i, n in enumerate((10, 20, 30))]
    mixture = initial_mixture(jax.random.key(0), jnp.asarray(np.concatenate(clusters)), 3, kind, 0.5)
    order = np.argsort(mixture["means"][:, 0])
    np.testing.assert_allclose(mixture["weights"][order], np.array([10, 20, 30]) / 60)
    for found, cluster in zip(matrices(mixture)[order], clusters, strict=True):
        expected = np.cov(cluster, rowvar=False, ddof=0) + 0.5 * np.eye(3)
        np.testing.assert_allclose(found, expected if kind == "full" else np.diag(np.diag(expected)), atol=1e-9)


# The game, in the precision it is played in


@pytest.fixture(scope="module")
def images():
    source = data.load("digits")
    with jax.enable_x64(False):
        return data.prepare({"image": jnp.asarray(source.image(np.arange(400)))})


def built(kind, components=3, **options):
    return gmm.GMMConfig(components=components, covariance=kind, **options).build(fields.images((8, 8, 1), 10))


@pytest.mark.parametrize("kind", KINDS)
def test_a_turn_is_one_step_of_em_on_dequantised_images(kind, images):
    with jax.enable_x64(False):
        model = built(kind)
        params, buffers = jax.jit(model.init)(jax.random.key(0), images)
        assert params == {"mixture": {}}
        key = jax.random.key(1)
        (turn,) = model.turns
        loss, aux = jax.jit(turn.loss)(params, buffers, images, key, step=0, ema={})
        x = distributions.dequantise(key, images["image"]).reshape(400, 64)
        mixture, evidence = em_step(buffers["mixture"], x, model.regularisation)
        for name, values in mixture.items():
            np.testing.assert_allclose(aux.buffers["mixture"][name], values, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(loss, -(evidence.mean() + 64 * np.log(2 / 255)), rtol=1e-5)
        log_prob = model.log_prob(params, buffers, key, images)
        np.testing.assert_allclose(log_prob.mean(), -loss, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_mass_of_images_is_that_of_scipy(kind, images):
    with jax.enable_x64(False):
        model = built(kind)
        params, buffers = jax.jit(model.init)(jax.random.key(0), images)
        key = jax.random.key(2)
        found = jax.jit(model.log_prob)(params, buffers, key, images)
        x = np.asarray(distributions.dequantise(key, images["image"]), np.float64).reshape(400, 64)
        mixture = jax.tree.map(lambda a: np.asarray(a, np.float64), buffers["mixture"])
        parts = zip(mixture["weights"], mixture["means"], matrices(mixture), strict=True)
        joint = [np.log(w) + scipy.stats.multivariate_normal(m, c).logpdf(x) for w, m, c in parts]
        expected = scipy.special.logsumexp(joint, axis=0) + 64 * np.log(2 / 255)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=0.05)


def test_training_is_as_good_as_scikit_learns_on_held_out_digits():
    """Through the train step of the library, with a player who has no parameters."""
    with jax.enable_x64(False):
        train, test = data.load("digits"), data.load("digits", split="test")
        images = data.prepare({"image": jnp.asarray(train.image(np.arange(train.size)))})
        held_out = data.prepare({"image": jnp.asarray(test.image(np.arange(test.size)))})
        model = gmm.GMMConfig(covariance="diagonal", lloyd_steps=3).build(fields.images((8, 8, 1), 10))
        recipes = {"mixture": optax.identity()}
        make = functools.partial(step.init_state, model.init, model.turns, recipes)
        state = jax.jit(make)(jax.random.key(0), images)
        steps = step.make_step(model.turns, recipes, ema.Average())
        losses = []
        for _ in range(30):
            state, report = steps.one(state, images, due=(0,))
            losses.append(float(report.vital["mixture/negative_log_likelihood"]))
        assert losses[-1] < losses[0] - 1 and np.diff(losses).max() < 0.1  # fresh noise may cost a little
        log_prob = model.log_prob(state.params, state.buffers, jax.random.key(2), held_out)
        sampled = model.sample(state.params, state.buffers, jax.random.key(1), 6)
    assert sampled.shape == (6, 8, 8, 1) and sampled.dtype == jnp.float32 and np.abs(sampled).max() <= 1
    theirs = GaussianMixture(10, covariance_type="diag", reg_covar=1e-3, random_state=0)
    theirs.fit(np.asarray(images["image"], np.float64).reshape(-1, 64))
    their_score = theirs.score(np.asarray(held_out["image"], np.float64).reshape(-1, 64)) + 64 * np.log(2 / 255)
    assert log_prob.mean() > their_score - 3  # nats: local optima from other starts differ by as much


def test_free_parameters_and_refusals(images):
    assert built("full", 3).free_parameters == 3 * (64 + 64 * 65 // 2) + 2
    assert built("diagonal", 3).free_parameters == 3 * (64 + 64) + 2
    with pytest.raises(ValueError, match="batch of 400"):
        built("diagonal", 401).init(jax.random.key(0), images)
    with pytest.raises(ValueError, match=r"\(8, 8, 1\)"):
        gmm.GMMConfig().build(fields.images((12, 12, 1))).init(jax.random.key(0), images)
    for wrong in ({"components": 0}, {"regularisation": -1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
            gmm.GMMConfig(**wrong)
