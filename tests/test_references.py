"""The networks of the configurations: the published sizes of the references, and every kind once at work."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import fields
from gen_jax.models import (
    classifier_guidance,
    cld,
    consistency,
    ddpm,
    edm,
    flow_matching,
    improved_ddpm,
    score_sde,
    vdm,
)
from gen_jax.models.edm import EDMConfig
from gen_jax.networks.denoisers import NETWORKS, Denoiser
from tests.tiers import mostly_slow

CIFAR = (32, 32, 3)
CONDITIONAL = dataclasses.replace(edm.REFERENCE, conditional=True)
SUB_VP = dataclasses.replace(score_sde.REFERENCE, path="sub_vp")

# EDM's and consistency's are published with 9 numbers on augmentation, each with a row of features; here is none.
SIZES = [
    ("DDPM", ddpm.REFERENCE, {"denoiser": 35_746_307}),
    ("improved DDPM", improved_ddpm.REFERENCE, {"denoiser": 52_546_438}),
    ("VP", score_sde.REFERENCE, {"denoiser": 61_804_419}),
    ("sub-VP", SUB_VP, {"denoiser": 61_804_419}),
    ("VE", score_sde.EXPLODING, {"denoiser": 62_758_787}),
    ("EDM", edm.REFERENCE, {"denoiser": 55_733_891 - 9 * 128}),
    ("EDM, classes", CONDITIONAL, {"denoiser": 55_735_299 - 9 * 128}),
    ("flow matching", flow_matching.REFERENCE, {"denoiser": 61_804_419}),
    ("VDM", vdm.REFERENCE, {"denoiser": 30_578_179 + 2, "schedule": 0}),
    ("consistency", consistency.REFERENCE, {"student": 56_397_827 - 9 * 256}),
    ("CLD", cld.REFERENCE, {"denoiser": 107_586_947 + 2 * 9 * 3 * 128}),  # the velocity, at the stem and the first feed
]


def sizes(configuration, shape, classes):
    model = configuration.build(fields.images(shape, classes))
    params, _ = jax.eval_shape(model.init, jax.random.key(0), {})
    return {player: sum(leaf.size for leaf in jax.tree.leaves(tree)) for player, tree in params.items()}


@pytest.mark.parametrize(("configuration", "expected"), [pytest.param(*row[1:], id=row[0]) for row in SIZES])
def test_references_have_the_published_sizes(configuration, expected):
    assert sizes(configuration, CIFAR, 10) == expected


def test_the_classifier_of_guided_diffusion_has_its_published_size():
    outputs = 9 * 256 * 3 + 3  # that say the variance
    expected = {"denoiser": 552_814_086 - outputs, "classifier": 54_096_360}
    assert sizes(classifier_guidance.REFERENCE, (256, 256, 3), 1000) == expected


SHAPE, CLASSES = (8, 8, 1), 3
LEVELS = {"channels": 4, "multipliers": (1,), "blocks": 1}
FLAT = {"channels": 8, "multipliers": (1,), "blocks": 1}
TINY = {
    "unet": EDMConfig(net=Denoiser(**LEVELS, patch=2), conditional=True, sampling_steps=2),
    "ddpm++": flow_matching.FlowMatchingConfig(
        net=Denoiser(**LEVELS, network="ddpm++"), conditional=True, sampling_steps=2
    ),
    "ncsn++": score_sde.ScoreSDEConfig(
        net=Denoiser(**LEVELS, network="ncsn++"), path="ve", conditional=True, sampling_steps=2
    ),
    "ncsn++ smooth": consistency.ConsistencyConfig(net=Denoiser(**LEVELS, network="ncsn++ smooth"), conditional=True),
    "iddpm": improved_ddpm.ImprovedDDPMConfig(
        ddpm.DDPMConfig(Denoiser(**LEVELS, network="iddpm"), timesteps=4, sampling_steps=2)
    ),
    "mlp": EDMConfig(net=Denoiser(**FLAT, network="mlp"), conditional=True, sampling_steps=2),
    "adm": EDMConfig(net=Denoiser(**LEVELS, network="adm"), conditional=True, sampling_steps=2),
    "vdm": vdm.VDMConfig(net=Denoiser(**FLAT, network="vdm"), conditional=True, sampling_steps=2),
    "dit": ddpm.DDPMConfig(
        net=Denoiser(**FLAT, network="dit", patch=2), timesteps=4, sampling_steps=2, conditional=True
    ),
    "classifier": classifier_guidance.ClassifierGuidedConfig(
        EDMConfig(net=Denoiser(**FLAT), sampling_steps=2), classifier="adm", widths=(4,), blocks=1
    ),
}


def test_every_network_is_tried():
    assert set(NETWORKS) <= set(TINY)


@pytest.mark.parametrize("name", mostly_slow(TINY, "dit"))
def test_losses_and_samples(name):
    """Of all turns, at random weights."""
    model = TINY[name].build(fields.images(SHAPE, CLASSES))
    batch = {"image": jnp.zeros((2, *SHAPE)), "label": jnp.arange(2)}

    params, buffers = jax.tree.map(
        lambda a: jnp.asarray(0.3 * np.random.default_rng(a.size).normal(size=a.shape), a.dtype),
        jax.eval_shape(model.init, jax.random.key(0), batch),
    )
    label = jnp.array([0, 1]) if model.classes else None

    def once(key):
        losses = [turn.loss(params, buffers, batch, key, step=0, ema=None)[0] for turn in model.turns]
        return losses, model.sample(params, buffers, key, 2, label=label)

    losses, images = jax.jit(once)(jax.random.key(0))
    assert len(losses) == len(model.turns) and all(jnp.isfinite(loss) for loss in losses)
    assert images.shape == (2, *SHAPE) and jnp.isfinite(images).all()


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (EDMConfig(net=Denoiser(network="ncsn++", patch=2)), "patch 1"),
        (vdm.VDMConfig(net=Denoiser(network="vdm")), r"multipliers \(1,\)"),
        (ddpm.DDPMConfig(net=Denoiser(**FLAT, network="dit", dropout=0.1)), "dropout"),
    ],
)
def test_what_means_nothing_to_a_network_is_refused(configuration, message):
    with pytest.raises(ValueError, match=message):
        configuration.build(fields.images(SHAPE))
