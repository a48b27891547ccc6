"""The folder of a run, local or in a bucket."""

import json
import os
from typing import Any

from etils import epath

from train.errors import UserError


def at(path: str | os.PathLike[str]) -> epath.Path:
    """The folder that a user names, as an absolute path.

    Raises:
        UserError: it is a file, or in a bucket that cannot be reached.
    """
    folder = epath.Path(path)
    if "://" not in os.fspath(path):
        folder = folder.resolve()
    try:
        is_file = folder.exists() and not folder.is_dir()
    except ImportError as error:
        raise UserError(f"--workdir: {path} cannot be reached: {error}; pip install gcsfs") from error
    if is_file:
        raise UserError(f"--workdir: {path} is a file; it must be a folder, or not exist yet.")
    return folder


def write_json(file: epath.Path, values: Any) -> None:
    """Writes a whole file or none."""
    new = file.parent / f"{file.name}.new"
    new.write_text(json.dumps(values, indent=2) + "\n")
    new.replace(file)
