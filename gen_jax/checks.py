"""Plain data that is checked when it is made: configurations, training, optimizers.

A class under :func:`plain` is a frozen dataclass. What its fields may hold is said by their types alone: a ``Literal``
lists its words, and a number says its range in an ``Annotated``, of which the usual ones have names here:

    Count     int, 1 or more           Number    int, 0 or more
    Depth     int, 1 to 1,000          Evaluations  int, 1 to 100,000: what a program is built of, layer by layer
    Positive  float, above 0           Amount    float, 0 or more
    Share     float, 0 to 1            Fraction  float, 0 to 1 without 1
    Real      float, any that is finite

>>> @plain
... class Cake:
...     layers: Count = 3
...     icing: Literal["lemon", "cream"] = "cream"
>>> Cake(icing="creme")
Traceback (most recent call last):
ValueError: icing: expected lemon or cream, got 'creme'; did you mean 'cream'?
>>> Cake(layers=0)
Traceback (most recent call last):
ValueError: layers: expected 1 or more, got 0
"""

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

import numpy as np

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Within:
    """The range of a number; its ends belong to it unless they are open."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether a finite value lies in it."""
        low = self.low < value if self.open_low else self.low <= value
        try:
            return low and (value < self.high if self.open_high else value <= self.high) and math.isfinite(value)
        except OverflowError:  # a whole number that is larger than any float
            return False

    def __str__(self) -> str:
        """As an error names it."""
        if math.isinf(self.low) and math.isinf(self.high):
            return "a finite number"
        if math.isinf(self.high):
            return f"above {self.low:g}" if self.open_low else f"{self.low:g} or more"
        if math.isinf(self.low):
            return f"below {self.high:g}" if self.open_high else f"{self.high:g} or less"
        ends = f"{self.low:g} to {self.high:g}"
        left_out = [f"{end:g}" for end, is_open in ((self.low, self.open_low), (self.high, self.open_high)) if is_open]
        return f"{ends} without {' and '.join(left_out)}" if left_out else ends


Count = Annotated[int, Within(1)]
Number = Annotated[int, Within(0)]
Depth = Annotated[int, Within(1, 1000)]
Evaluations = Annotated[int, Within(1, 100_000)]
Positive = Annotated[float, Within(0, open_low=True)]
Amount = Annotated[float, Within(0)]
Share = Annotated[float, Within(0, 1)]
Fraction = Annotated[float, Within(0, 1, open_high=True)]
Real = Annotated[float, Within()]


@dataclass_transform(frozen_default=True)
def plain(kind: type[T]) -> type[T]:
    """A frozen dataclass whose fields are checked, by :func:`checked`, before its own ``__post_init__`` runs.

    One that extends another and has no ``__post_init__`` of its own is checked by that of the other.
    """
    own = kind.__dict__.get("__post_init__")

    def check(self: Any) -> None:
        for name, value in checked(
            type(self), {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        ).items():
            object.__setattr__(self, name, value)
        if own is not None:
            own(self)

    if own is not None or not hasattr(kind, "__post_init__"):
        kind.__post_init__ = check  # type: ignore[attr-defined]
    return dataclasses.dataclass(frozen=True)(kind)


def checked(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a dataclass's fields as their types ask for them: lists as tuples, JSON objects as dataclasses.

    Raises:
      ValueError: of the first that is not: its name, what was expected and what came.
    """
    hints = field_types(kind)
    found = {}
    for name, value in values.items():
        try:
            found[name] = _as(hints[name], value)
        except ValueError as error:
            text = str(error)
            raise ValueError(f"{name}.{text}" if isinstance(error, _Nested) else f"{name}: {text}") from None
    return found


def in_order(plain: Any, lower: str, upper: str) -> None:
    """A ValueError unless one field of plain data is below another."""
    low, high = getattr(plain, lower), getattr(plain, upper)
    if not low < high:
        raise ValueError(f"{lower}: expected less than {upper}, which is {high:g}, got {low:g}")


@functools.cache
def field_types(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields, with what annotates them."""
    return typing.get_type_hints(kind, include_extras=True)


def nearest(word: object, known: typing.Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest of what is known, or nothing."""
    near = difflib.get_close_matches(str(word), list(known), 1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else ""


class _Nested(ValueError):
    """Of a field of a field: its message begins with that field's name."""


def _as(hint: Any, value: Any, within: Within = Within()) -> Any:
    origin = typing.get_origin(hint)
    if origin is Annotated:
        inner, *extras = typing.get_args(hint)
        return _as(inner, value, next((e for e in extras if isinstance(e, Within)), within))
    if origin is Literal:
        return _word(typing.get_args(hint), value)
    if origin in (typing.Union, types.UnionType):
        return _one_of(typing.get_args(hint), value, within)
    if origin is tuple:
        return _tuple(typing.get_args(hint), value)
    if dataclasses.is_dataclass(hint):
        return _nested(typing.cast(type, hint), value)
    if hint in (bool, int, float, str):
        return _scalar(hint, value, within)
    if getattr(hint, "_is_runtime_protocol", False) and not isinstance(value, hint):
        raise ValueError(f"expected a {hint.__name__}, got {value!r}")
    return value


def _word(words: tuple[Any, ...], value: Any) -> Any:
    if value in words and type(value) in {type(word) for word in words}:
        return value
    listed = f"{', '.join(map(str, words[:-1]))} or {words[-1]}" if len(words) > 1 else str(words[0])
    raise ValueError(f"expected {listed}, got {value!r}{nearest(value, map(str, words))}")


def _one_of(hints: tuple[Any, ...], value: Any, within: Within) -> Any:
    if value is None and type(None) in hints:
        return None
    errors = []
    for hint in hints:
        if hint is type(None):
            continue
        try:
            return _as(hint, value, within)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _tuple(hints: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise ValueError(f"expected several values in a tuple, got {value!r}")
    if len(hints) == 2 and hints[1] is ...:
        return tuple(_as(hints[0], part) for part in value)
    if len(value) != len(hints):
        raise ValueError(f"expected {len(hints)} values, got {len(value)}: {value!r}")
    return tuple(map(_as, hints, value))


def _nested(kind: type, value: Any) -> Any:
    if isinstance(value, Mapping):
        names = [field.name for field in dataclasses.fields(kind)]
        for name in value:
            if name not in names:
                raise ValueError(f"{kind.__name__} has no {name!r}{nearest(name, names)}")
        try:
            return kind(**value)
        except ValueError as error:
            raise _Nested(str(error)) from None
    if not isinstance(value, kind):
        raise ValueError(f"expected {kind.__name__}, got {value!r}")
    return value


def _scalar(kind: type, value: Any, within: Within) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if kind in (bool, str):
        if not isinstance(value, kind):
            raise ValueError(f"expected {'text' if kind is str else 'True or False'}, got {value!r}")
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole and not (kind is float and isinstance(value, float)):
        raise ValueError(f"expected {'a whole number' if kind is int else 'a number'}, got {value!r}")
    if not within.holds(value):
        raise ValueError(f"expected {within}, got {value!r}")
    return value
