"""Tables of names: layouts can be inverted, and every variable of every model has its place in one tensor."""

import collections
import functools
import math

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import archs
from train import pretrained
from train.errors import UserError
from train.pretrained import tables
from train.pretrained.families import families, family_of, head_of
from train.pretrained.tables import Layout

FAMILIES = {family.MODEL_TYPE: family for family in families()}
HEADS = {
    "gpt": [
        {},
        {"head": "sequence", "num_classes": 3},
        {"head": "tokens", "num_classes": 3},
        {"head": "none"},
    ],
    "bert": [
        {},
        {"next_sentence": True},
        {"head": "sequence", "num_classes": 3},
        {"head": "tokens", "num_classes": 3},
        {"head": "none"},
        {"head": "none", "pooler": True},
    ],
    "vit": [{"num_classes": 3}, {"num_classes": None}],
    "resnet": [{"num_classes": 3}, {"num_classes": None}],
    "clip": [{}],
}
SMALLEST = {"gpt": "gpt2", "bert": "tiny", "vit": "Ti/16", "resnet": "50", "clip": "ViT-B/32"}
# Every variant with its usual head, scanned where there are layers, for their number costs no time then; and every head
# on one variant. Of CLIP with a ResNet, transformers has none.
CASES = [
    (name, {"variant": variant, **HEADS[name][0], **({} if name == "resnet" else {"scan_layers": True})})
    for name in HEADS
    for variant in archs.variants(name)
    if variant != "RN50"
]
CASES += [(name, {"variant": SMALLEST[name], **fields}) for name in HEADS for fields in HEADS[name]]


def shapes_of(name, fields):
    return _shapes_of(name, tuple(fields.items()))


@functools.cache
def _shapes_of(name, fields):
    model = archs.build(name, **dict(fields))
    batch = {key: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype) for key, leaf in archs.example(name).items()}
    return model, jax.eval_shape(lambda batch: model.init(jax.random.key(0), **batch), batch)


@pytest.mark.parametrize("name, fields", CASES, ids=lambda value: value if isinstance(value, str) else str(value))
def test_every_variable_has_one_place(name, fields):
    model, variables = shapes_of(name, fields)
    flat = flatten_dict(variables, sep="/")
    shapes = pretrained._shapes(flat)
    family = family_of(model)
    table = (*family.BODY, *head_of(family, model).entries)
    tensors, nowhere = tables.resolve(table, shapes)
    assert not nowhere
    places = collections.Counter(path for tensor in tensors for path in tensor.shapes)
    assert set(places) == set(shapes) and set(places.values()) == {1}
    assert all(sum(tables._place(entry, path) is not None for entry in table) == 1 for path in shapes)
    names = collections.Counter(name for tensor in tensors for name in tensor.names)
    assert set(names.values()) == {1}
    ours = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))
    assert sum(math.prod(tensor.their_shape) for tensor in tensors) == ours


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_entry_is_reached(kind):
    """A name that no model has would be a mistake in the table."""
    family = FAMILIES[kind]
    reached = set()
    for name, fields in CASES:
        if name != family.ARCHITECTURE:
            continue
        model, variables = shapes_of(name, fields)
        if family_of(model) is not family or family.head(model) not in family.HEADS:
            continue
        paths = pretrained._shapes(flatten_dict(variables, sep="/"))
        table = (*family.BODY, *head_of(family, model).entries)
        reached |= {tensor.entry for tensor in tables.resolve(table, paths)[0]}
    heads = {"openai-gpt": ("sequence", "none")}.get(kind, ())  # the cases have these on GPT-2 only
    entries = {
        *family.BODY,
        *(entry for key, head in family.HEADS.items() if key not in heads for entry in head.entries),
    }
    assert {entry.names for entry in entries - reached} <= BIASES


# The convolutions of ResNet have none.
BIASES = {
    (f"{module}.convolution.bias",)
    for module in (
        "embedder.embedder",
        "encoder.stages.{stage}.layers.{block}.layer.{layer}",
        "encoder.stages.{stage}.layers.{block}.shortcut",
    )
}


@pytest.mark.parametrize(
    "layout, shape, theirs",
    [
        (tables.SCALAR, (), ()),
        (tables.LINEAR, (2, 3), (3, 2)),
        (tables.CONVOLUTION, (5, 7, 2, 3), (3, 2, 5, 7)),
        (tables.HEADS_IN, (5, 2, 3), (6, 5)),
        (tables.HEADS_OUT, (2, 3, 5), (5, 6)),
        (tables.HEADS_IN_CONV1D, (5, 2, 3), (5, 6)),
        (tables.HEADS_OUT_CONV1D, (2, 3, 5), (6, 5)),
        (tables.HEADS_BIAS, (2, 3), (6,)),
        (Layout("1 1 D -> D"), (1, 1, 4), (4,)),
        (Layout("T D -> 1 T D"), (3, 4), (1, 3, 4)),
    ],
)
def test_layouts_are_inverted(layout, shape, theirs):
    array = np.random.default_rng(0).normal(size=shape)
    there = layout.to_theirs(array)
    assert there.shape == layout.their_shape(shape) == theirs
    np.testing.assert_array_equal(layout.to_ours(there, shape), array)


def test_layouts_say_what_goes_where():
    array = np.arange(30).reshape(5, 2, 3)
    assert tables.HEADS_IN.to_theirs(array)[4, 1] == array[1, 1, 1]
    assert tables.CONVOLUTION.to_theirs(np.arange(24).reshape(1, 2, 3, 4))[3, 2, 0, 1] == 23


@pytest.mark.parametrize("read", [pretrained.families.family_of, lambda model: pretrained.export(model, {})])
def test_what_transformers_does_not_have_is_refused(read):
    for model, message in [
        (
            archs.build("lenet", num_classes=3),
            "config.model.name: transformers has nothing like 'lenet'. Allowed: bert",
        ),
        (archs.build("gpt", variant="gpt2", mixer="local"), "config.model.mixer: transformers has no 'local'"),
    ]:
        with pytest.raises(UserError, match=message):
            read(model)
