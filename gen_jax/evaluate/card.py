"""A measured number with everything that it depends on, and the refusal to compare what was measured
differently.
"""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Mapping

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
    """Name of the metric, such as ``FD-digits`` or ``precision``."""
    settings: str = _protocol_field("")
    """What else defines the metric, such as ``neighbours=3``."""
    generated_size: int = _protocol_field()
    """Number of generated images."""
    reference: str = _protocol_field()
    """Name of the reference data set."""
    reference_split: str = _protocol_field()
    reference_size: int = _protocol_field()
    """Number of reference images."""
    reference_fingerprint: str = _protocol_field()
    """SHA-256 of the reference data."""
    feature_network: str = _protocol_field()
    feature_hash: str = _protocol_field()
    """First 16 hexadecimal digits of the SHA-256 of its weights."""
    resize: str = _protocol_field("none")
    """How images were brought to the size that was measured."""
    quantisation: str = _protocol_field("8 bits")
    """What was done to pixel values before measuring."""

    value: float
    spread: float | None = None
    """Standard deviation over the seeds (or splits, or subsets)."""
    weights: str
    """``EMA`` or ``raw``."""
    sampler: str = "model"
    sampling_steps: int | None = None
    """Network evaluations per image."""
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
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """The inverse of :meth:`to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "seeds": tuple(fields["seeds"])})

    def __str__(self) -> str:
        """One line for people."""
        spread = "" if self.spread is None else f" +- {self.spread:.2g}"
        settings = f" ({self.settings})" if self.settings else ""
        sampler = self.sampler + ("" if self.sampling_steps is None else f", {self.sampling_steps} steps")
        guidance = "" if self.guidance is None else f", guidance {self.guidance:g}"
        return (
            f"{self.metric}{settings} {self.value:.4g}{spread}: {self.generated_size:,} generated against"
            f" {self.reference_size:,} of {self.reference} {self.reference_split}; features"
            f" {self.feature_network}"
            f" {self.feature_hash}; {self.weights} weights; {sampler}{guidance}"
        )


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


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a measurement depends on."""
    libraries = ("gen_jax", "jax", "jaxlib", "flax", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in libraries}}
