"""Features and logits for the metrics, the same for whoever asks: what the references and this library are given.

Everything after the draw is elementwise, so that no machine rounds it differently. Features are as those of a network
are: not negative, correlated, with directions of very different size; the two sides differ in mean, spread and shape.
"""

import numpy as np

# Images generated and real, and width of the features, by the name in tests/golden/metrics.npz. There are fewer wide
# features than dimensions, so that their covariance is singular.
CASES = {"narrow": (3000, 2500, 64), "wide": (2000, 2000, 2048)}


def metric_inputs(case):
    """Features of generated and of real images and logits of the former, ``[M, F]``, ``[N, F]`` and ``[M, 1008]``.

    The logits have as many classes as there are features, where those are fewer. All are float32.
    """
    m, n, width = CASES[case]
    draw = np.random.Generator(np.random.Philox(key=[2020, width]))
    scale = (1 + np.arange(width)) ** -0.6
    generated = _features(draw, m, width, scale, mean=0.15, spread=0.8)
    reference = _features(draw, n, width, scale, mean=0.0, spread=1.0)
    logits = 3 * draw.standard_normal((m, min(width, 1008))) + 4 * (generated[:, :1] > 0.5) * scale[:1008]
    return generated, reference, logits.astype(np.float32)


def _features(draw, count, width, scale, *, mean, spread):
    z = draw.standard_normal((count, width)) * scale
    common = draw.standard_normal((count, 1))
    x = z + 0.7 * np.roll(z, 1, 1) + 0.4 * np.roll(z, 5, 1) + 0.3 * common * scale + mean * scale
    return np.maximum(spread * x + 0.2, 0).astype(np.float32)
