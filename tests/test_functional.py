"""The border to Flax."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gen_jax.nn.functional import network, parameters


class Counted(nnx.Module):
    """A list of twelve: as words, the key 10 comes before the key 2."""

    def __init__(self, *, rngs):
        self.parts = nnx.List(nnx.Param(jnp.full(1, float(i))) for i in range(12))
        self.kept = nnx.List(nnx.BatchStat(jnp.full(1, float(i))) for i in range(12))

    def __call__(self, x, *, key=None, train=False):
        return jnp.concatenate([part[...] for part in self.parts]), jnp.concatenate([k[...] for k in self.kept])

    def own(self, *, key=None, train=False):
        return parameters(self)


def test_a_list_of_more_than_ten_keeps_its_order():
    net = network(Counted)
    params, buffers = net.init(jax.random.key(0))
    for order in net.apply(params, buffers, jnp.zeros(1))[0]:
        np.testing.assert_array_equal(order, np.arange(12))
    _, carried = net.apply(params, buffers, jnp.zeros(1), train=True)
    own, _ = net.apply(params, buffers, method=Counted.own)
    for found, expected in ((carried, buffers), (own, params)):
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
