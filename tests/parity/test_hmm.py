"""The hidden Markov model beside hmmlearn's (0.3.3), from the same start and with the same priors."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hmmlearn.hmm import CategoricalHMM, GaussianHMM

from gen_jax.models import hmm

KINDS = ("symbols", "diagonal", "full")
PRIORS = {"none": hmm.Prior(), "some": hmm.Prior(2.0, 3.0, 1.5, 4.0)}
STATES, SYMBOLS, WIDTH = 3, 5, 2


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def start(kind, seed=0):
    g = np.random.default_rng(seed)
    model = {"start": g.dirichlet(np.ones(STATES)), "transition": g.dirichlet(np.ones(STATES), STATES)}
    if kind == "symbols":
        return {**model, "emission": g.dirichlet(np.ones(SYMBOLS), STATES)}
    roots = g.normal(size=(STATES, WIDTH, WIDTH)) + 2 * np.eye(WIDTH)
    covariances = roots @ roots.transpose(0, 2, 1)
    if kind == "diagonal":
        covariances = np.diagonal(covariances, axis1=1, axis2=2)
    return {**model, "means": g.normal(size=(STATES, WIDTH)), "covariances": covariances}


def data(kind, n=6, steps=40, seed=1):
    """Padded sequences and their lengths, and what hmmlearn wants: one after another."""
    g = np.random.default_rng(seed)
    x = g.integers(0, SYMBOLS, (n, steps)) if kind == "symbols" else 2 * g.normal(size=(n, steps, WIDTH))
    lengths = g.integers(steps // 2, steps + 1, n)
    flat = np.concatenate([row[:length] for row, length in zip(x, lengths, strict=True)])
    return x, lengths, flat.reshape(len(flat), -1)


def theirs(kind, model, prior, steps):
    common = {
        "n_components": STATES, "startprob_prior": prior.start, "transmat_prior": prior.transition,
        "n_iter": steps, "tol": -np.inf, "init_params": "",
    }  # fmt: skip
    if kind == "symbols":
        other = CategoricalHMM(**common, emissionprob_prior=prior.emission, n_features=SYMBOLS)
        other.emissionprob_ = model["emission"]
    else:
        weight = 1.0 if kind == "diagonal" else WIDTH  # with which its denominator is the sum of the posteriors
        other = GaussianHMM(
            **common, covariance_type="diag" if kind == "diagonal" else "full", min_covar=0.0, means_weight=0.0,
            covars_prior=prior.scatter if kind == "diagonal" else prior.scatter * np.eye(WIDTH), covars_weight=weight,
        )  # fmt: skip
        other.n_features = WIDTH
        other.means_, other.covars_ = model["means"], model["covariances"]
    other.startprob_, other.transmat_ = model["start"], model["transition"]
    return other


@pytest.mark.parametrize("kind", KINDS)
def test_likelihood_posteriors_and_viterbi(kind):
    model, (x, lengths, flat) = start(kind), data(kind)
    other = theirs(kind, model, hmm.Prior(), 1)
    ours = jax.tree.map(jnp.asarray, model)
    real = np.arange(x.shape[1]) < lengths[:, None]
    np.testing.assert_allclose(hmm.log_likelihood(ours, x, lengths).sum(), other.score(flat, lengths), rtol=1e-10)
    np.testing.assert_allclose(hmm.posteriors(ours, x, lengths)[real], other.predict_proba(flat, lengths), atol=1e-9)
    states, log_probability = hmm.most_likely_states(ours, x, lengths)
    their_probability, their_states = other.decode(flat, lengths)
    np.testing.assert_array_equal(np.asarray(states)[real], their_states)
    np.testing.assert_allclose(log_probability.sum(), their_probability, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("steps", [1, 20])
def test_steps_of_em(kind, prior, steps):
    model, (x, lengths, flat) = start(kind), data(kind)
    other = theirs(kind, model, PRIORS[prior], steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other.fit(flat, lengths)
    ours = jax.tree.map(jnp.asarray, model)
    step = jax.jit(functools.partial(hmm.em_step, prior=PRIORS[prior]))
    for _ in range(steps):
        ours, _ = step(ours, x, lengths)
    pairs = {"start": other.startprob_, "transition": other.transmat_}
    if kind == "symbols":
        pairs["emission"] = other.emissionprob_
    else:
        covariances = other.covars_
        pairs |= {"means": other.means_, "covariances": covariances}
        if kind == "diagonal":
            pairs["covariances"] = np.diagonal(covariances, axis1=1, axis2=2)
    for name, expected in pairs.items():
        np.testing.assert_allclose(ours[name], expected, rtol=1e-6, atol=1e-8, err_msg=name)
