"""Latent Dirichlet allocation: documents as mixtures of topics, fitted by variational Bayes, whole or in batches.

Blei, Ng and Jordan 2003, "Latent Dirichlet allocation", J. Machine Learning Research 3; online: Hoffman, Blei and Bach
2010, "Online learning for latent Dirichlet allocation".

(1) theta_d ~ Dir(alpha), beta_k ~ Dir(eta); each word of document d: z ~ theta_d, w ~ beta_z
(2) q(theta_d) = Dir(gamma_d), q(beta_k) = Dir(lambda_k), q(z = k | d, w) = phi_dwk
(3) phi_dwk ~ exp(E log theta_dk + E log beta_kw), gamma_dk = alpha + sum_w n_dw phi_dwk     until gamma stands still
    with E log theta_dk = digamma(gamma_dk) - digamma(sum_k gamma_dk), and so for beta
(4) lambda_kw = eta + D / S sum_d n_dw phi_dwk =: l_kw      from S documents of D
    lambda <- (1 - rho_t) lambda + rho_t l, rho_t = (delay + t)^-forgetting, t = 0, 1, ...; of all documents, rho = 1
(5) log p(n_d | lambda) >= sum_w n_dw log sum_k exp(E log theta_dk + E log beta_kw) - KL(q(theta_d) || Dir(alpha))
(6) log p(n) >= sum_d (5) - sum_k KL(q(beta_k) || Dir(eta))

The right side of (5) is at the best phi for its gamma; n_dw counts the word w in document d. Probabilities are those of
the words in their order, without the number of orders. With all documents as one batch no step lowers (6).

Documents are pairs ``word [B, L]`` and ``count [B, L]``, of which those with a count of 0 are padding: a vocabulary of
100,000 words costs nothing. Documents of like length are worked on together, 64 at a time and no wider than they are.
"""

import functools
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln

from gen_jax.checks import Amount, Count, Number, Positive, Within, plain
from gen_jax.fields import COUNT, SYMBOL, Fields, describe
from gen_jax.protocol import Aux, Batch, Buffers, Params, Turn

BLOCK = 64  # documents that are worked on together

_HIGHEST = jax.lax.Precision.HIGHEST


class Inferred(NamedTuple):
    """What (3) finds of documents."""

    gamma: jax.Array
    """``[B, K]``."""
    bound: jax.Array
    """(5), nats ``[B]``."""
    statistics: jax.Array
    """The sum over documents of n phi, ``[K, V]``."""


def infer(
    word: jax.Array, count: jax.Array, topics: jax.Array, alpha: float, tolerance: float = 1e-3, iterations: int = 100
) -> Inferred:
    """(3) from gamma = 1, for each document until gamma moves less than ``tolerance`` in the mean of its topics.

    Args:
      word: ``[B, L]`` int32.
      count: ``[B, L]``.
      topics: lambda, ``[K, V]``.
      alpha: of (1).
      tolerance: of gamma.
      iterations: at most so many.
    """
    word, count, expected = jnp.asarray(word), jnp.asarray(count), _expected_log(topics).T
    documents, slots = word.shape
    widths = [64 * 2**i for i in range(20) if 64 * 2**i < slots] + [slots]
    used = jnp.where(count > 0, jnp.arange(1, slots + 1), 0).max(1)
    blocks = -(-documents // BLOCK)
    order = jnp.pad(jnp.argsort(used), (0, blocks * BLOCK - documents), constant_values=documents)  # beyond: empty ones

    def work(words: jax.Array, counts: jax.Array, *, width: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        return _infer_block(words[:, :width], counts[:, :width], expected, alpha, tolerance, iterations)

    def one(statistics: jax.Array, chosen: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        words = word.at[chosen].get(mode="fill", fill_value=0)
        counts = count.at[chosen].get(mode="fill", fill_value=0).astype(expected.dtype)
        widest = used.at[chosen].get(mode="fill", fill_value=0).max()
        branch = jnp.searchsorted(jnp.asarray(widths), widest)
        gamma, bound, answers = jax.lax.switch(
            branch, [functools.partial(work, width=width) for width in widths], words, counts
        )
        return statistics + answers, (gamma, bound)

    start = jnp.zeros_like(expected)
    statistics, (gamma, bound) = jax.lax.scan(one, start, order.reshape(blocks, BLOCK))
    back = jnp.argsort(order)[:documents]
    return Inferred(gamma.reshape(-1, gamma.shape[-1])[back], bound.reshape(-1)[back], statistics.T)


def _infer_block(
    word: jax.Array, count: jax.Array, expected: jax.Array, alpha: float, tolerance: float, iterations: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(3) and (5) of a few documents, and their statistics ``[V, K]``; ``expected`` is E log beta, ``[V, K]``."""
    scores = expected[word]
    likely = _scaled_exp(scores)  # phi knows no factor that its topics share

    def ratios(gamma: jax.Array) -> tuple[jax.Array, jax.Array]:
        shares = _scaled_exp(_expected_log(gamma))
        return shares, count / jnp.einsum("bk,blk->bl", shares, likely, precision=_HIGHEST)

    def update(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        gamma, moving, step = carry
        shares, weights = ratios(gamma)
        new = alpha + shares * jnp.einsum("bl,blk->bk", weights, likely, precision=_HIGHEST)
        new = jnp.where(moving[:, None], new, gamma)  # who stands still does not go on with the others
        return new, moving & (jnp.abs(new - gamma).mean(1) >= tolerance), step + 1

    def go_on(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        return carry[1].any() & (carry[2] < iterations)

    documents = len(word)
    first = (
        jnp.ones((documents, expected.shape[1]), expected.dtype),
        jnp.ones(documents, bool),
        jnp.zeros((), jnp.int32),
    )
    gamma, _, _ = jax.lax.while_loop(go_on, update, first)
    shares, weights = ratios(gamma)
    answers = jnp.zeros_like(expected).at[word].add(shares[:, None] * weights[:, :, None] * likely)
    explained = jax.nn.logsumexp(_expected_log(gamma)[:, None] + scores, axis=-1)
    return gamma, (count * explained).sum(1) - dirichlet_divergence(gamma, alpha), answers


def dirichlet_divergence(concentrations: jax.Array, prior: float) -> jax.Array:
    """KL(Dir(concentrations ``[..., K]``) || Dir(prior, prior, ...)), nats ``[...]``."""
    size, total = concentrations.shape[-1], concentrations.sum(-1)
    normalisers = gammaln(total) - gammaln(prior * size) - (gammaln(concentrations) - gammaln(prior)).sum(-1)
    return normalisers + ((concentrations - prior) * _expected_log(concentrations)).sum(-1)


def _expected_log(concentrations: jax.Array) -> jax.Array:
    return digamma(concentrations) - digamma(concentrations.sum(-1, keepdims=True))


def _scaled_exp(x: jax.Array) -> jax.Array:
    # The product of two of these is never 0: with many topics, all of a word's may be beyond the least of numbers.
    least = 0.5 * float(np.log(jnp.finfo(x.dtype).tiny))
    return jnp.exp(jnp.maximum(x - x.max(-1, keepdims=True), least))


@dataclass(frozen=True)
class LDA:
    """A game of one player, ``topics``, who has no parameters: lambda is in the buffers, and a step is (3) and (4).

    With ``documents = 0`` each batch is taken for all documents, and lambda is what it makes of
    them. Otherwise the batches are of a corpus of so many documents, and lambda follows them slower and slower.
    """

    slots: int
    vocabulary: int
    given: tuple[str, ...]
    topic_count: int
    alpha: float
    eta: float
    documents: int = 0
    delay: float = 10.0
    forgetting: float = 0.7
    tolerance: float = 1e-3
    iterations: int = 100

    makes: ClassVar[str] = "word"
    log_prob_kind: ClassVar[str] = "lower bound"

    @property
    def whole_set(self) -> bool:
        """Whether it is fitted to all documents at once, unless a batch is asked for."""
        return not self.documents

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: (3) and (4) on the batch."""
        return (Turn("topics", self.negative_bound),)

    @property
    def network_evaluations(self) -> int:
        """One draw."""
        return 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Topics near to even, lambda ~ Gamma(100, 1 / 100) ``[K, V]``; they owe nothing to the batch."""
        self._documents(batch)
        start = jax.random.gamma(key, 100.0, (self.topic_count, self.vocabulary)) / 100
        return {"topics": {}}, {"topics": {"lambda": start, "step": jnp.zeros(())}}

    def negative_bound(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """Minus (6), nats per document, before the step, and lambda after it."""
        word, count = self._documents(batch)
        old, t = buffers["topics"]["lambda"], buffers["topics"]["step"]
        inferred = self._infer(buffers, batch)
        corpus = self.documents or len(word)
        wanted = self.eta + corpus / len(word) * inferred.statistics
        rate = (self.delay + t) ** -self.forgetting if self.documents else 1.0
        bound = inferred.bound.mean() - dirichlet_divergence(old, self.eta).sum() / corpus
        perplexity = jnp.exp(-inferred.bound.sum() / count.sum())
        carried = {"lambda": (1 - rate) * old + rate * wanted, "step": t + 1}
        return -bound, Aux({"perplexity": perplexity}, {"topics": carried})

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, length: jax.Array | None = None
    ) -> jax.Array:
        """Words of documents drawn by (1) with the mean topics, int32 ``[n, L]``, one for each slot.

        They are 0 beyond ``length [n]``, if it is given.
        """
        share_key, topic_key, word_key = jax.random.split(key, 3)
        even = jnp.full(self.topic_count, self.alpha)
        shares = jax.random.loggamma(share_key, even, (n, self.topic_count))  # whose small ones exp would make 0
        topic = jax.random.categorical(topic_key, shares[:, None], shape=(n, self.slots))
        place = jax.random.uniform(word_key, (n, self.slots))

        def of_topic(words: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            index, probabilities = inputs
            drawn = jnp.searchsorted(jnp.cumsum(probabilities), place, side="right").astype(jnp.int32)
            return jnp.where(topic == index, jnp.minimum(drawn, self.vocabulary - 1), words), None

        inputs = (jnp.arange(self.topic_count), self.topics(buffers))
        words, _ = jax.lax.scan(of_topic, jnp.zeros((n, self.slots), jnp.int32), inputs)
        return words if length is None else jnp.where(jnp.arange(self.slots) < length[:, None], words, 0)

    def topics(self, buffers: Buffers) -> jax.Array:
        """The mean of q(beta): probabilities of the words of each topic, ``[K, V]``."""
        concentrations = buffers["topics"]["lambda"]
        return concentrations / concentrations.sum(1, keepdims=True)

    def transform(self, params: Params, buffers: Buffers, batch: Batch) -> jax.Array:
        """The mean of q(theta): each document's shares of the topics, ``[B, K]``."""
        gamma = self._infer(buffers, batch).gamma
        return gamma / gamma.sum(1, keepdims=True)

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """(5): a lower bound of each document's log-probability under the topics' law, nats ``[B]``."""
        return self._infer(buffers, batch).bound

    def bound(self, params: Params, buffers: Buffers, batch: Batch) -> jax.Array:
        """(6), nats ``[]``, with the batch as all documents."""
        documents = self._infer(buffers, batch).bound.sum()
        return documents - dirichlet_divergence(buffers["topics"]["lambda"], self.eta).sum()

    def perplexity(self, params: Params, buffers: Buffers, batch: Batch) -> jax.Array:
        """Exp of minus (5) per word, ``[]``: among how many words, all as likely, the model would choose."""
        return jnp.exp(-self._infer(buffers, batch).bound.sum() / batch["count"].sum())

    def _infer(self, buffers: Buffers, batch: Batch) -> Inferred:
        word, count = self._documents(batch)
        topics, limits = buffers["topics"]["lambda"], (self.tolerance, self.iterations)
        return infer(word, count, topics, self.alpha, *limits)

    def _documents(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        word, count = batch["word"], batch["count"]
        if word.shape != count.shape or word.shape[1:] != (self.slots,):
            raise ValueError(
                f"expected words and counts of {self.slots} slots, got {word.shape} and {count.shape}; pad them"
            )
        return word, count


@plain
class LDAConfig:
    """Latent Dirichlet allocation, of all documents at once or, with ``documents``, of a corpus in batches."""

    topics: Count = 20
    """Topics."""
    alpha: Amount = 0.0
    """Concentration of a document's shares of the topics; 0: one over the topics."""
    eta: Amount = 0.0
    """Concentration of a topic's probabilities of the words; 0: one over the topics."""
    documents: Number = 0
    """Documents of the whole corpus, for training in batches; 0: a batch is the corpus."""
    delay: Amount = 10.0
    """Of training in batches: steps that the first ones count less by."""
    forgetting: Annotated[float, Within(0.5, 1, open_low=True)] = 0.7
    """Of training in batches: the exponent with which steps become small, in (1/2, 1]."""
    tolerance: Positive = 1e-3
    """A document is done when its gamma moves less than this, words a topic."""
    iterations: Count = 100
    """Or after so many iterations of (3)."""

    def build(self, fields: Fields) -> LDA:
        """The game for documents of ``word [L]`` and ``count [L]``.

        Raises:
          ValueError: if there are none.
        """
        word, count = fields.get("word"), fields.get("count")
        if word is None or count is None or (word.kind, count.kind) != (SYMBOL, COUNT) or word.shape != count.shape:
            raise ValueError(f"expected fields 'word' of symbols [L] and 'count' of counts [L], got {describe(fields)}")
        given = ("length",) if "length" in fields else ()
        return LDA(
            slots=word.shape[0],
            vocabulary=word.size,
            given=given,
            topic_count=self.topics,
            alpha=self.alpha or 1 / self.topics,
            eta=self.eta or 1 / self.topics,
            documents=self.documents,
            delay=self.delay,
            forgetting=self.forgetting,
            tolerance=self.tolerance,
            iterations=self.iterations,
        )


REFERENCE = LDAConfig(topics=100)
"""As Hoffman et al. had on large corpora; there with ``documents`` and batches of 1,024 and more."""
SMALL = LDAConfig()
"""A topic for each of the 20 newsgroups."""
