"""The hidden Markov model against the sum over all paths, closed forms, scipy, and chains that are known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.special import logsumexp

from gen_jax.data import DataError, texts
from gen_jax.fields import REAL, SYMBOL, Field
from gen_jax.models import hmm
from tests.tiers import mostly_slow

KINDS = ("symbols", "diagonal", "full")
kinds = pytest.mark.parametrize("kind", KINDS)
em_step = jax.jit(hmm.em_step, static_argnames="prior")
log_likelihood, most_likely_states = jax.jit(hmm.log_likelihood), jax.jit(hmm.most_likely_states)
posteriors = jax.jit(hmm.posteriors)
initial = jax.jit(hmm.initial, static_argnames=("states", "symbols", "covariance", "stay", "lloyd_steps"))
sample = jax.jit(hmm.sample, static_argnums=(2, 3))


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def some_model(kind, states=3, seed=0, symbols=4, width=2):
    g = np.random.default_rng(seed)
    model = {"start": g.dirichlet(np.ones(states)), "transition": g.dirichlet(np.ones(states), states)}
    if kind == "symbols":
        return jax.tree.map(jnp.asarray, {**model, "emission": g.dirichlet(np.ones(symbols), states)})
    roots = g.normal(size=(states, width, width)) + 2 * np.eye(width)
    covariances = roots @ roots.transpose(0, 2, 1)
    if kind == "diagonal":
        covariances = np.stack([np.diag(c) for c in covariances])
    return jax.tree.map(jnp.asarray, {**model, "means": 3 * g.normal(size=(states, width)), "covariances": covariances})


def some_data(kind, n=4, steps=6, seed=1, symbols=4, width=2):
    g = np.random.default_rng(seed)
    x = g.integers(0, symbols, (n, steps)) if kind == "symbols" else 2 * g.normal(size=(n, steps, width))
    return jnp.asarray(x), jnp.asarray(g.integers(1, steps + 1, n))


def start_for(kind, x, lengths=None, states=3, seed=0, **options):
    symbols = {"symbols": 4} if kind == "symbols" else {"covariance": kind}
    return initial(jax.random.key(seed), x, lengths, states=states, **symbols, **options)


def emission_densities(model, x):
    """``log e(x_t | k)`` by scipy, ``[T, K]``."""
    if "emission" in model:
        return np.log(np.asarray(model["emission"]))[:, np.asarray(x)].T
    covariances = np.asarray(model["covariances"])
    covariances = covariances if covariances.ndim == 3 else [np.diag(c) for c in covariances]
    parts = zip(np.asarray(model["means"]), covariances, strict=True)
    return np.stack([np.atleast_1d(scipy.stats.multivariate_normal(m, c).logpdf(x)) for m, c in parts], -1)


def all_paths(model, x):
    """Every path, and log p(x, z) of each."""
    emission = emission_densities(model, x)
    start, transition = np.log(np.asarray(model["start"])), np.log(np.asarray(model["transition"]))
    paths = np.array(list(itertools.product(range(len(start)), repeat=len(x))))
    joint = start[paths[:, 0]] + emission[np.arange(len(x)), paths].sum(1)
    return paths, joint + transition[paths[:, :-1], paths[:, 1:]].sum(1)


@kinds
def test_likelihood_posteriors_and_viterbi_are_those_of_all_paths(kind):
    model, (x, lengths) = some_model(kind), some_data(kind)
    evidence, states = log_likelihood(model, x, lengths), posteriors(model, x, lengths)
    best, best_probability = most_likely_states(model, x, lengths)
    for i, length in enumerate(np.asarray(lengths)):
        paths, joint = all_paths(model, x[i, :length])
        np.testing.assert_allclose(evidence[i], logsumexp(joint), rtol=1e-10)
        weights = np.exp(joint - logsumexp(joint))
        expected = [[weights[paths[:, t] == k].sum() for k in range(3)] for t in range(length)]
        np.testing.assert_allclose(states[i], np.pad(expected, ((0, 6 - length), (0, 0))), atol=1e-10)
        np.testing.assert_array_equal(best[i], np.pad(paths[joint.argmax()], (0, 6 - length)))
        np.testing.assert_allclose(best_probability[i], joint.max(), rtol=1e-10)


@kinds
def test_a_step_is_the_statistics_of_all_paths(kind):
    """(3) with each sequence and each of its paths as an example of its posterior weight."""
    model, (x, lengths) = some_model(kind), some_data(kind)
    found, _ = em_step(model, x, lengths)
    start, moves, answers = np.zeros(3), np.zeros((3, 3)), []
    for i, length in enumerate(np.asarray(lengths)):
        paths, joint = all_paths(model, x[i, :length])
        for path, weight in zip(paths, np.exp(joint - logsumexp(joint)), strict=True):
            start[path[0]] += weight
            np.add.at(moves, (path[:-1], path[1:]), weight)
            answers += [(x[i, t], path[t], weight) for t in range(length)]
    np.testing.assert_allclose(found["start"], start / start.sum(), atol=1e-10)
    np.testing.assert_allclose(found["transition"], moves / moves.sum(1, keepdims=True), atol=1e-10)
    values, states, weights = (np.array(part) for part in zip(*answers, strict=True))
    for k in range(3):
        w = weights * (states == k)
        if kind == "symbols":
            np.testing.assert_allclose(found["emission"][k], np.bincount(values, w, 4) / w.sum(), atol=1e-10)
            continue
        np.testing.assert_allclose(found["means"][k], np.average(values, axis=0, weights=w), atol=1e-10)
        covariance = np.cov(values, rowvar=False, aweights=w, ddof=0)
        expected = covariance if kind == "full" else np.diag(covariance)
        np.testing.assert_allclose(found["covariances"][k], expected, atol=1e-10)


@kinds
@pytest.mark.parametrize("seed", range(3))
def test_a_step_never_lowers_the_likelihood(kind, seed):
    x, lengths = some_data(kind, 20, 30, seed)
    model, evidences = start_for(kind, x, lengths, seed=seed), []
    for _ in range(30):
        model, evidence = em_step(model, x, lengths)
        evidences.append(float(evidence.sum()))
    assert np.diff(evidences).min() > -1e-9 and evidences[-1] > evidences[0] + 1
    np.testing.assert_allclose(model["start"].sum(), 1)
    np.testing.assert_allclose(model["transition"].sum(1), 1)


@kinds
def test_nor_does_it_in_float32_but_for_rounding(kind):
    """A sum of 2000 terms of about 2 nats, each off by no more than 1e-6 of itself, is off by less than 4e-3."""
    x, _ = some_data(kind, 10, 200)
    x = x.astype(jnp.int32) if kind == "symbols" else x.astype(jnp.float32)
    model = jax.tree.map(lambda a: a.astype(jnp.float32), start_for(kind, x))
    evidences = []
    for _ in range(40):
        model, evidence = em_step(model, x)
        evidences.append(float(evidence.sum()))
    assert evidence.dtype == jnp.float32
    assert np.diff(evidences).min() > -4e-3 and evidences[-1] > evidences[0] + 1


def log_prior(model, prior):
    """(4), by scipy."""
    rows = [(prior.start, model["start"][None]), (prior.transition, model["transition"])]
    if "emission" in model:
        rows.append((prior.emission, model["emission"]))
    total = sum(scipy.stats.dirichlet(np.full(p.shape[1], c)).logpdf(np.asarray(r)) for c, p in rows for r in p)
    if "emission" in model:
        return total
    covariances = np.asarray(model["covariances"])
    covariances = covariances if covariances.ndim == 3 else np.stack([np.diag(c) for c in covariances])
    return total - prior.scatter / 2 * np.trace(np.linalg.inv(covariances), axis1=1, axis2=2).sum()


@kinds
def test_with_a_prior_a_step_never_lowers_the_posterior(kind):
    prior = hmm.Prior(2.0, 3.0, 1.5, 4.0)
    x, lengths = some_data(kind, 20, 30)
    model, densities = start_for(kind, x, lengths), []
    for _ in range(30):
        before = log_prior(model, prior)
        model, evidence = em_step(model, x, lengths, prior=prior)
        densities.append(float(evidence.sum()) + before)
    assert np.diff(densities).min() > -1e-9 and densities[-1] > densities[0] + 1


@kinds
def test_what_is_padded_does_not_count(kind):
    model, (x, _) = some_model(kind), some_data(kind)
    rubbish = jnp.full((4, 5, *x.shape[2:]), 2, x.dtype)
    padded, lengths = jnp.concatenate([x, rubbish], 1), jnp.full(4, 6)
    for found, expected in zip(
        jax.tree.leaves(em_step(model, padded, lengths)), jax.tree.leaves(em_step(model, x)), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(posteriors(model, padded, lengths)[:, :6], posteriors(model, x), atol=1e-12)
    assert not posteriors(model, padded, lengths)[:, 6:].any()
    np.testing.assert_array_equal(most_likely_states(model, padded, lengths)[0][:, :6], most_likely_states(model, x)[0])


def test_one_state_is_the_maximum_of_the_likelihood():
    x, lengths = some_data("symbols", 10, 20)
    model, _ = em_step(start_for("symbols", x, lengths, states=1), x, lengths)
    seen = np.concatenate([row[:length] for row, length in zip(np.asarray(x), np.asarray(lengths), strict=True)])
    shares = np.bincount(seen, minlength=4) / len(seen)
    np.testing.assert_allclose(model["emission"], shares[None])
    np.testing.assert_allclose(log_likelihood(model, x, lengths).sum(), np.log(shares[seen]).sum())
    smoothed, _ = em_step(model, x, lengths, prior=hmm.Prior(emission=3.0))
    counts = np.bincount(seen, minlength=4) + 2
    np.testing.assert_allclose(smoothed["emission"], counts[None] / counts.sum())


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_one_gaussian_is_the_maximum_of_the_likelihood(kind):
    x, lengths = some_data(kind, 10, 20)
    seen = np.concatenate([row[:length] for row, length in zip(np.asarray(x), np.asarray(lengths), strict=True)])
    covariance = np.cov(seen, rowvar=False, ddof=0)
    start = start_for(kind, x, lengths, states=1)
    for scatter in (0.0, 5.0):
        model, _ = em_step(start, x, lengths, prior=hmm.Prior(scatter=scatter))
        np.testing.assert_allclose(model["means"][0], seen.mean(0))
        expected = covariance + scatter / len(seen) * np.eye(2)
        np.testing.assert_allclose(model["covariances"][0], expected if kind == "full" else np.diag(expected))
        np.testing.assert_array_equal(model["transition"], [[1.0]])


def known_chain(kind):
    """Two states that stay and differ, and 40 sequences of 100 to 200 steps from them."""
    model = {"start": jnp.asarray([0.3, 0.7]), "transition": jnp.asarray([[0.9, 0.1], [0.2, 0.8]])}
    if kind == "symbols":
        model["emission"] = jnp.asarray([[0.6, 0.3, 0.05, 0.05], [0.1, 0.1, 0.3, 0.5]])
    else:
        model["means"] = jnp.asarray([[0.0, 0.0], [2.0, -1.0]])
        full = jnp.asarray([[[1.0, 0.5], [0.5, 1.0]], [[0.5, -0.2], [-0.2, 0.7]]])
        model["covariances"] = full if kind == "full" else jax.vmap(jnp.diag)(full)
    lengths = jnp.arange(40) * 100 // 39 + 101
    x, states = sample(model, jax.random.key(5), 40, 201, lengths)
    return model, x, lengths, states


@pytest.mark.parametrize("kind", mostly_slow(KINDS, "symbols"))
def test_parameters_of_known_data_are_recovered(kind):
    truth, x, lengths, states = known_chain(kind)
    finished = []
    for seed in range(3):  # EM finds a maximum near its start: the best of three
        model = start_for(kind, x, lengths, states=2, seed=seed)
        for _ in range(60):
            model, evidence = em_step(model, x, lengths)
        finished.append((float(evidence.sum()), seed, model))
    model = max(finished)[2]
    if kind == "symbols":
        order = np.argsort(-np.asarray(model["emission"][:, 0]))
    else:
        order = np.argsort(np.asarray(model["means"][:, 0]))
    steps = int(lengths.sum())  # 6000: a share of 1/2 has a standard error of 0.0065, and more where states are hidden
    assert steps > 6000
    np.testing.assert_allclose(model["transition"][order][:, order], truth["transition"], atol=0.04)
    np.testing.assert_allclose(model["start"][order], truth["start"], atol=0.3)  # of 40 sequences
    for name in set(model) - {"start", "transition"}:
        np.testing.assert_allclose(model[name][order], truth[name], atol=0.04 if kind == "symbols" else 0.12)
    # The truth is no likelier than the maximum, and the maximum guesses states as well as the truth.
    assert log_likelihood(model, x, lengths).sum() > log_likelihood(truth, x, lengths).sum()
    real = np.arange(201) < np.asarray(lengths)[:, None]
    rights = [
        (np.argsort(order) if m is model else np.arange(2))[np.asarray(most_likely_states(m, x, lengths)[0])] == states
        for m in (model, truth)
    ]
    shares = [np.asarray(right)[real].mean() for right in rights]
    assert shares[0] > shares[1] - 0.01 > 0.8


def test_frequent_symbols_follow_the_law():
    """All sequences of 3 symbols, by chi-square against (1)."""
    model, n = some_model("symbols", 2, symbols=2), 20000
    x, states = sample(model, jax.random.key(0), n, 3)
    every = jnp.asarray(list(itertools.product(range(2), repeat=3)))
    expected = n * np.exp(log_likelihood(model, every))
    np.testing.assert_allclose(expected.sum(), n)
    assert scipy.stats.chisquare(np.bincount(np.asarray(x) @ [4, 2, 1], minlength=8), expected).pvalue > 1e-3
    chain = {**model, "emission": jnp.eye(2)}  # states that are seen
    expected = n * np.exp(log_likelihood(chain, every))
    assert scipy.stats.chisquare(np.bincount(np.asarray(states) @ [4, 2, 1], minlength=8), expected).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_reals_follow_the_law(kind):
    model, n = some_model(kind), 20000
    x, states = (np.asarray(part) for part in sample(model, jax.random.key(0), n, 2))
    assert x.shape == (n, 2, 2)
    for k in range(3):
        own = x[states == k]
        covariance = np.asarray(model["covariances"][k])
        covariance = covariance if kind == "full" else np.diag(covariance)
        # Mahalanobis distances of normal points in the plane are exponential of mean 2.
        deviations = own - np.asarray(model["means"][k])
        distances = np.einsum("ni,ij,nj->n", deviations, np.linalg.inv(covariance), deviations)
        assert scipy.stats.kstest(distances, scipy.stats.chi2(2).cdf).pvalue > 1e-3
        assert np.abs(deviations.mean(0)).max() < 4 * np.sqrt(np.diag(covariance).max() / len(own))


@kinds
def test_samples_are_zero_beyond_their_length_and_do_not_depend_on_their_number(kind):
    model, lengths = some_model(kind), jnp.asarray([1, 5, 3, 2])
    x, states = sample(model, jax.random.key(0), 4, 5, lengths)
    whole, whole_states = sample(model, jax.random.key(0), 8, 5)
    real = np.arange(5) < np.asarray(lengths)[:, None]
    np.testing.assert_array_equal(np.asarray(states), np.where(real, whole_states[:4], 0))
    mask = real if kind == "symbols" else real[..., None]
    np.testing.assert_array_equal(np.asarray(x), np.where(mask, whole[:4], 0))


def test_what_is_impossible_stays_impossible():
    model = some_model("symbols")
    model["transition"] = jnp.asarray([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])  # from left to right
    model["start"] = jnp.asarray([1.0, 0.0, 0.0])
    x, lengths = some_data("symbols", 10, 20)
    for _ in range(20):
        model, evidence = em_step(model, x, lengths)
    assert np.isfinite(evidence).all()
    np.testing.assert_array_equal(model["start"], [1, 0, 0])
    assert not np.asarray(model["transition"])[np.tril_indices(3, -1)].any()
    assert (np.diff(np.asarray(most_likely_states(model, x)[0])) >= 0).all()
    never = {**model, "emission": model["emission"].at[:, 0].set(0.0)}
    assert log_likelihood(never, jnp.zeros((1, 4), int))[0] == -np.inf


def test_a_state_that_answers_for_nothing_stays_as_it_was():
    model = some_model("symbols")
    model["start"], model["transition"] = jnp.asarray([1.0, 0.0, 0.0]), jnp.eye(3)
    found, _ = em_step(model, *some_data("symbols"))
    np.testing.assert_array_equal(found["transition"], np.eye(3))
    np.testing.assert_array_equal(found["emission"][1:], model["emission"][1:])


# The game, in the precision it is played in


def fields_of(kind, length=True):
    field = Field((6,), SYMBOL, 4) if kind == "symbols" else Field((6, 2), REAL)
    return {"sequence": field} | ({"length": Field((), SYMBOL, 7)} if length else {})


def built(kind, length=True, **options):
    return hmm.HMMConfig(states=3, covariance="full" if kind == "full" else "diagonal", **options).build(
        fields_of(kind, length)
    )


def batch_of(kind, length=True):
    x, lengths = some_data(kind, 16)
    x = x.astype(jnp.int32 if kind == "symbols" else jnp.float32)
    return {"sequence": x} | ({"length": lengths.astype(jnp.int32)} if length else {})


@pytest.mark.parametrize("kind", mostly_slow((*KINDS, "symbols of one length"), "symbols"))
def test_a_turn_is_one_step_of_em(kind):
    kind, length = kind.split()[0], "one length" not in kind
    with jax.enable_x64(False):
        model, batch = built(kind, length, transition_concentration=2.0), batch_of(kind, length)
        assert model.makes == "sequence" and model.given == (("length",) if length else ())
        params, buffers = jax.jit(model.init)(jax.random.key(0), batch)
        assert params == {"chain": {}}
        (turn,) = model.turns
        loss, aux = jax.jit(turn.loss)(params, buffers, batch, jax.random.key(1), step=0, ema={})
        expected, evidence = em_step(
            buffers["chain"], batch["sequence"], batch.get("length"), prior=hmm.Prior(transition=2.0)
        )
        for name, values in expected.items():
            np.testing.assert_allclose(aux.buffers["chain"][name], values, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(loss, -evidence.mean(), rtol=1e-5)
        np.testing.assert_allclose(model.log_prob(params, buffers, jax.random.key(0), batch), evidence, rtol=1e-5)
        steps = batch["length"].sum() if length else 96
        np.testing.assert_allclose(aux.metrics["log_likelihood_of_a_step"], evidence.sum() / steps, rtol=1e-5)
        given = {"length": batch["length"]} if length else {}
        sampled = model.sample(params, buffers, jax.random.key(2), 16, **given)
        assert sampled.shape == batch["sequence"].shape and sampled.dtype == batch["sequence"].dtype
        assert model.posteriors(params, buffers, batch).shape == (16, 6, 3)
        assert model.most_likely_states(params, buffers, batch).shape == (16, 6)


def test_turns_descend_whatever_the_field_is_called():
    _, x, lengths, _ = known_chain("symbols")
    with jax.enable_x64(False):
        model = hmm.HMMConfig().build({"letters": Field((201,), SYMBOL, 4), "length": Field((), SYMBOL, 202)})
        batch = {"letters": x.astype(jnp.int32), "length": lengths.astype(jnp.int32)}
        params, buffers = jax.jit(model.init)(jax.random.key(0), batch)
        turn = jax.jit(model.turns[0].loss)
        losses = []
        for i in range(10):
            loss, aux = turn(params, buffers, batch, jax.random.key(1), step=i, ema={})
            buffers = aux.buffers
            losses.append(float(loss))
        assert np.diff(losses).max() < 1e-3 and losses[-1] < losses[0] - 1


def test_free_parameters_and_refusals():
    assert built("symbols").free_parameters == 2 + 3 * 2 + 3 * 3
    assert built("diagonal").free_parameters == 2 + 3 * 2 + 3 * 4
    assert built("full").free_parameters == 2 + 3 * 2 + 3 * 5
    with pytest.raises(ValueError, match=r"\(6,\), got \(5,\)"):
        built("symbols").init(jax.random.key(0), {"sequence": jnp.zeros((2, 5), int), "length": jnp.ones(2, int)})
    for wrong in ({"states": 0}, {"stay": 1.0}, {"scatter": -1.0}, {"emission_concentration": 0.5}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
            hmm.HMMConfig(**wrong)
    two = {"a": Field((6,), SYMBOL, 4), "b": Field((6, 2), REAL)}
    for fields in (two, {"label": Field((), SYMBOL, 3)}):
        with pytest.raises(ValueError, match="one field of symbols"):
            hmm.HMMConfig().build(fields)
    assert hmm.HMMConfig().build({**two, "sequence": Field((3,), SYMBOL, 2)}).makes == "sequence"


def loaded(function, split):
    try:
        return function(split)
    except DataError as error:
        pytest.skip(str(error))


def best_of(starts, x, steps, **options):
    """The likeliest end of so many starts."""
    finished = []
    for seed in range(starts):
        model = initial(jax.random.key(seed), x, states=2, **options)
        for _ in range(steps):
            model, evidence = em_step(model, x)
        finished.append((float(evidence.sum()) / x.size, seed, model))
    return max(finished)


@pytest.mark.slow
def test_the_two_states_of_english_are_vowels_and_consonants():
    with jax.enable_x64(False):
        letters = loaded(texts.letters, "train")
        found, _, model = best_of(5, jnp.asarray(letters.values["sequence"]), 150, symbols=27)
    vowels = [letters.names["sequence"].index(letter) for letter in "_aeiou"]
    emission = np.asarray(model["emission"])
    state = emission[:, vowels].sum(1).argmax()
    # Another program's EM on the same letters, to three digits.
    np.testing.assert_allclose(emission[state, vowels], [0.378, 0.127, 0.189, 0.115, 0.129, 0.043], atol=1e-3)
    assert emission[1 - state, vowels].sum() < 0.02
    held_out = jnp.asarray(texts.letters("test").values["sequence"])
    assert abs(float(log_likelihood(model, held_out).sum()) / held_out.size - found) < 0.02


@pytest.mark.slow
def test_the_two_states_of_the_phage_differ_in_gc_and_last_for_thousands_of_bases():
    with jax.enable_x64(False):
        rows = [loaded(texts.phage, split).values["sequence"] for split in ("train", "test")]
        _, _, model = best_of(3, jnp.asarray(np.concatenate(rows)), 150, symbols=4, stay=0.99)
    gc = np.asarray(model["emission"])[:, 1:3].sum(1)
    order = gc.argsort()
    np.testing.assert_allclose(gc[order], [0.405, 0.545], atol=2e-3)
    np.testing.assert_allclose(np.diag(model["transition"])[order], [0.9996, 0.9998], atol=1e-4)
