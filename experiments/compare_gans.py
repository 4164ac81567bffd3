"""GANs on the same data with the same budget of training time, over several seeds, measured by one ruler.

    python -m experiments.compare_gans --data fashion_mnist --seconds-per-model 480 --seeds 3

Every model trains for ``--seconds-per-model`` of wall-clock time, compilation counted apart, then draws as many images
as are held out. A training has failed when it diverged, or when its log warns of a collapse at its end. Written are
``compare_gans.json``, ``report.html`` and ``report.png``; interrupted, the same command goes on with what is not done.
"""

from experiments import (
    cgan,
    dcgan,
    improved_gan,
    maxout_gan,
    r3gan,
    sngan,
    stylegan,
    stylegan2,
    wgan,
    wgan_gp,
)
from experiments.comparison import Comparison, Contestant

COMPARISON = Comparison(
    "compare_gans",
    "GANs",
    (
        Contestant("maxout_gan", "2014", maxout_gan),
        Contestant("cgan", "conditional", cgan),
        Contestant("dcgan", "convolutional", dcgan),
        Contestant("improved_gan", "minibatch features", improved_gan),
        Contestant("wgan", "Wasserstein", wgan),
        Contestant("wgan_gp", "Wasserstein", wgan_gp),
        Contestant("sngan", "spectral norm", sngan),
        Contestant("stylegan", "styles", stylegan),
        Contestant("stylegan2", "styles", stylegan2),
        Contestant("r3gan", "relativistic", r3gan),
    ),
)
PRESETS = COMPARISON.presets

if __name__ == "__main__":
    COMPARISON.launch(__doc__)
