# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first model
#
# Two models on scikit-learn's 8x8 digits, in a minute on two CPU cores: a variational autoencoder and the classical
# baseline, a Gaussian mixture. Both are trained by the same function, drawn from by the same method, and measured by
# the same ruler.

# %%
import matplotlib.pyplot as plt
import numpy as np

import gen_jax
from gen_jax import ruler

train = gen_jax.data.load("digits", split="train")
test = gen_jax.data.load("digits", split="test")
train.size, test.size, train.shape, train.classes

# %% [markdown]
# `fit` takes the name of a data set, a folder, or arrays. With a `directory` it would also save, and the same call
# would go on where it stopped. A mixture is fitted to the whole set at once, a VAE in batches.

# %%
mixture = gen_jax.fit(gen_jax.models.GMMConfig(components=10), train, training=gen_jax.Training(steps=30), quiet=True)
vae = gen_jax.fit(
    gen_jax.models.VAEConfig(latent=16, widths=(32, 64)),
    train,
    training=gen_jax.Training(steps=2000, batch_size=128),
    optimizers={"vae": gen_jax.Adam(learning_rate=1e-3)},
    quiet=True,
)

# %% [markdown]
# Real digits, the mixture's and the autoencoder's:

# %%
pictures = {
    "held-out real images": test.image(np.arange(12)),
    "Gaussian mixture": mixture.sample(0, 12),
    "VAE": vae.sample(0, 12),
}
figure, axes = plt.subplots(len(pictures), 12, figsize=(9, 2.6), layout="constrained")
for row, (name, images) in zip(axes, pictures.items()):
    row[0].set_title(name, loc="left", fontsize=9)
    for axis, image in zip(row, images):
        axis.imshow(image[..., 0], cmap="gray")
        axis.set_axis_off()

# %% [markdown]
# The Frechet distance is measured in the features of a small classifier of digits that comes with the library. It is
# called FD-digits, because it can only be compared with itself, and depends on how many images were drawn: the first
# row says how near real images come.

# %%
network = ruler.feature_network(train)
reference = ruler.reference_images(train)
real = ruler.reference_images(test)
for name, images in {
    "held-out real images": real,
    "Gaussian mixture": mixture.sample(0, len(real)),
    "VAE": vae.sample(0, len(real)),
}.items():
    figures = ruler.figures(images, reference, network)
    distance, coverage = figures["frechet_distance"].value, figures["coverage"].value
    print(f"{name:22} FD-{network.name} {distance:6.2f}  coverage {coverage:.2f}")

# %% [markdown]
# A VAE knows a lower bound on the log-likelihood, here in bits for every pixel of held-out images:

# %%
round(float(ruler.likelihood(vae, test, len(real)).mean()), 3)
