"""The small classifiers whose last hidden layer measures distances between images.

    python -m experiments.feature_network --data digits --out gen_jax/evaluate/weights/digits.safetensors
    python -m experiments.feature_network --preset fashion --out gen_jax/evaluate/weights/fashion.safetensors

Hardware: 2 CPU cores; digits 15 seconds, 99.0 % of 300 test images right; Fashion-MNIST about 25 minutes on a busy
machine, 92.6 % of 10,000. The weights are trained on the training split alone; the accuracy on the test split is
written into the file.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.launch import Flat, Place, launch
from gen_jax import Adam, Training, data
from gen_jax.evaluate import FeatureNetwork, read_feature_network, save_feature_network
from gen_jax.networks.classifier import Classifier
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Model, Network, Params, Turn
from gen_jax.train import loop


@dataclass(frozen=True)
class Settings:
    """Settings of a feature network."""

    place: Annotated[Place, Flat] = Place(workdir="runs/feature_network", crop=1)
    training: Annotated[Training, Flat] = Training(steps=1500, batch_size=64, checkpoint_every=500)
    optimizer: Annotated[Adam, Flat] = Adam(learning_rate=2e-3, decay="cosine", weight_decay=1e-3)
    widths: tuple[int, ...] = (24, 48, 96)
    """Channels of the convolutions."""
    features: int = 64
    """Dimensions of the features."""
    label_smoothing: float = 0.05
    """Share of the target that is spread over all classes."""
    out: str = ""
    """File for the weights; empty: feature_network.safetensors in the workdir."""


PRESETS = {
    "digits": Settings(),
    "fashion": Settings(
        place=Place(data="fashion_mnist", workdir="runs/feature_network_fashion", flip=True, crop=1),
        training=Training(steps=4500, batch_size=128, checkpoint_every=500),
    ),
    "hangul": Settings(
        place=Place(data="hangul", workdir="runs/feature_network_hangul", crop=2),
        training=Training(steps=2000, batch_size=64, checkpoint_every=500),
        features=128,
    ),
}


@dataclass(frozen=True)
class ClassifierGame:
    """One player, ``classifier``, who descends the cross-entropy."""

    classifier: Network
    classes: int
    label_smoothing: float

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn a step."""
        return (Turn("classifier", self.loss),)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The classifier."""
        params, buffers = self.classifier.init(key)
        return {"classifier": params}, {"classifier": buffers}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """Cross-entropy with smoothed labels, nats per example."""
        logits, carried = self.classifier.apply(
            params["classifier"], buffers["classifier"], batch["image"], key=key, train=True
        )
        target = optax.smooth_labels(jax.nn.one_hot(batch["label"], self.classes), self.label_smoothing)
        accuracy = jnp.mean(logits.argmax(axis=-1) == batch["label"])
        return optax.softmax_cross_entropy(logits, target).mean(), Aux({"accuracy": accuracy}, {"classifier": carried})


def accuracy(features: FeatureNetwork, source: data.Source) -> float:
    """Share of a source's images whose class is right."""
    everything = np.arange(source.size)
    _, probabilities = features.extract(source.image(everything))
    assert probabilities is not None
    return float((probabilities.argmax(axis=-1) == source.label(everything)).mean())


def main(settings: Settings) -> None:
    """Trains the classifier and writes its averaged weights."""
    place, training = settings.place, settings.training
    sources = [data.load(place.data, split=split, image_size=place.image_size or None) for split in ("train", "test")]
    source, test = sources
    if not source.classes:
        raise data.DataError(f"{source.name}: a feature network is trained on labels, but this data has none")
    hyperparameters = {
        "inputs": source.shape[-1],
        "widths": settings.widths,
        "features": settings.features,
        "classes": source.classes,
    }
    game = ClassifierGame(network(Classifier, **hyperparameters), source.classes, settings.label_smoothing)
    result = loop.fit(
        cast(Model, game),  # it has all of a model that training needs; it draws no samples
        data.Batches(source, training.batch_size or 64, training.seed),
        training,
        {"classifier": settings.optimizer.build(training.steps)},
        prepare=functools.partial(data.prepare, flip=place.flip, crop=place.crop),
        directory=Path(place.workdir),
        title="feature network",
    )
    average = result.state.ema
    out = Path(settings.out or Path(place.workdir) / "feature_network.safetensors")
    weights = (average["params"]["classifier"], average["buffers"]["classifier"])
    save_feature_network(out, *weights, hyperparameters)
    scores = {part.split: round(accuracy(read_feature_network(out, place.data), part), 4) for part in sources}
    facts = {"data": source.name, "accuracy": scores, "test_size": test.size, "seconds": round(result.train_seconds)}
    save_feature_network(out, *weights, hyperparameters, facts=facts)
    print(f"{out}: {out.stat().st_size} bytes, accuracy {scores['train']:.4f} (train), {scores['test']:.4f} (test)")


if __name__ == "__main__":
    launch(PRESETS, name="feature_network", doc=__doc__, main=main)
