"""FLOPs of a JAX function, counted on its jaxpr: nothing runs and nothing is allocated.

XLA's own `compiled.cost_analysis()` counts the body of a loop once, however often it runs, so a recurrent
network over 1,000 steps looks 1,000 times too cheap. A jaxpr still knows the length of every `scan`.
The conventions:

- A multiply-add is two operations: matrix products and convolutions cost twice their "MACs".
- A convolution counts every position of its kernel, also those that fall on padding, as published figures do
  (XLA leaves those out). Holes that a transposed convolution puts into its input cost nothing.
- Elementwise arithmetic on floating-point numbers (`ELEMENTWISE`, exp and tanh included) costs one per
  element of the result, a reduction one per element of the operand, pooling one per element of each window.
  A complex number costs as much as a real one.
- Integers (but for their matrix products), comparisons, selections, conversions, random bits, and data moved
  or communicated (`FREE`) cost nothing.
- `scan` costs its body times its length; `cond` its most expensive branch; `shard_map` its body times the
  devices that hold different parts of the arrays; a Pallas kernel its estimate, or its body times its grid.
- Code whose result nobody reads is not counted.

What cannot be counted is never hidden: a `while` loop has no known trip count, so its body counts once, and a
primitive without a rule counts zero, and both warn (`LowerBound`).
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.interpreters import partial_eval


class LowerBound(UserWarning):
    """Part of the function has no countable cost, so the count is a lower bound."""


@dataclass(frozen=True)
class Operation:
    """One equation of a jaxpr and what all its executions cost.

    Attributes:
        primitive: name of the JAX primitive, such as `dot_general`.
        flops: floating-point operations, over all iterations of the loops around the equation.
        scopes: names of the `jax.named_scope`s around it, outermost first, also those outside the loops.
    """

    primitive: str
    flops: int
    scopes: tuple[str, ...]


def forward_flops(function: Callable, *args: Any, **kwargs: Any) -> int:
    """Counts all FLOPs of `function(*args, **kwargs)`.

    Args:
        function: bind what is no array, such as `train`, by `functools.partial`.
        *args: trees of arrays or of `jax.ShapeDtypeStruct`s.
        **kwargs: likewise.
    """
    return count(trace(function, *args, **kwargs)).total()


def matmul_flops(function: Callable, *args: Any, **kwargs: Any) -> int:
    """Counts matrix products and convolutions only: twice the "MACs" that most papers print."""
    counts = count(trace(function, *args, **kwargs))
    return sum(counts[name] for name in PRODUCTS)


def trace(function: Callable, *args: Any, **kwargs: Any) -> Jaxpr:
    """Traces `function` on arrays or `jax.ShapeDtypeStruct`s and drops the code whose result nobody reads."""
    closed = jax.make_jaxpr(lambda args, kwargs: function(*args, **kwargs))(args, kwargs)
    return partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.out_avals))[0]


def count(jaxpr: ClosedJaxpr | Jaxpr) -> Counter[str]:
    """Counts the FLOPs of a jaxpr by primitive; `.total()` is their sum."""
    counts: Counter[str] = Counter()
    for operation in operations(jaxpr):
        counts[operation.primitive] += operation.flops
    return counts


def operations(jaxpr: ClosedJaxpr | Jaxpr, *, times: int = 1, scopes: tuple[str, ...] = ()) -> Iterator[Operation]:
    """Walks a jaxpr and all jaxprs inside it.

    Args:
        jaxpr: what `jax.make_jaxpr` or `trace` returns.
        times: how often the jaxpr runs.
        scopes: named scopes around the jaxpr.

    Yields:
        The operations that cost something, in order of execution.
    """
    for equation in jaxpr.eqns:
        inside = scopes + tuple(scope.name for scope in equation.source_info.name_stack.stack)
        inner = _inner(equation)
        if inner is not None:
            body, repeats = inner
            yield from operations(body, times=times * repeats, scopes=inside)
        elif flops := times * _flops(equation):
            yield Operation(equation.primitive.name, flops, inside)


# Modules: whose operations they are.

Shape = tuple[int, ...] | tuple[tuple[int, ...], ...]
MODULE = "module:"


def name_modules(shapes: dict[str, Shape]) -> Callable[..., Any]:
    """Names the modules of a Linen model in its jaxpr: an interceptor for `flax.linen.intercept_methods`.

    Args:
        shapes: is filled, while the model is traced, with the path of every module (`""` is the model),
            callers before those they call, and the shape of its output: of one step inside a loop, several
            shapes if there are several outputs.
    """

    def named(method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        keys = context.module.path
        paths = ["/".join(keys[:depth]) for depth in range(len(keys) + 1)]
        for path in paths:
            shapes.setdefault(path, ())
        with jax.named_scope(MODULE + paths[-1]):
            output = method(*args, **kwargs)
        if context.method_name == "__call__" or not shapes[paths[-1]]:
            leaves = tuple(leaf.shape for leaf in jax.tree.leaves(output) if hasattr(leaf, "shape"))
            shapes[paths[-1]] = leaves[0] if len(leaves) == 1 else leaves
        return output

    return named


def by_module(traced: Iterable[Operation]) -> Counter[str]:
    """Counts FLOPs by the path of the innermost module whose method runs the operation."""
    counts: Counter[str] = Counter()
    for operation in traced:
        named = (scope for scope in reversed(operation.scopes) if scope.startswith(MODULE))
        counts[next(named, MODULE).removeprefix(MODULE)] += operation.flops
    return counts


# Structure: which jaxpr an equation runs, and how often.


def _inner(equation: JaxprEqn) -> tuple[Any, int] | None:
    """Finds the jaxpr that an equation runs, and how often; None if the equation does its work itself."""
    name, params = equation.primitive.name, equation.params
    if name == "while":
        if count(params["body_jaxpr"]).total():
            _warn("A while loop has no known trip count: its body is counted once. Prefer `jax.lax.scan`.")
        return params["body_jaxpr"], 1
    if name == "cond":
        return max(params["branches"], key=lambda branch: count(branch).total()), 1
    if name == "scan":
        return params["jaxpr"], params["length"]
    if name == "shard_map":
        return params["jaxpr"], _shards(params)
    if name == "pallas_call":
        return None if params["cost_estimate"] else (params["jaxpr"], math.prod(params["grid_mapping"].grid))
    if name in RULES:  # A reduction holds its combining function as a jaxpr; its rule says how often that runs.
        return None
    bodies = [value for value in params.values() if hasattr(value, "eqns")]
    return (bodies[0], 1) if bodies else None


def _shards(params: dict[str, Any]) -> int:
    """Counts the devices of a `shard_map` that hold different parts of its operands or results.

    Devices along any other axis of the mesh repeat the same work, which is counted once.
    """
    entries = [entry for spec in (*params["in_specs"], *params["out_specs"]) for entry in spec if entry]
    axes = {axis for entry in entries for axis in (entry if isinstance(entry, tuple) else (entry,))}
    return math.prod(params["mesh"].shape[axis] for axis in axes)


# Rules: what one execution of an equation costs.


def _flops(equation: JaxprEqn) -> int:
    name = equation.primitive.name
    if name in FREE or not (_is_float(equation) or name in PRODUCTS):
        return 0
    if name in RULES:
        return RULES[name](equation)
    if name in ELEMENTWISE:
        return _result(equation).size
    if name in REDUCTIONS:
        return _operand(equation).size
    _warn(f"No rule says what the primitive {name!r} costs: it is counted as 0.")
    return 0


def _operand(equation: JaxprEqn, index: int = 0) -> Any:
    """Gives shape, size and dtype of an operand."""
    return equation.invars[index].aval


def _result(equation: JaxprEqn) -> Any:
    """Gives shape, size and dtype of the first result."""
    return equation.outvars[0].aval


def _is_float(equation: JaxprEqn) -> bool:
    return any(jnp.issubdtype(getattr(out.aval, "dtype", bool), jnp.inexact) for out in equation.outvars)


def _warn(message: str) -> None:
    warnings.warn(message, LowerBound, stacklevel=2)


def _dot_general(equation: JaxprEqn) -> int:
    (contracting, _), _ = equation.params["dimension_numbers"]
    shape = _operand(equation).shape
    return 2 * _result(equation).size * math.prod(shape[axis] for axis in contracting)


def _convolution(equation: JaxprEqn) -> int:
    """Every output meets the kernel's positions × the input channels of its group, holes left out."""
    kernel = _operand(equation, 1).shape
    _, input_channels, *positions = equation.params["dimension_numbers"].rhs_spec
    taps = kernel[input_channels] * math.prod(kernel[axis] for axis in positions)
    return 2 * _result(equation).size * taps // math.prod(equation.params["lhs_dilation"])


def _window(equation: JaxprEqn) -> int:
    """One window per result, or per incoming value in the gradient of pooling: per element of the smaller."""
    windows = min(_operand(equation).size, _result(equation).size)
    return windows * math.prod(equation.params["window_dimensions"])


def _scatter(equation: JaxprEqn) -> int:
    """One per update: operands are the array, the indices and the updates."""
    return _operand(equation, 2).size


def _reduce(equation: JaxprEqn) -> int:
    return _operand(equation).size * count(equation.params["jaxpr"]).total()


def _pallas(equation: JaxprEqn) -> int:
    return int(equation.params["cost_estimate"].flops)


def _qr(equation: JaxprEqn) -> int:
    """2MN² - 2N³/3 for R of each [..., M, N], and as much again for Q (Golub & Van Loan, sec. 5.2)."""
    *batch, rows, columns = _operand(equation).shape
    long, short = max(rows, columns), min(rows, columns)
    return 2 * math.prod(batch) * (2 * long * short**2 - 2 * short**3 // 3)


PRODUCTS: dict[str, Callable[[JaxprEqn], int]] = {
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
}
"""Matrix products, on which accelerators spend their time."""

RULES: dict[str, Callable[[JaxprEqn], int]] = {
    **PRODUCTS,
    **dict.fromkeys("reduce_window reduce_window_sum reduce_window_max reduce_window_min".split(), _window),
    **dict.fromkeys("scatter-add scatter-sub scatter-mul scatter-min scatter-max".split(), _scatter),
    "select_and_scatter_add": _window,
    "reduce": _reduce,
    "qr": _qr,
    "pallas_call": _pallas,
}
"""Primitives whose cost is neither their result's nor their operand's size."""

ELEMENTWISE = frozenset(
    "abs acos acosh add add_any asin asinh atan atan2 atanh cbrt ceil clamp conj cos cosh digamma div"
    " erf erf_inv erfc exp exp2 expm1 floor integer_pow lgamma log log1p logistic max min mul neg"
    " nextafter pow rem round rsqrt sign sin sinh sqrt square sub tan tanh".split()
)
"""Floating-point arithmetic: one operation per element of the result."""

REDUCTIONS = frozenset("cumlogsumexp cummax cummin cumprod cumsum reduce_max reduce_min reduce_prod reduce_sum".split())
"""One operation per element of the operand."""

FREE = frozenset(
    "all_gather all_gather_invariant all_to_all approx_top_k bitcast_convert_type broadcast_in_dim"
    " broadcast_to complex concatenate convert_element_type copy device_put dynamic_slice"
    " dynamic_update_slice empty empty2 gather get imag iota name optimization_barrier pad pbroadcast"
    " pmax pmin ppermute psum psum_invariant pvary random_bits real reduce_precision reduce_scatter"
    " reshape reshard rev scatter select_n sharding_constraint slice sort split squeeze stack"
    " stop_gradient swap tie tile top_k transpose unstack zeros_like".split()
)
"""Data moved, copied, chosen, converted or communicated, but not computed with."""
