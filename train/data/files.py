"""Files of a folder, or of an archive that is read in place: .zip, .tar, .tar.gz, .tgz. A .gz reads as unpacked."""

import functools
import gzip
import io
import lzma
import os
import posixpath
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Collection, Iterator
from typing import Protocol

from etils import epath

from train.errors import UserError, nearest

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
# RuntimeError: a member of a zip file that is encrypted or packed in an unknown way, links of a tar file in a circle.
UNREADABLE = (OSError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)


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


def opened(path: str, field: str) -> Files:
    """The folder, archive or single file at `path`: from here, or from the folder that DATA_DIR names.

    An archive is kept open as long as it does not change: all splits of a source may lie in it.

    Raises:
        UserError: there is nothing, it is no archive that can be read, or a member would lie outside of it; `field` is
            the config field that names the path.
    """
    place = find(path, field)
    if place.is_dir():
        return Folder(place)
    if not place.name.endswith(ARCHIVES):
        return Folder(place.parent, place.name)
    now = place.stat()
    whole = place if "://" in os.fspath(place) else place.resolve()
    return _archive(whole, field, now.length, now.mtime)


@functools.lru_cache(maxsize=8)
def _archive(place: epath.Path, field: str, length: int, mtime: float) -> Files:
    """The archive at `place`, as long and as old as it is now."""
    try:
        archive = Zip(place) if place.name.endswith(".zip") else Tar(place)
        members = archive.members()
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{field}: {place} is no archive that can be read: {reason}") from error
    for name in members:
        if posixpath.isabs(name) or posixpath.normpath(name).partition("/")[0] == "..":
            raise UserError(f"{field}: {place} has a member {name!r}, which lies outside of it; do not use it.")
    return archive


def find(path: str, field: str) -> epath.Path:
    """The file or folder at `path`: from here, or from the folder that DATA_DIR names."""
    data_dir = os.environ.get("DATA_DIR")
    places = [epath.Path(path).expanduser()]
    if data_dir and not os.path.isabs(path):
        places.append(epath.Path(data_dir).expanduser() / path)
    for place in places:
        try:
            if place.exists():
                return place
        except ImportError as error:
            raise UserError(f"{field}: {path} cannot be reached: {error}; pip install gcsfs") from error
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
    yield from numbered(decode(files.contents([name])[name], name), name)


def numbered(text: str, name: str) -> Iterator[tuple[str, str]]:
    """As `lines`, of a text that was read already."""
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
    """Files in a folder and in those within it; or only the one that is `chosen`."""

    def __init__(self, place: epath.Path, chosen: str | None = None):
        self._place, self.chosen = place, chosen

    @property
    def place(self) -> str:
        return str(self._place)

    def names(self) -> list[str]:
        return sorted(_below(self._place, "", ())) if self.chosen is None else [self.chosen]

    def contents(self, names: Collection[str]) -> dict[str, bytes]:
        return {name: _unpacked(name, self._read(name), self.place) for name in names}

    def _read(self, name: str) -> bytes:
        try:
            return (self._place / name).read_bytes()
        except OSError as error:
            raise UserError(f"{self.place}: {name} cannot be read: {error}") from error


def _below(folder: epath.Path, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    """The files in a folder, which lies in those `above`."""
    here = os.path.realpath(folder)
    if here in above:
        raise UserError(f"{folder}: is a link to a folder that it lies in; its files would be there twice: remove it.")
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _below(entry, f"{name}/", (*above, here))
        else:
            yield name


class Zip:
    """Members of a .zip file; symbolic links stand for what they lead to."""

    def __init__(self, place: epath.Path):
        self.place = str(place)
        self._archive = zipfile.ZipFile(io.BytesIO(place.read_bytes()))
        self._members = {posixpath.normpath(info.filename): info for info in self._archive.infolist()}

    def members(self) -> list[str]:
        """All names, and where links lead."""
        links = [self._target(name) for name, info in self._members.items() if _is_link(info)]
        return [*self._members, *links]

    def names(self) -> list[str]:
        return sorted(name for name, info in self._members.items() if not info.is_dir())

    def contents(self, names: Collection[str]) -> dict[str, bytes]:
        return {name: _unpacked(name, self._read(name), self.place) for name in names}

    def _read(self, name: str) -> bytes:
        try:
            info = self._members[name]
            return self._read(posixpath.normpath(self._target(name))) if _is_link(info) else self._archive.read(info)
        except (KeyError, *UNREADABLE) as error:
            raise UserError(f"{self.place}: {name} cannot be read: {error}") from error

    def _target(self, link: str) -> str:
        return _target(link, self._archive.read(self._members[link]).decode(errors="replace"))


class Tar:
    """Members of a .tar file, compressed or not; links stand for what they lead to."""

    def __init__(self, place: epath.Path):
        self.place = str(place)
        self._archive = tarfile.open(fileobj=io.BytesIO(place.read_bytes()))
        self._members = {posixpath.normpath(member.name): member for member in self._archive.getmembers()}
        _check_whole(self._archive, len(self._members))
        self._lock = threading.Lock()  # All members are read through one position in the archive.

    def members(self) -> list[str]:
        """All names, and where links lead."""
        hard = [member.linkname for member in self._members.values() if member.islnk()]
        soft = [_target(name, member.linkname) for name, member in self._members.items() if member.issym()]
        return [*self._members, *hard, *soft]

    def names(self) -> list[str]:
        return sorted(name for name, member in self._members.items() if not member.isdir())

    def contents(self, names: Collection[str]) -> dict[str, bytes]:
        # In the archive's own order: going back in a compressed file means unpacking it anew.
        ordered = sorted(names, key=lambda name: self._members[name].offset)
        read = {name: _unpacked(name, self._read(name), self.place) for name in ordered}
        return {name: read[name] for name in names}

    def _read(self, name: str) -> bytes:
        try:
            with self._lock:
                file = self._archive.extractfile(self._members[name])
                content = None if file is None else file.read()
        except (KeyError, *UNREADABLE) as error:
            raise UserError(f"{self.place}: {name} cannot be read: {error}") from error
        if content is None:
            raise UserError(f"{self.place}: {name} is no regular file.")
        return content


def _check_whole(archive: tarfile.TarFile, count: int) -> None:
    """Refuses an archive that ends without the block of zeros that ends one, or whose packed bytes are damaged.

    `tarfile` takes a damaged header for the end, and stops before gzip compares what it unpacked with its checksum.
    """
    file = archive.fileobj
    assert file is not None, "it is open"
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"it is damaged or cut off after {count} members")
    while file.read(1 << 20):
        pass


def _target(link: str, target: str) -> str:
    """Where a symbolic link leads, from the top of its archive."""
    return posixpath.join(posixpath.dirname(link), target)


def _is_link(info: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(info.external_attr >> 16)


def _unpacked(name: str, content: bytes, place: str) -> bytes:
    if not name.endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except UNREADABLE as error:
        raise UserError(f"{place}: {name} is no gzip file that can be read: {error}") from error
