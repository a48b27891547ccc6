"""Names are module names: an objective, evaluator, data source or augmentation is one file, found by its name."""

import importlib
import pkgutil
from typing import Any

from train.errors import UserError, nearest


def names(package: str) -> list[str]:
    """The modules of `package`, such as every objective in `train.objectives`."""
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))


def load(package: str, name: str, attribute: str, *, field: str) -> Any:
    """Returns `attribute` of the module `package.name`.

    Raises:
        UserError: there is no such module; `field` is the config field that asked for it.
    """
    if name not in names(package):
        raise UserError(f"{field}: {name!r} does not exist; {nearest(name, names(package))}")
    return getattr(importlib.import_module(f"{package}.{name}"), attribute)
