"""How far a translation is from the truth, where that is known, and what must be beaten.

With images x of one domain and y, the same in the other, 8-bit levels:

    error       mean over all numbers of |translation of x - y|                                           (1)
    copying     the error of x itself                                                                     (2)
    colour map  that of the best map of every pixel by its own value alone: of grey images the median of
                y for each of 256 levels; of colours the least squares of y on 1, x and products of x     (3)
"""

import numpy as np


def error(made: np.ndarray, true: np.ndarray) -> float:
    """(1), of uint8 images ``[N, H, W, C]``."""
    return float(np.abs(made.astype(np.float32) - true.astype(np.float32)).mean())


def copied(x: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(2): uint8 ``x [N, H, W, C]`` with as many channels as ``true``; grey for one, the same in each for more."""
    if x.shape[-1] == true.shape[-1]:
        return x
    grey = x.astype(np.float32).mean(axis=-1, keepdims=True).round().astype(np.uint8)
    return np.broadcast_to(grey, (*x.shape[:-1], true.shape[-1]))


def colour_mapped(x: np.ndarray, known: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(3): ``x [N, H, W, C]``, uint8, by the map that is best on the pairs ``known``, images of either domain."""
    before, after = (part.reshape(-1, part.shape[-1]) for part in known)
    if before.shape[1] == 1:
        table = np.zeros((256, after.shape[1]), np.float32)
        for level in range(256):
            seen = after[before[:, 0] == level]
            table[level] = np.median(seen, axis=0) if len(seen) else np.median(after, axis=0)
        return table[x[..., 0]].round().astype(np.uint8)
    weights = np.linalg.lstsq(_products(before), after.astype(np.float32), rcond=None)[0]
    made = _products(x.reshape(-1, x.shape[-1])) @ weights
    return np.clip(made.round(), 0, 255).astype(np.uint8).reshape(*x.shape[:-1], -1)


def _products(x: np.ndarray) -> np.ndarray:
    shares = x.astype(np.float32) / 255
    pairs = [shares[:, i] * shares[:, j] for i in range(x.shape[1]) for j in range(i, x.shape[1])]
    return np.stack([np.ones(len(x), np.float32), *shares.T, *pairs], axis=1)
