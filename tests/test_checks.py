"""Nonsense in every field of everything that is plain data."""

import dataclasses
import json
import math
import typing
from typing import Annotated, Literal

import numpy as np
import pytest

from experiments.launch import Measuring, Place
from gen_jax import Adam, RMSProp, Training
from gen_jax.checks import Within, field_types, plain
from gen_jax.models import CONFIGURATIONS, EDMConfig, LatentConfig, ResidualVAEConfig, VAEConfig
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Configuration
from gen_jax.settings import configuration_from, describe_configuration

OF_OTHERS = {LatentConfig: (VAEConfig(), EDMConfig()), ResidualVAEConfig: (VAEConfig(),)}
INSTANCES = {
    kind.__name__: kind(*OF_OTHERS.get(kind, ()))
    for kind in (*CONFIGURATIONS, Denoiser, Training, Adam, RMSProp, Place, Measuring)
}
FIELDS = [(name, field.name) for name, made in INSTANCES.items() for field in dataclasses.fields(made)]


def parts(hint):
    """The type of a field without what annotates it, and its range."""
    within = None
    while typing.get_origin(hint) is Annotated:
        hint, *extras = typing.get_args(hint)
        within = next((e for e in extras if isinstance(e, Within)), within)
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if type(None) in typing.get_args(hint) and len(options) == 1:
        return parts(options[0])
    return hint, within


def nonsense(hint):
    """Values that no field of this type may hold."""
    hint, within = parts(hint)
    if typing.get_origin(hint) is Literal:
        yield from ("nonsense", 3, True)
    elif typing.get_origin(hint) is tuple:
        yield from ((value,) for value in nonsense(typing.get_args(hint)[0]))
        yield 3
    elif dataclasses.is_dataclass(hint):
        yield from (3, "nonsense", {"nonsense": 1})
    elif hint is Configuration:
        yield from (3, "nonsense", None)
    elif hint is bool:
        yield from (1, "yes")
    elif hint is str:
        yield from (3, True)
    elif hint in (int, float):
        assert within is not None, "a number without a range"
        yield from ("3", math.nan, math.inf, -math.inf, True, None)
        if hint is int:
            yield 2.5
        for end, is_open, beyond in ((within.low, within.open_low, -1), (within.high, within.open_high, 1)):
            if math.isfinite(end):
                yield hint(end) if is_open else hint(end + beyond)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_no_field_takes_nonsense(name, field):
    made = INSTANCES[name]
    hint = field_types(type(made))[field]
    values = [value for value in nonsense(hint) if value is not None or type(None) not in typing.get_args(hint)]
    assert values
    for value in values:
        with pytest.raises(ValueError, match=rf"^{field}") as error:
            dataclasses.replace(made, **{field: value})
        assert "\n" not in str(error.value) and ("expected" in str(error.value) or "has no" in str(error.value))


def test_the_nearest_word_is_named():
    message = "decay: expected constant, cosine, linear or steps, got 'cosin'; did you mean 'cosine'"
    with pytest.raises(ValueError, match=message):
        Adam(decay="cosin")
    with pytest.raises(ValueError, match="net: Denoiser has no 'chanels'; did you mean 'channels'"):
        EDMConfig(net={"chanels": 8})


@pytest.mark.parametrize("name", [n for n in INSTANCES if n.endswith("Config")])
def test_configurations_survive_json(name):
    made = INSTANCES[name]
    assert configuration_from(json.loads(json.dumps(describe_configuration(made)))) == made


def test_what_is_equal_is_taken():
    adam = Adam(learning_rate=np.float32(0.5), b1=0, warmup_steps=np.int64(3), decay="steps", milestones=[0.5])
    assert adam.milestones == (0.5,) and adam.warmup_steps == 3 and type(adam.warmup_steps) is int
    assert EDMConfig(net={"channels": 8, "multipliers": [1, 2]}).net == Denoiser(channels=8, multipliers=(1, 2))


def test_checks_come_before_a_class_s_own():
    seen = []

    @plain
    class Two:
        low: Annotated[int, Within(0)] = 0
        high: Annotated[int, Within(0)] = 1

        def __post_init__(self):
            seen.append((self.low, self.high))

    Two(low=np.int32(1))
    with pytest.raises(ValueError, match="high: expected 0 or more, got -1"):
        Two(high=-1)
    assert seen == [(1, 1)] and type(seen[0][0]) is int
