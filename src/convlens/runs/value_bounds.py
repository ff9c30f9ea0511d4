"""Bounds of numbers and patterns of texts in the annotations of settings, such as ``Annotated[int, AtLeast(1)]``."""

import re
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class AtLeast:
    """A lower bound of a number, inclusive, as in ``Annotated[int, AtLeast(1)]``."""

    minimum: float

    def allows(self, value: float) -> bool:
        """Return whether the value keeps the bound."""
        return value >= self.minimum

    def __str__(self) -> str:
        return f" of at least {_number(self.minimum)}"


@dataclass(frozen=True)
class Above:
    """A lower bound of a number, exclusive."""

    bound: float

    def allows(self, value: float) -> bool:
        """Return whether the value keeps the bound."""
        return value > self.bound

    def __str__(self) -> str:
        return f" above {_number(self.bound)}"


@dataclass(frozen=True)
class Between:
    """Both bounds of a number, inclusive."""

    low: float
    high: float

    def allows(self, value: float) -> bool:
        """Return whether the value keeps the bounds."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f" from {_number(self.low)} to {_number(self.high)}"


@dataclass(frozen=True)
class NotEmpty:
    """A text that is not blank."""

    def allows(self, value: str) -> bool:
        """Return whether there is more than blanks."""
        return bool(value.strip())

    def __str__(self) -> str:
        return " that is not empty"


@dataclass(frozen=True)
class Matching:
    """A regular expression that a text matches as a whole, with an example for messages."""

    pattern: str
    example: str

    def allows(self, value: str) -> bool:
        """Return whether the text matches."""
        return re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return f" such as {self.example}"


Positive = Annotated[int, AtLeast(1)]
Count = Annotated[int, AtLeast(0)]
Folder = Annotated[str, NotEmpty()]
Pixel = Annotated[float, Between(0, 255)]
Override = Annotated[str, Matching(r"~[\w./@]+(=.*)?|\+{0,2}[\w./@]+=.*", "model.net.width=0.5")]
Package = Annotated[str, Matching(r"[^\W\d]\w*(\.[^\W\d]\w*)*", "mypackage")]


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"
