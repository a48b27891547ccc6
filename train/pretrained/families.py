"""Which family of transformers a folder or a model is of, and whether its settings are the model's fields."""

import importlib
from collections.abc import Mapping
from typing import Any

from train.errors import UserError
from train.pretrained.folder import Folder
from train.pretrained.tables import Head

FAMILIES = ("bert", "clip", "gpt2", "openai_gpt", "resnet", "vit")
SAME_FUNCTION = ("dense", "ring")  # Mixers that compute what transformers does.


def families() -> list[Any]:
    return [importlib.import_module(f"train.pretrained.{name}") for name in FAMILIES]


def family_in(folder: Folder, model: Any) -> Any:
    """The family that a folder is of.

    Raises:
        UserError: we have no such family, or the model is of another.
    """
    name, kind = architecture(model), folder.config.get("model_type")
    known = {family.MODEL_TYPE: family for family in families()}
    if kind not in known:
        raise UserError(f"config.init_from: {folder.path} holds {kind!r}. Allowed: {', '.join(known)}.")
    family = known[kind]
    if family.ARCHITECTURE != name:
        raise UserError(
            f"config.model.name: {name!r} cannot take the weights of {kind!r} in {folder.path}; "
            f"{family.ARCHITECTURE!r} can."
        )
    return family


def family_of(model: Any) -> Any:
    """The family that can express a model.

    Raises:
        UserError: there is none.
    """
    name = architecture(model)
    found = [family for family in families() if family.ARCHITECTURE == name]
    if not found:
        allowed = ", ".join(sorted({family.ARCHITECTURE for family in families()}))
        raise UserError(f"config.model.name: transformers has nothing like {name!r}. Allowed: {allowed}.")
    for field in ("mixer", "text_mixer"):
        mixer = getattr(model, field, None) or SAME_FUNCTION[0]
        if mixer not in SAME_FUNCTION:
            allowed = ", ".join(SAME_FUNCTION)
            raise UserError(f"config.model.{field}: transformers has no {mixer!r} here, but {allowed}.")
    return next((family for family in found if not disagreements(family, model, family.FIXED_HERE)), found[0])


def head_of(family: Any, model: Any) -> Head:
    """What stands on the model's body."""
    kind = family.head(model)
    if kind not in family.HEADS:
        raise UserError(f"config.model.head: {family.MODEL_TYPE} of transformers has no head {kind!r}.")
    return family.HEADS[kind]


def architecture(model: Any) -> str:
    return type(model).__module__.rpartition(".")[2]


def check_fields(folder: Folder, family: Any, model: Any, *, with_head: bool) -> None:
    """Raises UserError if config.json says something else than the model, or what no model of ours can do."""
    config, file = folder.config, folder.path / "config.json"
    strange = [f"{key}={config[key]!r}" for key, value in family.FIXED_THERE.items() if config.get(key, value) != value]
    if strange:
        raise UserError(f"config.init_from: {', '.join(strange)} in {file} has no counterpart here.")
    fields = {**family.FIXED_HERE, **family.fields(config)}
    if with_head and "id2label" in config and getattr(model, "num_classes", None) is not None:
        fields["num_classes"] = len(config["id2label"])
    if problems := disagreements(family, model, fields):
        raise UserError(f"config.init_from: the model is not that of {file}: {'; '.join(problems)}.")


def check_expressed(family: Any, model: Any, fields: Mapping[str, Any]) -> None:
    """Raises UserError if `fields`, what the family can say of the model, are not the model's."""
    if problems := disagreements(family, model, fields):
        raise UserError(f"{family.MODEL_TYPE} of transformers cannot express this model: {'; '.join(problems)}.")


def disagreements(family: Any, model: Any, fields: Mapping[str, Any]) -> list[str]:
    """Fields in which a model differs from what is said of it, with both values."""
    none_is = getattr(family, "NONE_IS", {})
    given = {field: getattr(model, field) for field in fields}
    here = {field: none_is.get(field) if value is None else value for field, value in given.items()}
    return [
        f"config.model.{field} is {here[field]!r}, and {there!r} there"
        for field, there in fields.items()
        if here[field] != there
    ]
