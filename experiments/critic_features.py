"""A critic is a classifier: what the features of a DCGAN's say of the labels that it never saw.

    python -m experiments.critic_features --run runs/dcgan

All layers of the critic, as Radford et al. 2016 take them, under a linear classifier; beside them the same network
before its training, and the pixels.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import gen_jax
from experiments.launch import launch
from gen_jax import data
from gen_jax.evaluate import probe
from gen_jax.networks.dcgan import Critic
from gen_jax.programs import Program
from gen_jax.settings import ConfigError


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    run: str = "runs/dcgan"
    """Directory of the trained DCGAN, of labelled images."""
    train: int = 10_000
    """Images of the training split that the classifier is fitted to."""


def main(settings: Settings) -> None:
    """Prints the accuracy on the test split."""
    run = gen_jax.load(settings.run)
    if run.settings["model"]["net"]["network"] != "dcgan":
        raise ConfigError(f"expected {settings.run} to hold a run with network 'dcgan'; give --run another directory")
    name = run.settings["data"]["parts"][0]["name"]
    splits = [data.load(name, split=split) for split in ("train", "test")]
    parts = [source.read(np.arange(min(source.size, settings.train))) for source in splits]
    model: Any = run.model
    critic = model.critics[0].network
    apply = Program(lambda params, buffers, x: critic.apply(params, buffers, x, method=Critic.features)[0])
    untrained = critic.init(jax.random.key(0))
    ways = {"trained": (run.params["critic"], run.buffers["critic"]), "untrained": untrained, "pixels": None}
    for way, state in ways.items():
        known = []
        for part in parts:
            images = np.array_split(data.prepare({"image": part["image"]})["image"], max(len(part["label"]) // 500, 1))
            rows = [np.asarray(apply(*state, x)) if state else np.asarray(x).reshape(len(x), -1) for x in images]
            known.append((np.concatenate(rows), part["label"]))
        print(f"{way:>9}  {probe.accuracy(known[0], known[1]):.3f}")


PRESETS = {"small": Settings()}

if __name__ == "__main__":
    launch(PRESETS, name="critic_features", doc=__doc__, main=main)
