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
# # How many images does a distance need?
#
# A Frechet distance compares means and covariances, and both are estimated from as many images as there are. Fewer
# images make it larger, and by how much depends on the model: two numbers over different numbers of images cannot be
# compared, and the better model may lose. This notebook shows the bias on Fashion-MNIST, and how the distance of
# endless images, Chong and Forsyth's FID-infinity (arXiv:1911.07023), removes it.
#
# Distances are measured in the features of a small classifier of Fashion-MNIST that comes with the library, and are
# called FD-fashion. Fashion-MNIST itself is Debian's package `dataset-fashion-mnist`, or the four files of its authors
# in `$GEN_JAX_DATA_DIR/fashion_mnist`.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np

from gen_jax import data, evaluate

warnings.simplefilter("ignore", UserWarning)  # that some sets here are small is what it is about

network = evaluate.named_feature_network("fashion")
train, test = (data.load("fashion_mnist", split=split) for split in ("train", "test"))
reference = evaluate.summarise(evaluate.from_source(train), network)
print(f"reference: {reference.n:,} images, {len(reference.moments.mean)} features of {network.name} {network.hash}")

# %% [markdown]
# ## Two models
#
# The test images stand for a perfect model: nothing can come nearer to the training images than others of the same
# kind. The same images with a little noise stand for a good one.

# %%
images = test.image(np.arange(test.size))
noise = np.random.default_rng(0).normal(0, 2.5, images.shape)
models = {"perfect": images, "good": np.clip(np.round(images + noise), 0, 255).astype(np.uint8)}
models = {name: evaluate.summarise(evaluate.from_array(x, name=name), network) for name, x in models.items()}


def distance(indices: np.ndarray, model: evaluate.Statistics) -> float:
    """FD-fashion of some images of a model against the training images."""
    return evaluate.frechet_distance(model.take(indices).moments, reference.moments)


# %% [markdown]
# ## The bias
#
# The distance of a random part of the images, for parts of several sizes, each drawn five times:

# %%
sizes = (250, 500, 1000, 2000, 5000, 10_000)
curves = {}
for name, model in models.items():
    draw = np.random.default_rng(1)
    curves[name] = np.array([[distance(draw.permutation(model.n)[:size], model) for _ in range(5)] for size in sizes])
print("images  " + "  ".join(f"{size:>7,}" for size in sizes))
for name, curve in curves.items():
    print(f"{name:7} " + "  ".join(f"{value:7.3f}" for value in curve.mean(1)))

# %% [markdown]
# Five hundred images of the perfect model look worse than ten thousand of the one with noise:

# %%
print(f"perfect model, 500 images:    {curves['perfect'][1].mean():.3f}")
print(f"good model,    10,000 images: {curves['good'][-1].mean():.3f}")

# %% [markdown]
# ## Endless images
#
# To first order the bias is proportional to one over the number of images, so that the distances lie on a line over
# 1/n. Where it meets the axis is the distance of endless images.

# %%
lines = {
    name: evaluate.extrapolate(lambda i, model=model: distance(i, model), model.n, smallest=1000)
    for name, model in models.items()
}
figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
for (name, line), colour in zip(lines.items(), ("tab:blue", "tab:orange"), strict=True):
    axes.plot(1 / line.sizes, line.values, "o", color=colour, label=f"{name}: {line.value:.3f} for endless images")
    ends = np.array([0, 1 / line.sizes[0]])
    axes.plot(ends, line.value + line.slope * ends, color=colour)
    axes.plot(0, line.value, "D", color=colour, clip_on=False)
axes.set(xlabel="1 / number of images", ylabel="FD-fashion", xlim=(0, None), title="A line through the sizes")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# From two thousand images the extrapolated distance is right in the mean, where the plain one is not; it scatters more.
# The truth, as near as it can be known here, is the extrapolation from all ten thousand:

# %%
print("model      2,000 images    extrapolated from 2,000    extrapolated from 10,000")
for name, model in models.items():
    plain, endless = [], []
    for seed in range(10):
        part = model.take(np.random.default_rng(seed).permutation(model.n)[:2000])
        plain.append(distance(np.arange(part.n), part))
        endless.append(evaluate.extrapolate(lambda i, part=part: distance(i, part), part.n, seed=seed).value)
    rows = (f"{np.mean(values):.3f} +- {np.std(values):.3f}" for values in (plain, endless))
    print(f"{name:8} {'            '.join(rows)} {lines[name].value:22.3f}")

# %% [markdown]
# ## What a number should carry
#
# `measure` gives every figure at once, with an interval if asked: half of the images are drawn again and again, and the
# spread of what is measured on them is that of the figure itself. `cards` writes down what each number depends on:

# %%
few = models["perfect"].take(np.arange(1000))
figures = evaluate.measure(few, reference.take(np.arange(5000)), ("fid", "prdc"), replicates=20)
for card in evaluate.cards(figures, few, reference.take(np.arange(5000))):
    print(card)

# %% [markdown]
# Two numbers over different numbers of images are not put into one column:

# %%
metrics = ("fid", "fid_infinity")
a, b = (
    evaluate.cards(evaluate.measure(model, reference, metrics), model, reference)
    for model in (models["perfect"].take(np.arange(500)), models["good"])
)
try:
    evaluate.compare({"perfect": a[0], "good": b[0]})
except ValueError as error:
    print(error)

# %% [markdown]
# Of the same number of images they are, and the perfect model is in front:

# %%
same = evaluate.cards(evaluate.measure(models["perfect"], reference, metrics), models["perfect"], reference)
print(evaluate.compare({"perfect": same[0], "good": b[0]}))
print(evaluate.compare({"perfect": same[1], "good": b[1]}))
