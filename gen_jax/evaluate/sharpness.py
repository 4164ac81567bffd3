"""How much fine detail images have: the energy of their high frequencies.

With X(f) the two-dimensional discrete Fourier transform of a channel of an H x W image and f in cycles a pixel along
either axis, in [-1/2, 1/2),

    energy(r) = sum over |f| > r of |X(f)|^2 / (H W)^2                                                    (1)
    detail    = mean energy of the generated / mean energy of real images                                  (2)

Over all f but 0, (1) is the variance of the image's pixels (Parseval). Blurred images have a detail below 1, and so
have images of too little contrast; noise on the pixels, which is the same at all frequencies, may make it larger than
1, so that a detail near 1 is no proof of sharpness.
"""

import numpy as np

RADIUS = 0.25  # cycles a pixel: half of what a grid of pixels can have along an axis


def high_frequency_energy(images: np.ndarray, *, radius: float = RADIUS) -> np.ndarray:
    """(1) of images ``[N, H, W, C]``, the mean over their channels: squares of grey levels, ``[N]``.

    Raises:
      ValueError: if they are no images.
    """
    images = np.asarray(images, np.float64)
    if images.ndim != 4:
        raise ValueError(f"expected images [N, H, W, C], got {list(images.shape)}")
    height, width = images.shape[1:3]
    distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    power = np.abs(np.fft.fft2(images, axes=(1, 2), norm="forward")) ** 2
    return (power * (distance > radius)[:, :, None]).sum(axis=(1, 2)).mean(axis=-1)


def detail(generated: np.ndarray, reference: np.ndarray, *, radius: float = RADIUS) -> float:
    """(2) of two sets of images; 1 for real ones.

    Raises:
      ValueError: if a set is empty or no images, or the reference has nothing above the radius.
    """
    energies = [high_frequency_energy(images, radius=radius) for images in (generated, reference)]
    if not all(map(len, energies)):
        raise ValueError(f"expected images in both sets, got {len(generated)} and {len(reference)}")
    ours, real = (float(energy.mean()) for energy in energies)
    if real == 0:
        raise ValueError(f"the reference has no energy above {radius} cycles a pixel; choose a smaller radius")
    return ours / real
