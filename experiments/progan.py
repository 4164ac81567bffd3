"""ProGAN: a generator and a critic that grow with their images, a stage for each resolution.

    python -m experiments.progan --data fashion_mnist --workdir runs/progan

Hardware: 2 CPU cores for the small preset; 300 seconds of them, on a machine shared with others, were 1,476 steps at
7x7, 339 at 14x14 and 293 at 28x28, whose images are the smaller ones with outlines: the last stage needs more time.
``--preset reference`` is the network of Karras et al. 2018 for 1024x1024 images from 4x4 on: Adam at 0.001, betas 0 and
0.99; its batches are smaller where images are larger. Stages have directories of their own, named after the side of
their images.
"""

from dataclasses import dataclass, replace
from typing import Annotated

import gen_jax
from experiments.launch import Flat, Place, launch, loaded
from gen_jax import Adam, ConfigError, From, Stage, Training
from gen_jax.models import ProGANConfig, progan


@dataclass(frozen=True)
class Settings:
    """Settings of all stages."""

    model: Annotated[ProGANConfig, Flat]
    place: Annotated[Place, Flat]
    training: Annotated[Training, Flat]
    optimizer: Annotated[Adam, Flat] = Adam(learning_rate=1e-3, b1=0.0, b2=0.99)
    fade_images: int = 30_000
    """Training images over which a new level is faded in."""
    pixels: int = 0
    """Of a batch, at most; 0 has all batches of one size, otherwise they are halved until they are no larger."""


def stages(settings: Settings) -> list[Stage]:
    """One for each level, the smallest first."""
    model, place = settings.model, settings.place
    side = place.image_size or loaded(place).fields["image"].shape[0]
    if side % 2 ** (model.levels - 1):
        raise ConfigError(f"levels: {model.levels} cannot halve a side of {side}; change --levels or --image-size")
    found: list[Stage] = []
    keeps: dict[str, From] = {}
    for level in range(1, model.levels + 1):
        now, batch = side >> (model.levels - level), settings.training.batch_size or 64
        while settings.pixels and batch > 4 and batch * now**2 > settings.pixels:
            batch //= 2
        grown = progan.at_level(model, level, max(1, settings.fade_images // batch))
        training = replace(settings.training, batch_size=batch)
        found.append(Stage(str(now), grown, training, settings.optimizer, keeps, share=level, image_size=now))
        keeps = {player: From(raw=True) for player in ("generator", "critic")}
    return found


def main(settings: Settings) -> None:
    """Trains one level after the other."""
    place, seconds = settings.place, settings.training.seconds
    options = {"flip": place.flip, "crop": place.crop}
    gen_jax.fit_stages(
        stages(settings), place.data, directory=place.workdir, seconds=seconds, title="progan", **options
    )


PRESETS = {
    "small": Settings(
        progan.SMALL,
        Place(data="fashion_mnist", workdir="runs/progan"),
        Training(steps=2000, batch_size=32, checkpoint_every=500),
        fade_images=15_000,
    ),
    "reference": Settings(
        progan.REFERENCE,
        Place(workdir="runs/progan", image_size=1024),
        Training(steps=100_000, batch_size=128, checkpoint_every=5000, ema_half_life=10_000),
        fade_images=600_000,
        pixels=131_072,
    ),
}


if __name__ == "__main__":
    launch(PRESETS, name="progan", doc=__doc__, main=main)
