"""A stack of Transformer blocks, as a Python loop or as one compiled loop over stacked parameters."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float, PyTree

from archs.layers import mixers
from archs.layers.block import Block

Remat = Literal["none", "full", "products"]


class Stack(nn.Module):
    """Blocks with the same fields, one after the other.

    Attributes:
        num_layers: L.
        block: Fields of `Block`.
        scan_layers: Whether parameters of all layers are stacked, with a leading dimension L, and one compiled block
            is run L times: compile time does not grow with depth. `stack_layers` converts parameters.
        remat: What the backward pass computes again instead of keeping it: "none", "full" all of a block, "products"
            all but matrix products of activations with weights.
    """

    num_layers: int
    block: Mapping[str, Any]
    scan_layers: bool = False
    remat: Remat = "none"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], memory: Float[Array, "B S _"] | None = None, **arguments: Any
    ) -> Float[Array, "B T D"]:
        """Arguments are those of `Block`, the same for all layers."""
        types = {name: self.block[name] for name in ("dtype", "param_dtype") if name in self.block}
        mixer_fields = self.block.get("mixer_kwargs", {})
        mixer: Any = mixers.build(self.block.get("mixer", "dense"), mixer_fields, **types, name="mixer")
        if getattr(mixer, "shares", False):
            arguments["shared"] = mixer.share()

        def body(block: Block, x: Array, _: None) -> tuple[Array, None]:
            return block(x, memory, **arguments), None

        if self.remat != "none":
            policies = {"full": None, "products": jax.checkpoint_policies.dots_with_no_batch_dims_saveable}
            body = nn.remat(body, policy=policies[self.remat], prevent_cse=not self.scan_layers)
        if not self.scan_layers:
            for layer in range(self.num_layers):
                x, _ = body(Block(**self.block, name=f"layer_{layer}"), x, None)
            return x
        run = nn.scan(
            body,
            variable_axes={"params": 0, "cache": 0, "intermediates": 0, "random": 0},
            split_rngs={"params": True, "dropout": True, "random": True},
            length=self.num_layers,
        )
        return run(Block(**self.block, name="layers"), x, None)[0]


def stack_layers(params: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Parameters of a looped stack as those of the scanned one; what layers share stays as it is."""
    count = sum(name.startswith("layer_") for name in params)
    layers = [params[f"layer_{number}"] for number in range(count)]
    return {**_shared(params), "layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}


def unstack_layers(params: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Parameters of a scanned stack as those of the looped one."""
    count = len(jax.tree.leaves(params["layers"])[0])
    layers = {f"layer_{n}": jax.tree.map(lambda leaf, n=n: leaf[n], params["layers"]) for n in range(count)}
    return {**_shared(params), **layers}


def _shared(params: Mapping[str, PyTree]) -> dict[str, PyTree]:
    return {name: values for name, values in params.items() if not name.startswith("layer")}
