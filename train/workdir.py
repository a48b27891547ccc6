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


def write_json(file: epath.Path, values: Any) -> None:
    """Writes a whole file or none."""
    new = file.parent / f"{file.name}.new"
    new.write_text(json.dumps(values, indent=2) + "\n")
    new.replace(file)
