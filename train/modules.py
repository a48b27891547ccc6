"""Python files that a command names by their path, such as configs and claims."""

import functools
import importlib.util
import traceback
from pathlib import Path
from typing import Any

from train.errors import UserError, nearest

PROJECT = Path(__file__).resolve().parent.parent
# Name and folder of a kind of file, by the function that it defines.
KINDS = {"get_config": ("config", "configs"), "run": ("claim", "configs/claims")}


def at(path: str, *, needs: str) -> Any:
    """Imports the file of `path` (without its `:argument`), searched from here and then from the project's root.

    Raises:
        UserError: there is no such file, it cannot be imported, or it does not define `needs`, one of `KINDS`.
    """
    name = path.partition(":")[0]
    kind, folder = KINDS[needs]
    for candidate in (Path(name), PROJECT / name):
        if candidate.is_file():
            if candidate.suffix != ".py":
                raise UserError(f"{candidate} is not a {kind} file: those are Python files, such as {folder}/….py.")
            return _import(candidate.resolve(), needs)
    files = sorted((PROJECT / folder).glob("[!_]*.py"))
    known = [str(file.relative_to(PROJECT)) for file in files if file.name != "common.py"]
    raise UserError(f"{kind} file {name!r} does not exist; {nearest(name, known)}")


@functools.lru_cache(maxsize=128)
def _import(file: Path, needs: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    assert spec is not None and spec.loader is not None, "it ends in .py"
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{file}:{error.lineno}: {error.msg}") from error
    except UserError:
        raise
    except Exception as error:  # Whatever a person's file does wrong.
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        place = f"{file}:{lines[-1]}" if lines else str(file)
        raise UserError(f"{place}: {type(error).__name__}: {error}") from error
    if not hasattr(module, needs):
        raise UserError(f"{file} defines no {needs}(…): it is not a {KINDS[needs][0]} file.")
    return module
