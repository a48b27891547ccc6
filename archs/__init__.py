"""Architectures: pure Flax Linen modules, tensors in, tensors out.

A module file in this package is an architecture and its name is the file's name, so adding one registers
nothing:

    model = archs.build("vit", variant="B/16", num_classes=1000)
    variables = model.init(jax.random.key(0), image)
    logits = model.apply(variables, image)

Every architecture file ends with `Model`, a Linen module, `VARIANTS`, its published sizes as fields of
`Model`, and `EXAMPLE`, the input that it was made for. `Model.view` says how a data set becomes its input; the
arguments of `Model.__call__` are the batch keys that it reads.
"""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
from flax import linen as nn

from archs.layers.fields import choose, construct, modules


def names() -> tuple[str, ...]:
    """All architectures, in alphabetical order."""
    return modules(__path__)


def model_class(name: str) -> type[nn.Module]:
    """The class `Model` of one architecture; its dataclass fields are what `build` accepts."""
    return _load(name).Model


def variants(name: str) -> Mapping[str, Mapping[str, Any]]:
    """The published sizes of one architecture: variant name to fields of its `Model`."""
    return _load(name).VARIANTS


def example(name: str) -> Mapping[str, jax.ShapeDtypeStruct]:
    """Shapes and types of one input of the kind that an architecture was made for, without the batch."""
    return _load(name).EXAMPLE


def build(name: str, *, variant: str | None = None, **fields: Any) -> nn.Module:
    """Builds an architecture.

    Args:
        name: One of `names()`.
        variant: One of `variants(name)`, whose fields are taken first; None takes the defaults of `Model`.
        **fields: Fields of `Model`, which win over those of the variant.

    Raises:
        ValueError: The architecture, the variant, a field or its value is unknown, or a required field is
            missing. One line says what was given, the nearest valid choice, and what is allowed.
    """
    published: Mapping[str, Any] = {}
    if variant is not None:
        published = variants(name)[choose(f"{name}: variant", variant, variants(name))]
    return construct(name, model_class(name), {**published, **fields})


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"archs.{choose('architecture', name, names())}")
