"""The second stage of a two-stage VAE: a VAE of the latents of another.

Dai and Wipf 2019, "Diagnosing and Enhancing VAE Models" (arXiv:1903.05789). A VAE whose variance is learned finds the
manifold that the data lie on and not their law on it: draws of its posterior, taken together, are not N(0, I). They lie
on no thinner manifold than the latents' space, and of such data a second VAE finds the law as well.

(1) u ~ N(0, I),  z ~ N(g(u), s^2 I)            the second VAE, of latents z with s learned
(2) x = the first decoder's mean of z
(3) trained on z ~ q(z | x), anew in every step, of a first VAE that is at rest

(1) draws z and does not take its mean: the noise is part of the law of z. The networks are layers of ReLU, of which the
last sees the input again. Put together with the first by ``LatentConfig(first, SecondStageConfig(), latents="draws")``.
The authors' first networks (spectral and batch normalisation, 64 latents) are not here; the first stage is any VAE.
"""

from gen_jax.checks import Count, plain
from gen_jax.fields import Fields, made_of
from gen_jax.models.likelihoods import likelihood_of
from gen_jax.models.vae import VAE, Variance
from gen_jax.networks.vae import Reminded
from gen_jax.nn.functional import network


@plain
class SecondStageConfig:
    """A VAE of an array of real numbers whose samples are draws."""

    latent: Count = 32
    """Latent dimensions; those of the first VAE."""
    hidden: tuple[Count, ...] = (512, 512, 512)
    """Widths of the hidden layers, in encoder and decoder."""
    variance: Variance = "optimal"
    """s^2 of (1): the best one of every batch, or a parameter."""
    importance_samples: Count = 16
    """Draws per example of the reported bound."""

    def build(self, fields: Fields) -> VAE:
        """The game for an array of real numbers; labels are not used."""
        name, field = made_of(fields)
        if len(field.shape) != 1:
            raise ValueError(f"expected latents that are a vector, got {name} {list(field.shape)}; use another prior")
        (size,) = field.shape
        encoder = network(Reminded, inputs=size, hidden=self.hidden, outputs=2 * self.latent)
        decoder = network(Reminded, inputs=self.latent, hidden=self.hidden, outputs=size)
        return VAE(
            field.shape,
            0,
            encoder,
            decoder,
            likelihood_of("gaussian", field),
            self.latent,
            importance_samples=self.importance_samples,
            makes=name,
            free_variance=self.variance == "free",
            draws=True,
        )


REFERENCE = SecondStageConfig(latent=64, hidden=(1024, 1024, 1024), variance="free")
"""The authors', of 64 latents: 4,540,609 parameters."""
SMALL = SecondStageConfig()
"""For the latents of a small VAE, on a CPU."""
