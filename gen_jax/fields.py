"""What the arrays of a batch are: how each is stored, what a model sees of it, and in what its likelihood is told.

A batch is a dict of named arrays, one :class:`Field` each, that share the first axis, that of the examples. Data
declare their fields; a model says which of them it makes and which it is given. A :class:`Kind` has one function each
way between what is stored (in data sets, in files, in what a run gives back) and what is computed with.

    kind     stored   seen               what                                               likelihood in
    PIXELS   uint8    float32, [-1, 1]   images [H, W, C], videos [T, H, W, C]              bits/dim
    REAL     float32  float32            points, features, functions, sound                 nats/dim
    SYMBOL   int32    int32              classes, tokens, states: 0 .. size - 1             nats/symbol
    COUNT    int32    int32              how often, 0 or more                               nats/word

Examples of different lengths are padded to one, and a field ``length`` (a SYMBOL of shape ``()``) says how much of each
is real.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Kind(NamedTuple):
    """``prepare`` runs inside the compiled step, ``store`` where samples leave; both take arrays ``[B, ...]``."""

    name: str
    stored: Any
    """Type in data sets and samples."""
    seen: Any
    """Type in a model."""
    prepare: Callable[[Any], Any]
    """From stored to seen."""
    store: Callable[[Any], Any]
    """From seen to stored, of the same kind of array."""
    unit: str
    """Of a log-probability, divided by the field's numbers."""
    limit: float
    """What is seen lies in [-limit, limit]."""
    level: float
    """How far apart two neighbouring values are as seen; 0 of numbers, whose log-probability is a density's."""

    def __repr__(self) -> str:
        return self.name.upper()


class Field(NamedTuple):
    """One array of an example."""

    shape: tuple[int, ...]
    kind: Kind
    size: int = 0
    """How many values an integer may take: classes, words, symbols; 0 of other kinds."""


Fields = Mapping[str, Field]


def _to_floats(x: Any) -> Any:
    return (x.astype(np.float32) - 127.5) / 127.5  # centred before it is scaled: x / 127.5 - 1 makes 1.0000001 of white


def _to_bytes(x: Any) -> Any:
    xp: Any = np
    if not isinstance(x, np.ndarray):
        import jax.numpy as xp
    return xp.clip(xp.floor(x * 127.5 + 128.0), 0, 255).astype(np.uint8)


def _kept(dtype: Any) -> Callable[[Any], Any]:
    return lambda x: x.astype(dtype)


def _as_stored(name: str, dtype: Any, unit: str) -> Kind:
    return Kind(name, dtype, dtype, _kept(dtype), _kept(dtype), unit, float("inf"), 0.0)


PIXELS = Kind("pixels", np.uint8, np.float32, _to_floats, _to_bytes, "bits/dim", 1.0, 2 / 255)
REAL = _as_stored("real", np.float32, "nats/dim")
SYMBOL = _as_stored("symbol", np.int32, "nats/symbol")
COUNT = _as_stored("count", np.int32, "nats/word")
KINDS = {kind.name: kind for kind in (PIXELS, REAL, SYMBOL, COUNT)}


def images(shape: tuple[int, ...], classes: int = 0) -> Fields:
    """The fields of images of ``shape`` (H, W, C), and of their labels where there are classes."""
    label = {"label": Field((), SYMBOL, classes)} if classes else {}
    return {"image": Field(tuple(shape), PIXELS), **label}


def of_images(fields: Fields) -> tuple[tuple[int, int, int], int]:
    """Shape (H, W, C) and classes, 0 without labels, of data that are images.

    Raises:
      ValueError: of other data.
    """
    field = fields.get("image")
    if field is None or len(field.shape) != 3:
        raise ValueError(f"expected data with a field 'image' [H, W, C], got {describe(fields)}; use a model of these")
    height, width, channels = field.shape
    return (height, width, channels), classes_of(fields)


def classes_of(fields: Fields) -> int:
    """The classes of the labels, 0 without."""
    return fields["label"].size if "label" in fields else 0


def known_classes(fields: Fields, *, conditional: bool) -> int:
    """The classes that a model is to know: those of the labels, or 0 where it is not conditional.

    Raises:
      ValueError: if labels are asked for and missing.
    """
    if conditional and not classes_of(fields):
        raise ValueError("expected labelled data for conditional=True, got data without labels; set it to False")
    return classes_of(fields) if conditional else 0


def made_of(fields: Fields) -> tuple[str, Field]:
    """Name and field of what a model of numbers makes: ``image``, or the only field of pixels or reals.

    Raises:
      ValueError: if there is none, or more than one and no ``image``.
    """
    found = {name: field for name, field in fields.items() if field.kind in (PIXELS, REAL)}
    name = "image" if "image" in found else next(iter(found), "")
    if not found or (name != "image" and len(found) > 1):
        raise ValueError(f"expected one field of pixels or real numbers, or 'image', got {describe(fields)}")
    return name, found[name]


def measured(fields: Fields, name: str) -> Field:
    """What is measured and drawn of a field: itself, or words with their counts, where there are these, as pairs."""
    field, count = fields[name], fields.get("count")
    if field.kind is SYMBOL and count is not None and count.kind is COUNT and count.shape == field.shape:
        return Field((*field.shape, 2), COUNT, field.size)
    return field


def describe(fields: Fields) -> str:
    """All fields in a line."""
    return ", ".join(f"{name} {field.kind.name} {list(field.shape)}" for name, field in fields.items()) or "no fields"


def to_json(fields: Fields) -> dict[str, Any]:
    """What :func:`from_json` reads."""
    return {name: {"shape": list(f.shape), "kind": f.kind.name, "size": f.size} for name, f in fields.items()}


def from_json(described: Mapping[str, Any]) -> Fields:
    """Fields from their JSON.

    Raises:
      ValueError: of kinds that there are not.
    """
    for name, d in described.items():
        if d["kind"] not in KINDS:
            raise ValueError(f"{name}: expected a kind of {', '.join(KINDS)}, got {d['kind']!r}")
    return {name: Field(tuple(d["shape"]), KINDS[d["kind"]], d["size"]) for name, d in described.items()}
