"""Autoencoders: plain, sparse, contractive, denoising, and one that fills in what is hidden.

python -m experiments.autoencoder --data fashion_mnist --workdir runs/autoencoder
python -m experiments.autoencoder --preset denoising --data fashion_mnist --workdir runs/denoising
python -m experiments.autoencoder --preset inpainting --data fashion_mnist --workdir runs/inpainting
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import autoencoder, inpainting
from gen_jax.protocol import Configuration

KINDS: dict[str, Configuration] = {
    "small": autoencoder.SMALL,
    "sparse": autoencoder.SparseAutoencoderConfig(),
    "contractive": autoencoder.ContractiveAutoencoderConfig(),
    "denoising": autoencoder.DenoisingAutoencoderConfig(),
    "inpainting": inpainting.SMALL,
    "reference": autoencoder.REFERENCE,
}
ADAM = Adam(learning_rate=1e-3, decay="cosine")
TRAINING = Training(steps=10_000, batch_size=128, checkpoint_every=1000)
PRESETS = {
    name: Settings(model, ADAM, TRAINING, Place(workdir=f"runs/autoencoder_{name}")) for name, model in KINDS.items()
}

if __name__ == "__main__":
    launch(PRESETS, name="autoencoder", doc=__doc__)
