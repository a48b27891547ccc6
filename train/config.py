"""From a config file and flags to one resolved, locked config, or to one clear line that says what is wrong.

A config mentions only what an experiment is about. `load` completes every section from the fields of the thing that the
section describes (a Flax module, a dataclass, an Optax function), so that each of them can be set by a flag, and
`arguments` turns a section back into the keyword arguments of that thing.
"""

import hashlib
import json
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from flax.core import FrozenDict
from ml_collections import ConfigDict, config_dict, config_flags

import archs
from archs.layers import mixers
from train import modules, plugins
from train.errors import UserError, nearest
from train.fields import REQUIRED, Field, allows, as_text, describe, fields_of

SECTIONS = (
    "model",
    "objective",
    "data",
    "data.source",
    "data.augmentation",
    "data.tokenizer",
    "data.layout",
    "optimizer",
    "optimizer.schedule",
    "mesh",
    "checkpoint",
    "evaluators",
)

# What decides how a run is carried out or reported, not what it computes. Between the parts of one run, evaluators may
# change as well.
FREE_OF_RESULT = ("log_every", "checkpoint", "mesh", "writers", "data.workers", "data.cache", "data.source.data_dir")
FREE_ON_RESUME = (*FREE_OF_RESULT, "evaluators")

# Sections that may name nothing, with the package of what they name.
OPTIONAL = (("data.tokenizer", "train.data.tokenizers", "Tokenizer"), ("data.layout", "train.data.layouts", "Layout"))

# Fields of models that the data decide where a config leaves them open.
FROM_DATA = ("num_classes", "vocab_size", "source_vocab_size", "target_vocab_size")


def load(path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Loads, completes, overrides and checks a config.

    Args:
        path: a Python file with `get_config(argument)`, and optionally the argument: `configs/mnist.py:lenet`.
        overrides: `section.field=value` strings; a leading `--config.` is accepted.
    Raises:
        UserError: for every mistake in the file or the overrides.
    """
    flags_given = [re.sub(r"^(--)?(config\.)?", "", override) for override in overrides]
    config = _read(path)
    return resolve(config, flags_given)


def resolve(config: ConfigDict, overrides: Sequence[str] = ()) -> ConfigDict:
    """A copy of `config`, completed from the targets of its sections, overridden, checked and locked."""
    config = ConfigDict(config.to_dict())
    replaced = _apply_choices(config, overrides)
    fields = dict(_complete(config, replaced))
    config = _apply_overrides(config, overrides)
    for path, field in fields.items():
        _check(path, field, config)
    return config.lock()


def arguments(section: ConfigDict, *, without: Sequence[str] = ("name",)) -> dict[str, Any]:
    """The section as keyword arguments of its target: plain, immutable values, since modules must hash."""
    return {key: _freeze(value) for key, value in section.items() if key not in without}


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as what JSON can hold; `from_json` brings it back."""
    return json.loads(json.dumps(config.to_dict()))


def from_json(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> ConfigDict:
    """A resolved config from what `to_json` gave, with overrides as in `load`."""
    return resolve(ConfigDict(_tuples(values)), overrides)


def digest(config: ConfigDict) -> str:
    """Names a run by what decides its result: two configs with one digest compute the same."""
    values = {key: value for key, value in flatten(to_json(config)).items() if not _within(key, FREE_OF_RESULT)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The fields in which two configs (as JSON values) differ and which must not change when a run resumes."""
    old, new = flatten(before), flatten(after)
    keys = sorted(key for key in old.keys() | new.keys() if not _within(key, FREE_ON_RESUME))
    return [
        f"{key}: {old.get(key, 'absent')!r} -> {new.get(key, 'absent')!r}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


# Completion: which target describes which section.


def _complete(config: ConfigDict, replaced: Collection[str]) -> Iterator[tuple[str, Field]]:
    """Adds every missing field to every section of `config`, yielding the path and the description of all fields.

    Sections in `replaced` lose the fields that only their former target had.
    """
    from train.experiment import Run

    for path in SECTIONS:
        _section(config, path)
    yield from _complete_section(config, "", fields_of(Run), children=[path for path in SECTIONS if "." not in path])
    for path, (target, children) in _targets(config):
        section = _section(config, path)
        if path in replaced:
            for key in set(section) - target.keys() - set(children):
                del section[key]
        yield from _complete_section(section, path, target, children)


def _targets(config: ConfigDict) -> Iterator[tuple[str, tuple[dict[str, Field], tuple[str, ...]]]]:
    """Yields, section by section, its fields and the names of the sections within it."""
    from train import data, optimizer
    from train.checkpoint import CheckpointOptions
    from train.mesh import MeshShape

    model = config.model
    fields = _model_fields(model)
    mixing = [key for key in fields if f"{key}_kwargs" in fields]
    yield "model", (fields, tuple(f"{key}_kwargs" for key in mixing))
    for key in mixing:
        yield f"model.{key}_kwargs", (_mixer_fields(model[key], f"config.model.{key}"), ())
    objective = plugins.load("train.objectives", _name(config, "objective"), "Objective", field="config.objective.name")
    yield "objective", ({"name": Field(str)} | fields_of(objective), ())
    children = ("source", "augmentation", "tokenizer", "layout")
    yield "data", (fields_of(data.Data, skip=(*children, "tokenizer_file")), children)
    source = plugins.load("train.data.sources", _name(config, "data.source"), "Source", field="config.data.source.name")
    yield "data.source", ({"name": Field(str)} | fields_of(source), ())
    yield "data.augmentation", ({}, tuple(config.data.augmentation))
    for name in config.data.augmentation:
        field = f"data.augmentation.{name}"
        augmentation = plugins.load("train.data.augmentations", name, "Augmentation", field=f"config.{field}")
        yield field, (fields_of(augmentation), ())
    for path, package, attribute in OPTIONAL:
        yield path, (_optional_fields(_section(config, path).get("name"), path, package, attribute), ())
    yield "optimizer", (optimizer.fields(_name(config, "optimizer")), ("schedule",))
    yield "optimizer.schedule", (optimizer.schedule_fields(config.optimizer.schedule.get("name")), ())
    yield "mesh", (fields_of(MeshShape), ())
    yield "checkpoint", (fields_of(CheckpointOptions), ())
    yield "evaluators", ({}, tuple(config.evaluators))
    for name in config.evaluators:
        evaluator = plugins.load("train.evaluators", name, "Evaluator", field=f"config.evaluators.{name}")
        yield f"evaluators.{name}", (fields_of(evaluator), ())


def _optional_fields(name: str | None, path: str, package: str, attribute: str) -> dict[str, Field]:
    """Fields of what a section names; only the name where it names nothing."""
    fields = {"name": Field(str | None, None)}
    return (
        fields
        if name is None
        else fields | fields_of(plugins.load(package, name, attribute, field=f"config.{path}.name"))
    )


def _model_fields(model: ConfigDict) -> dict[str, Field]:
    """Fields of the chosen Model; those that the chosen variant sets have its values as defaults."""
    name = model.get("name")
    if not isinstance(name, str):
        raise UserError(f"config.model.name is required. Allowed: {', '.join(archs.names())}.")
    module = _refuse_as_user_error("config.model", archs.model_class, name)
    variants, variant = archs.variants(name), model.get("variant")
    if variant is not None and variant not in variants:
        raise UserError(f"config.model.variant: {name} has no variant {variant!r}; {nearest(variant, variants)}")
    defaults = variants[variant] if variant is not None else {}
    fields = {key: Field(f.type, defaults.get(key, f.default)) for key, f in fields_of(module).items()}
    for key in FROM_DATA:
        if key in fields and fields[key].is_required:
            fields[key] = Field(fields[key].type | None, None)
    return {"name": Field(str), "variant": Field(str | None, None)} | fields


def _mixer_fields(mixer: str | None, field: str) -> dict[str, Field]:
    """Fields of the mixer that `field` names, but its types, which are the model's; none where it names none."""
    if mixer is None:
        return {}
    chosen = _refuse_as_user_error(field, mixers.mixer_class, mixer)
    return fields_of(chosen, skip=("parent", "name", "dtype", "param_dtype"))


def _refuse_as_user_error(field: str, function: Callable[..., Any], *args: Any) -> Any:
    """Architectures know no users: they raise ValueError, which says all that a person needs."""
    try:
        return function(*args)
    except ValueError as error:
        raise UserError(f"{field}: {error}") from error


def _name(config: ConfigDict, path: str) -> str:
    name = _section(config, path).get("name")
    if not isinstance(name, str):
        raise UserError(f"config.{path}.name is required: it says which {path.rpartition('.')[2]} to use.")
    return name


def _section(config: ConfigDict, path: str) -> ConfigDict:
    """The section at a dotted path, made when the config does not mention it."""
    for key in path.split("."):
        if key not in config:
            config[key] = ConfigDict()
        config = config[key]
        if not isinstance(config, ConfigDict):
            raise UserError(f"config.{path} must be a section with fields, not {config!r}.")
    return config


def _complete_section(
    section: ConfigDict, path: str, fields: Mapping[str, Field], children: Sequence[str]
) -> Iterator[tuple[str, Field]]:
    prefix = f"{path}." if path else ""
    for key in section:
        if key not in fields and key not in children:
            raise UserError(
                f"{f'config.{path}' if path else 'config'} has no field {key!r}; {nearest(key, [*fields, *children])}"
            )
    for key, field in fields.items():
        if key in children:
            continue
        given = section.get(key, field.default)
        with section.unlocked():
            section[key] = _typed(given, field)
        yield f"{prefix}{key}", field


def _typed(value: Any, field: Field) -> Any:
    """What ConfigDict must hold for `value` so that a flag can change it later: it knows neither None nor lists."""
    if isinstance(value, list):
        value = tuple(value)
    concrete = {bool: bool, int: int, float: float, str: str}.get(field.type)
    if concrete is float and type(value) is int:
        value = float(value)
    if concrete is not None and type(value) is concrete:
        return value
    if typing.get_origin(field.type) is tuple and isinstance(value, tuple):
        return value
    holder = config_dict.placeholder(object)
    if value is not REQUIRED:
        holder.set(value)
    return holder


# Flags.


def _apply_choices(config: ConfigDict, overrides: Sequence[str]) -> set[str]:
    """Sets what decides which fields exist (names, variants, mixers, evaluators) before sections are completed.

    Returns the sections whose target the overrides replace by another.
    """
    replaced = set()
    # Names first: a variant belongs to the name that is given with it.
    for override in sorted(overrides, key=lambda override: ".name=" not in override):
        path, _, value = override.partition("=")
        parent, _, key = path.rpartition(".")
        if (key in ("name", "variant") or key.endswith("mixer")) and parent:
            section = _section(config, parent)
            if key == "name" and section.get("name") != value:
                replaced.add(parent)
                if "variant" in section:
                    del section["variant"]
            section[key] = None if value == "None" else value
        elif parent.startswith(("evaluators.", "data.augmentation.")):
            _section(config, parent)
        if path == "model.variant":
            _take_variant(config.model)
    return replaced


def _take_variant(model: ConfigDict) -> None:
    """A variant that a flag asks for sets its fields, whatever the file says of them."""
    if model.get("name") in archs.names():
        for key in archs.variants(model.name).get(model.variant, {}):
            if key in model:
                del model[key]


def _apply_overrides(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    for override in overrides:
        _check_path(config, override.partition("=")[0])
    values = flags.FlagValues()
    argv = ["config", *(f"--config.{override}" for override in overrides)]
    try:
        holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        rest = values(argv)[1:]
    except (flags.Error, TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(_first_line(error).replace("flag --config", "config", 1)) from error
    if rest:
        raise UserError(f"{rest[0]!r} is not a setting; write it as section.field=value.")
    return holder.value


def _check_path(config: ConfigDict, path: str) -> None:
    """Refuses a flag for a field that does not exist, naming the nearest that does."""
    section, walked = config, "config"
    for key in path.split("."):
        if not isinstance(section, ConfigDict) or key not in section:
            allowed = list(section) if isinstance(section, ConfigDict) else []
            raise UserError(f"{walked} has no field {key!r}; {nearest(key, allowed)}")
        section, walked = section[key], f"{walked}.{key}"
    if isinstance(section, ConfigDict):
        raise UserError(f"{walked} is a section: set one of its fields. Allowed: {', '.join(section)}.")


def _first_line(error: Exception) -> str:
    return str(error.args[0] if error.args else error).partition("\n")[0]


# Types.


def _check(path: str, field: Field, config: ConfigDict) -> None:
    """Refuses a missing or wrongly typed value, whether it came from the file or from a flag."""
    section: Any = config
    *parents, key = path.split(".")
    for parent in parents:
        section = section[parent]
    value = as_text(field.type, section[key])
    if value is None and field.is_required and not allows(field.type, None):
        raise UserError(f"config.{path} is required ({describe(field.type)}): set --config.{path}=...")
    if not allows(field.type, value):
        raise UserError(f"config.{path}: {value!r} is not allowed; it must be {describe(field.type)}.")
    if field.type is float or (allows(field.type, 0.5) and type(value) is int):
        value = float(value)
    if value is not section[key]:
        with config.unlocked():
            section[key] = value


def _freeze(value: Any) -> Any:
    if isinstance(value, ConfigDict | Mapping):
        return FrozenDict({key: _freeze(item) for key, item in value.items()})
    return tuple(_freeze(item) for item in value) if isinstance(value, list | tuple) else value


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _within(key: str, prefixes: Sequence[str]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


# Files.


def _read(path: str) -> ConfigDict:
    """Calls `get_config` of the file at `path`, searched from here and then from the project's root."""
    module = modules.at(path, needs="get_config")
    try:
        config = module.get_config(path.partition(":")[2])
    except (ValueError, TypeError) as error:
        raise UserError(f"{path.partition(':')[0]}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path.partition(':')[0]}: get_config gives a {type(config).__name__}, not a ConfigDict.")
    return config
