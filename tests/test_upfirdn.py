"""Filters at any change of resolution: against a reference in numpy, scipy's designs, and identities."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from scipy.special import j1

from gen_jax.nn import resample
from gen_jax.nn import upfirdn as filters
from gen_jax.nn.upfirdn import low_pass, radial_low_pass, upfirdn


def reference(x, f, up, down, padding, gain):
    """Zeros written between, rows added or cut off, the filter laid at every place, in float64."""
    b, h, w, c = x.shape
    f = np.outer(f, f) if np.ndim(f) == 1 else np.asarray(f)
    z = np.zeros((b, h * up, w * up, c))
    z[:, ::up, ::up] = x
    grown = [max(p, 0) for p in padding]
    z = np.pad(z, [(0, 0), grown, grown, (0, 0)])
    cut = [max(-p, 0) for p in padding]
    z = z[:, cut[0] : z.shape[1] - cut[1], cut[0] : z.shape[2] - cut[1]]
    n, m = f.shape
    rows, columns = z.shape[1] - n + 1, z.shape[2] - m + 1
    y = np.zeros((b, rows, columns, c))
    for i, j in itertools.product(range(n), range(m)):  # a true convolution: the last tap meets the first pixel
        y += f[n - 1 - i, m - 1 - j] * z[:, i : i + rows, j : j + columns]
    return gain * y[:, ::down, ::down]


def cases(seed, count):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        taps, up, down = rng.integers(1, 9), rng.integers(1, 5), rng.integers(1, 5)
        shape = (rng.integers(1, 3), rng.integers(4, 9), rng.integers(4, 9), rng.integers(1, 4))
        padding = tuple(int(p) for p in rng.integers(-1, 9, 2)) if taps < 4 else tuple(map(int, rng.integers(5, 9, 2)))
        f = rng.normal(size=(taps, taps) if rng.random() < 0.4 else taps)
        yield rng.normal(size=shape).astype(np.float32), f, int(up), int(down), padding, float(rng.uniform(0.5, 4))


@pytest.mark.parametrize(("seed", "count"), [(0, 8), pytest.param(1, 80, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dense", [0, 256])
def test_upfirdn_is_what_numpy_makes_of_it(seed, count, dense, monkeypatch):
    """By convolutions and by matrices."""
    monkeypatch.setattr(filters, "DENSE", dense)
    for x, f, up, down, padding, gain in cases(seed, count):
        expected = reference(x, f, up, down, padding, gain)
        found = jax.jit(lambda x, f=f, o=(up, down, padding, gain): upfirdn(
            x, f, up=o[0], down=o[1], padding=o[2], gain=o[3]))(x)  # fmt: skip
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, np.abs(expected).max()), rtol=0)


def test_the_filter_of_the_resamplers():
    """Up and down by two of :mod:`gen_jax.nn.resample` are [1, 3, 3, 1] / 8 by the reference."""
    f = np.array([1, 3, 3, 1]) / 8
    x = np.random.default_rng(2).normal(size=(2, 6, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(resample.upsample(x), reference(x, f, 2, 1, (2, 1), 4.0), atol=1e-5)
    np.testing.assert_allclose(resample.downsample(x), reference(x, f, 1, 2, (1, 1), 1.0), atol=1e-5)
    np.testing.assert_allclose(resample.blur(x, 2), reference(x, f, 1, 1, (2, 2), 1.0), atol=1e-5)
    np.testing.assert_allclose(upfirdn(x, f, up=2, padding=(2, 1), gain=4.0), resample.upsample(x), atol=1e-5)


@pytest.mark.parametrize("taps", [1, 2, 7, 12, 24, 48])
def test_low_pass_filters_are_scipys(taps):
    for cutoff, width, rate in [(2.0, 4.6, 16.0), (3.0, 1.0, 8.0), (0.3, 0.4, 2.0), (10.0, 20.0, 64.0)]:
        expected = scipy.signal.firwin(taps, cutoff, width=width, fs=rate)
        np.testing.assert_allclose(low_pass(taps, cutoff, width, rate), expected, atol=1e-9)


@pytest.mark.parametrize("taps", [2, 12, 24])
def test_radial_filters_are_the_formula(taps):
    cutoff, width, rate = 2.0, 4.6, 16.0
    beta = scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(taps, width / (rate / 2)))
    window = np.kaiser(taps, beta)
    expected = np.empty((taps, taps))
    for i, j in itertools.product(range(taps), repeat=2):
        r = np.hypot(i - (taps - 1) / 2, j - (taps - 1) / 2) / rate
        expected[i, j] = j1(2 * np.pi * cutoff * r) / (np.pi * r) * window[i] * window[j]
    found = radial_low_pass(taps, cutoff, width, rate)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-12)
    np.testing.assert_allclose(found, found.T, atol=1e-12)


def test_what_a_low_pass_filter_lets_through():
    """Waves well below the cutoff pass, waves beyond the transition are gone."""
    f = low_pass(48, 2.0, 1.0, 16.0)
    for frequency, least, most in [(0.0, 0.999, 1.001), (1.2, 0.99, 1.01), (2.8, 0.0, 0.01), (6.0, 0.0, 0.01)]:
        response = abs(np.sum(f * np.exp(2j * np.pi * frequency * np.arange(48) / 16)))
        assert least <= response <= most, frequency


@pytest.mark.slow
def test_a_constant_stays_one():
    ones = np.ones((1, 8, 8, 2), np.float32)
    for f in (np.array([1, 3, 3, 1]) / 8, radial_low_pass(12, 2.0, 4.0, 16.0), low_pass(12, 2.0, 4.0, 16.0)):
        # Between zeros every other tap is met: their sums are a half each where the filter is a low-pass one.
        found = upfirdn(ones, f, up=2, gain=4.0, padding=(6, 6))[:, 12:-12, 12:-12]
        np.testing.assert_allclose(found, 1.0, atol=0.02)
        np.testing.assert_allclose(upfirdn(ones, f, padding=(6, 6))[:, 12:-12, 12:-12], 1.0, rtol=1e-5)


def test_gradients_are_those_of_a_linear_map():
    """<up f x, y> = <x, gradient>: against numpy's of every unit image."""
    rng = np.random.default_rng(3)
    f, y = rng.normal(size=3), rng.normal(size=(1, 6, 6, 1)).astype(np.float32)
    options = {"up": 2, "down": 1, "padding": (1, 1), "gain": 2.0}
    x = np.zeros((1, 3, 3, 1), np.float32)
    found = jax.grad(lambda x: (upfirdn(x, f, **options) * y).sum())(jnp.asarray(x))
    for i, j in itertools.product(range(3), repeat=2):
        unit = np.zeros((1, 3, 3, 1))
        unit[0, i, j] = 1.0
        expected = (reference(unit, f, 2, 1, (1, 1), 2.0) * y).sum()
        np.testing.assert_allclose(found[0, i, j, 0], expected, rtol=1e-4, atol=1e-5)
