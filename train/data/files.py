"""Files of a folder, or of an archive that is read in place: .zip, .tar, .tar.gz, .tgz. A .gz reads as unpacked."""

import functools
import gzip
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import Protocol

from etils import epath

from train.errors import UserError, nearest

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError)


class Files(Protocol):
    """Some files by name, relative to where they are, with `/` between folders."""

    @property
    def place(self) -> str:
        """Where they are, for messages."""
        ...

    def names(self) -> list[str]:
        """All files, in alphabetical order."""
        ...

    def contents(self, names: Collection[str]) -> dict[str, bytes]:
        """What is in the named files, in their order."""
        ...


def open_files(path: str, field: str) -> Files:
    """The folder, archive or single file at `path`: from here, or from the folder that DATA_DIR names.

    Raises:
        UserError: there is nothing, it is no archive that can be read, or a member would lie outside of it; `field` is
            the config field that names the path.
    """
    place = find(path, field)
    if place.is_dir():
        return Folder(place)
    if not place.name.endswith(ARCHIVES):
        return Folder(place.parent, (place.name,))
    try:
        archive = Zip(place) if place.name.endswith(".zip") else Tar(place)
    except UNREADABLE as error:
        raise UserError(f"{field}: {place} is no archive that can be read: {error}") from error
    for name in archive.members():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UserError(f"{field}: {place} has a member {name!r}, which lies outside of it; do not use it.")
    return archive


def find(path: str, field: str) -> epath.Path:
    """The file or folder at `path`: from here, or from the folder that DATA_DIR names."""
    data_dir = os.environ.get("DATA_DIR")
    places = [epath.Path(path).expanduser()]
    if data_dir and not os.path.isabs(path):
        places.append(epath.Path(data_dir).expanduser() / path)
    for place in places:
        if place.exists():
            return place
    looked = " and ".join(map(str, places))
    hint = "" if data_dir else "; DATA_DIR is not set: it may name the folder that holds your data"
    raise UserError(f"{field}: {path!r} does not exist (looked at {looked}){hint}.")


def choose(files: Files, name: str, field: str) -> str:
    """The file of this name, or of this name and .gz.

    Raises:
        UserError: there is none; `field` is the config field that names it.
    """
    names = files.names()
    for candidate in (name, f"{name}.gz"):
        if candidate in names:
            return candidate
    raise UserError(f"{field}: {files.place} has no file {name!r}; {nearest(name, names[:20])}")


def lines(files: Files, name: str) -> Iterator[tuple[str, str]]:
    """The lines of a text file without their ends, each behind its place, `FILE:LINE`.

    Raises:
        UserError: the file is not UTF-8 text; file and line are named.
    """
    content = files.contents([name])[name]
    text = decode(content, name)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        yield f"{name}:{number}", line.removesuffix("\r")


def decode(content: bytes, name: str) -> str:
    """UTF-8 text, without the mark that some programs write first."""
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}:{number}: is not UTF-8 text ({error.reason}); convert the file to UTF-8.") from error


class Folder:
    """Files in a folder and in those within it; or only the `chosen` ones."""

    def __init__(self, place: epath.Path, chosen: tuple[str, ...] | None = None):
        self._place, self._chosen = place, chosen

    @property
    def place(self) -> str:
        return str(self._place)

    def names(self) -> list[str]:
        if self._chosen is not None:
            return list(self._chosen)
        return sorted(_below(self._place, ""))

    def contents(self, names: Collection[str]) -> dict[str, bytes]:
        return {name: _unpacked(name, (self._place / name).read_bytes(), self.place) for name in names}


def _below(folder: epath.Path, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _below(entry, f"{name}/")
        else:
            yield name


class Zip:
    """Members of a .zip file."""

    def __init__(self, place: epath.Path):
        self.place = str(place)
        self._archive = zipfile.ZipFile(io.BytesIO(place.read_bytes()))

    def members(self) -> list[str]:
        return self._archive.namelist()

    def names(self) -> list[str]:
        return sorted(name for name in self.members() if not name.endswith("/"))

    def contents(self, names: Collection[str]) -> dict[str, bytes]:
        return {name: _unpacked(name, self._read(name), self.place) for name in names}

    def _read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except UNREADABLE as error:
            raise UserError(f"{self.place}: {name} cannot be read: {error}") from error


class Tar:
    """Members of a .tar file, compressed or not; links stand for what they lead to."""

    def __init__(self, place: epath.Path):
        self.place = str(place)
        self._archive = tarfile.open(fileobj=io.BytesIO(place.read_bytes()))
        self._members = {member.name: member for member in self._archive.getmembers()}

    def members(self) -> list[str]:
        links = [member.linkname for member in self._members.values() if member.islnk() or member.issym()]
        return [*self._members, *links]

    def names(self) -> list[str]:
        return sorted(name for name, member in self._members.items() if not member.isdir())

    def contents(self, names: Collection[str]) -> dict[str, bytes]:
        # In the archive's own order: going back in a compressed file means unpacking it anew.
        ordered = sorted(names, key=lambda name: self._members[name].offset)
        read = {name: _unpacked(name, self._read(name), self.place) for name in ordered}
        return {name: read[name] for name in names}

    def _read(self, name: str) -> bytes:
        try:
            file = self._archive.extractfile(self._members[name])
        except (KeyError, *UNREADABLE) as error:
            raise UserError(f"{self.place}: {name} cannot be read: {error}") from error
        if file is None:
            raise UserError(f"{self.place}: {name} is no regular file.")
        return file.read()


def _unpacked(name: str, content: bytes, place: str) -> bytes:
    if not name.endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except UNREADABLE as error:
        raise UserError(f"{place}: {name} is no gzip file that can be read: {error}") from error


@functools.lru_cache(maxsize=8)
def opened(path: str, field: str) -> Files:
    """`open_files`, kept open: the splits of a source lie in one archive."""
    return open_files(path, field)
