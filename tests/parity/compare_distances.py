"""One distance, five ways: how far the usual programs differ on the same images and weights.

``python -m tests.parity.compare_distances [FOLDER [IMAGES]]``; FOLDER has Fashion-MNIST's
``train-images-idx3-ubyte.gz``. Two sets of images are written as RGB PNG files and measured with the same random
weights: by this library, by torch-fidelity and pytorch-fid from the files, and after clean-fid's resize. A distance in
random features is no FID; the differences between programs are what is measured.
"""

import gzip
import pathlib
import sys
import tempfile

import numpy as np
import torch
from cleanfid.resize import build_resizer
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from gen_jax.evaluate import frechet_distance
from gen_jax.evaluate.inception import load_inception
from tests.inception_state import random_state
from tests.parity import references


def read_images(folder, count):
    """Two sets of ``count`` images ``[N, 28, 28, 3]``: the first ones, and the next ones."""
    with gzip.open(pathlib.Path(folder) / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 2 * count * 784)[16:], np.uint8)
    return np.split(pixels.reshape(2 * count, 28, 28, 1).repeat(3, -1), 2)


def through_files(images, folder):
    """The images as PNG files give them back, in the order of their names."""
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:05}.png")
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.iterdir())])


def in_batches(function, images, size=32):
    """Features of all images."""
    return np.concatenate([function(images[i : i + size]) for i in range(0, len(images), size)])


def cleaned(images):
    """clean-fid's resize to 299: PIL's bicubic with antialiasing, channel by channel, not rounded."""
    resize = build_resizer("clean")
    return np.stack([resize(image) for image in images])


def cleaned_features(net, images):
    """torch-fidelity's network after clean-fid's resize, whose values are no integers; its own resize is idle then."""
    found = []

    def keep(module, inputs):
        return (((torch.from_numpy(cleaned(images)).permute(0, 3, 1, 2) - 128) / 128).to(inputs[0].dtype),)

    handle = net.Conv2d_1a_3x3.register_forward_pre_hook(keep)
    try:
        found = references.torch_fidelity_features(net, np.zeros((len(images), 299, 299, 3), np.uint8))["2048"]
    finally:
        handle.remove()
    return found


def fidelity_distance(first, second):
    """torch-fidelity's own distance between features."""
    sides = [fid_features_to_statistics(torch.from_numpy(x)) for x in (first, second)]
    return fid_statistics_to_metric(*sides, False)["frechet_inception_distance"]


def pytorch_fid_distance(first, second):
    """pytorch-fid's own distance between features."""
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in (first, second)]
    return calculate_frechet_distance(*moments[0], *moments[1])


def main(folder="/usr/share/datasets/fashion-mnist", count="256"):
    """Prints one line for each way."""
    state = random_state()
    with tempfile.TemporaryDirectory() as scratch:
        place = pathlib.Path(scratch)
        sets = [through_files(x, place / str(i)) for i, x in enumerate(read_images(folder, int(count)))]
        torch.save(references.as_torch(state), place / "inception.pth")
        net = load_inception(place / "inception.pth").feature_network()
    fidelity, other = references.torch_fidelity_network(state), references.pytorch_fid_network(state)
    ways = {
        "gen_jax": (lambda x: net.extract(x, 32)[0], frechet_distance),
        "gen_jax features, torch-fidelity distance": (
            lambda x: net.extract(x, 32)[0],
            fidelity_distance,
        ),
        "torch-fidelity": (lambda x: references.torch_fidelity_features(fidelity, x)["2048"], fidelity_distance),
        "pytorch-fid": (lambda x: references.pytorch_fid_features(other, x), pytorch_fid_distance),
        "clean-fid's resize, torch-fidelity": (lambda x: cleaned_features(fidelity, x), fidelity_distance),
    }
    known = {}
    for name, (features, distance) in ways.items():
        known[name] = distance(*(in_batches(features, x) for x in sets))
        share = known[name] / known["gen_jax"] - 1
        print(f"{name:44} {known[name]:.6f}  {share:+.2e}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
