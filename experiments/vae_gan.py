"""VAE-GAN: an encoder, a decoder and a critic, in whose features an image and its reconstruction are to be alike.

    python -m experiments.vae_gan --data fashion_mnist --workdir runs/vae_gan

Hardware: 2 CPU cores for the small preset. On a machine that was shared with some fifteen other processes, 480 seconds
were no more than 89 steps, after which samples are blurred shapes of clothes, FD-fashion 30.1 (1,000 images); the
likeness of features fell from 459 nats, over the first 50 steps, to 260 over the others. ``--preset reference`` has the
networks and the settings of the code of Larsen et al. for faces of 64x64 pixels.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import RMSProp, Training
from gen_jax.models import vae_gan

PLAYERS = ("encoder", "decoder", "critic")

PRESETS = {
    "small": Settings(
        vae_gan.SMALL,
        dict.fromkeys(PLAYERS, RMSProp(learning_rate=3e-4)),
        Training(steps=5000, batch_size=64, checkpoint_every=1000),
        Place(workdir="runs/vae_gan"),
    ),
    "reference": Settings(
        vae_gan.REFERENCE,
        dict.fromkeys(PLAYERS, RMSProp(learning_rate=3.9e-4)),
        Training(steps=62_500, batch_size=64, checkpoint_every=2500),
        Place(workdir="runs/vae_gan_reference", image_size=64, flip=True),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="vae_gan", doc=__doc__)
