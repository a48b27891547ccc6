"""What an architecture is before any training: its counts, its derivatives and its values.

A `Subject` is a Linen module with the shapes of its inputs. Counting runs on shapes alone: nothing is allocated.
"""

import dataclasses
import functools
import importlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import ScopeParamShapeError
from jax.extend.core import ClosedJaxpr, Jaxpr

import archs
from train import decoding, flops, objectives
from train.errors import UserError

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

    def parameters_below(self, *paths: str) -> int:
        """Those whose path begins with one of `paths`."""
        return sum(math.prod(shape) for name, shape in self.tree.items() if name.startswith(paths))

    @functools.cached_property
    def jaxpr(self) -> Jaxpr:
        return flops.trace(self._forward, self.abstract, self.spec)

    @property
    def matmul_flops(self) -> int:
        """Operations of matrix products and convolutions for one example: twice the multiply-adds."""
        counts = flops.count(self.jaxpr)
        return sum(counts[name] for name in flops.PRODUCTS)

    @functools.cached_property
    def training_flops(self) -> int:
        """All operations of a forward and a backward pass for one example."""
        return flops.forward_flops(self._passes, self.abstract, self.spec)

    @functools.cached_property
    def flops_by_module(self) -> dict[str, int]:
        """Operations of the matrix products and convolutions of each module, by its path."""
        shapes: dict[str, flops.Shape] = {}
        with nn.intercept_methods(flops.name_modules(shapes)):
            traced = flops.trace(self._forward, self.abstract, self.spec)
        products = (found for found in flops.operations(traced) if found.primitive in flops.PRODUCTS)
        return dict(flops.by_module(products))

    def matmul_flops_inside(self, path: str) -> int:
        """`matmul_flops` of the module at `path`, such as `blocks/layer_0`, and of those inside it."""
        found = [cost for name, cost in self.flops_by_module.items() if f"{name}/".startswith(f"{path}/")]
        if not found:
            raise ValueError(f"no products at {path!r}; there are some at {', '.join(self.flops_by_module)}")
        return sum(found)

    @functools.cached_property
    def steps_in_sequence(self) -> int:
        """Trips of the loops that the forward pass makes one after another, nested loops multiplied; 0 without loop."""
        return _trips(self.jaxpr)

    def variables(self, seed: int = 0) -> dict[str, Any]:
        """Fresh variables."""
        zeros = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in self.spec.items()}
        made = self._init(jax.random.key(seed), **zeros)
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
            return np.asarray(self._apply(variables, arrays))

    def seconds(self, batch: int = 1, high: int = 2, repeats: int = 5) -> float:
        """Median time of a forward and backward pass on a batch of `example`, after a first one that compiles."""
        arrays = self.example(batch=batch, high=high)
        return _median_time(functools.partial(jax.jit(self._passes), self.variables(), arrays), repeats)

    def memory(self, batch: int = 1) -> int:
        """Bytes that a compiled forward and backward pass needs beside what it is given; nothing is run."""
        spec = {name: jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype) for name, leaf in self.spec.items()}
        plan = jax.jit(self._passes).lower(self.abstract, spec).compile().memory_analysis()
        if plan is None:
            raise UserError(f"XLA tells nothing about memory on {jax.default_backend()}.")
        return plan.temp_size_in_bytes

    def shape_for(self, spec: Mapping[str, jax.ShapeDtypeStruct]) -> Shape | None:
        """Shape of the output for inputs of other shapes, by weights made for these; None where those do not fit."""
        try:
            return jax.eval_shape(self._forward, self.abstract, spec).shape
        except ScopeParamShapeError:
            return None

    def jacobian(self, variables: Mapping[str, Any], **arrays: Any) -> np.ndarray:
        """Derivatives of the output by the first of `arrays`, batches of one: [*output, *input], in full float32."""
        (name, value), *rest = arrays.items()
        with jax.default_matmul_precision("highest"):
            return np.asarray(self._jacobian({name: jnp.asarray(value)[0]}, variables, dict(rest))[name])

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

    def inside(self, variables: Mapping[str, Any], path: str, **arrays: Any) -> np.ndarray:
        """What the module at `path` puts out, at its last call, in full float32."""
        with jax.default_matmul_precision("highest"):
            return np.asarray(jax.jit(functools.partial(self._inside, path))(variables, arrays))

    def support_inside(
        self, variables: Mapping[str, Any], path: str, outputs: tuple[int | slice, ...], **arrays: Any
    ) -> np.ndarray:
        """Like `support`, of what the module at `path` puts out: so of tokens, which have no derivative, by place.

        Args:
            variables: of the module.
            path: of a module inside.
            outputs: index of one output or, with slices, of several, without the batch.
            **arrays: the inputs, a batch of one.

        Returns:
            [*outputs, *places].
        """

        given = jax.tree.map(jnp.asarray, arrays)

        def chosen(change: Any) -> Any:
            with _at(path, lambda value: value + change):
                return self._forward(variables, given)[0][outputs]

        zeros = jnp.zeros_like(jax.eval_shape(functools.partial(self._inside, path), variables, given))
        slopes = np.abs(np.asarray(jax.jit(jax.jacrev(chosen))(zeros))).sum(axis=-1)
        return slopes.squeeze(axis=-zeros.ndim + 1)

    def loss_gradient(
        self, objective: Any, variables: Mapping[str, Any], path: str, batch: Mapping[str, Any], **rngs: Any
    ) -> np.ndarray:
        """The derivative of an objective's loss in training by what the module at `path` puts out.

        Args:
            objective: of `train.objectives`.
            variables: of the module.
            path: of a module inside; all examples of the batch are kept apart in what it puts out.
            batch: the inputs, and what else the objective reads.
            **rngs: random keys of the objective and the module, by the names of their streams.
        """

        given = jax.tree.map(jnp.asarray, dict(batch))

        def loss(change: Any) -> Any:
            with _at(path, lambda value: value + change):
                return objectives.total(objective.loss(self.module, variables, given, rngs=rngs, train=True)[0])

        inputs = {name: given[name] for name in self.inputs}
        zeros = jnp.zeros_like(jax.eval_shape(functools.partial(self._inside, path), variables, inputs))
        return np.asarray(jax.jit(jax.grad(loss))(zeros))

    def step_by_step(self, variables: Mapping[str, Any], **arrays: Any) -> np.ndarray:
        """What `apply` gives of a model that writes, but by one call for each token, through its cache, [B, T, V].

        A model with a source reads the start token and its `target` but for the last; others read their `tokens`.
        """
        writer, given = decoding.Writer(self.module), jax.tree.map(jnp.asarray, arrays)
        inputs, tokens = writer.read(given), given[writer.written]
        if writer.written == "target":
            tokens = jnp.concatenate([writer.prompt(given), tokens[:, :-1]], axis=1)
        cache, extend = writer.empty_cache(inputs, *tokens.shape), jax.jit(writer.extend)
        logits = []
        with jax.default_matmul_precision("highest"):
            for place in range(tokens.shape[1]):
                new = tokens[:, place : place + 1]
                next_logits, cache = extend(variables, cache, new, {} if place else inputs)
                logits.append(np.asarray(next_logits))
        return np.stack(logits, axis=1)

    def calls_to_write(self, variables: Mapping[str, Any], length: int, **arrays: Any) -> int:
        """How often the model runs, each time on what it wrote before, to write `length` tokens; runs it."""
        calls: list[None] = []

        def counted(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            if not context.module.path and context.method_name == "__call__":
                jax.debug.callback(lambda: calls.append(None))
            return method(*args, **kwargs)

        with nn.intercept_methods(counted):
            self._writing(variables, length, arrays)().block_until_ready()
        jax.effects_barrier()
        return len(calls)

    def seconds_to_write(self, length: int, batch: int = 1, high: int = 2, repeats: int = 5) -> float:
        """Median time to write `length` tokens for each source of a batch of `example`, after a first one."""
        source = self.example(batch=batch, high=high)["source"]
        return _median_time(self._writing(self.variables(), length, {"source": source}), repeats)

    def _writing(self, variables: Mapping[str, Any], length: int, arrays: Mapping[str, Any]) -> Callable[[], Any]:
        writer, given = decoding.Writer(self.module), jax.tree.map(jnp.asarray, arrays)
        choice: dict[str, Any] = {"length": length, "sampling": decoding.GREEDY, "key": jax.random.key(0)}
        write = jax.jit(functools.partial(decoding.sample, writer, **choice))
        return functools.partial(write, variables, writer.read(given), writer.prompt(given))

    @functools.cached_property  # Kept with the subject: another jit of the same function would compile it again.
    def _init(self) -> Callable[..., Any]:
        return jax.jit(functools.partial(self.module.init, **self.options))

    @functools.cached_property
    def _apply(self) -> Callable[..., Any]:
        return jax.jit(self._forward)

    @functools.cached_property
    def _jacobian(self) -> Callable[..., Any]:
        def output(first: Mapping[str, Any], variables: Mapping[str, Any], rest: Mapping[str, Any]) -> Any:
            return self._forward(variables, {name: value[None] for name, value in first.items()} | dict(rest))[0]

        return jax.jit(jax.jacfwd(output))

    def _inside(self, path: str, variables: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
        found: list[Any] = []

        def keep(output: Any) -> Any:
            found.append(output)
            return output

        with _at(path, keep):
            self._forward(variables, inputs)
        if not found:
            raise ValueError(f"no module {path!r} is called")
        return found[-1]

    def _passes(self, variables: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
        """The sum of what comes out, and its derivative by the variables."""
        return jax.value_and_grad(lambda variables: _total(self._forward(variables, inputs)))(variables)

    def _forward(self, variables: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
        return self.module.apply(variables, **inputs, **self.options)


def architecture(name: str, inputs: Mapping[str, Shape], **fields: Any) -> Subject:
    """One of `archs.names()`, with fields of its model, `variant` among them."""
    return Subject(archs.build(name, **fields), inputs)


def layer(kind: str, inputs: Shape | Mapping[str, Shape], **fields: Any) -> Subject:
    """A layer of Flax by the name of its class, such as `Dense` or `Conv`; its argument is named `inputs` or given."""
    return Subject(getattr(nn, kind)(**fields), inputs if isinstance(inputs, Mapping) else {"inputs": inputs})


def part(path: str, inputs: Mapping[str, Shape], options: Mapping[str, Any] | None = None, **fields: Any) -> Subject:
    """A part of `archs.layers` by its module and class, such as `block.Block`; `options` are those of `Subject`."""
    module, _, kind = path.rpartition(".")
    return Subject(getattr(importlib.import_module(f"archs.layers.{module}"), kind)(**fields), inputs, options or {})


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The power of a size with which a cost grows: the slope of the straight line nearest to their logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def _at(path: str, change: Callable[[Any], Any]) -> Any:
    """A context in which what the module at `path` puts out is changed."""

    def changed(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        output = method(*args, **kwargs)
        is_there = context.method_name == "__call__" and "/".join(context.module.path) == path
        return change(output) if is_there else output

    return nn.intercept_methods(changed)


def _median_time(call: Callable[[], Any], repeats: int) -> float:
    """Seconds, after a first call that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def _total(outputs: Any) -> Any:
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(outputs))


def _trips(jaxpr: ClosedJaxpr | Jaxpr) -> int:
    return sum(_repeated(equation) for equation in jaxpr.eqns)


def _repeated(equation: Any) -> int:
    inner = sum(_trips(body) for body in _bodies(equation))
    return equation.params["length"] * max(inner, 1) if equation.primitive.name == "scan" else inner


def _bodies(equation: Any) -> Iterator[Any]:
    return (value for value in equation.params.values() if hasattr(value, "eqns"))
