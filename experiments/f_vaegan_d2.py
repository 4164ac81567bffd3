"""f-VAEGAN-D2: Korean syllables that were never seen are read, from features generated for their parts.

    python -m experiments.feature_network --preset hangul
    python -m experiments.f_vaegan_d2 --workdir runs/f_vaegan_d2
    python -m experiments.f_vaegan_d2 --transductive --workdir runs/f_vaegan_d2_transductive

The first command trains a small classifier on the seen syllables alone; its last hidden layer, brought to [0, 1] by
the training data, is what is generated. Of every unseen syllable ``--generated`` features are drawn, a linear
classifier is fitted to them (and, for the generalised figures, to the features of the seen), and judged on real ones
(:mod:`gen_jax.evaluate.zero_shot`). Beside the model, of the same networks and steps: its VAE alone, its Wasserstein
GAN alone, and a ridge regression from features to attributes, which tells the class whose attributes are nearest. The
unseen syllables are new combinations of parts that were seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

import gen_jax
from experiments.launch import Flat, launch
from gen_jax import Adam, Training, data, ruler
from gen_jax.data import from_fields
from gen_jax.evaluate import read_feature_network
from gen_jax.evaluate.zero_shot import ZeroShot, harmonic_mean, per_class_accuracy, zero_shot
from gen_jax.models import f_vaegan_d2
from gen_jax.models.f_vaegan_d2 import FVAEGAND2Config

RIDGE = 1.0
Examples = Mapping[str, np.ndarray]  # feature, label and attribute


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    model: Annotated[FVAEGAND2Config, Flat] = f_vaegan_d2.SMALL
    optimizer: Annotated[Adam, Flat] = Adam(learning_rate=2e-4, b1=0.5)
    training: Annotated[Training, Flat] = Training(steps=10_000, batch_size=64, checkpoint_every=2000, log_every=500)
    data: str = "hangul"
    """Labelled images with attributes, of the splits train, test and unseen."""
    features: str = "runs/feature_network_hangul/feature_network.safetensors"
    """File of a network that was trained on the split train; empty: that of random weights."""
    workdir: str = "runs/f_vaegan_d2"
    """Directory of the runs."""
    transductive: bool = False
    """Train on the unseen classes' features too, without their labels."""
    generated: int = 200
    """Features drawn of every unseen class."""


def main(settings: Settings) -> None:
    """Trains the three, and prints a row of each and of the regression."""
    train, test, unseen = _features(settings)
    told = {label: unseen["attribute"][unseen["label"] == label][0] for label in np.unique(unseen["label"])}
    labels = np.repeat(list(told), settings.generated)
    sources: Any = from_fields({name: train[name] for name in ("feature", "attribute")}, name=settings.data)
    if settings.transductive:
        drawn = np.random.default_rng(0).permutation(len(unseen["label"]))  # in any order: not pairs
        parts = {"unseen": unseen["feature"], "unseen_attribute": unseen["attribute"][drawn]}
        sources = (sources, from_fields(parts, name=f"{settings.data}/unseen"))
    ways = {
        "f-VAEGAN-D2": settings.model,
        "VAE": replace(settings.model, weight=0.0),
        "WGAN": replace(settings.model, bound=0.0),
    }
    print(f"{'':>12}     T     S     U     H")
    print(_row("regression", regression(train, test, unseen)))
    for name, model in ways.items():
        directory = Path(settings.workdir) / name.lower().replace("-", "_")
        run = gen_jax.fit(
            model, sources, training=settings.training, optimizers=settings.optimizer, directory=directory, title=name
        )
        made = run.sample(settings.training.seed, len(labels), attribute=np.stack([told[label] for label in labels]))
        found = zero_shot((made, labels), *((part["feature"], part["label"]) for part in (train, test, unseen)))
        print(_row(name, found), flush=True)


def regression(train: Examples, test: Examples, unseen: Examples) -> ZeroShot:
    """Ridge regression from features to attributes, and the class with the nearest attributes."""
    mean = train["feature"].mean(axis=0)
    x, middle = train["feature"] - mean, train["attribute"].mean(axis=0)
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (train["attribute"] - middle))

    def accuracy(part: Examples, known: tuple[Examples, ...]) -> float:
        labels, first = np.unique(np.concatenate([each["label"] for each in known]), return_index=True)
        attributes = np.concatenate([each["attribute"] for each in known])[first]
        found = (part["feature"] - mean) @ weights + middle
        distances = np.square(attributes).sum(axis=1) - 2 * found @ attributes.T
        return per_class_accuracy(labels[distances.argmin(axis=1)], part["label"])

    seen, new = accuracy(test, (train, unseen)), accuracy(unseen, (train, unseen))
    return ZeroShot(accuracy(unseen, (unseen,)), seen, new, harmonic_mean(seen, new))


def _features(settings: Settings) -> list[dict[str, np.ndarray]]:
    """The three splits, with features in place of images."""
    if settings.features:
        network = read_feature_network(Path(settings.features), settings.data)
    else:
        network = ruler.feature_network(data.load(settings.data))
    parts: list[dict[str, np.ndarray]] = []
    for split in ("train", "test", "unseen"):
        source = data.load(settings.data, split=split)
        read = source.read(np.arange(source.size))
        parts.append(
            {"label": read["label"], "attribute": read["attribute"]} | {"feature": network.extract(read["image"])[0]}
        )
    low, high = (edge(parts[0]["feature"], axis=0) for edge in (np.min, np.max))
    for part in parts:
        part["feature"] = np.clip((part["feature"] - low) / np.maximum(high - low, 1e-6), 0, 1).astype(np.float32)
    return parts


def _row(name: str, found: ZeroShot) -> str:
    return f"{name:>12}  " + "  ".join(f"{value:.3f}"[1:] if value < 1 else "1.00" for value in found)


PRESETS = {"small": Settings()}

if __name__ == "__main__":
    launch(PRESETS, name="f_vaegan_d2", doc=__doc__, main=main)
