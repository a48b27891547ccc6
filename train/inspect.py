"""What a model costs, before it is trained: parameters, forward FLOPs and training memory, module by module.

    python -m train.inspect --model=vit --variant=B/16 [--batch-size=64] [--model.FIELD=VALUE ...] [--json]
    python -m train.inspect --config=configs/quickstart.py:lenet [--config.SECTION.FIELD=VALUE ...] [--json]

Everything is traced on shapes: no parameter is ever allocated, and the largest model takes seconds on a
laptop. FLOPs are those of one example in evaluation, all operations, multiply-add = 2 (see `train.flops`).
Memory is a lower bound (parameters, gradients, optimizer) on one device, with AdamW where there is only a
model; `--compile` adds what XLA plans for the whole step, activations included.
"""

import argparse
import ast
import dataclasses
import functools
import itertools
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import PyTree
from rich.console import Console
from rich.table import Table

import archs
from train import config, experiment, flops, objectives, step
from train.commands import Parser, split_overrides
from train.errors import UserError, nearest, run_command
from train.fields import allows, as_text, describe, fields_of
from train.optimizer import Optimizer

Shapes = Mapping[str, jax.ShapeDtypeStruct]

# What trains a model without a task.
ADAMW = Optimizer("adamw", learning_rate=1e-3, schedule=FrozenDict(name="constant", warmup_steps=0))


@dataclasses.dataclass(frozen=True)
class Module:
    """What one module costs by itself: without the modules inside it, in the forward pass of one example.

    Attributes:
        shape: of its output, for a batch of one (see `flops.name_modules`).
        parameters: numbers in the collection `params`.
        flops: floating-point operations.
    """

    shape: flops.Shape
    parameters: int
    flops: int


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a model costs.

    Attributes:
        modules: path of a module (`""` is the model) to its own cost, so that costs add up to the totals.
        flops_matmul: the part of the forward FLOPs that matrix products and convolutions are.
        notes: why the FLOPs are a lower bound; empty if they are exact.
    """

    modules: dict[str, Module]
    flops_matmul: int
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        return sum(module.parameters for module in self.modules.values())

    @property
    def flops_forward(self) -> int:
        return sum(module.flops for module in self.modules.values())


def inspect_model(model: nn.Module, inputs: Shapes) -> Inspection:
    """Counts what `model` costs.

    Args:
        model: any Linen module.
        inputs: arguments of its `__call__`, shapes with the batch first; the size of the batch is ignored.
    """
    example = {name: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype) for name, leaf in inputs.items()}
    variables = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)), **example)
    shapes: dict[str, flops.Shape] = {}

    def forward(variables: PyTree, inputs: Mapping[str, Any]) -> PyTree:
        with nn.intercept_methods(flops.name_modules(shapes)):
            return model.apply(variables, **inputs)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", flops.LowerBound)
        operations = list(flops.operations(flops.trace(forward, variables, example)))
    notes = dict.fromkeys(str(warning.message) for warning in caught if warning.category is flops.LowerBound)
    costs = flops.by_module(operations)
    parameters = _parameters_by_module(variables.get("params", {}), shapes)
    modules = {path: Module(shapes[path], parameters[path], costs[path]) for path in shapes}
    products = sum(operation.flops for operation in operations if operation.primitive in flops.PRODUCTS)
    return Inspection(modules, products, tuple(notes))


def _parameters_by_module(params: PyTree, paths: Collection[str]) -> Counter[str]:
    """Counts parameters by the innermost of `paths` that holds them."""
    counts: Counter[str] = Counter()
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        owner = [key.key for key in keys]
        while owner and "/".join(owner) not in paths:
            owner.pop()
        counts["/".join(owner)] += leaf.size
    return counts


# Memory.


def state_memory(recipe: step.Recipe, batch: Shapes) -> dict[str, int]:
    """Bytes that one training step cannot do without, on one device: activations come on top."""
    state = step.abstract_state(recipe, batch)
    parts = {
        "parameters": _bytes(state.params),
        "gradients": _bytes(state.params),
        "optimizer": _bytes(state.opt_state),
        "other": _bytes((state.model_state, state.ema_params)),
    }
    return parts | {"lower_bound": sum(parts.values())}


def compiled_memory(recipe: step.Recipe, batch: Shapes) -> dict[str, Any]:
    """Bytes that XLA plans for a training step on one device of this machine; compiles, but runs nothing."""
    train = jax.jit(functools.partial(step.train_step, recipe), donate_argnums=0)
    plan = train.lower(step.abstract_state(recipe, batch), dict(batch)).compile().memory_analysis()
    if plan is None:
        raise UserError(f"--compile: XLA tells nothing about memory on {jax.default_backend()}; leave it out.")
    arguments, outputs = plan.argument_size_in_bytes, plan.output_size_in_bytes
    temporary, aliased = plan.temp_size_in_bytes, plan.alias_size_in_bytes
    parts = {"arguments": arguments, "outputs": outputs, "temporary": temporary, "aliased": aliased}
    return {"platform": jax.default_backend(), **parts, "peak": arguments + outputs + temporary - aliased}


def _bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


# The command.


@dataclasses.dataclass(frozen=True)
class Subject:
    """What to inspect: a title, the recipe of the step that trains it, and shapes of a training batch."""

    title: str
    recipe: step.Recipe
    batch: dict[str, jax.ShapeDtypeStruct]


@dataclasses.dataclass(frozen=True)
class MeanSquare:
    """Stands in for the objective of a model without a task: the mean square of all outputs."""

    def loss(
        self,
        model: nn.Module,
        variables: Mapping[str, Any],
        batch: objectives.Batch,
        *,
        rngs: Any,
        train: bool,
    ) -> tuple[objectives.Terms, objectives.Metrics, Any]:
        outputs, mutated, auxiliary = objectives.apply(model, variables, batch, rngs=rngs, train=train)
        leaves = [*jax.tree.leaves(outputs), *auxiliary]
        loss = jnp.mean(jnp.square(jnp.concatenate([output.ravel() for output in leaves]))), jnp.ones(())
        return [loss], {"loss": loss}, mutated


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what a model costs; returns the exit code: 0, or 2 for a mistake of the user's."""
    return run_command(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv: Sequence[str]) -> None:
    # A field of the model has the same name with and without a config.
    argv = [re.sub(r"^--model\.", "--config.model.", flag) for flag in argv]
    options, overrides = split_overrides(_parser(), argv)
    subject = _from_config(options, overrides) if options.config else _from_model(options, overrides)
    inputs = objectives.model_inputs(subject.recipe.model, subject.batch)
    try:
        inspection = inspect_model(subject.recipe.model, inputs)
        memory: dict[str, Any] = dict(state_memory(subject.recipe, subject.batch))
    except (ValueError, TypeError) as error:
        source = "its data" if options.config else "--input"
        what = f"{subject.title} on {_input_text(inputs)} (set by {source})"
        raise UserError(f"{what}: {' '.join(str(error).split())}") from error
    if options.compile:
        memory["compiled"] = compiled_memory(subject.recipe, subject.batch)
    show = _print_json if options.json else _print_table
    show(subject, inspection, memory)


def _parser() -> Parser:
    command = Parser("train.inspect", __doc__)
    subject = command.add_mutually_exclusive_group(required=True)
    subject.add_argument("--model", metavar="NAME", help=f"an architecture: {', '.join(archs.names())}")
    subject.add_argument("--config", metavar="FILE[:ARGUMENT]", help="an experiment")
    command.add_argument("--variant", help="a published size of --model")
    command.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="[NAME=]SIZE,SIZE,...",
        help="shape of one example for --model, without the batch (default: what the architecture was made for)",
    )
    command.add_argument("--batch-size", type=int, help="examples in a training step of --model (default: 1)")
    command.add_argument("--compile", action="store_true", help="compile the step for XLA's memory plan")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return command


def _from_config(options: argparse.Namespace, overrides: Sequence[str]) -> Subject:
    for flag in ("variant", "input", "batch-size"):
        if getattr(options, flag.replace("-", "_")) not in (None, []):
            raise UserError(f"--{flag} goes with --model; with --config, set a field of the config instead.")
    built = experiment.build(config.load(options.config, overrides))
    return Subject(options.config, built.recipe, built.spec)


def _from_model(options: argparse.Namespace, overrides: Sequence[str]) -> Subject:
    """A model without a task: AdamW minimises the mean square of its outputs."""
    batch_size = 1 if options.batch_size is None else options.batch_size
    if batch_size < 1:
        raise UserError(f"--batch-size is {batch_size}; it must be at least 1.")
    try:
        model_class = archs.model_class(options.model)
        example = _example(options.model, options.input)
        published = archs.variants(options.model).get(options.variant, {})
        defaults = {k: v for k, v in _default_fields(model_class, example).items() if k not in published}
        fields = defaults | _fields(model_class, overrides)
        model = archs.build(options.model, variant=options.variant, **fields)
    except (ValueError, TypeError) as error:
        raise UserError(f"--model: {error}") from error
    batch = {name: jax.ShapeDtypeStruct((batch_size, *leaf.shape), leaf.dtype) for name, leaf in example.items()}
    title = " ".join(filter(None, (options.model, options.variant)))
    return Subject(title, step.Recipe(model, MeanSquare(), ADAMW, steps=1), batch)


def _example(name: str, given: Sequence[str]) -> dict[str, jax.ShapeDtypeStruct]:
    """One example for an architecture: what it was made for, in the shapes that are `given`."""
    example = dict(archs.example(name))
    for text in given:
        key, equals, sizes = text.rpartition("=")
        key = key if equals else next(iter(example))
        if key not in example:
            raise UserError(f"--input={text}: {name} has no such input; {nearest(key, example)}")
        if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", sizes):
            raise UserError(f"--input={text}: write whole numbers with commas, such as 224,224,3.")
        example[key] = jax.ShapeDtypeStruct(tuple(map(int, sizes.split(","))), example[key].dtype)
    return example


def _default_fields(model_class: type[nn.Module], example: Shapes) -> dict[str, Any]:
    """Of what is required: ImageNet's number of classes for images from 64 pixels on, else MNIST's; 30,000 words."""
    classes = 1000 if "image" in example and example["image"].shape[0] >= 64 else 10
    words = ("vocab_size", "source_vocab_size", "target_vocab_size")
    sizes = {"num_classes": classes, **dict.fromkeys(words, 30_000)}
    required = {name for name, field in fields_of(model_class).items() if field.is_required}
    return {field: size for field, size in sizes.items() if field in required}


def _fields(model_class: type[nn.Module], overrides: Sequence[str]) -> dict[str, Any]:
    """Turns `model.FIELD=VALUE` and `model.FIELD.KEY=VALUE` into fields, their types checked."""
    fields: dict[str, Any] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not path.startswith("model."):
            raise UserError(f"--config.{path} needs a config; with --model, only --model.FIELD=VALUE can be set.")
        if not equals:
            raise UserError(f"--{path} needs a value: write --{path}=VALUE.")
        *outer, field = path.removeprefix("model.").split(".")
        functools.reduce(lambda inner, key: inner.setdefault(key, {}), outer, fields)[field] = _value(text)
    for name in fields.keys() & fields_of(model_class).keys():
        expected = fields_of(model_class)[name].type
        value = fields[name] = as_text(expected, fields[name])
        if not allows(expected, value):
            raise UserError(f"--model.{name}: {value!r} is not allowed; it must be {describe(expected)}.")
    return fields


def _value(text: str) -> Any:
    """A number, truth value, None, tuple or mapping as Python writes it; anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


# What is printed.


def _print_json(subject: Subject, inspection: Inspection, memory: Mapping[str, Any]) -> None:
    inputs = objectives.model_inputs(subject.recipe.model, subject.batch)
    report = {
        "title": subject.title,
        "inputs": {name: leaf.shape for name, leaf in inputs.items()},
        "parameters": inspection.parameters,
        "flops_forward": inspection.flops_forward,
        "flops_matmul": inspection.flops_matmul,
        "train_step_memory": memory,
        "notes": inspection.notes,
        "by_module": {path: dataclasses.asdict(module) for path, module in inspection.modules.items()},
    }
    print(json.dumps(report, indent=2))


def _print_table(subject: Subject, inspection: Inspection, memory: Mapping[str, Any]) -> None:
    inputs = objectives.model_inputs(subject.recipe.model, subject.batch)
    table = Table(title=f"{subject.title} on {_input_text(inputs)}", title_justify="left")
    table.add_column("module", no_wrap=True)
    table.add_column("output of one example")
    for heading in ("parameters", "forward FLOPs", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    for depth, label, total in _rows(inspection.modules, "", "(model)", depth=0):
        share = f"{total.flops / max(inspection.flops_forward, 1):.1%}"
        counts = f"{total.parameters:,}", _scaled(total.flops), share
        table.add_row("  " * depth + label, _shape_text(total.shape), *counts)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(*_summary(inspection, memory), sep="\n")


def _rows(modules: Mapping[str, Module], path: str, label: str, depth: int) -> Iterator[tuple[int, str, Module]]:
    """Yields depth, label and total cost of a module and of those inside it; of several alike, the first."""
    yield depth, label, _total(modules, path)
    children = [child for child in modules if child and child.rpartition("/")[0] == path]
    for _, alike in itertools.groupby(children, lambda child: _kind(modules, child)):
        first, *others = alike
        total = _total(modules, first)
        if total.parameters or total.flops:
            label = first.rpartition("/")[2]
            several = f" … {others[-1].rpartition('/')[2]} (each of {len(others) + 1})" if others else ""
            yield from _rows(modules, first, label + several, depth + 1)


def _kind(modules: Mapping[str, Module], path: str) -> tuple[str, tuple[tuple[str, Module], ...]]:
    """Equal for modules that cost the same inside out and whose names differ in a number only."""
    inside = tuple((key.removeprefix(path), modules[key]) for key in _inside(modules, path))
    return re.sub(r"\d+", "", path), inside


def _total(modules: Mapping[str, Module], path: str) -> Module:
    """The cost of a module with all modules inside it."""
    inside = [modules[key] for key in _inside(modules, path)]
    return Module(modules[path].shape, sum(m.parameters for m in inside), sum(m.flops for m in inside))


def _inside(modules: Mapping[str, Module], path: str) -> list[str]:
    return [key for key in modules if not path or key == path or key.startswith(f"{path}/")]


def _summary(inspection: Inspection, memory: Mapping[str, Any]) -> Iterator[str]:
    least = "at least " if inspection.notes else ""
    total, products = inspection.flops_forward, inspection.flops_matmul
    yield f"parameters     {inspection.parameters:,}"
    yield f"forward FLOPs  {least}{total:,} per example; {products:,} in matrix products and convolutions"
    yield from (f"               {note}" for note in inspection.notes)
    yield f"training step  {_sizes(memory)}; activations come on top"
    if plan := memory.get("compiled"):
        yield f"XLA's plan     {_sizes(plan)}; for the whole batch on one {plan['platform']} device"


def _sizes(memory: Mapping[str, Any]) -> str:
    sizes = {name: size for name, size in memory.items() if isinstance(size, int) and size}
    return ", ".join(f"{name.replace('_', ' ')} {_scaled(size)}B" for name, size in sizes.items())


def _scaled(number: int) -> str:
    """Four digits with a decimal prefix, such as `35.13 G`."""
    power = min(max(len(str(number)) - 1, 0) // 3, 4)
    return f"{number / 1000**power:#.4g} {'kMGT'[power - 1]}" if power else f"{number} "


def _shape_text(shape: flops.Shape) -> str:
    """`1×197×768`; several outputs are joined by commas."""
    shapes: list[tuple[Any, ...]] = [one for one in shape if isinstance(one, tuple)] or [shape]
    return ", ".join("×".join(map(str, one)) for one in shapes)


def _input_text(inputs: Shapes) -> str:
    return ", ".join(f"{name} {list(leaf.shape)}" for name, leaf in inputs.items())


if __name__ == "__main__":
    sys.exit(main())
