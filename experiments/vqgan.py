"""VQGAN: first a codec against a critic, then a transformer over its codes.

    python -m experiments.vqgan --data fashion_mnist --workdir runs/vqgan

Hardware: 2 CPU cores for the small preset. On a machine that was shared with some fifteen other processes, 360 seconds
were 212 steps of the codec, before its critic was to start, and 441 of the transformer: garments and shoes with clean
outlines, FD-fashion 3.96 and coverage 0.12 (1,000 images). ``--preset reference`` is for 256x256 colour.

The features of the perceptual loss are those of the classifier that comes with the library for the data, random ones
where there is none: not VGG's, and, where there is one, those of FD-digits and FD-fashion, which therefore flatter it.
"""

from dataclasses import dataclass, replace

from experiments.launch import Model, Optimizers, Place, Staged, codec_then_prior, launch, loaded
from gen_jax import Adam, Stage, Training
from gen_jax.evaluate.features import load_feature_network
from gen_jax.models import vqgan


@dataclass(frozen=True)
class Perceiving(Staged[Model, Optimizers]):
    """As of a codec and its prior, with features for the codec to begin with."""

    def stages(self) -> tuple[Stage, ...]:
        """The codec and the prior."""
        codec, prior = codec_then_prior(self)
        shape = loaded(self.place).fields["image"].shape
        weights = load_feature_network(self.place.data, (shape[0], shape[1], shape[2])).weights
        keeps = {"perceiver": (weights["params"], weights["buffers"])}
        return replace(codec, keeps=keeps if self.model.codec.perceptual else {}), prior  # type: ignore[attr-defined]


ADAM = {"codec": Adam(learning_rate=1e-3, b1=0.5, b2=0.9), "prior": Adam(learning_rate=1e-3, warmup_steps=100)}
TRAINING = Training(steps=3000, batch_size=32, checkpoint_every=500)

PRESETS = {
    "small": Perceiving(
        vqgan.SMALL, ADAM, TRAINING, Place(data="fashion_mnist", workdir="runs/vqgan"), codec_share=0.6
    ),
    "digits": Perceiving(vqgan.DIGITS, ADAM, TRAINING, Place(workdir="runs/vqgan"), codec_share=0.6),
    "reference": Perceiving(
        vqgan.REFERENCE,
        {"codec": Adam(learning_rate=5.4e-5, b1=0.5, b2=0.9), "prior": Adam(learning_rate=5.4e-5, b2=0.95)},
        Training(steps=1_000_000, batch_size=12, checkpoint_every=10_000),
        Place(workdir="runs/vqgan_reference", image_size=256),
        codec_steps=1_000_000,
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="vqgan", doc=__doc__)
