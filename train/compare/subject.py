"""What an architecture is before any training: its counts, its derivatives and its values.

A `Subject` is a Linen module with the shapes of its inputs. Counting runs on shapes alone: nothing is allocated.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

import archs
from train import flops

TOKENS = ("tokens", "tokens_2", "source", "target", "token_types", "senders", "receivers")  # Inputs that are integers.
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A module and the shapes of what it reads, without the batch.

    Attributes:
        module: any Linen module.
        inputs: shape by name of argument.
        options: further arguments of its `__call__`, such as `causal`, that are no arrays.
    """

    module: nn.Module
    inputs: Mapping[str, Shape]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of a batch of one."""
        return {
            name: jax.ShapeDtypeStruct((1, *shape), "int32" if name in TOKENS else "float32")
            for name, shape in self.inputs.items()
        }

    @functools.cached_property
    def abstract(self) -> dict[str, Any]:
        """Shapes of all variables."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        variables = dict(jax.eval_shape(functools.partial(self.module.init, **self.options), key, **self.spec))
        return {name: variables[name] for name in variables if name not in ("intermediates", "auxiliary")}

    @functools.cached_property
    def tree(self) -> dict[str, Shape]:
        """Shape of each parameter by its path, `layer/kernel`."""
        leaves = jax.tree_util.tree_leaves_with_path(self.abstract.get("params", {}))
        return {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum(math.prod(shape) for shape in self.tree.values())

    @functools.cached_property
    def jaxpr(self) -> Jaxpr:
        return flops.trace(self._forward, self.abstract, self.spec)

    @property
    def flops(self) -> int:
        """Operations of the forward pass of one example, a multiply-add being two."""
        return flops.count(self.jaxpr).total()

    @property
    def matmul_flops(self) -> int:
        """Those of matrix products and convolutions: twice the multiply-adds."""
        counts = flops.count(self.jaxpr)
        return sum(counts[name] for name in flops.PRODUCTS)

    @functools.cached_property
    def steps_in_sequence(self) -> int:
        """Trips of the loops that the forward pass makes one after another, nested loops multiplied; 0 without loop."""
        return _trips(self.jaxpr)

    @functools.cached_property
    def memory(self) -> int:
        """Bytes that XLA plans for values in between, in a forward and backward pass of one example; compiles."""
        value = jax.value_and_grad(lambda variables, inputs: _total(self._forward(variables, inputs)))
        plan: Any = jax.jit(value).lower(self.abstract, self.spec).compile().memory_analysis()
        return int(plan.temp_size_in_bytes)

    def variables(self, seed: int = 0) -> dict[str, Any]:
        """Fresh variables."""
        zeros = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in self.spec.items()}
        made = jax.jit(functools.partial(self.module.init, **self.options))(jax.random.key(seed), **zeros)
        return {name: made[name] for name in made if name not in ("intermediates", "auxiliary")}

    def example(self, seed: int = 0, batch: int = 1, high: int = 2) -> dict[str, np.ndarray]:
        """Standard normal inputs, or tokens below `high`."""
        random = np.random.default_rng(seed)
        return {
            name: random.integers(0, high, (batch, *shape)).astype("int32")
            if name in TOKENS
            else random.standard_normal((batch, *shape)).astype("float32")
            for name, shape in self.inputs.items()
        }

    def apply(self, variables: Mapping[str, Any], **arrays: Any) -> np.ndarray:
        """The output for a batch, in full float32."""
        with jax.default_matmul_precision("highest"):
            return np.asarray(jax.jit(self._forward)(variables, arrays))

    def support(self, variables: Mapping[str, Any], output: Sequence[int], **arrays: Any) -> np.ndarray:
        """Where the first of `arrays` bears on one output: its absolute gradient, summed over channels.

        Args:
            variables: of the module.
            output: index of the output, without the batch.
            **arrays: the inputs, a batch of one; the last axis of the first is channels.
        """
        (name, value), *rest = arrays.items()

        def chosen(value: Any) -> Any:
            return self._forward(variables, {name: value, **dict(rest)})[0][tuple(output)]

        return np.abs(np.asarray(jax.jit(jax.grad(chosen))(jnp.asarray(value))))[0].sum(axis=-1)

    def _forward(self, variables: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
        return self.module.apply(variables, **inputs, **self.options)


def architecture(name: str, inputs: Mapping[str, Shape], **fields: Any) -> Subject:
    """One of `archs.names()`, with fields of its model, `variant` among them."""
    return Subject(archs.build(name, **fields), inputs)


def layer(kind: str, inputs: Shape, **fields: Any) -> Subject:
    """A layer of Flax by the name of its class, such as `Dense` or `Conv`."""
    return Subject(getattr(nn, kind)(**fields), {"inputs": inputs})


def _total(outputs: Any) -> Any:
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(outputs))


def _trips(jaxpr: ClosedJaxpr | Jaxpr) -> int:
    return sum(_repeated(equation) for equation in jaxpr.eqns)


def _repeated(equation: Any) -> int:
    inner = sum(_trips(body) for body in _bodies(equation))
    return equation.params["length"] * max(inner, 1) if equation.primitive.name == "scan" else inner


def _bodies(equation: Any) -> Iterator[Any]:
    return (value for value in equation.params.values() if hasattr(value, "eqns"))
