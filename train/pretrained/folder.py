"""A Hugging Face folder: config.json, and tensors in one safetensors file or several with an index. Never a pickle."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from train.errors import UserError
from train.pretrained.tables import Shape
from train.workdir import make

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")


class Folder:
    """A folder to be read.

    Attributes:
        path: of the folder.
        config: what config.json says.
        shapes: of all tensors, by name.
        types: of all tensors, by name, as safetensors calls them.

    Raises:
        UserError: the folder or one of its files is missing or not whole, or its weights are pickled.
    """

    def __init__(self, path: str):
        self.path = _local(path, "config.init_from")
        self.config = _read_json(self.path / CONFIG)
        self._files = {file: _open(self.path / file) for file in self._weight_files()}
        self._owners = {name: tensors for tensors in self._files.values() for name in tensors.keys()}
        slices = {name: tensors.get_slice(name) for name, tensors in self._owners.items()}
        self.shapes: dict[str, Shape] = {name: tuple(part.get_shape()) for name, part in slices.items()}
        self.types = {name: part.get_dtype() for name, part in slices.items()}

    def read(self, name: str) -> np.ndarray:
        return self._owners[name].get_tensor(name)

    def digests(self) -> dict[str, str]:
        """SHA-256 of what is read, by file."""
        digests = {}
        for file in (CONFIG, *self._files):
            with (self.path / file).open("rb") as stream:
                digests[file] = hashlib.file_digest(stream, "sha256").hexdigest()
        return digests

    def _weight_files(self) -> list[str]:
        if (self.path / INDEX).exists():
            return sorted(set(_read_json(self.path / INDEX).get("weight_map", {}).values()))
        if (self.path / WEIGHTS).exists():
            return [WEIGHTS]
        pickles = sorted(file.name for file in self.path.glob("*.bin"))
        if pickles:
            raise UserError(
                f"config.init_from: {self.path} has no {WEIGHTS}, only {pickles[0]}: a pickle, which can run any code "
                "and is never read. Where you trust it, let transformers load it and call save_pretrained."
            )
        raise UserError(f"config.init_from: {self.path} has neither {WEIGHTS} nor {INDEX}.")


def write(path: str, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a folder that `transformers` loads; `check_new` tells beforehand if it may."""
    folder = check_new(path)
    make(epath.Path(folder), "--output")
    # safetensors writes memory as it lies, whatever the strides.
    rows = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    new = folder / f"{WEIGHTS}.new"
    save_file(rows, new, metadata={"format": "pt"})
    new.replace(folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def check_new(path: str) -> Path:
    """Raises UserError if the folder holds anything."""
    folder = _local(path, "--output")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output: {folder} is a file; it must be a folder, or not exist yet.")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--output: {folder} is not empty; take another.")
    return folder


def _local(path: str, what: str) -> Path:
    if "://" in os.fspath(path):
        raise UserError(f"{what}: {path} is not a folder of this machine; copy it first.")
    return Path(path).expanduser().resolve()


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except OSError as error:
        raise UserError(f"config.init_from: {file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"config.init_from: {file} is not JSON: {error}.") from error


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise UserError(f"config.init_from: {file} cannot be read: {error}.") from error
