"""The hidden Markov model, fitted by Baum and Welch's expectation maximisation.

Baum, Petrie, Soules and Weiss 1970, "A maximization technique occurring in the statistical analysis of probabilistic
functions of Markov chains"; Rabiner 1989, "A tutorial on hidden Markov models and selected applications in speech
recognition".

(1) p(x) = sum_z a(z_1) e(x_1 | z_1) prod_{t>1} A(z_{t-1}, z_t) e(x_t | z_t)      of a sequence x of any length
(2) g_t(k) = p(z_t = k | x), m(i, j) = sum_t p(z_t = i, z_{t+1} = j | x)          E-step, by `gen_jax.chains`
(3) a(k) = sum_x g_1(k), A(i, j) = sum_x m(i, j), each divided by its sum         M-step
    symbols:   e(v | k) = sum_{x, t} g_t(k) [x_t = v], divided by its sum
    Gaussians: mean m_k and covariance C_k of all x_t, weighted by g_t(k)
(4) with a :class:`Prior`: Dirichlet concentrations c add c - 1 to the counts of (3) before the division, and a
    ``scatter`` s makes C_k + s I / n_k of C_k, n_k = sum g_t(k): the maximum of the posterior whose prior density of
    C_k is exp(-s tr(C_k^-1) / 2)

No step of (2) and (3) lowers the likelihood of the training data, and with (4) none lowers the posterior density. What
is impossible (probability 0) stays so.

A model is a dict of ``start`` [K], ``transition`` [K, K] (from the first axis to the second), and either ``emission``
[K, V] or ``means`` [K, D] and ``covariances`` [K, D, D], or [K, D] for diagonal ones. Sequences are ``[N, T]`` symbols
or ``[N, T, D]`` reals, of which the first ``lengths [N]`` steps are real; none: all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gen_jax import chains
from gen_jax.checks import Amount, Count, Number, Within, plain
from gen_jax.fields import REAL, SYMBOL, Field, Fields, describe
from gen_jax.models import gmm
from gen_jax.models.gmm import Covariance
from gen_jax.protocol import Aux, Batch, Buffers, Params, Turn

HMM = dict[str, jax.Array]
LEAST_SHARE_OF_VARIANCE = 1e-3  # of the data's, added to every variance of the start alone


class Prior(NamedTuple):
    """(4); as it stands, none: maximum likelihood."""

    start: float = 1.0
    transition: float = 1.0
    emission: float = 1.0
    scatter: float = 0.0


def log_likelihood(hmm: HMM, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
    """The log of (1) for each sequence, nats ``[N]``."""
    return _each(lambda chain: chains.forward(chain)[1], hmm, x, lengths)


def posteriors(hmm: HMM, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
    """What (2) calls g, ``[N, T, K]``; 0 beyond the length."""
    return _each(chains.smooth, hmm, x, lengths).posteriors


def most_likely_states(hmm: HMM, x: jax.Array, lengths: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """The likeliest sequence of states (Viterbi), int32 ``[N, T]``, 0 beyond the length, and log p(x, z), ``[N]``."""
    return _each(chains.viterbi, hmm, x, lengths)


def em_step(
    hmm: HMM, x: jax.Array, lengths: jax.Array | None = None, *, prior: Prior = Prior()
) -> tuple[HMM, jax.Array]:
    """One step of (2) and (3) on all sequences.

    Returns:
      The new model, and the log-likelihood of each sequence under the old one, nats ``[N]``.
    """
    evidence, states, moves = _each(chains.smooth, hmm, x, lengths)
    start = _shares(states[:, 0].sum(0), prior.start, hmm["start"])
    transition = _shares(moves.sum(0), prior.transition, hmm["transition"])
    answers = states.reshape(-1, states.shape[-1])  # [N T, K], 0 where there is no step
    if "emission" in hmm:
        counts = jnp.zeros(hmm["emission"].shape[::-1], states.dtype).at[x.reshape(-1)].add(answers).T
        emission = {"emission": _shares(counts, prior.emission, hmm["emission"])}
    else:
        emission = _gaussians(x.reshape(-1, x.shape[-1]), answers.T, _kind(hmm), prior.scatter)
    return {"start": start, "transition": transition, **emission}, evidence


def sample(
    hmm: HMM, key: jax.Array, n: int, steps: int, lengths: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Draws of (1).

    Returns:
      Sequences ``[n, steps]`` int32 or ``[n, steps, D]``, and their states int32 ``[n, steps]``; both are 0 beyond
      the lengths.
    """
    log_transition = jnp.log(hmm["transition"])

    def move(log_probabilities: jax.Array, key: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        state_key, symbol_key = jax.random.split(key)
        states = jax.random.categorical(state_key, log_probabilities).astype(jnp.int32)
        return log_transition[states], (_emit(hmm, symbol_key, states), states)

    start = jnp.broadcast_to(jnp.log(hmm["start"]), (n, len(log_transition)))
    _, (x, states) = jax.lax.scan(move, start, jax.random.split(key, steps))
    x, states = x.swapaxes(0, 1), states.swapaxes(0, 1)
    if lengths is None:
        return x, states
    real = jnp.arange(steps) < lengths[:, None]
    return jnp.where(real.reshape(n, steps, *[1] * (x.ndim - 2)), x, 0), jnp.where(real, states, 0)


def initial(
    key: jax.Array,
    x: jax.Array,
    lengths: jax.Array | None = None,
    *,
    states: int,
    symbols: int = 0,
    covariance: Covariance = "full",
    stay: float = 0.5,
    lloyd_steps: int = 10,
) -> HMM:
    """Where EM starts: at states each of which is followed by itself with probability ``stay``, and else by any other.

    With ``symbols``, a state emits each as often as the data have it, times a factor from the exponential law of mean
    1, which parts the states; else it is a Gaussian of a cluster of k-means.
    """
    emission_key, key = jax.random.split(key)
    odds = jax.random.exponential(key, (states, states)) * (1 - jnp.eye(states))
    others = odds / jnp.maximum(odds.sum(1, keepdims=True), jnp.finfo(odds.dtype).tiny)
    transition = jnp.eye(states) * (stay if states > 1 else 1.0) + (1 - stay) * others
    start = {"start": jnp.ones(states) / states, "transition": transition}
    rows = _observed(x, lengths)
    if symbols:
        counts = jnp.ones(symbols).at[rows].add(1.0)  # none is impossible at the start
        emission = counts * jax.random.exponential(emission_key, (states, symbols))
        return {**start, "emission": emission / emission.sum(1, keepdims=True)}
    least = LEAST_SHARE_OF_VARIANCE * rows.var(0).mean()
    mixture = gmm.initial_mixture(emission_key, rows, states, covariance, least, lloyd_steps)
    return {**start, "means": mixture["means"], "covariances": mixture["covariances"]}


def _each(function: Callable[[chains.Chain], Any], hmm: HMM, x: jax.Array, lengths: jax.Array | None) -> Any:
    """``function`` of the chain of each sequence."""
    lengths = jnp.full(len(x), x.shape[1]) if lengths is None else lengths
    start, transition = jnp.log(hmm["start"]), jnp.log(hmm["transition"])
    return jax.vmap(lambda *own: function(chains.Chain(start, transition, *own)))(_log_emission(hmm, x), lengths)


def _log_emission(hmm: HMM, x: jax.Array) -> jax.Array:
    """``log e(x_t | k)``, nats ``[N, T, K]``."""
    if "emission" in hmm:
        return jnp.log(hmm["emission"]).T[x]
    alike = {"weights": jnp.ones(len(hmm["means"]), x.dtype), "means": hmm["means"], "covariances": hmm["covariances"]}
    return gmm.joint_log_density(alike, x.reshape(-1, x.shape[-1])).T.reshape(*x.shape[:2], -1)


def _gaussians(x: jax.Array, answers: jax.Array, covariance: Covariance, scatter: float) -> HMM:
    """(3) and (4) for ``x [M, D]`` and ``answers [K, M]``."""
    mixture = gmm.maximise(x, answers, covariance)
    share = scatter / (answers.sum(1) + 10 * jnp.finfo(x.dtype).eps)  # as in `maximise`: a state may answer for nothing
    added = share[:, None] if covariance == "diagonal" else share[:, None, None] * jnp.eye(x.shape[1], dtype=x.dtype)
    return {"means": mixture["means"], "covariances": mixture["covariances"] + added}


def _emit(hmm: HMM, key: jax.Array, states: jax.Array) -> jax.Array:
    if "emission" in hmm:
        return jax.random.categorical(key, jnp.log(hmm["emission"])[states]).astype(jnp.int32)
    means, covariances = hmm["means"], hmm["covariances"]
    noise = jax.random.normal(key, (len(states), means.shape[1]), means.dtype)
    if covariances.ndim == 2:
        return means[states] + noise * jnp.sqrt(covariances)[states]
    roots = jnp.linalg.cholesky(covariances)[states]
    return means[states] + jnp.einsum("nij,nj->ni", roots, noise, precision=jax.lax.Precision.HIGHEST)


def _observed(x: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """All steps, ``[N T]`` or ``[N T, D]``; in place of those beyond a length, the sequence again from its start."""
    if lengths is not None:
        again = jnp.arange(x.shape[1]) % jnp.maximum(lengths, 1)[:, None]
        x = jnp.take_along_axis(x, again.reshape(again.shape + (1,) * (x.ndim - 2)), axis=1)
    return x.reshape(-1, *x.shape[2:])


def _shares(counts: jax.Array, concentration: float, old: jax.Array) -> jax.Array:
    counts = counts + (concentration - 1)
    total = counts.sum(-1, keepdims=True)
    return jnp.where(total > 0, counts / jnp.where(total > 0, total, 1), old)  # a state that never was stays as it was


def _kind(hmm: HMM) -> Covariance:
    return "full" if hmm["covariances"].ndim == 3 else "diagonal"


@dataclass(frozen=True)
class HiddenMarkov:
    """A game of one player, ``chain``, who has no parameters: its model is in the buffers, and a step is one of EM.

    It is exact EM if the batch is the whole data set, which it is unless another is asked for; a step forgets all but
    its own batch. Where
    the data have a ``length``, what is beyond it does not count, and samples are told theirs.
    """

    makes: str
    field: Field
    given: tuple[str, ...]
    states: int
    covariance: Covariance = "full"
    prior: Prior = Prior()
    stay: float = 0.5
    lloyd_steps: int = 10

    log_prob_kind: ClassVar[str] = "exact"
    whole_set: ClassVar[bool] = True  # what it is fitted to at once, unless a batch is asked for

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: an EM step on the batch."""
        return (Turn("chain", self.negative_log_likelihood),)

    @property
    def network_evaluations(self) -> int:
        """One draw."""
        return 1

    @property
    def free_parameters(self) -> int:
        """Numbers that define the model, which are in its buffers."""
        states, d = self.states, self.field.shape[-1]
        one = d + (d * (d + 1) // 2 if self.covariance == "full" else d)
        return states**2 - 1 + states * (self.field.size - 1 if self.field.kind is SYMBOL else one)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The start of :func:`initial`, from the batch."""
        x, lengths = self._sequences(batch)
        start = initial(
            key,
            x,
            lengths,
            states=self.states,
            symbols=self.field.size,
            covariance=self.covariance,
            stay=self.stay,
            lloyd_steps=self.lloyd_steps,
        )
        return {"chain": {}}, {"chain": start}

    def negative_log_likelihood(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """Minus the log of (1), nats per sequence, and the EM step from it."""
        x, lengths = self._sequences(batch)
        hmm, evidence = em_step(buffers["chain"], x, lengths, prior=self.prior)
        steps = len(x) * x.shape[1] if lengths is None else lengths.sum()
        metrics = {"log_likelihood_of_a_step": evidence.sum() / steps}
        return -evidence.mean(), Aux(metrics, {"chain": hmm})

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, length: jax.Array | None = None
    ) -> jax.Array:
        """Draws from (1), 0 beyond ``length [n]``; none: of the whole length."""
        return sample(buffers["chain"], key, n, self.field.shape[0], length)[0]

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """Log-probability of sequences of symbols, log-density of those of reals, nats ``[B]``."""
        return log_likelihood(buffers["chain"], *self._sequences(batch))

    def posteriors(self, params: Params, buffers: Buffers, batch: Batch) -> jax.Array:
        """Probabilities of the states at each step, given the whole sequence, ``[B, T, K]``; 0 beyond the length."""
        return posteriors(buffers["chain"], *self._sequences(batch))

    def most_likely_states(self, params: Params, buffers: Buffers, batch: Batch) -> jax.Array:
        """The likeliest sequences of states, int32 ``[B, T]``; 0 beyond the length."""
        return most_likely_states(buffers["chain"], *self._sequences(batch))[0]

    def _sequences(self, batch: Batch) -> tuple[jax.Array, jax.Array | None]:
        x = batch[self.makes]
        if x.shape[1:] != self.field.shape:
            raise ValueError(
                f"expected sequences of shape {self.field.shape}, got {x.shape[1:]}; pad them to one length"
            )
        return x, batch["length"] if "length" in self.given else None


Concentration = Annotated[float, Within(1)]


@plain
class HMMConfig:
    """A hidden Markov model of symbols or of reals."""

    states: Count = 2
    """Hidden states."""
    covariance: Covariance = "full"
    """Whether the reals of one state are correlated; symbols have none."""
    stay: Annotated[float, Within(0, 1, open_low=True, open_high=True)] = 0.5
    """At the start, the probability that a state is followed by itself."""
    start_concentration: Concentration = 1.0
    """Dirichlet prior of the first state; 1: maximum likelihood."""
    transition_concentration: Concentration = 1.0
    """Dirichlet prior of the next state; 1: maximum likelihood."""
    emission_concentration: Concentration = 1.0
    """Dirichlet prior of symbols; 1: maximum likelihood, by which symbols that were never seen are impossible."""
    scatter: Amount = 0.0
    """Added to every state's sum of squared deviations, in the data's unit squared; 0: maximum likelihood, by which a
    state may shrink to one point."""
    lloyd_steps: Number = 10
    """Steps of k-means before the first of EM, for reals."""

    def build(self, fields: Fields) -> HiddenMarkov:
        """The game for ``sequence``, or for the only symbols [T] or reals [T, D] that the data have.

        Raises:
          ValueError: if there are none, or several and none is ``sequence``.
        """
        name, field = _sequence_of(fields)
        given = ("length",) if "length" in fields else ()
        concentrations = self.start_concentration, self.transition_concentration, self.emission_concentration
        prior = Prior(*concentrations, self.scatter)
        return HiddenMarkov(name, field, given, self.states, self.covariance, prior, self.stay, self.lloyd_steps)


def _sequence_of(fields: Fields) -> tuple[str, Field]:
    found = {
        name: field
        for name, field in fields.items()
        if name not in ("length", "label") and (field.kind, len(field.shape)) in ((SYMBOL, 1), (REAL, 2))
    }
    name = "sequence" if "sequence" in found else next(iter(found), "")
    if not found or (name != "sequence" and len(found) > 1):
        raise ValueError(
            "expected one field of symbols [T] or of reals [T, D], or one that is called 'sequence', got"
            f" {describe(fields)}"
        )
    return name, found[name]


REFERENCE = HMMConfig()
"""Two states, as for the vowels of English."""
SMALL = REFERENCE
PERSISTENT = HMMConfig(stay=0.99)
"""Two states that last, as the two kinds of DNA of the lambda phage do."""
