"""f-VAEGAN-D2: published sizes, its loss written out, who learns from what, and classes that were never seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gen_jax
from experiments import f_vaegan_d2 as experiment
from gen_jax import Adam, Training
from gen_jax.evaluate.zero_shot import zero_shot
from gen_jax.fields import REAL, Field
from gen_jax.models.f_vaegan_d2 import REFERENCE, FVAEGAND2Config
from gen_jax.nn.functional import parameter_count


def fields(features, attributes, unseen=False):
    wide = {"feature": features, "attribute": attributes}
    wide |= {"unseen": features, "unseen_attribute": attributes} if unseen else {}
    return {name: Field((width,), REAL) for name, width in wide.items()}


def batch_of(fields, n=5, seed=0):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.uniform(size=(n, *field.shape)), jnp.float32) for name, field in fields.items()}


@pytest.fixture(scope="module")
def small():
    known = fields(6, 3, unseen=True)
    model = FVAEGAND2Config(latent=2, hidden=8, weight=0.7).build(known)
    batch = batch_of(known)
    params, buffers = model.init(jax.random.key(0), batch)
    params = jax.tree.map(lambda leaf: 20 * leaf, params)  # or all is nearly zero, as it begins
    return model, params, buffers, batch


def loss(model, params, buffers, batch):
    return model.vae_loss(params, buffers, batch, jax.random.key(1), step=0, ema={})[0]


@pytest.mark.parametrize("attributes, total", [(312, 33_242_593), (85, 27_300_000), (102, 27_730_000)])
def test_parameter_counts_are_the_published_ones(attributes, total):
    config = FVAEGAND2Config(latent=attributes)
    model = config.build(fields(2048, attributes))
    counts = [parameter_count(net.init) for net in (model.encoder, model.decoder, model.critic)]
    if attributes == 312:
        assert config == REFERENCE and counts == [12_617_184, 10_950_656, 9_674_753]
    assert sum(counts) == pytest.approx(total, abs=5000)


def test_the_bound_is_written_out(small):
    """Cross entropy and KL by numpy, at the latents that the loss draws; the critics' terms add to it."""
    model, params, buffers, batch = small
    x, c = np.asarray(batch["feature"], np.float64), batch["attribute"]
    mean, log_variance = (
        np.asarray(a, np.float64) for a in model.encode(params, buffers, batch["feature"], attribute=c)
    )
    noise = jax.random.normal(jax.random.split(jax.random.key(1), 3)[0], mean.shape)
    z = mean + np.exp(0.5 * log_variance) * np.asarray(noise)
    shown = np.asarray(model.from_latents(params, buffers, jnp.asarray(z, jnp.float32), attribute=c), np.float64)
    entropy = -(x * np.log(shown) + (1 - x) * np.log1p(-shown)).sum(axis=1).mean()
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(axis=1).mean()
    found, aux = model.vae_loss(params, buffers, batch, jax.random.key(1), step=0, ema={})
    np.testing.assert_allclose([aux.metrics["cross_entropy"], aux.metrics["kl"]], [entropy, kl], rtol=1e-5)
    np.testing.assert_allclose(found, entropy + kl + 0.7 * aux.metrics["adversarial"], rtol=1e-5)


def test_what_is_adversarial_reaches_the_decoder_alone(small):
    model, params, buffers, batch = small
    without = FVAEGAND2Config(latent=2, hidden=8, weight=0.0).build(fields(6, 3, unseen=True))
    slopes = [jax.grad(lambda p, m=m: loss(m, p, buffers, batch))(params)["vae"] for m in (model, without)]
    for a, b in zip(*(jax.tree.leaves(slope["encoder"]) for slope in slopes)):
        np.testing.assert_allclose(a, b, atol=1e-6)
    changed = [not np.allclose(a, b) for a, b in zip(*(jax.tree.leaves(slope["decoder"]) for slope in slopes))]
    assert all(changed)


def test_samples_follow_their_attributes(small):
    """Other attributes give other features; in another order, the same ones in that order; all lie in [0, 1]."""
    model, params, buffers, batch = small
    c = batch["attribute"]
    one = lambda row: model.sample(params, buffers, jax.random.key(3), 1, attribute=row[None])[0]  # noqa: E731
    each = jnp.stack([one(row) for row in c])
    assert each.min() >= 0 and each.max() <= 1 and len(np.unique(np.asarray(each), axis=0)) == len(c)
    np.testing.assert_array_equal(jnp.stack([one(row) for row in c[::-1]]), each[::-1])


@pytest.mark.parametrize("steep", [1.0, 3.0])
def test_a_critic_of_known_slope_has_a_known_loss(small, steep):
    """Of a linear critic: the difference of its means, and a penalty of (slope - 1)^2."""
    model, _, _, batch = small
    direction = np.ones(6) / np.sqrt(6)
    critic = lambda x: steep * x @ direction  # noqa: E731
    real, fake = batch["feature"], batch["unseen"]
    found, _ = model._judged(critic, real, fake, jax.random.key(0))
    expected = steep * (np.mean(fake @ direction) - np.mean(real @ direction)) + model.penalty * (steep - 1) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_data_of_other_fields_are_refused():
    for known in (
        {"image": Field((4, 4, 1), REAL)},
        fields(6, 3) | {"unseen": Field((6,), REAL)},
        fields(6, 3) | {"unseen": Field((5,), REAL), "unseen_attribute": Field((3,), REAL)},
    ):
        with pytest.raises(ValueError, match="expected"):
            FVAEGAND2Config().build(known)


@pytest.mark.slow
def test_it_learns_classes_it_has_not_seen():
    """x = A c + noise, for a linear A: near the best that the true class means give, far from chance."""
    rng = np.random.default_rng(0)
    classes, unseen, width, bits = 30, 6, 12, 6
    told = np.stack([[(k >> b) & 1 for b in range(bits)] for k in rng.permutation(2**bits)[:classes]]).astype(
        np.float32
    )
    matrix = rng.normal(size=(bits, width)) * 0.12
    means = 0.5 + (told - 0.5) @ matrix

    def draw(labels):
        return np.clip(means[labels] + 0.05 * rng.normal(size=(len(labels), width)), 0, 1).astype(np.float32), labels

    seen = np.arange(classes - unseen)
    train, test = draw(rng.choice(seen, 4000)), draw(rng.choice(seen, 1000))
    held = draw(rng.choice(np.arange(classes - unseen, classes), 1000))
    run = gen_jax.fit(
        FVAEGAND2Config(latent=4, hidden=64),
        {"feature": train[0], "attribute": told[train[1]]},
        training=Training(steps=6000, batch_size=64, log_every=1000, ema_half_life=2000.0),
        optimizers=Adam(learning_rate=1e-3, b1=0.5),
    )
    labels = np.repeat(np.arange(classes - unseen, classes), 100)
    made = run.sample(0, len(labels), attribute=told[labels]), labels
    found = zero_shot(made, train, test, held)
    nearest = np.square(held[0][:, None] - means[None, -unseen:]).sum(-1).argmin(1) + classes - unseen
    best = np.mean([(nearest[held[1] == k] == k).mean() for k in np.unique(held[1])])
    assert best > 0.9 and found.zero_shot > best - 0.15 and found.harmonic > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("transductive", [False, True])
def test_the_experiment_prints_four_rows(tmp_path, capsys, transductive):
    """In two steps, in random features: the regression, which needs no training, is far from chance (1 in 80)."""
    settings = experiment.Settings(
        training=Training(steps=2, batch_size=16),
        features="",
        workdir=str(tmp_path),
        transductive=transductive,
        generated=2,
    )
    try:
        experiment.main(settings)
    except gen_jax.data.DataError as error:
        pytest.skip(str(error))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["regression", "f-VAEGAN-D2", "VAE", "WGAN"]
    assert float(rows[0][1]) > 0.1
