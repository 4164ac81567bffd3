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
# # Any kind of data
#
# A batch is named *fields*; a model makes samples of one of them, and may be told others. A field has a shape and a
# *kind*: pixels, real numbers, symbols or counts. Your own arrays, by name, are enough: four kinds of them go in here,
# and samples and pictures come out.

# %%
import numpy as np

import gen_jax
from gen_jax import evaluate, ruler
from gen_jax.networks.denoisers import Denoiser

rng = np.random.default_rng(0)

# %% [markdown]
# ## Real numbers: points
#
# Floats are real numbers. Two moons, and a diffusion on them whose network is a perceptron; the class says which moon.

# %%
moon = rng.integers(0, 2, 4000)
angle = np.pi * rng.uniform(size=4000)
point = np.stack([np.cos(angle) - 0.5 + moon, (np.sin(angle) - 0.25) * (1 - 2 * moon)], -1)
point += 0.05 * rng.normal(size=point.shape)

net = Denoiser("mlp", channels=64, multipliers=(1,), blocks=2)
moons = gen_jax.fit(
    gen_jax.models.EDMConfig(net=net, conditional=True, sampling_steps=12),
    {"point": point, "label": moon},
    training=gen_jax.Training(steps=1500, batch_size=256, ema_ramp=0.2),
    optimizers=gen_jax.Adam(learning_rate=3e-3, decay="cosine"),
    quiet=True,
)
moons.fields

# %%
moons.picture(0, 1000)

# %%
moons.picture(0, 1000, label=1)

# %% [markdown]
# What is not told is drawn: a class with the frequencies of the training data. What was drawn can be asked for.

# %%
moons.conditions(0, 8)

# %% [markdown]
# ## Symbols: sequences of different lengths
#
# Integers are symbols. Sequences are padded, and a field `length` says how much of each is real. These switch now and
# then between two ways of speaking; a hidden Markov model finds them, and the exact likelihood says so.

# %%
speaks = np.array([[0.6, 0.3, 0.1, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.1, 0.3, 0.6]])
length = rng.integers(20, 41, 300)
sequence = np.zeros((300, 40), int)
for row, n in zip(sequence, length):
    state = rng.integers(2)
    for t in range(n):
        state = 1 - state if rng.uniform() < 0.1 else state
        row[t] = rng.choice(6, p=speaks[state])

chain = gen_jax.fit(
    gen_jax.models.HMMConfig(states=2, stay=0.8),
    {"sequence": sequence, "length": length},
    training=gen_jax.Training(steps=60, ema_half_life=0),
    quiet=True,
)
np.round(np.asarray(chain.buffers["chain"]["emission"]), 2)

# %%
chain.picture(0, 16)

# %%
held_out = gen_jax.data.from_fields({"sequence": sequence[:50], "length": length[:50]}, chain.fields)
print(f"{ruler.likelihood(chain, held_out, 50).mean():.3f} {chain.makes.kind.unit}, {chain.log_prob_kind}")

# %% [markdown]
# ## Counts: documents
#
# Documents are pairs of a word and how often it stands there, padded with a count of 0, so that a vocabulary may be
# large. Names may come along.

# %%
words = ("sun", "rain", "wind", "snow", "goal", "team", "ball", "match", "vote", "law", "party", "state")
topics = np.kron(np.eye(3), np.full(4, 1 / 4))
tokens = [rng.multinomial(30, rng.dirichlet(np.full(3, 0.2)) @ topics) for _ in range(500)]
word, count = np.tile(np.arange(12), (500, 1)), np.stack(tokens)
documents = gen_jax.data.from_fields({"word": word, "count": count}, names={"word": words})

lda = gen_jax.fit(
    gen_jax.models.LDAConfig(topics=3), documents, training=gen_jax.Training(steps=30, ema_half_life=0), quiet=True
)
share = lda.model.topics(lda.buffers)
[[words[i] for i in np.argsort(-topic)[:4]] for topic in np.asarray(share)]

# %%
lda.picture(0, 6)

# %% [markdown]
# ## Pixels: images of any side
#
# Bytes are pixels. Images need not be square, nor divisible by anything: what a network cannot halve it pads and crops.

# %%
y, x = np.mgrid[:18, :30]
centre, radius = rng.uniform([4, 4], [14, 26], (2000, 2)), rng.uniform(2, 4, 2000)
far = np.hypot(y - centre[:, :1, None], x - centre[:, 1:, None]) - radius[:, None, None]
image = (255 / (1 + np.exp(2 * far))).astype(np.uint8)[..., None]

discs = gen_jax.fit(
    gen_jax.models.VAEConfig(latent=3, widths=(16, 32), dense=(64,)),
    {"image": image},
    training=gen_jax.Training(steps=1500, batch_size=64),
    optimizers=gen_jax.Adam(learning_rate=2e-3, decay="cosine"),
    quiet=True,
)
discs.picture(0, 24)

# %% [markdown]
# ## One ruler
#
# The same figures for all of them, each in features of its kind: a network's of images, the numbers themselves of
# points, frequencies of symbols and words.

# %%
for run, source in (
    (moons, gen_jax.data.from_fields({"point": point, "label": moon})),
    (chain, gen_jax.data.from_fields({"sequence": sequence, "length": length}, chain.fields)),
    (discs, gen_jax.data.from_fields({"image": image})),
):
    network = ruler.feature_network(source, run.model.makes)
    reference = evaluate.from_source(source, run.model.makes, limit=1000)
    cards = ruler.measure_run(run, reference, network, metrics=("fid", "prdc"), number=300)
    print("  ".join(f"{card.metric} {card.value:.3g}" for card in cards))
