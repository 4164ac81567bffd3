"""A measured number with everything that it depends on, and the refusal to compare what was measured
differently.
"""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from typing import Any

from gen_jax.evaluate.measure import Figure
from gen_jax.evaluate.statistics import Statistics

_PROTOCOL = {"protocol": True}  # marks fields in which comparable cards agree


def _protocol_field(default: object = dataclasses.MISSING):
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=_PROTOCOL)
    return dataclasses.field(default=default, metadata=_PROTOCOL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """One measurement. Fields of the ruler must agree between cards that are compared; those of the model may
    not.
    """

    metric: str = _protocol_field()
    """Name of the metric, such as ``FID``, ``FD-digits`` or ``precision``."""
    settings: str = _protocol_field("")
    """What else defines the metric, such as ``k=3``."""
    generated_size: int = _protocol_field()
    """Number of generated examples."""
    reference: str = _protocol_field()
    """Name of the reference data set."""
    reference_split: str = _protocol_field()
    reference_size: int = _protocol_field()
    """Number of reference examples."""
    reference_fingerprint: str = _protocol_field()
    """Of the reference examples; see :mod:`gen_jax.evaluate.statistics`."""
    feature_network: str = _protocol_field()
    feature_hash: str = _protocol_field()
    """First 16 hexadecimal digits of the SHA-256 of its weights."""
    resize: str = _protocol_field("none")
    """How examples were brought to the size that was measured."""
    quantisation: str = _protocol_field("8 bits")
    """What was done to the pixel values of the generated images before measuring; ``none`` of what has no pixels."""
    reference_quantisation: str = _protocol_field("8 bits")
    """The same of the reference."""

    value: float
    spread: float | None = None
    """Standard deviation over the seeds (or splits, or subsets)."""
    interval: tuple[float, float] | None = None
    """95 % interval of the value, where one was asked for."""
    generated: str = ""
    """Name of the generated set."""
    generated_fingerprint: str = ""
    weights: str = "none"
    """``EMA`` or ``raw``; ``none`` where nothing is known of a model."""
    weights_digest: str = ""
    """First 16 hexadecimal digits of the SHA-256 of the weights that sampled."""
    sampler: str = "model"
    sampling_steps: int | None = None
    """Steps of the sampler, where it has steps."""
    evaluations: int | None = None
    """Network evaluations per example."""
    guidance: float | None = None
    """Weight of the guidance; None without."""
    seeds: tuple[int, ...] = ()
    """Seeds of training or sampling over which the value is the mean."""
    devices: str = ""
    """Number and kind of the devices."""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Versions of the libraries; :func:`versions` makes it."""

    def to_json(self) -> str:
        """The card as one JSON object."""
        return json.dumps(to_dict(self))

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """The inverse of :meth:`to_json`."""
        fields = json.loads(text)
        tuples = {name: fields[name] and tuple(fields[name]) for name in ("interval",)}
        return cls(**{**fields, **tuples, "seeds": tuple(fields["seeds"])})

    def __str__(self) -> str:
        """One line for people."""
        spread = "" if self.spread is None else f" +- {self.spread:.2g}"
        interval = "" if self.interval is None else " [{:.4g}, {:.4g}]".format(*self.interval)
        settings = f" ({self.settings})" if self.settings else ""
        counts = {"steps": self.sampling_steps, "evaluations": self.evaluations}
        sampler = ", ".join([self.sampler, *(f"{n} {name}" for name, n in counts.items() if n is not None)])
        guidance = "" if self.guidance is None else f", guidance {self.guidance:g}"
        seeds = f", seed {', '.join(map(str, self.seeds))}" if self.seeds else ""
        digest = f" {self.weights_digest}" if self.weights_digest else ""
        model = f"; {self.weights} weights{digest}; {sampler}{guidance}{seeds}" if self.weights != "none" else ""
        name = f" of {self.generated}" if self.generated else ""
        resize = "" if self.resize == "none" else f", {self.resize}"
        quantisation = "" if self.quantisation in ("8 bits", "none") else f"; {self.quantisation}"
        return (
            f"{self.metric}{settings} {self.value:.4g}{spread}{interval}: {self.generated_size:,}{name} generated"
            f" against {self.reference_size:,} of {self.reference} {self.reference_split}; features"
            f" {self.feature_network} {self.feature_hash}{resize}{quantisation}{model}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a card says of the model that a set was generated by; nothing, where a set came from elsewhere."""

    weights: str = "none"
    weights_digest: str = ""
    sampler: str = "model"
    sampling_steps: int | None = None
    evaluations: int | None = None
    guidance: float | None = None
    seeds: tuple[int, ...] = ()


def cards(
    figures: Mapping[str, Figure],
    generated: Statistics,
    reference: Statistics,
    *,
    provenance: Provenance = Provenance(),
    devices: str = "",
) -> list[Card]:
    """One card for every figure of ``generated`` against ``reference``."""
    return [
        Card(
            metric=metric_name(name, reference.network),
            settings=figure.settings,
            value=figure.value,
            spread=figure.spread,
            interval=figure.interval,
            generated=generated.name,
            generated_size=generated.n,
            generated_fingerprint=generated.fingerprint,
            quantisation=generated.quantisation,
            reference=reference.name,
            reference_split=reference.split,
            reference_size=reference.n,
            reference_fingerprint=reference.fingerprint,
            reference_quantisation=reference.quantisation,
            feature_network=reference.network,
            feature_hash=reference.network_hash,
            resize=reference.resize,
            devices=devices,
            versions=versions(),
            **dataclasses.asdict(provenance),
        )
        for name, figure in figures.items()
    ]


def metric_name(name: str, network: str) -> str:
    """What a figure is called on its card: the field's names are for Inception's features alone."""
    suffix = "_infinity" if name.endswith("_infinity") else ""
    stem = name.removesuffix("_infinity")
    own = {"frechet_distance": "FID", "kid": "KID", "score": "IS"}
    other = {"frechet_distance": f"FD-{network}", "kid": f"KD-{network}", "score": f"score-{network}"}
    return (own if network == "inception" else other).get(stem, stem) + suffix


def compare(cards: Mapping[str, Card]) -> dict[str, tuple[float, float | None]]:
    """One column of a table: value and spread of each card, by the names given.

    Raises:
      ValueError: if two cards were not measured in the same way; it says in what they differ.
    """
    names = list(cards)
    for name in names[1:]:
        for field in dataclasses.fields(Card):
            ours, theirs = getattr(cards[names[0]], field.name), getattr(cards[name], field.name)
            if field.metadata.get("protocol") and ours != theirs:
                raise ValueError(
                    f"these cannot stand in one column: {field.name} is {ours!r} for {names[0]!r} and"
                    f" {theirs!r} for"
                    f" {name!r}; measure both in the same way"
                )
    return {name: (card.value, card.spread) for name, card in cards.items()}


def to_dict(card: Card) -> dict[str, Any]:
    """The card as plain data."""
    return dataclasses.asdict(card)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a measurement depends on."""
    libraries = ("gen_jax", "jax", "jaxlib", "flax", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in libraries}}
