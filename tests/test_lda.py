"""Latent Dirichlet allocation against scikit-learn, and against the sum over all assignments of topics."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from scipy.special import gammaln, logsumexp
from sklearn.decomposition import LatentDirichletAllocation

from gen_jax.data import DataError, texts
from gen_jax.fields import COUNT, SYMBOL, Field
from gen_jax.models import lda
from tests.tiers import mostly_slow

TOPICS, VOCABULARY, SLOTS = 4, 30, 12
DIGAMMA = 1e-6  # scikit-learn's is a series without what is below 1 / (240 x^8), 2.5e-9 at x = 6


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def corpus(documents=70, slots=SLOTS, vocabulary=VOCABULARY, seed=0):
    """Documents of two kinds of words, more than a block of them; some are short, one is empty."""
    g = np.random.default_rng(seed)
    word, count = np.zeros((2, documents, slots), np.int32)
    for i in range(documents):
        used = g.integers(1, slots + 1) if i else 0
        kind = np.arange(vocabulary) % 2 == i % 2
        word[i, :used] = g.choice(vocabulary, used, replace=False, p=(1 + 9 * kind) / (1 + 9 * kind).sum())
        count[i, :used] = g.integers(1, 5, used)
    return {"word": jnp.asarray(word), "count": jnp.asarray(count)}


def table(batch, vocabulary=VOCABULARY):
    """Documents by words, as scikit-learn wants them."""
    found = np.zeros((len(batch["word"]), vocabulary))
    np.add.at(found, (np.arange(len(found))[:, None], np.asarray(batch["word"])), np.asarray(batch["count"]))
    return found


def fields_of(slots=SLOTS, vocabulary=VOCABULARY, length=False):
    return {"word": Field((slots,), SYMBOL, vocabulary), "count": Field((slots,), COUNT)} | (
        {"length": Field((), SYMBOL, 100)} if length else {}
    )


def built(slots=SLOTS, vocabulary=VOCABULARY, length=False, **options):
    return lda.LDAConfig(**{"topics": TOPICS} | options).build(fields_of(slots, vocabulary, length))


def some_lambda(seed=0, topics=TOPICS, vocabulary=VOCABULARY):
    return jnp.asarray(np.random.default_rng(seed).gamma(2.0, 1.0, (topics, vocabulary)))


def buffers_of(concentrations, step=0):
    return {"topics": {"lambda": jnp.asarray(concentrations), "step": jnp.asarray(float(step))}}


@functools.partial(jax.jit, static_argnums=(0, 1))
def run(model, method, *arguments):
    return getattr(model, method)(*arguments)


@functools.partial(jax.jit, static_argnums=0)
def take(model, buffers, batch):
    (turn,) = model.turns
    return turn.loss({"topics": {}}, buffers, batch, jax.random.key(0), step=0, ema={})


def turn(model, buffers, batch):
    loss, aux = take(model, buffers, batch)
    return float(loss), aux


class Ones:
    """In place of scikit-learn's generator: where its gamma starts. Ours is that of its ``transform``, 1."""

    def gamma(self, shape, scale, size):
        return np.ones(size)


def oracle(model, concentrations, x, topics=TOPICS, **options):
    """scikit-learn's, at the same point."""
    theirs = LatentDirichletAllocation(
        topics,
        doc_topic_prior=model.alpha,
        topic_word_prior=model.eta,
        mean_change_tol=model.tolerance,
        max_doc_update_iter=model.iterations,
        learning_offset=model.delay,
        learning_decay=model.forgetting,
        **options,
    )
    theirs.partial_fit(x[:1])  # which makes its tables
    theirs.components_ = np.array(concentrations)
    expected = scipy.special.digamma(theirs.components_) - scipy.special.digamma(theirs.components_.sum(1))[:, None]
    theirs.exp_dirichlet_component_ = np.exp(expected)
    theirs.random_state_ = Ones()
    return theirs


PRIORS = pytest.mark.parametrize("priors", [{}, {"alpha": 0.7, "eta": 0.02}])


@PRIORS
@pytest.mark.parametrize("iterations", mostly_slow([3, 100], 3))
def test_transform_score_and_perplexity_are_scikit_learns(priors, iterations):
    model, batch = built(**priors, iterations=iterations), corpus()
    x = table(batch)
    theirs, buffers = oracle(model, some_lambda(), x), buffers_of(some_lambda())
    np.testing.assert_allclose(jax.jit(model.transform)({}, buffers, batch), theirs.transform(x), rtol=DIGAMMA)
    bound = jax.jit(model.bound)({}, buffers, batch)
    np.testing.assert_allclose(bound, theirs.score(x), rtol=DIGAMMA)
    np.testing.assert_allclose(np.exp(-bound / x.sum()), theirs.perplexity(x), rtol=DIGAMMA)
    # Ours of documents alone leaves out what the topics themselves cost.
    log_prob = jax.jit(model.log_prob)({}, buffers, jax.random.key(0), batch)
    np.testing.assert_allclose(model.perplexity({}, buffers, batch), np.exp(-log_prob.sum() / x.sum()))
    assert log_prob[0] == pytest.approx(0, abs=1e-12)  # an empty document is sure


@PRIORS
def test_a_step_on_all_documents_is_scikit_learns(priors):
    model, batch = built(**priors), corpus()
    x = table(batch)
    theirs = oracle(model, some_lambda(), x)
    theirs._em_step(x, total_samples=len(x), batch_update=True)
    loss, aux = turn(model, buffers_of(some_lambda()), batch)
    np.testing.assert_allclose(aux.buffers["topics"]["lambda"], theirs.components_, rtol=DIGAMMA)
    assert aux.buffers["topics"]["step"] == 1
    assert loss == pytest.approx(-oracle(model, some_lambda(), x).score(x) / len(x))


@pytest.mark.parametrize("delay, forgetting", [(10.0, 0.7), (1.0, 0.51), (64.0, 1.0)])
def test_a_step_in_batches_is_scikit_learns(delay, forgetting):
    model = built(documents=500, delay=delay, forgetting=forgetting)
    theirs = oracle(model, some_lambda(), table(corpus()), total_samples=500, batch_size=70)
    buffers = buffers_of(some_lambda(), step=1)
    theirs.n_batch_iter_ = 1  # it counts from 1, the paper from 0
    for seed in range(4):
        batch = corpus(seed=seed)
        theirs.partial_fit(table(batch))
        _, aux = turn(model, buffers, batch)
        buffers = aux.buffers
        np.testing.assert_allclose(buffers["topics"]["lambda"], theirs.components_, rtol=DIGAMMA)
    _, aux = turn(model, buffers_of(some_lambda(), step=0), batch)
    expected = model.eta + 500 / 70 * lda.infer(batch["word"], batch["count"], some_lambda(), 0.25).statistics
    rate = delay**-forgetting
    np.testing.assert_allclose(aux.buffers["topics"]["lambda"], (1 - rate) * some_lambda() + rate * expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_no_step_on_all_documents_lowers_the_bound(seed):
    model, batch = built(tolerance=1e-12, iterations=10_000), corpus(seed=seed)
    buffers, losses = buffers_of(np.random.default_rng(seed).gamma(100.0, 0.01, (TOPICS, VOCABULARY))), []
    for _ in range(25):
        loss, aux = turn(model, buffers, batch)
        buffers = aux.buffers
        losses.append(loss)
    assert np.diff(losses).max() < 1e-9 and losses[-1] < losses[0] - 1


def dirichlet_multinomial(counts, prior):
    """Log-probability of draws in their order, with counts ``[..., K]``, when the law is of a Dirichlet prior."""
    prior = np.broadcast_to(prior, counts.shape)
    whole = gammaln(prior.sum(-1)) - gammaln((prior + counts).sum(-1))
    return whole + (gammaln(prior + counts) - gammaln(prior)).sum(-1)


@pytest.mark.parametrize("alpha, eta", [(0.5, 0.5), (0.1, 2.0), (3.0, 0.1)])
def test_the_bound_lies_below_the_evidence_of_all_assignments(alpha, eta):
    """Two documents of three words, two topics: 64 assignments, with shares and topics integrated out."""
    texts, vocabulary = np.array([[0, 0, 1], [2, 1, 2]]), 3
    model = built(3, vocabulary, topics=2, alpha=alpha, eta=eta, tolerance=1e-12, iterations=10_000)
    batch = {"word": jnp.asarray(texts, jnp.int32), "count": jnp.ones((2, 3), jnp.int32)}
    assignments = np.array(list(itertools.product(range(2), repeat=6))).reshape(-1, 2, 3)
    chosen = 1 * (assignments[..., None] == np.arange(2))  # [64, documents, words, topics]
    shares = dirichlet_multinomial(chosen.sum(2), alpha)  # [64, documents]
    words = np.einsum("adlk,dlv->dakv", chosen, 1 * (texts[..., None] == np.arange(vocabulary)))
    evidence = logsumexp(shares.sum(1) + dirichlet_multinomial(words.sum(0), eta).sum(1))
    buffers = buffers_of(np.random.default_rng(0).gamma(2.0, 1.0, (2, vocabulary)))
    bounds = []
    for _ in range(100):
        loss, aux = turn(model, buffers, batch)
        bounds.append(-2 * loss)
        # (5): of each document alone, under the topics' law
        law = np.asarray(buffers["topics"]["lambda"])
        exact = logsumexp(shares.T + dirichlet_multinomial(words, law).sum(-1), axis=1)
        exact -= 3 * np.log(2)  # as often as the other document's assignments repeat its own
        log_prob = run(model, "log_prob", {"topics": {}}, buffers, None, batch)
        assert (np.asarray(log_prob) <= exact + 1e-9).all()
        buffers = aux.buffers
    assert np.diff(bounds).min() > -1e-9
    assert evidence - 4 < bounds[-1] < evidence  # a bound of anything else would not be so near


def test_one_topic_is_the_smoothed_unigram():
    model, batch = built(topics=1, eta=0.3), corpus()
    _, aux = turn(model, buffers_of(some_lambda(topics=1)), batch)
    counts = table(batch).sum(0)
    expected = (counts + 0.3) / (counts + 0.3).sum()
    np.testing.assert_allclose(model.topics(aux.buffers), expected[None], rtol=1e-10)
    np.testing.assert_allclose(model.transform({}, aux.buffers, batch), np.ones((70, 1)))
    # Its bound is short of the evidence by nothing: q is the posterior.
    whole = model.bound({}, aux.buffers, batch)
    np.testing.assert_allclose(whole, dirichlet_multinomial(counts, 0.3), rtol=1e-10)


def test_words_may_stand_in_any_order_and_any_slot():
    batch = corpus()
    order = np.random.default_rng(1).permuted(np.tile(np.arange(SLOTS), (70, 1)), axis=1)
    mixed = {name: jnp.take_along_axis(values, order, 1) for name, values in batch.items()}
    for found, expected in zip(
        lda.infer(mixed["word"], mixed["count"], some_lambda(), 0.25),
        lda.infer(batch["word"], batch["count"], some_lambda(), 0.25),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_a_document_does_not_depend_on_its_batch_mates_nor_on_the_width_it_is_worked_on_in():
    g = np.random.default_rng(0)
    word = np.stack([g.permutation(400)[:300] for _ in range(5)]).astype(np.int32)
    count = np.where(np.arange(300) < np.array([3, 64, 65, 130, 300])[:, None], g.integers(1, 4, (5, 300)), 0)
    topics = some_lambda(vocabulary=400)
    infer = jax.jit(lda.infer, static_argnames=("alpha", "tolerance", "iterations"))
    together = infer(word, count, topics, alpha=0.1)
    alone = [infer(word[i : i + 1], count[i : i + 1], topics, alpha=0.1) for i in range(5)]
    np.testing.assert_allclose(together.gamma, np.concatenate([a.gamma for a in alone]), rtol=1e-9)
    np.testing.assert_allclose(together.bound, np.concatenate([a.bound for a in alone]), rtol=1e-10)
    np.testing.assert_allclose(together.statistics, sum(a.statistics for a in alone), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(together.statistics.sum(), count.sum())


def test_in_float32_a_word_whose_topics_are_all_beyond_the_least_number_is_still_explained():
    """Of 500 topics one has the first word, the others the second, of which each gets so little that e^-250 remains."""
    topics = np.full((500, 2), (0.005, 50.0))
    topics[0] = 50.0, 0.005
    batch = {"word": jnp.asarray([[0, 1]]), "count": jnp.asarray([[1000, 1]])}
    exact = lda.infer(batch["word"], batch["count"], jnp.asarray(topics), 1 / 500)
    rough = lda.infer(batch["word"], batch["count"], jnp.asarray(topics, jnp.float32), 1 / 500)
    assert rough.gamma.dtype == jnp.float32 and all(np.isfinite(x).all() for x in rough)
    np.testing.assert_allclose(rough.gamma.sum(), 1002, rtol=1e-5)
    np.testing.assert_allclose(rough.statistics.sum(), 1001, rtol=1e-5)
    assert exact.bound[0] - 500 < rough.bound[0] < exact.bound[0] + 1  # any gamma has a bound, the best the highest


def test_float32_finds_what_float64_finds():
    batch = corpus()
    exact = lda.infer(batch["word"], batch["count"], some_lambda(), 0.25)
    rough = lda.infer(batch["word"], batch["count"], some_lambda().astype(jnp.float32), 0.25)
    np.testing.assert_allclose(rough.bound, exact.bound, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(rough.gamma, exact.gamma, rtol=1e-2, atol=1e-2)


def test_divergence_is_that_of_scipys_densities():
    concentrations = np.array([0.5, 2.0, 3.0])
    found = lda.dirichlet_divergence(jnp.asarray(concentrations), 0.7)
    x = scipy.stats.dirichlet(concentrations).rvs(200_000, random_state=0)
    x = np.clip(x, 1e-300, None) / np.clip(x, 1e-300, None).sum(1, keepdims=True)
    ratios = scipy.stats.dirichlet(concentrations).logpdf(x.T) - scipy.stats.dirichlet(np.full(3, 0.7)).logpdf(x.T)
    assert abs(found - ratios.mean()) < 5 * ratios.std() / np.sqrt(len(x))


# The game, in the precision it is played in


def test_known_topics_are_recovered():
    """Documents of two topics without a common word."""
    with jax.enable_x64(False):
        model, batch = built(topics=2), corpus(200)
        kind = np.asarray(batch["word"]) % 2
        majority = np.asarray((batch["count"] * (2 * kind - 1)).sum(1))
        params, buffers = jax.jit(model.init)(jax.random.key(0), batch)
        assert params == {"topics": {}} and buffers["topics"]["lambda"].dtype == jnp.float32
        losses = []
        for _ in range(60):
            loss, aux = turn(model, buffers, batch)
            buffers = aux.buffers
            losses.append(loss)
        assert losses[-1] < losses[0] - 1 and np.isfinite(losses).all()
        odd = np.asarray(model.topics(buffers))[:, 1::2].sum(1)
        assert odd.min() < 0.2 and odd.max() > 0.8
        shares = np.asarray(model.transform(params, buffers, batch))[:, odd.argmax()]
        clear = np.abs(majority) > 8
        assert clear.sum() > 50 and ((shares > 0.5) == (majority > 0))[clear].mean() > 0.95


def test_samples_follow_the_law():
    with jax.enable_x64(False):
        model = built(2, 3, topics=2, alpha=0.5)
        buffers = buffers_of(np.array([[5.0, 1.0, 4.0], [1.0, 8.0, 1.0]], np.float32))
        n = 20_000
        words = np.asarray(jax.jit(model.sample, static_argnums=3)({}, buffers, jax.random.key(0), n))
        assert words.shape == (n, 2) and words.dtype == np.int32
        topics = np.asarray(model.topics(buffers), np.float64)
    # Two words of one document: the second moments of its shares, which are those of a Dirichlet law.
    a = np.full(2, 0.5)
    moments = (np.outer(a, a) + np.diag(a)) / (a.sum() * (a.sum() + 1))
    expected = n * np.einsum("ij,iv,jw->vw", moments, topics, topics).reshape(-1)
    np.testing.assert_allclose(expected.sum(), n, rtol=1e-6)
    found = np.bincount(words @ [3, 1], minlength=9)
    assert scipy.stats.chisquare(found, expected * (n / expected.sum())).pvalue > 1e-3


def test_samples_are_zero_beyond_their_length_and_do_not_depend_on_their_number():
    with jax.enable_x64(False):
        model, buffers = built(length=True), buffers_of(some_lambda().astype(jnp.float32) + 0.1)
        assert model.given == ("length",) and built().given == ()
        draw = jax.jit(model.sample, static_argnums=3)
        eight = np.asarray(draw({}, buffers, jax.random.key(1), 8))
        lengths = jnp.asarray([0, 3, 12, 99])
        four = np.asarray(draw({}, buffers, jax.random.key(1), 4, length=lengths))
        np.testing.assert_array_equal(four, np.where(np.arange(SLOTS) < np.asarray(lengths)[:, None], eight[:4], 0))
        assert eight.min() >= 0 and VOCABULARY > eight.max() > 10


def test_refusals():
    model = built()
    with pytest.raises(ValueError, match="12 slots"):
        model.init(jax.random.key(0), {"word": jnp.zeros((2, 5), int), "count": jnp.zeros((2, 5), int)})
    for wrong in ({"topics": 0}, {"alpha": -1.0}, {"forgetting": 0.5}, {"documents": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
            built(**wrong)
    with pytest.raises(ValueError, match="'word' of symbols"):
        lda.LDAConfig().build({"word": Field((5,), SYMBOL, 3)})
    with pytest.raises(ValueError, match="'word' of symbols"):
        lda.LDAConfig().build({"word": Field((5,), SYMBOL, 3), "count": Field((4,), COUNT)})


@pytest.mark.slow
def test_held_out_newsgroups_are_as_perplexing_as_to_scikit_learn():
    """After five passes from the same topics, in float32 against float64."""
    try:
        train, test = texts.newsgroups("train"), texts.newsgroups("test")
    except DataError as error:
        pytest.skip(str(error))
    with jax.enable_x64(False):
        model = lda.LDAConfig().build(train.fields)
        batch, held_out = ({name: jnp.asarray(x) for name, x in split.values.items()} for split in (train, test))
        params, buffers = model.init(jax.random.key(0), batch)
        start = np.asarray(buffers["topics"]["lambda"], np.float64)
        for _ in range(5):
            buffers = turn(model, buffers, batch)[1].buffers
        bound = float(run(model, "bound", params, buffers, held_out))
        perplexity = float(run(model, "perplexity", params, buffers, held_out))
    x, x_test = (scipy.sparse.csr_matrix(table(split.values, 5000)) for split in (train, test))
    theirs = oracle(model, start, x, topics=20)
    for _ in range(5):
        theirs._em_step(x, total_samples=x.shape[0], batch_update=True)
    assert np.exp(-bound / x_test.sum()) == pytest.approx(theirs.perplexity(x_test), rel=1e-3)
    shares = x.sum(0) / x.sum()
    alone = np.exp(-(x_test @ np.log(shares).T).sum() / x_test.sum())
    assert perplexity < 0.85 * alone  # of a model of single words
