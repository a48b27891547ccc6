"""Which configs are compared: those that a config file lists, or the product of fields that are varied."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from train import config as configs
from train import modules
from train.errors import UserError


def load(path: str, vary: Sequence[str] = (), overrides: Sequence[str] = ()) -> dict[str, ConfigDict]:
    """Returns the resolved configs that are compared, by label, in the order of the report.

    Args:
        path: a config file, whose `VARIANTS` (arguments of `get_config`) are taken, or `file.py:argument`.
        vary: `section.field=value,value,…`; several are combined.
        overrides: `section.field=value` for all variants alike.

    Raises:
        UserError: for a field or value that does not exist, and for two variants that compute the same.
    """
    axes = [parse_axis(axis) for axis in vary]
    _refuse_set_twice([field for field, _ in axes], [re.sub(r"^(--)?config\.", "", text) for text in overrides])
    listed = _listed(path)
    compared: dict[str, ConfigDict] = {}
    for label, variant_path in listed.items():
        for values in itertools.product(*(values for _, values in axes)):
            settings = [(field, value) for (field, _), value in zip(axes, values, strict=True)]
            parts = [label] if len(listed) > 1 or not settings else []
            name = " ".join([*parts, *(_label(field, value) for field, value in settings)])
            compared[name] = configs.load(variant_path, [*overrides, *(f"{f}={v}" for f, v in settings)])
    refuse_equal(compared)
    return compared


def parse_axis(text: str, flag: str = "--vary") -> tuple[str, list[str]]:
    """`model.cell=lstm,gru` as the field and its values; commas within brackets belong to a value."""
    field, _, listed = text.partition("=")
    values = re.split(r",(?![^()\[\]]*[)\]])", listed)
    if not field or not all(values):
        raise UserError(f"{flag}={text}: write it as {flag} section.field=value,value")
    if len(set(values)) < len(values):
        raise UserError(f"{flag}={text}: names a value twice.")
    return re.sub(r"^(--)?config\.", "", field), values


def _listed(path: str) -> dict[str, str]:
    """The paths to load by label: one for each of the file's `VARIANTS`, or the one that `path` asks for."""
    file, _, argument = path.partition(":")
    names = getattr(modules.at(path, needs="get_config"), "VARIANTS", ())
    if argument or not names:
        return {argument or Path(file).stem: path}
    return {name: f"{file}:{name}" for name in names}


def _label(field: str, value: str) -> str:
    """A word speaks for itself (`lstm`); a number, truth value or tuple needs its field (`num_layers=2`)."""
    speaks = re.fullmatch(r"[^\W\d][\w/.-]*", value) and value.lower() not in ("true", "false", "none")
    return value if speaks else f"{field.rpartition('.')[2]}={value}"


def _refuse_set_twice(varied: Sequence[str], overrides: Sequence[str]) -> None:
    fixed = [override.partition("=")[0] for override in overrides]
    if "seed" in (*varied, *fixed):
        raise UserError("seed: a comparison trains seeds 0 to N - 1; choose N by --seeds=N.")
    for field in varied:
        if varied.count(field) > 1 or field in fixed:
            raise UserError(f"{field}: is set twice; name it in one --vary only.")


def refuse_equal(compared: Mapping[str, ConfigDict], why: str = "nothing that matters differs") -> None:
    """Raises UserError where two are one: an ablation whose flag does nothing would compare a model with itself."""
    seen: dict[str, str] = {}
    for label, config in compared.items():
        twin = seen.setdefault(configs.digest(config), label)
        if twin != label:
            raise UserError(f"variants {twin!r} and {label!r} compute the same: {why}.")
