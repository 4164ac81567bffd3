"""Codes one after the other: what a PixelCNN sees, that laws sum to one, and how codes are drawn of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.models.autoregressive import Autoregressive, Choice, one_by_one
from gen_jax.networks.pixelcnn import PixelCNN
from gen_jax.nn.functional import network
from gen_jax.protocol import Network
from tests.tiers import mostly_slow

KEY = jax.random.key(0)


def pixelcnn(size=(2, 2), codes=3, classes=0, layers=3, kernel=3, **coarse):
    """A PixelCNN with a random head: a new one is uniform."""
    net = network(PixelCNN, codes=codes, size=size, classes=classes, width=8, layers=layers, kernel=kernel, **coarse)
    params, _ = net.init(KEY)
    params["head"]["kernel"] = jax.random.normal(KEY, params["head"]["kernel"].shape)
    return net, params


@pytest.mark.parametrize("case", mostly_slow([((3, 4), 3, 4), ((5, 4), 3, 5), ((3, 6), 5, 3)], ((3, 4), 3, 4)), ids=str)
def test_a_pixelcnn_sees_all_before_and_nothing_behind(case):
    """Masked square kernels alone have a blind spot: what lies above and too far to the right."""
    size, kernel, layers = case
    net, params = pixelcnn(size, layers=layers, kernel=kernel)

    def logits(embedded):
        return net.apply(params, {}, embedded, jnp.zeros(1, int), method=_of_embedded)[0][0].sum(axis=-1)

    count = size[0] * size[1]
    jacobian = jax.jit(jax.jacrev(logits))(jax.random.normal(KEY, (1, *size, 8)))
    jacobian = np.abs(np.asarray(jacobian)).sum(axis=(1, 4)).reshape(count, count)
    assert (np.triu(jacobian) == 0).all()
    assert (jacobian[np.tril_indices(count, -1)] > 0).all()


def _of_embedded(module, embedded, label, key, train):
    return module.logits(embedded, label)


EVERY = jnp.asarray(list(itertools.product(range(3), repeat=4)))


@pytest.mark.parametrize("told", mostly_slow(["nothing", "labels", "coarser codes"], "coarser codes"))
def test_a_pixelcnn_sums_to_one_over_all_grids(told):
    coarse = {"coarse": (1, 1), "coarse_codes": 5} if told == "coarser codes" else {}
    net, params = pixelcnn(classes=2 * (told == "labels"), **coarse)
    of = ("coarser",) if coarse else ()
    game = Autoregressive((2, 2), 3, 2 * (told == "labels"), net, one_by_one(4), told=of)
    laws, log_prob = [], jax.jit(game.log_prob)
    for value in range(2):
        given = {"label": jnp.full(81, value), "coarser": jnp.full((81, 1), value)}
        laws.append(np.exp(log_prob({"prior": params}, {}, KEY, {"latent": EVERY, **given})))
        np.testing.assert_allclose(laws[-1].sum(), 1, rtol=1e-4)
    assert (np.abs(laws[0] - laws[1]).max() > 1e-3) == (told != "nothing")
    params["head"]["kernel"] = jnp.zeros_like(params["head"]["kernel"])  # as a new one has it
    nats = log_prob({"prior": params}, {}, KEY, {"latent": EVERY, **given})
    np.testing.assert_allclose(nats, -4 * np.log(3), rtol=1e-5)


# A law that is no network: code i is one more than the one before it, with a probability that its logits say.
def _table(codes):
    def apply(params, buffers, index, label, *told, key=None, train=False):
        before = jnp.concatenate([label[:, None], index[:, :-1]], axis=1)
        return params[before], buffers

    return Network(lambda key: (jax.random.normal(key, (codes, codes)), {}), apply)


def _markov(shape=(2, 3), codes=4, **options):
    game = Autoregressive(shape, codes, codes, _table(codes), one_by_one(shape[0] * shape[1]), **options)
    return game, game.init(KEY, {})[0]


@pytest.mark.slow
def test_codes_are_drawn_of_their_conditionals():
    game, params = _markov()
    index = np.asarray(game.sample(params, {}, KEY, 4000, label=jnp.full(4000, 2))).reshape(4000, -1)
    expected = np.asarray(jax.nn.softmax(params["prior"]))
    before = np.concatenate([np.full((4000, 1), 2), index[:, :-1]], axis=1)
    counts = np.zeros((4, 4))
    np.add.at(counts, (before.ravel(), index.ravel()), 1)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), expected, atol=0.03)


def test_a_window_as_large_as_the_grid_draws_as_the_grid_does_and_a_larger_grid_is_continued():
    game, params = _markov()
    label = jnp.arange(8) % 4
    same = game.sample_larger(params, {}, KEY, 8, (2, 3), label=label)
    np.testing.assert_array_equal(same, game.sample(params, {}, KEY, 8, label=label))
    sure = {"prior": 50 * jnp.roll(jnp.eye(4), 1, axis=1)}  # always the next code
    larger = np.asarray(game.sample_larger(sure, {}, KEY, 8, (4, 7), label=label))
    # Along a row each follows the one before it; a row begins with what its window's last column made, one row above.
    assert ((larger[:, :, 1:] - larger[:, :, :-1]) % 4 == 1).all()
    assert ((larger[:, 1:, 0] - larger[:, :-1, 2]) % 4 == 1).all()
    with pytest.raises(ValueError, match=r"^expected a grid of at least \[2, 3\], got \[1, 9\]$"):
        game.sample_larger(params, {}, KEY, 8, (1, 9), label=label)


@pytest.mark.parametrize("seed", mostly_slow(range(4), 0))
def test_restricted_laws_are_those_of_their_definitions(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(5, 11)) * 2
    for choice in (Choice(0.7), Choice(top_k=3), Choice(top_p=0.6), Choice(1.5, 5, 0.8), Choice(top_p=1e-6)):
        got = np.asarray(jax.nn.softmax(choice.restricted(jnp.asarray(logits, jnp.float32))))
        for row, law in zip(logits / choice.temperature, got):
            order = np.argsort(-row)
            kept = order[: choice.top_k or None]
            p = np.exp(row[kept]) / np.exp(row[kept]).sum()
            enough = int(np.searchsorted(np.cumsum(p), choice.top_p - 1e-12)) + 1
            expected = np.zeros(11)
            expected[kept[:enough]] = p[:enough] / p[:enough].sum()
            np.testing.assert_allclose(law, expected, atol=1e-6)


def test_what_is_not_kept_changes_the_condition_and_not_what_is_to_be_said():
    shape = (2, 3)
    seen = []

    def apply(params, buffers, index, label, *told, key=None, train=False):
        seen.append(index)
        return jnp.zeros((*index.shape, 50)), buffers

    game = Autoregressive(shape, 50, 0, Network(lambda key: ({}, {}), apply), one_by_one(6), keep=0.7)
    index = jnp.full((500, 6), 7)
    loss, _ = game.prior_loss({"prior": {}}, {}, {"latent": index}, KEY, step=0, ema=None)
    np.testing.assert_allclose(loss, 6 * np.log(50), rtol=1e-5)
    share = np.mean(np.asarray(seen[0]) == 7)
    assert abs(share - (0.7 + 0.3 / 50)) < 4 * np.sqrt(0.21 / 3000)
