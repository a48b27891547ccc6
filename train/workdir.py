"""The folder of a run, local or in a bucket."""

import json
import os
import secrets
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from train.errors import UserError


def at(path: str | os.PathLike[str]) -> epath.Path:
    """The folder that a user names, as an absolute path.

    Raises:
        UserError: it is a file, or in a bucket that cannot be reached.
    """
    folder, above = epath.Path(path), ()
    if "://" not in os.fspath(path):
        folder = folder.resolve()
        above = folder.parents
    try:
        is_there = [one for one in (folder, *above) if one.exists()]
    except ImportError as error:
        raise UserError(f"--workdir: {path} cannot be reached: {error}; pip install gcsfs") from error
    except OSError as error:
        raise UserError(f"--workdir: {path} cannot be reached: {error}") from error
    if is_there and not is_there[0].is_dir():
        raise UserError(f"--workdir: {is_there[0]} is a file; it must be a folder, or not exist yet.")
    return folder


def make(folder: epath.Path, flag: str = "--workdir") -> None:
    """Makes a folder that `flag` named, with those that it lies in.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag}: {folder} cannot be made: {error}") from error


def check_shared(folder: epath.Path) -> None:
    """Raises UserError unless all processes of the job see the same folder: checkpoints are written by all of them."""
    if jax.process_count() == 1:
        return
    token = int(multihost_utils.broadcast_one_to_all(jnp.asarray(secrets.randbits(31), jnp.int32)))
    file = folder / ".job"
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(str(token))
    multihost_utils.sync_global_devices("workdir")
    seen = file.exists() and file.read_text() == str(token)
    everywhere = bool(np.all(multihost_utils.process_allgather(jnp.asarray(seen))))
    if jax.process_index() == 0:
        file.unlink()
    if not everywhere:
        raise UserError(f"--workdir: {folder} is not the same folder in all processes; take a network folder or gs://…")


def read_json(file: epath.Path) -> Any:
    """What a file of a run says.

    Raises:
        UserError: it is damaged.
    """
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is damaged: it is not JSON ({error}).") from error


def write_json(file: epath.Path, values: Any) -> None:
    """Writes a whole file or none."""
    new = file.parent / f"{file.name}.new"
    new.write_text(json.dumps(values, indent=2) + "\n")
    new.replace(file)
