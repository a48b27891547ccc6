"""Pretrained weights, both ways: a Hugging Face folder as the start of a run, and a run as such a folder.

Each family of models is one module, most of it data:

    MODEL_TYPE, ARCHITECTURE   its name in config.json, and that of the same architecture here
    PREFIX                     what names of the body begin with where a head stands on it
    BODY, HEADS                tables of names (see `tables`); heads by what `head(model)` says
    BUFFERS                    templates of names of tensors that hold nothing learned; they are passed over
    UNUSED                     templates of names of learned tensors that no model of ours has a place for
    FIXED_HERE, FIXED_THERE    fields of ours, and settings of theirs, that have one value in this family
    NONE_IS                    (optional) what None means in fields of ours
    fields(config)             other fields of ours, from config.json
    config(model, shapes)      other settings of theirs, from our model and the shapes of its variables

Nothing is changed without a word: our fields and their settings must agree, each of our variables must have its tensor
there, and each tensor there its variable here, or its name in a table; the log names the learned ones that stay unread.
Where images are of another size, positions of patches are interpolated, and the log says so.
"""

import logging
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from train.errors import UserError
from train.pretrained.families import check_expressed, family_of, head_of
from train.pretrained.folder import Folder
from train.pretrained.matching import InitHead, match
from train.pretrained.resizing import resize
from train.pretrained.tables import Head, Shape, resolve

LEARNED = ("params", "batch_stats")  # Collections that a folder holds; others are made anew.

Variables = Mapping[str, Any]

log = logging.getLogger(__name__)


def load(source: str, model: Any, variables: Variables, init_head: InitHead) -> dict[str, Any]:
    """The variables of a model, with the numbers of a folder in their place, each in its sharding and type.

    Args:
        source: the folder.
        model: the module.
        variables: its variables as initialised; what the folder does not give stays as it is.
        init_head: whether the head is read too, or stays.

    Raises:
        UserError: folder and model do not agree.
    """
    flat = flatten_dict(dict(variables), sep="/")
    folder = Folder(source)
    found, unread = match(folder, model, _shapes(flat), init_head)
    if unread:
        reason = "the model has no place for it or starts its head anew"
        log.warning("%s: not read, as %s: %s", source, reason, ", ".join(unread))
    values: dict[str, np.ndarray] = {}
    for tensor, names in found:
        values |= tensor.to_ours(resize(tensor, _read(folder, names), f"{source}: {names[0]}"))
    for path, layers in _by_layer(flat).items():
        if layers[0] in values:
            value = values[path] if path in values else np.stack([values[layer] for layer in layers])
            flat[path] = _place(value, flat[path])
    return unflatten_dict(flat, sep="/")


def check(source: str, model: Any, variables: Variables, init_head: InitHead) -> None:
    """Raises UserError where `load` would, but reads no weights; variables may be shapes."""
    match(Folder(source), model, _shapes(flatten_dict(dict(variables), sep="/")), init_head)


def describe(source: str) -> dict[str, Any]:
    """What the provenance of a run says of a folder."""
    folder = Folder(source)
    return {"folder": str(folder.path), "sha256": folder.digests()}


def export(model: Any, variables: Variables) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A model as config.json and tensors of the family of transformers that computes the same.

    Args:
        model: the module.
        variables: its variables, as numpy arrays.

    Raises:
        UserError: there is no such family.
    """
    flat = flatten_dict(dict(variables), sep="/")
    shapes = _shapes(flat)
    values: dict[str, np.ndarray] = {}
    for path, layers in _by_layer(flat).items():
        values |= {path: flat[path]} if path in shapes else dict(zip(layers, flat[path], strict=True))
    family = family_of(model)
    check_expressed(family, model, family.FIXED_HERE)
    head = head_of(family, model)
    return _config(family, head, model, shapes), _tensors(family, head, values)


def _tensors(family: Any, head: Head, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Their tensors of our variables."""
    found, nowhere = resolve((*family.BODY, *head.entries), {path: value.shape for path, value in values.items()})
    if nowhere:
        raise UserError(f"{family.MODEL_TYPE} of transformers has nothing like {', '.join(nowhere)}.")
    prefix = "" if head is family.HEADS["none"] else family.PREFIX
    tensors: dict[str, np.ndarray] = {}
    for tensor in found:
        tensors[tensor.full_name(prefix)] = tensor.to_theirs(values)
        if tensor.counter is not None:
            tensors[prefix + tensor.counter] = np.zeros((), np.int64)
    return tensors


def _config(family: Any, head: Head, model: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """What config.json says of our model, which must say all of it."""
    own = family.config(model, shapes)
    check_expressed(family, model, family.fields(own))
    return {
        "model_type": family.MODEL_TYPE,
        "architectures": [head.architecture],
        "dtype": str(np.dtype(model.param_dtype)),
        **family.FIXED_THERE,
        **own,
        **_labels(getattr(model, "num_classes", None)),
    }


def _labels(num_classes: int | None) -> dict[str, Any]:
    """transformers counts classes by their names."""
    if num_classes is None:
        return {}
    names = [f"LABEL_{number}" for number in range(num_classes)]
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}


def _read(folder: Folder, names: list[str]) -> np.ndarray:
    """A tensor that the folder may have under several names, with the same numbers under each."""
    tensor, *copies = (folder.read(name) for name in names)
    if not all(np.array_equal(tensor, copy) for copy in copies):
        raise UserError(
            f"config.init_from: {' and '.join(names)} differ in {folder.path}; here they are tied, one array."
        )
    return tensor


def _by_layer(flat: Variables) -> dict[str, list[str]]:
    """Paths of what a folder holds, each with those that its layers would have in a looped stack, or with itself."""

    def layers(path: str) -> list[str]:
        if "/layers/" not in path:
            return [path]
        return [path.replace("/layers/", f"/layer_{number}/") for number in range(flat[path].shape[0])]

    return {path: layers(path) for path in flat if path.partition("/")[0] in LEARNED}


def _shapes(flat: Variables) -> dict[str, Shape]:
    """Shapes as in a looped stack."""
    return {
        layer: flat[path].shape[0 if layer == path else 1 :]
        for path, layers in _by_layer(flat).items()
        for layer in layers
    }


def _place(value: np.ndarray, leaf: jax.Array) -> jax.Array:
    """The value as an array like `leaf`: each device gets its part only."""
    value = np.asarray(value, leaf.dtype)
    return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: value[index])
