"""Settings: what a config.json and the fields of a Model have in common."""

import math
from collections.abc import Mapping
from typing import Any

from train.errors import UserError

# By transformers' names; where several mean one function, the first is written.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
}

# A field of ours: the name in config.json, and the value where that does not mention it.
Renamed = Mapping[str, tuple[str, Any]]


def read(renamed: Renamed, config: Mapping[str, Any]) -> dict[str, Any]:
    """Our fields."""
    return {ours: config.get(theirs, default) for ours, (theirs, default) in renamed.items()}


def write(renamed: Renamed, model: Any) -> dict[str, Any]:
    """Their settings."""
    return {theirs: getattr(model, ours) for ours, (theirs, _) in renamed.items()}


def read_activation(name: str, activations: Mapping[str, str] = ACTIVATIONS) -> str:
    """Our name of an activation; a name that we do not have stays as it is."""
    return activations.get(name, name)


def write_activation(ours: str, activations: Mapping[str, str] = ACTIVATIONS) -> str:
    """Raises UserError where transformers has no such activation."""
    theirs = next((name for name, known in activations.items() if known == ours), None)
    if theirs is None:
        allowed = ", ".join(sorted(set(activations.values())))
        raise UserError(f"config.model.activation: transformers has no {ours!r} here; it has {allowed}.")
    return theirs


def attention_dropout(model: Any, default: float) -> float:
    """Share of attention weights dropped, which the mixer's fields say if they say anything."""
    own = model.mixer_kwargs.get("dropout_rate")
    return default if own is None else own


def square_side(positions: int) -> int | None:
    """Patches in a row of a square image, of as many positions; one is the class token's. None: it was not square."""
    side = math.isqrt(max(positions - 1, 0))
    return side if side > 0 and side**2 == positions - 1 else None


def side_of_grid(positions: int) -> int:
    """The same; raises UserError if the image was not square."""
    side = square_side(positions)
    if side is None:
        raise UserError(f"transformers reads square images here, and {positions - 1} patches are of no square grid.")
    return side
