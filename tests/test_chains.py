"""Inference in chains against the sum over all paths, and against the gradients of log Z."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from gen_jax import chains

WAYS = {
    "scan": (chains.forward, chains.backward),
    "associative": (chains.forward_associative, chains.backward_associative),
}
ways = pytest.mark.parametrize("way", WAYS)
lengths = pytest.mark.parametrize("length", [6, 4, 1])
smooth, viterbi = jax.jit(chains.smooth), jax.jit(chains.viterbi)


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def some_chain(states=3, steps=6, length=6, seed=0, impossible=False):
    """Factors that are no probabilities: nothing says that they should be."""
    g = np.random.default_rng(seed)
    parts = [g.normal(size=states), g.normal(size=(states, states)), 2 * g.normal(size=(steps, states))]
    if impossible:
        parts[0][1] = parts[1][0, 2] = parts[1][2, 1] = parts[2][2, 0] = -np.inf
    return chains.Chain(*map(jnp.asarray, parts), length)


def all_paths(chain):
    """Every path of the real steps and log p(z, x) of each, by (1)."""
    start, transition, emission = (np.asarray(part) for part in chain[:3])
    paths = np.array(list(itertools.product(range(len(start)), repeat=int(chain.length))))
    joint = start[paths[:, 0]] + emission[np.arange(paths.shape[1]), paths].sum(1)
    return paths, joint + transition[paths[:, :-1], paths[:, 1:]].sum(1)


@functools.cache
def both(way):
    forward, backward = WAYS[way]

    def run(chain):
        filtered, evidence = forward(chain)
        later = backward(chain)
        return filtered, evidence, chains.posteriors(chain, filtered, later), chains.pairs(chain, filtered, later)

    return jax.jit(run)


@ways
@lengths
@pytest.mark.parametrize("impossible", [False, True])
def test_evidence_and_posteriors_are_sums_over_all_paths(way, length, impossible):
    chain = some_chain(length=length, impossible=impossible)
    paths, joint = all_paths(chain)
    filtered, evidence, posteriors, pairs = both(way)(chain)
    np.testing.assert_allclose(evidence, logsumexp(joint), rtol=1e-12)
    weights = np.exp(joint - logsumexp(joint))
    expected, expected_pairs = np.zeros((6, 3)), np.zeros((5, 3, 3))
    for path, weight in zip(paths, weights, strict=True):
        expected[np.arange(length), path] += weight
        expected_pairs[np.arange(length - 1), path[:-1], path[1:]] += weight
    np.testing.assert_allclose(posteriors, expected, atol=1e-12)
    np.testing.assert_allclose(pairs, expected_pairs, atol=1e-12)
    for t in range(length):  # the filter knows what came before
        sub_paths, sub_joint = all_paths(chain._replace(length=t + 1))
        sums = [np.exp(sub_joint)[sub_paths[:, t] == k].sum() for k in range(3)]
        np.testing.assert_allclose(np.exp(filtered[t]), sums / np.sum(sums), atol=1e-12)


@lengths
def test_viterbi_finds_the_likeliest_of_all_paths(length):
    for seed in range(10):
        chain = some_chain(length=length, seed=seed, impossible=seed % 2 == 1)
        paths, joint = all_paths(chain)
        path, log_probability = viterbi(chain)
        assert path.dtype == jnp.int32
        np.testing.assert_array_equal(path, np.pad(paths[joint.argmax()], (0, 6 - length)))
        np.testing.assert_allclose(log_probability, joint.max(), rtol=1e-12)


@ways
@pytest.mark.parametrize("impossible", [False, True])
def test_posteriors_are_the_gradients_of_log_z(way, impossible):
    forward, _ = WAYS[way]
    chain = some_chain(4, 9, 7, impossible=impossible)
    _, _, posteriors, pairs = both(way)(chain)
    gradients = jax.jit(jax.grad(lambda parts: forward(chains.Chain(*parts, 7))[1]))(chain[:3])
    np.testing.assert_allclose(gradients[0], posteriors[0], atol=1e-12)
    np.testing.assert_allclose(gradients[1], pairs.sum(0), atol=1e-12)
    np.testing.assert_allclose(gradients[2], posteriors, atol=1e-12)
    smoothed = smooth(chain)
    np.testing.assert_allclose(smoothed.posteriors, gradients[2], atol=1e-12)
    np.testing.assert_allclose(smoothed.transitions, gradients[1], atol=1e-12)


@pytest.mark.parametrize("states, steps", [(1, 1), (1, 5), (2, 1), (2, 64), (5, 33)])
def test_the_associative_scan_equals_the_step_by_step(states, steps):
    for length in {steps, max(1, steps // 2)}:
        chain = some_chain(states, steps, length, seed=steps)
        for found, expected in zip(both("associative")(chain), both("scan")(chain), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@ways
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_chain_that_cannot_be_has_no_probability_and_no_gradient(way, dtype):
    forward, _ = WAYS[way]
    chain = some_chain(impossible=True)
    parts = [part.astype(dtype) for part in chain[:3]]
    parts[2] = parts[2].at[3].set(-jnp.inf)
    _, evidence, posteriors, pairs = both(way)(chains.Chain(*parts, 6))
    assert evidence == -np.inf and evidence.dtype == dtype
    assert not posteriors.any() and not pairs.any()
    gradients = jax.jit(jax.grad(lambda parts: forward(chains.Chain(*parts, 6))[1]))(parts)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@ways
def test_float32_keeps_its_precision_over_a_thousand_steps(way):
    """Sums of thousands of nats would leave posteriors an error of 1e-4."""
    states, steps = 3, 1000
    g = np.random.default_rng(0)
    parts = [np.log(g.dirichlet(np.ones(states), n)) for n in (1, states, steps)]
    exact = chains.Chain(jnp.asarray(parts[0][0]), jnp.asarray(parts[1]), jnp.asarray(parts[2]), steps)
    rough = chains.Chain(*(part.astype(jnp.float32) for part in exact[:3]), steps)
    _, evidence, posteriors, pairs = both(way)(exact)
    _, found, found_posteriors, found_pairs = both(way)(rough)
    assert found_posteriors.dtype == jnp.float32 and evidence < -1000
    np.testing.assert_allclose(found, evidence, rtol=1e-6)
    np.testing.assert_allclose(found_posteriors, posteriors, atol=1e-5)
    np.testing.assert_allclose(found_pairs, pairs, atol=1e-5)


def test_what_lies_beyond_the_length_does_not_count():
    chain = some_chain(steps=6, length=6)
    longer = chain._replace(log_emission=jnp.concatenate([chain.log_emission, jnp.full((3, 3), jnp.nan)]))
    padded, alone = smooth(longer), smooth(chain)
    np.testing.assert_allclose(padded.log_evidence, alone.log_evidence, rtol=1e-12)
    np.testing.assert_allclose(padded.posteriors, np.pad(alone.posteriors, ((0, 3), (0, 0))), atol=1e-12)
    np.testing.assert_allclose(padded.transitions, alone.transitions, atol=1e-12)
    (path, probability), (expected, expected_probability) = viterbi(longer), viterbi(chain)
    np.testing.assert_array_equal(path, np.pad(expected, (0, 3)))
    np.testing.assert_allclose(probability, expected_probability, rtol=1e-12)


def test_many_chains_are_each_their_own():
    many = [some_chain(length=length, seed=length) for length in (2, 4, 6)]
    stacked = jax.tree.map(
        lambda *parts: jnp.stack(parts), *(chain._replace(length=jnp.asarray(chain.length)) for chain in many)
    )
    together = jax.jit(jax.vmap(chains.smooth))(stacked)
    for i, chain in enumerate(many):
        for found, expected in zip(together, smooth(chain), strict=True):
            np.testing.assert_allclose(found[i], expected, rtol=1e-12, atol=1e-15)
