"""What the layers of a network put out, for evaluators that look inside.

A layer is named by the path of its module, such as `c3` or `blocks/layer_1`; the blocks of a stack are named alike
whether they run as a loop or as one scan.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float, PyTree

from archs.layers.stack import Stack
from train.errors import UserError, nearest

SCANNED = "layers"  # The one block of a scanned stack.


def names(model: nn.Module, variables: Mapping[str, PyTree], inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """The layers of a network in the order in which they end, on shapes alone.

    These are the modules with parameters directly below the model; a module that holds a stack of Transformer blocks
    counts as what is in it, block by block.
    """
    called: dict[str, type] = {}

    def note(module: nn.Module, method: str) -> bool:
        if method == "__call__":
            called["/".join(module.path)] = type(module)
        return False

    jax.eval_shape(functools.partial(_apply, model, note), variables, inputs)
    opened = {""} | {outer for path, kind in called.items() if kind is Stack for outer in (*_above(path), path)}
    layers: list[str] = []
    for path in called:
        above, _, name = path.rpartition("/")
        if path not in opened and above in opened and (held := _at(variables["params"], path)):
            layers += _unrolled(above, held) if name == SCANNED else [path]
    return tuple(layers)


def chosen(field: str, wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The layers `wanted`, or all if that is empty; raises UserError, beginning with `field`, for one not `known`."""
    for name in wanted:
        if name not in known:
            raise UserError(f"{field}: there is no layer {name!r}; {nearest(name, known)}")
    return tuple(wanted or known)


def outputs(
    model: nn.Module, variables: Mapping[str, PyTree], inputs: Mapping[str, Any], layers: Sequence[str]
) -> dict[str, Float[Array, "B *rest"]]:
    """What the layers put out when nothing is dropped out, at their last call; of several arrays, the first."""
    wanted = {*layers, *(f"{name.rpartition('/')[0]}/{SCANNED}" for name in layers)}

    def keep(module: nn.Module, method: str) -> bool:
        return method == "__call__" and "/".join(module.path) in wanted

    found = _apply(model, keep, variables, inputs)
    return {name: jax.tree.leaves(_of_layer(found, name, "__call__"))[0] for name in layers}


def attention(
    model: nn.Module, variables: Mapping[str, PyTree], inputs: Mapping[str, Any], layers: Sequence[str]
) -> dict[str, Float[Array, "B H T T"]]:
    """The weights of self-attention in those of `layers` that are blocks and whose mixer makes weights."""
    found = _apply(model, lambda module, method: False, variables, inputs)
    weights = {name: _of_layer(found, name, "attention/mixer/weights") for name in layers}
    return {name: value for name, value in weights.items() if value is not None}


def _apply(model: nn.Module, keep: Any, variables: Mapping[str, PyTree], inputs: Mapping[str, Any]) -> Any:
    """What the model sows, and what the modules put out of which `keep(module, method)` is true."""
    sown = {"capture_intermediates": keep, "mutable": ["intermediates"]}
    return model.apply(variables, **inputs, train=False, **sown)[1].get("intermediates", {})


def _of_layer(found: Any, layer: str, entry: str) -> Any:
    """An entry below a layer at its last call, or None; of a scanned stack, the layer's part."""
    above, _, name = layer.rpartition("/")
    calls = _at(found, f"{layer}/{entry}")
    if calls:
        return calls[-1]
    number = name.removeprefix("layer_")
    calls = _at(found, f"{above}/{SCANNED}/{entry}") if number.isdecimal() else None
    return jax.tree.map(lambda leaf: leaf[int(number)], calls[-1]) if calls else None


def _unrolled(stack: str, parameters: PyTree) -> list[str]:
    """The paths of the layers that the one block of a scanned stack stands for."""
    return [f"{stack}/layer_{number}" for number in range(len(jax.tree.leaves(parameters)[0]))]


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _at(tree: Any, path: str) -> Any:
    """What lies in nested mappings at `path`, or None."""
    for key in path.split("/"):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree
