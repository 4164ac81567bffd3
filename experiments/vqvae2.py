"""VQ-VAE-2: codes on two levels, then a PixelCNN over the top's, then one over the bottom's, which is told the top.

    python -m experiments.vqvae2 --data fashion_mnist --workdir runs/vqvae2

Hardware: 2 CPU cores for the small preset. On a machine that was shared with some fifteen other processes, 220 seconds
were 292 steps of the codec, whose error is then 0.105 of the data's variance, 464 of the top and 211 of the bottom:
shapes of clothes with rough edges, FD-fashion 15.6 and coverage 0.02 (1,000 images). The bottom's prior was still
gaining when it was cut off, at 2.55 nats a code. ``--preset reference`` is for 256x256 colour, with 32x32 and 64x64
codes.
"""

from dataclasses import dataclass, replace

from experiments.launch import Model, Optimizers, Place, Staged, codec_then_prior, launch
from gen_jax import Adam, From, Stage, Training
from gen_jax.models import vqvae2


@dataclass(frozen=True)
class Levels(Staged[Model, Optimizers]):
    """As of a codec and its prior, which has two stages of its own."""

    def stages(self) -> tuple[Stage, ...]:
        """The codec, the top and the bottom."""
        codec, prior = codec_then_prior(self)
        return codec, *(
            replace(
                prior,
                name=level,
                configuration=replace(prior.configuration, trains=level),  # type: ignore[type-var]
                optimizers={level: prior.optimizers[level]},  # type: ignore[index]
                keeps={name: From() for name in kept},
                share=prior.share * share,
            )
            for level, kept, share in (("top", ("codec",), 0.25), ("bottom", ("codec", "top"), 0.75))
        )


ADAM = {name: Adam(learning_rate=1e-3, warmup_steps=100 * (name != "codec")) for name in ("codec", "top", "bottom")}
TRAINING = Training(steps=3000, batch_size=64, checkpoint_every=1000)

PRESETS = {
    "small": Levels(vqvae2.SMALL, ADAM, TRAINING, Place(workdir="runs/vqvae2"), codec_share=0.3),
    "reference": Levels(
        vqvae2.REFERENCE,
        dict.fromkeys(ADAM, Adam(learning_rate=3e-4)),
        Training(steps=250_000, batch_size=128, checkpoint_every=10_000),
        Place(workdir="runs/vqvae2_reference", image_size=256),
        codec_steps=250_000,
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="vqvae2", doc=__doc__)
