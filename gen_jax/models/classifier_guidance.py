"""An unconditional diffusion guided by a classifier that knows noise, both trained in one run.

Dhariwal and Nichol 2021, "Diffusion models beat GANs on image synthesis" (arXiv:2105.05233); Song et al. 2021
(arXiv:2011.13456), section 5. With the diffusion's process, inputs and law of times:

(1) L = E_t E_eps -log p(y | x_t, t),  p a network that sees in_t x_t and log(sigma_t / alpha_t) as one more channel
(2) D(x_t, t | y) = D(x_t, t) + s sigma_t^2 / alpha_t grad log p(y | x_t, t)

With s = 1 and both networks exact, (2) is the denoiser of the class; with s above 1 it prefers what is typical of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from gen_jax.checks import Amount, Count, Depth, plain
from gen_jax.diffusion import training
from gen_jax.diffusion.guidance import by_classifier
from gen_jax.diffusion.precondition import ratio
from gen_jax.diffusion.process import Denoise, Process, against
from gen_jax.diffusion.samplers import Times
from gen_jax.fields import Fields, images, of_images
from gen_jax.models.diffusion import Diffusion
from gen_jax.models.edm import EDMConfig
from gen_jax.networks.adm import NoisyClassifier
from gen_jax.networks.classifier import Classifier
from gen_jax.networks.denoisers import Denoiser
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.nn.ladder import MULTIPLE
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Tree, Turn


@dataclass(frozen=True)
class ClassifierGuided:
    """A game of two players, ``denoiser`` and ``classifier``, who do not see each other in training."""

    diffusion: Diffusion  # without classes
    classifier: Network  # [B, H, W, C + 1] -> logits [B, classes]
    classes: int
    scale: float  # s of (2)

    @property
    def shape(self) -> tuple[int, ...]:
        """H, W, C."""
        return self.diffusion.shape

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The diffusion's turn, and (1)."""
        return (*self.diffusion.turns, Turn("classifier", self.cross_entropy))

    makes: ClassVar[str] = "image"

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """Those of the denoiser; at each the classifier is evaluated and differentiated once."""
        return self.diffusion.network_evaluations

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Both networks."""
        keys = jax.random.split(key)
        params, buffers = self.diffusion.init(keys[0], batch)
        classifier, carried = self.classifier.init(keys[1])
        return {**params, "classifier": classifier}, {**buffers, "classifier": carried}

    def cross_entropy(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(1), nats per example; the accuracy is over all noises."""
        keys = jax.random.split(key, 3)
        x_0, label, model = batch["image"], batch["label"], self.diffusion
        t = model.law(training.spread(keys[0], x_0.shape[0]))
        x_t = model.process.diffuse(x_0, jax.random.normal(keys[1], x_0.shape), t)
        logits, carried = self._logits(params, buffers, x_t, t, key=keys[2], train=True)
        accuracy = jnp.mean(logits.argmax(axis=-1) == label)
        return -jnp.mean(_log_prob(logits, label)), Aux({"accuracy": accuracy}, {"classifier": carried})

    def label_log_prob(
        self, params: Params, buffers: Buffers, x_t: jax.Array, t: jax.Array, label: jax.Array
    ) -> jax.Array:
        """Log p(y | x_t, t), nats ``[B]``, of ``x_t [B, H, W, C]``, ``t [B]`` and ``label [B]``."""
        return _log_prob(self._logits(params, buffers, x_t, t)[0], label)

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images ``[n, H, W, C]`` by the diffusion's sampler with (2), of ``label [n]``; of any class without."""
        own = self.diffusion.sampler

        def sampler(process: Process, denoise: Denoise, times: Times, key: jax.Array, x: jax.Array) -> jax.Array:
            def told(x_t: jax.Array, t: jax.Array) -> jax.Array:
                assert label is not None
                return self.label_log_prob(params, buffers, x_t, t, label)

            return own(process, by_classifier(process, denoise, told, scale=self.scale), times, key, x)

        drawn = self.diffusion if label is None else replace(self.diffusion, sampler=sampler)
        return drawn.sample(params, buffers, jax.random.split(key)[0], n)

    def _logits(
        self, params: Params, buffers: Buffers, x_t: jax.Array, t: jax.Array, **options: Any
    ) -> tuple[jax.Array, Tree]:
        process = self.diffusion.process
        seen = against(self.diffusion.inputs.scale(process, t), x_t) * x_t
        noise = jnp.broadcast_to(against(jnp.log(ratio(process, t)), x_t), (*x_t.shape[:-1], 1))
        both = jnp.concatenate([seen, noise], axis=-1)
        return self.classifier.apply(params["classifier"], buffers["classifier"], both, **options)


def _log_prob(logits: jax.Array, label: jax.Array) -> jax.Array:
    return jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], axis=-1)[:, 0]


@plain
class ClassifierGuidedConfig:
    """A diffusion and the classifier that guides it, as plain data."""

    diffusion: EDMConfig = EDMConfig()
    """The denoiser, without labels."""
    widths: tuple[Count, ...] = (24, 48, 96)
    """Channels of the classifier's levels; the side is halved between one and the next."""
    features: Count = 64
    """Width of the last hidden layer of plain convolutions."""
    classifier: Literal["convolutions", "adm"] = "convolutions"
    """Plain convolutions, or the way down of ADM's U-Net."""
    blocks: Depth = 2
    """Residual blocks per level of ADM's."""
    attention: tuple[Count, ...] = ()
    """Sides of the levels of ADM's with attention; the middle and the end always have it."""
    scale: Amount = 1.0
    """Strength of the guidance: 0 is none, 1 is the class, above 1 is sharper and less varied."""

    def __post_init__(self) -> None:
        if self.diffusion.conditional:
            raise ValueError("expected a diffusion without labels, got conditional=True; the classifier guides it")

    def build(self, fields: Fields) -> ClassifierGuided:
        """The game on images of ``shape`` (H, W, C).

        Raises:
          ValueError: if there are no classes, or the diffusion has them, too, or cannot be built.
        """
        shape, classes = of_images(fields)
        if not classes:
            raise ValueError("expected labelled data for a classifier, got data without labels")
        classifier = CLASSIFIERS[self.classifier](self, shape, classes)
        return ClassifierGuided(self.diffusion.build(images(shape)), classifier, classes, self.scale)


def _convolutions(sizes: ClassifierGuidedConfig, shape: tuple[int, int, int], classes: int) -> Network:
    widths = tuple(sizes.widths)
    return network(Classifier, inputs=shape[2] + 1, widths=widths, features=sizes.features, classes=classes)


def _adm(sizes: ClassifierGuidedConfig, shape: tuple[int, int, int], classes: int) -> Network:
    """Told the noise as EDM tells its own networks."""
    base, options = sizes.widths[0], {"blocks": sizes.blocks, "attention": tuple(sizes.attention), "classes": classes}
    multipliers = tuple(width / base for width in sizes.widths)
    make = partial(network, NoisyClassifier, channels=shape[2], base=base, multipliers=multipliers, **options)
    net = padded(make, shape[:2], MULTIPLE)

    def apply(params: Tree, buffers: Tree, both: jax.Array, **options: Any) -> tuple[Any, Tree]:
        return net.apply(params, buffers, both[..., :-1], both[:, 0, 0, -1] / 4, **options)

    return Network(net.init, apply)


CLASSIFIERS: dict[str, Callable[..., Network]] = {"convolutions": _convolutions, "adm": _adm}

REFERENCE = ClassifierGuidedConfig(
    EDMConfig(
        net=Denoiser(channels=256, multipliers=(1, 1, 2, 2, 4, 4), attention=(32, 16, 8), network="adm"),
        sampling_steps=256,
        churn=40.0,
    ),
    widths=(128, 128, 256, 256, 512, 512),
    classifier="adm",
    attention=(32, 16, 8),
)
"""ImageNet at 256 pixels on the paper's networks: a denoiser of 552,807,171 parameters that does not say the
variance, and a classifier of 54,096,360; the path is EDM's."""

SMALL = ClassifierGuidedConfig(EDMConfig(net=Denoiser(blocks=1, patch=2)))
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
