"""The Optax chain and the learning-rate schedule, built from `config.optimizer`.

    optimizer = {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05, "clip_norm": 1.0,
                 "schedule": {"name": "cosine", "warmup_steps": 100}}

`name` is any Optax optimizer that takes a learning rate (adam, adamw, sgd, lamb, adafactor, lion …); its other
arguments are splatted into it. Momentum is `name="sgd", momentum=0.9`, as in Optax.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax.core import FrozenDict
from jaxtyping import PyTree

from train.errors import UserError, nearest
from train.fields import Field, fields_of

Plain = bool | int | float | str | None
# Not numbers that a flag could set: the schedule and the mask are given by this file.
NOT_FIELDS = ("learning_rate", "weight_decay_mask", "mask")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How gradients become updates.

    Attributes:
        name: the Optax function.
        learning_rate: the peak of the schedule; where runs with different ones are trained together, a traced number.
        arguments: what else goes to the Optax function.
        schedule: the name of the schedule and its arguments.
        clip_norm: gradients are scaled down to this global norm; None leaves them as they are.
        l2_penalty: this times the parameters is added to gradients, as half of it times their squared norm in the loss
            would (L2 regularisation); an optimizer's own `weight_decay` acts on parameters directly.
        decay: which parameters both act on; "matrices" leaves biases and normalisation scales alone.
        accumulate_steps: micro-batches that a batch is cut into, to need less memory for the same update;
            each term of a loss has its own backward pass and sums then.
        ema_decay: decay of an exponential moving average of the parameters, which evaluators then use; None keeps none.
    """

    name: str
    learning_rate: float
    arguments: Mapping[str, Any] = FrozenDict()
    schedule: Mapping[str, Any] = FrozenDict({"name": "constant"})
    clip_norm: float | None = None
    l2_penalty: float = 0.0
    decay: Literal["all", "matrices"] = "matrices"
    accumulate_steps: int = 1
    ema_decay: float | None = None

    def check(self) -> None:
        """Raises UserError if a field is out of range."""
        limits = {
            "learning_rate": 0 <= self.learning_rate < math.inf,
            "clip_norm": self.clip_norm is None or self.clip_norm > 0,
            "l2_penalty": 0 <= self.l2_penalty < math.inf,
            "accumulate_steps": self.accumulate_steps >= 1,
            "ema_decay": self.ema_decay is None or 0 <= self.ema_decay < 1,
            "schedule.warmup_steps": self.schedule.get("warmup_steps", 0) >= 0,
        }
        for field, holds in limits.items():
            if not holds:
                value = self.schedule["warmup_steps"] if "." in field else getattr(self, field)
                raise UserError(f"config.optimizer.{field}: {value} is out of range.")

    def learning_rates(self, steps: int) -> optax.Schedule:
        """The learning rate as a function of the step, for a run of `steps` steps."""
        arguments = dict(self.schedule)
        name, warmup = arguments.pop("name"), arguments.pop("warmup_steps")
        after = SCHEDULES[name](self.learning_rate, max(steps - warmup, 1), **arguments)
        if warmup == 0:
            return after
        return optax.join_schedules([optax.linear_schedule(0.0, self.learning_rate, warmup), after], [warmup])

    def transformation(self, steps: int) -> optax.GradientTransformation:
        """The Optax chain for a run of `steps` steps."""
        function = getattr(optax, self.name)
        arguments = dict(self.arguments)
        mask = set(inspect.signature(function).parameters) & {"mask", "weight_decay_mask"}
        if mask and self.decay == "matrices":
            arguments[mask.pop()] = _matrices
        update = function(self.learning_rates(steps), **arguments)
        before = [] if self.clip_norm is None else [optax.clip_by_global_norm(self.clip_norm)]
        if self.l2_penalty:
            before.append(optax.add_decayed_weights(self.l2_penalty, _matrices if self.decay == "matrices" else None))
        return optax.chain(*before, update)


def _matrices(params: PyTree) -> PyTree:
    """Which parameters are kernels or embeddings, by name: biases of attention and stacked layers have two axes too."""

    def is_matrix(path: Any, leaf: Any) -> bool:
        return str(path[-1].key).endswith(("kernel", "embedding")) and jnp.ndim(leaf) > 1

    return jax.tree_util.tree_map_with_path(is_matrix, params)


def fields(name: str) -> dict[str, Field]:
    """The fields of `config.optimizer`: those of `Optimizer`, and the arguments of the Optax function `name`.

    Raises:
        UserError: Optax has no such optimizer.
    """
    if name not in _names():
        raise UserError(f"config.optimizer.name: Optax has no optimizer {name!r}; {nearest(name, _names())}")
    own = fields_of(Optimizer, skip=("arguments", "schedule"))
    arguments = fields_of(getattr(optax, name), skip=NOT_FIELDS)
    # Some take functions, which no flag can give.
    return own | {
        key: field for key, field in arguments.items() if isinstance(field.default, Plain) or field.is_required
    }


def schedule_fields(name: str | None) -> dict[str, Field]:
    """The fields of `config.optimizer.schedule`: warm-up, and the arguments of the schedule `name` (None: constant)."""
    name = name or "constant"
    if name not in SCHEDULES:
        raise UserError(f"config.optimizer.schedule.name: {name!r} does not exist; {nearest(name, SCHEDULES)}")
    own = fields_of(SCHEDULES[name], skip=("peak", "steps"))
    return {"name": Field(str, "constant"), "warmup_steps": Field(int, 0)} | own


def build(section: Mapping[str, Any]) -> Optimizer:
    """An `Optimizer` from the arguments of its section.

    Raises:
        UserError: one of them is out of range.
    """
    own = {field.name for field in dataclasses.fields(Optimizer)}
    arguments: Mapping[str, Any] = FrozenDict({key: value for key, value in section.items() if key not in own})
    chosen = Optimizer(arguments=arguments, **{key: value for key, value in section.items() if key in own})
    chosen.check()
    return chosen


def _names() -> list[str]:
    """Optax functions that take a learning rate and give a transformation."""
    functions = {name: getattr(optax, name) for name in dir(optax) if name.islower() and not name.startswith("_")}
    return [name for name, function in functions.items() if inspect.isfunction(function) and _is_optimizer(function)]


def _is_optimizer(function: Callable[..., Any]) -> bool:
    return (
        not function.__name__.startswith("scale_by")
        and "learning_rate" in list(inspect.signature(function).parameters)[:1]
    )


# Schedules: learning rate after the warm-up, as functions of the step counted from its end.


def constant(peak: float, steps: int) -> optax.Schedule:
    return optax.constant_schedule(peak)


def cosine(peak: float, steps: int, final_fraction: float = 0.0) -> optax.Schedule:
    """Half a cosine from the peak to `final_fraction` of it at the last step (Loshchilov & Hutter, 2016, eq. 5)."""
    return optax.cosine_decay_schedule(peak, steps, alpha=final_fraction)


def linear(peak: float, steps: int, final_fraction: float = 0.0) -> optax.Schedule:
    """A straight line from the peak down to `final_fraction` of it at the last step."""
    return optax.linear_schedule(peak, final_fraction * peak, steps)


def rsqrt(peak: float, steps: int, timescale: int = 1000) -> optax.Schedule:
    """Falls with one over the root of the step: with `timescale` equal to the warm-up, Vaswani et al. (2017), eq. 3."""
    return lambda step: peak * jnp.sqrt(timescale / (timescale + jnp.maximum(step, 0)))


def step(peak: float, steps: int, factor: float = 0.1, boundaries: tuple[float, ...] = (0.5, 0.75)) -> optax.Schedule:
    """Multiplies the rate by `factor` at each of `boundaries`, given as fractions of the steps."""
    return optax.piecewise_constant_schedule(peak, {int(boundary * steps): factor for boundary in boundaries})


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    function.__name__: function for function in (constant, cosine, linear, rsqrt, step)
}
