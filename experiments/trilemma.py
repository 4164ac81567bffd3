"""The trilemma: every family on the same data with the same budget of training time, measured by one ruler.

    python -m experiments.trilemma --data digits --seconds-per-model 30 --workdir runs/trilemma
    python -m experiments.trilemma --data fashion_mnist --seconds-per-model 480 --workdir runs/trilemma_fashion

Every model trains for ``--seconds-per-model`` of wall-clock time, compilation counted apart, then draws as many images
as are held out (at most ``--generated``). Written are ``trilemma.json``, ``report.html`` (self-contained) and
``report.png``. Interrupted, the same command goes on with the models that are not done.
"""

from experiments import dcgan, ddgan, ddpm, gmm, vae, vqvae
from experiments.comparison import Comparison, Contestant

COMPARISON = Comparison(
    "trilemma",
    "The trilemma",
    (
        Contestant("gmm", "classical", gmm),
        Contestant("vae", "VAE", vae),
        Contestant("vqvae", "VAE and autoregressive prior", vqvae),
        Contestant("dcgan", "GAN", dcgan),
        Contestant("ddpm", "diffusion", ddpm),
        Contestant("ddgan", "diffusion and GAN", ddgan),
    ),
)
PRESETS = COMPARISON.presets

if __name__ == "__main__":
    COMPARISON.launch(__doc__)
