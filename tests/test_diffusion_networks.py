"""The networks of diffusion models: the published sizes of all, laws that every one obeys, and parts by formula."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gen_jax.networks.adm import ADM, AttentionPool, NoisyClassifier, by_convolution
from gen_jax.networks.ddpmpp import NoiseCondition, SongUNet
from gen_jax.networks.dit import DiT, places
from gen_jax.networks.ncsnpp import FromLevels, InputResidual, InputSkip, half_block
from gen_jax.networks.unet import UNet
from gen_jax.networks.vdm import VDMUNet, fourier_features
from gen_jax.nn import embed, resample
from gen_jax.nn.attention import Attention
from gen_jax.nn.embed import RandomSinusoids, Sinusoids
from gen_jax.nn.functional import network, parameter_count
from gen_jax.nn.ladder import Condition
from gen_jax.nn.layers import ModulatedGroupNorm

NCSNPP = {"features": RandomSinusoids, "resampler": resample.FIR, "feed": InputResidual}
SKIPS = {"feed": InputSkip, "head": FromLevels}

# ---- the published sizes

ddpm = functools.partial(network, UNet, channels=3, base=128, blocks=2, attention=(16,))
song = functools.partial(network, SongUNet, channels=3, base=128, blocks=4, attention=(16,))
adm = functools.partial(network, ADM, channels=3, base=256, blocks=2, attention=(32, 16, 8), outputs=6, classes=1000)
judge = functools.partial(network, NoisyClassifier, channels=3, classes=1000, base=128, attention=(32, 16, 8))
dit = functools.partial(network, DiT, size=(32, 32), channels=4, patch=2, outputs=8, classes=1000)
CIFAR, EDM32 = (
    {"size": (32, 32), "multipliers": (1, 2, 2, 2)},
    {"size": (32, 32), "multipliers": (2, 2, 2), "augmentations": 9},
)
EDM64 = {"size": (64, 64), "multipliers": (1, 2, 2, 2), "augmentations": 9}
IDDPM = {"base": 128, "blocks": 3, "attention": (16, 8), "heads": 4, "classes": 0, "between": by_convolution}
ADM64 = {"size": (64, 64), "base": 192, "blocks": 3, "multipliers": (1, 2, 3, 4)}

SIZES = [
    ("DDPM", ddpm(**CIFAR), 35_746_307),
    ("DDPM 256", ddpm(size=(256, 256), multipliers=(1, 1, 2, 2, 4, 4)), 113_673_219),
    ("DDPM of score SDEs", ddpm(**CIFAR, attended_up=1), 35_218_947),
    ("DDPM++", song(**CIFAR), 61_804_419),
    ("DDPM++ deep", song(**CIFAR, blocks=8), 106_632_579),
    ("NCSN++", song(**CIFAR, **NCSNPP), 62_758_787),
    ("NCSN++ deep", song(**CIFAR, **NCSNPP, blocks=8), 107_586_947),
    ("NCSN++ 256", song(size=(256, 256), multipliers=(1, 1, 2, 2, 2, 2, 2), blocks=2, **NCSNPP | SKIPS), 65_574_421),
    ("EDM DDPM++ 32", song(**EDM32), 55_733_891),
    ("EDM DDPM++ 32, classes", song(**EDM32, classes=10), 55_735_299),
    ("EDM DDPM++ 32, not augmented", song(**EDM32 | {"augmentations": 0}), 55_732_739),
    ("EDM NCSN++ 32", song(**EDM32, **NCSNPP), 56_397_827),
    ("EDM NCSN++ 32, classes", song(**EDM32, **NCSNPP, classes=10), 56_400_643),
    ("EDM DDPM++ 64", song(**EDM64), 61_805_571),
    ("EDM NCSN++ 64", song(**EDM64, **NCSNPP), 62_761_091),
    ("IDDPM", adm(**CIFAR, **IDDPM), 52_546_438),
    ("ADM 64", adm(**ADM64), 295_904_454),
    ("EDM ADM 64", adm(**ADM64, outputs=3), 295_899_267),
    ("ADM 128", adm(size=(128, 128), multipliers=(1, 1, 2, 3, 4), heads=4), 421_529_606),
    ("ADM 256", adm(size=(256, 256), multipliers=(1, 1, 2, 2, 4, 4)), 553_838_086),
    ("ADM 256, no classes", adm(size=(256, 256), multipliers=(1, 1, 2, 2, 4, 4), classes=0), 552_814_086),
    ("ADM 512", adm(size=(512, 512), multipliers=(0.5, 1, 1, 2, 2, 4, 4)), 558_997_638),
    ("ADM classifier 256", judge(size=(256, 256), multipliers=(1, 1, 2, 2, 4, 4), blocks=2), 54_096_360),
    ("VDM", network(VDMUNet, channels=3, base=128, blocks=32), 30_578_179),
    ("VDM wide", network(VDMUNet, channels=3, base=256, blocks=32), 122_137_603),
    ("DiT-S/2", dit(width=384, layers=12, heads=6), 32_865_056),
    ("DiT-B/2", dit(width=768, layers=12, heads=12), 130_315_808),
    ("DiT-L/2", dit(width=1024, layers=24, heads=16), 457_840_672),
    ("DiT-XL/2", dit(width=1152, layers=28, heads=16), 674_834_720),
]


@pytest.mark.parametrize(("net", "count"), [pytest.param(*row[1:], id=row[0]) for row in SIZES])
def test_parameter_counts_are_the_published_ones(net, count):
    assert parameter_count(net.init) == count


def test_random_frequencies_are_buffers():
    _, buffers = jax.eval_shape(song(**CIFAR, **NCSNPP).init, jax.random.key(0))
    assert [leaf.shape for leaf in jax.tree.leaves(buffers)] == [(128,)]


# ---- laws

LEVELS = {"base": 4, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
NETS = {
    "UNet": functools.partial(network, UNet, **LEVELS, dropout=0.5),
    "NCSN++": functools.partial(network, SongUNet, **LEVELS, **NCSNPP, dropout=0.5, augmentations=2),
    "DDPM++ skips": functools.partial(network, SongUNet, **LEVELS, **SKIPS, dropout=0.5),
    "IDDPM": functools.partial(network, ADM, **LEVELS, between=by_convolution, heads=2, dropout=0.5),
    "ADM": functools.partial(network, ADM, **LEVELS, head_width=4, dropout=0.5),
    "VDM": lambda size, **options: network(VDMUNet, base=4, blocks=1, dropout=0.5, **options),
    "DiT": functools.partial(network, DiT, patch=2, width=8, layers=1, heads=2, features=8),
}
every = pytest.mark.parametrize("name", NETS)
kinds = pytest.mark.parametrize(  # the others differ in options
    "name", ["VDM", "DiT", *(pytest.param(name, marks=pytest.mark.slow) for name in ("UNet", "NCSN++", "ADM"))]
)
CLASSES = 3


def draw(size):
    return np.random.default_rng(np.sum(size)).normal(size=size)


def random_weights(net):
    return jax.tree.map(
        lambda a: jnp.asarray(draw(a.shape) / np.sqrt(max(np.prod(a.shape[:-1]), 1)), a.dtype),
        jax.eval_shape(net.init, jax.random.key(0)),
    )


@functools.cache
def case(name):
    """A tiny network with random weights everywhere, inputs, and its compiled ``(output, output in training)``."""
    net = NETS[name](size=(8, 8), channels=1, classes=CLASSES)
    params, buffers = random_weights(net)
    x = jnp.asarray(draw((3, 8, 8, 1)), jnp.bfloat16).astype(jnp.float32)

    @jax.jit
    def both(params, x, t, label, key):
        run = functools.partial(net.apply, params, buffers, x, t, label, key=key)
        return run()[0], run(train=True)[0]

    return net, params, buffers, x, jnp.array([0.1, 0.5, 0.7]), jnp.array([0, 1, CLASSES]), both


@every
@pytest.mark.parametrize(("size", "channels"), [((8, 8), 1), ((28, 28), 1), ((16, 16), 3), ((12, 16), 3)])
def test_shapes(name, size, channels):
    net = NETS[name](size=size, channels=channels)
    params, buffers = jax.eval_shape(net.init, jax.random.key(0))
    x, t = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.float32)
    y, _ = jax.eval_shape(net.apply, params, buffers, x, t)
    assert y.shape == x.shape and y.dtype == jnp.float32


@pytest.mark.parametrize("name", [name for name in NETS if name != "DiT"])  # which knows where is up
def test_a_transposed_image_and_transposed_kernels_give_the_transposed_output(name):
    lying, standing = (NETS[name](size=size, channels=2) for size in ((8, 12), (12, 8)))
    params, buffers = random_weights(lying)
    turned = jax.tree.map(lambda a: a.swapaxes(0, 1) if a.ndim == 4 else a, params)
    x, t = jnp.asarray(draw((2, 8, 12, 2)), jnp.float32), jnp.array([0.1, 0.7])
    expected = jax.jit(lying.apply)(params, buffers, x, t)[0].swapaxes(1, 2)
    got = jax.jit(standing.apply)(turned, buffers, x.swapaxes(1, 2), t)[0]
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["NCSN++", "DDPM++ skips", "ADM", "DiT"])
def test_more_outputs_than_inputs(name):
    net = NETS[name](size=(8, 8), channels=1, outputs=2)
    params, buffers = jax.eval_shape(net.init, jax.random.key(0))
    x, t = jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.float32)
    assert jax.eval_shape(net.apply, params, buffers, x, t)[0].shape == (2, 8, 8, 2)


@every
def test_the_start(name):
    """The last map is zero: whatever came before, nothing comes out, but of VDM what went in."""
    net, params, _, x, t, label, both = case(name)

    @jax.jit
    def begin(key):
        start, _ = net.init(key)
        return (
            {"net": params["net"] | {"head": start["net"]["head"]}} if "net" in start else {"output": start["output"]}
        )

    y, _ = both(params | begin(jax.random.key(0)), x, t, label, jax.random.key(0))
    np.testing.assert_array_equal(y, x if name == "VDM" else 0 * x)


@pytest.mark.parametrize("change", [None, resample.BOX.down])
def test_a_block_starts_as_its_shortcut(change):
    block = half_block(4, 8, change, norms=(None, None), shift_width=3, rngs=nnx.Rngs(0))
    block.norm_in = block.norm_out = lambda h, style: h
    x = jnp.asarray(draw((1, 4, 4, 4)), jnp.float32)
    y = x if change is None else change(x)
    expected = (y @ block.shortcut.kernel[0, 0] + block.shortcut.bias[...]) / np.sqrt(2)
    np.testing.assert_allclose(block(x, Condition(shift=jnp.ones((1, 3))), None), expected, rtol=1e-4, atol=1e-5)


@every
def test_every_input_matters_to_its_own_image_alone(name):
    _, params, _, x, t, label, both = case(name)
    y = both(params, x, t, label, jax.random.key(0))[0]
    assert jnp.all(jnp.isfinite(y))
    changes = [(x.at[1:].add(1.0), t, label), (x, t.at[1:].add(1.0), label), (x, t, label.at[1:].set(2))]
    for changed in changes:
        other = both(params, *changed, jax.random.key(0))[0]
        np.testing.assert_allclose(other[0], y[0], atol=1e-5)
        assert jnp.abs(other[1:] - y[1:]).max(axis=(1, 2, 3)).min() > 1e-3


@every
def test_dropout_is_for_training(name):
    _, params, _, x, t, label, both = case(name)
    (quiet, one), (still, other), (_, again) = (both(params, x, t, label, jax.random.key(k)) for k in (0, 1, 0))
    np.testing.assert_array_equal(quiet, still)
    np.testing.assert_array_equal(one, again)
    if name == "DiT":  # has none
        np.testing.assert_allclose(one, quiet, atol=1e-5)
    else:
        assert jnp.abs(one - other).max() > 1e-3 and jnp.abs(one - quiet).max() > 1e-3


@kinds
def test_uncompiled_and_without_labels(name):
    """No label is the one beyond the classes; the same comes out operation by operation."""
    net, params, buffers, x, t, label, both = case(name)
    compiled = both(params, x, t, jnp.full_like(label, CLASSES), jax.random.key(0))[0]
    np.testing.assert_allclose(net.apply(params, buffers, x, t)[0], compiled, rtol=1e-3, atol=1e-4)


@kinds
def test_bfloat16(name):
    net, params, buffers, x, t, label, both = case(name)
    full = both(params, x, t, label, jax.random.key(0))[0]
    low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    half = jax.jit(lambda params: net.apply(params, buffers, x, t, label)[0])(low)
    assert half.dtype == jnp.float32
    assert jnp.sqrt(jnp.mean((half - full) ** 2)) < 0.05 * jnp.std(full)


# ---- parts


def angles(t, frequency):
    return np.asarray(t, np.float64)[:, None] * frequency


def test_sinusoids_in_the_order_of_each_network():
    t, i = np.array([0.0, 1.0, 3.5]), np.arange(4)
    closed = angles(t, 1e4 ** (-i / 3))
    expected = np.concatenate([np.sin(closed), np.cos(closed)], axis=1)
    np.testing.assert_allclose(Sinusoids(8, rngs=nnx.Rngs(0))(jnp.asarray(t)), expected, atol=1e-6)
    opened = angles(t, 1e4 ** (-i / 4))
    expected = np.concatenate([np.cos(opened), np.sin(opened)], axis=1)
    np.testing.assert_allclose(embed.cosines_first(jnp.asarray(t), 8), expected, atol=1e-6)
    random = RandomSinusoids(2000, rngs=nnx.Rngs(0))
    frequency = np.asarray(random.frequency[...], np.float64)
    assert abs(frequency.std() - 16) < 1
    turns = 2 * np.pi * angles(t, frequency)
    expected = np.concatenate([np.sin(turns), np.cos(turns)], axis=1)
    np.testing.assert_allclose(random(jnp.asarray(t)), expected, atol=2e-4)


def test_places_of_patches():
    got = places((2, 3), 8)
    for y, x in itertools.product(range(2), range(3)):
        expected = [f(a * w) for a in (x, y) for f in (np.sin, np.cos) for w in (1, 0.01)]
        np.testing.assert_allclose(got[3 * y + x], expected, atol=1e-12)


def test_waves_of_pixels():
    z = np.array([0.0, 0.1, -0.7, 1.0]).reshape(1, 2, 1, 2).astype(np.float32)
    wide = z.astype(np.float64)
    expected = [z, *(f(k * np.pi * wide) for f in (np.sin, np.cos) for k in (128, 256))]
    np.testing.assert_allclose(fourier_features(jnp.asarray(z), (6, 7)), np.concatenate(expected, -1), atol=1e-4)


def test_what_edm_tells_its_blocks():
    condition = NoiseCondition(Sinusoids(8, rngs=nnx.Rngs(0)), 6, 3, 2, rngs=nnx.Rngs(1))
    t, label, augmentation = jnp.array([0.3, -1.0]), jnp.array([2, 3]), jnp.array([[0.5, 1.0], [2.0, 0.0]])
    dense = lambda layer, h: h @ layer.kernel[...] + (0 if layer.bias is None else layer.bias[...])  # noqa: E731
    silu = lambda h: h / (1 + np.exp(-h))  # noqa: E731
    told = np.sqrt(3) * np.array([[0, 0, 1], [0, 0, 0]])
    h = embed.sinusoidal(t, 8) + dense(condition.label, told) + dense(condition.augmentation, augmentation)
    expected = silu(dense(condition.second, silu(dense(condition.first, h))))
    np.testing.assert_allclose(condition(t, label, augmentation), expected, rtol=1e-4, atol=1e-5)


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def heads_by_hand(part, query, h):
    """Two heads, one after the other, of ``h [T, 8]``."""
    dense = lambda layer, a: a @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])  # noqa: E731
    q, k, v = dense(part.query, query), dense(part.key, h), dense(part.value, h)
    halves = (np.s_[:, :4], np.s_[:, 4:])
    mixed = np.concatenate([softmax(q[s] @ k[s].T / 2) @ v[s] for s in halves], -1)
    return dense(part.output, mixed)


def test_attention_with_heads():
    attention = Attention(8, heads=2, gain=0.5, epsilon=0.1, rngs=nnx.Rngs(0))
    attention.output.kernel[...] = jax.random.normal(jax.random.key(1), (8, 8))
    x = np.asarray(jax.random.normal(jax.random.key(0), (1, 3, 3, 8)))
    h = x.reshape(9, 2, 4)  # groups of four channels
    h = ((h - h.mean((0, 2), keepdims=True)) / np.sqrt(h.var((0, 2), keepdims=True) + 0.1)).reshape(9, 8)
    expected = 0.5 * (x.reshape(9, 8) + heads_by_hand(attention, h, h))
    np.testing.assert_allclose(attention(jnp.asarray(x)).reshape(9, 8), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="heads"):
        Attention(8, heads=3, rngs=nnx.Rngs(0))


def test_pooling_by_attention():
    pool = AttentionPool((2, 3), 8, 5, heads=2, rngs=nnx.Rngs(0))
    x = np.asarray(jax.random.normal(jax.random.key(0), (1, 2, 3, 8)))
    h = np.concatenate([x.reshape(6, 8).mean(0, keepdims=True), x.reshape(6, 8)]) + np.asarray(pool.position[...])
    np.testing.assert_allclose(pool(jnp.asarray(x)), heads_by_hand(pool, h[:1], h), rtol=1e-3, atol=1e-4)


def test_modulated_normalisation():
    norm = ModulatedGroupNorm(8, 3, epsilon=1e-5, rngs=nnx.Rngs(0))
    norm.norm.scale[...], norm.norm.bias[...] = jnp.arange(8.0), jnp.arange(8.0) - 3
    x, style = np.asarray(jax.random.normal(jax.random.key(0), (2, 3, 3, 8))), np.array([[1, 2, 3], [-1, 0, 1.0]])
    h = x.reshape(2, 9, 2, 4)
    h = (h - h.mean((1, 3), keepdims=True)) / np.sqrt(h.var((1, 3), keepdims=True) + 1e-5)
    h = h.reshape(x.shape) * np.arange(8) + np.arange(8) - 3
    a, b = np.split(style @ np.asarray(norm.style.kernel[...]), 2, axis=-1)
    expected = h * (1 + a[:, None, None]) + b[:, None, None]
    np.testing.assert_allclose(norm(jnp.asarray(x), jnp.asarray(style)), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("resampler", [resample.FIR, resample.BOX])
def test_resampling_keeps_constants_and_sums(resampler):
    ones, point = jnp.ones((1, 8, 8, 1)), jnp.zeros((1, 8, 8, 1)).at[0, 4, 3, 0].set(1.0)
    for change in resampler:
        np.testing.assert_allclose(change(ones)[:, 1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(resampler.up(point).sum(), 4, rtol=1e-6)
    np.testing.assert_allclose(resampler.down(point).sum(), 0.25, rtol=1e-6)
    np.testing.assert_allclose(resample.blur(point, 2).sum(), 1, rtol=1e-6)


def test_pixels_averaged_and_repeated():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(resample.BOX.down(jnp.asarray(x))[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(resample.BOX.up(jnp.asarray(x)), x.repeat(2, axis=1).repeat(2, axis=2))


# ---- the schedules and the classifier


def test_the_classifier_knows_the_time_and_has_a_slope():
    net = network(NoisyClassifier, size=(8, 8), channels=1, classes=5, **LEVELS)
    params, buffers = random_weights(net)
    x, t = jnp.asarray(draw((2, 8, 8, 1)), jnp.float32), jnp.array([0.1, 0.7])

    @jax.jit
    def logits_and_slope(x, t):
        logits = net.apply(params, buffers, x, t)[0]
        return logits, jax.grad(lambda x: jax.nn.log_softmax(net.apply(params, buffers, x, t)[0])[:, 2].sum())(x)

    logits, slope = logits_and_slope(x, t)
    assert logits.shape == (2, 5) and jnp.abs(slope).max(axis=(1, 2, 3)).min() > 0
    other = logits_and_slope(x, t.at[1].add(1.0))[0]
    np.testing.assert_allclose(other[0], logits[0], atol=1e-5)
    assert jnp.abs(other[1] - logits[1]).max() > 1e-3
    along = jnp.asarray(draw((1, *x.shape[1:])), jnp.float32)
    ahead, behind = (jax.nn.log_softmax(logits_and_slope(x + d * along, t)[0])[:, 2].sum() for d in (0.01, -0.01))
    np.testing.assert_allclose((ahead - behind) / 0.02, jnp.sum(slope * along), rtol=0.02, atol=1e-3)
