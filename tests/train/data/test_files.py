"""A folder and every archive of it read the same; what cannot be read, or leads outside, is one clear line."""

import gzip
import io
import stat
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from train.data import files
from train.errors import UserError

CONTENT = {"a.txt": b"one\ntwo\n", "below/b.txt": "für\n".encode(), "below/c.txt.gz": gzip.compress(b"packed\n")}
FIELD = "config.data.source.path"


def make(place: Path, kind: str) -> Path:
    """The files of CONTENT, in a folder or an archive."""
    if kind == "folder":
        for name, content in CONTENT.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return place
    path = place / f"made{kind.partition(' ')[0]}"
    if kind == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.mkdir("below")
            for name, content in reversed(CONTENT.items()):
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, content in reversed(CONTENT.items()):
            add(archive, f"./{name}" if kind.endswith("with dots") else name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def tar(path: Path, *members: tuple[str, dict]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, fields in members:
            add(archive, name, **fields)
    return path


def zip_with_link(path: Path, target: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("below/real.txt", "here\n")
        link = zipfile.ZipInfo("below/link.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, target)
    return path


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar", ".tar with dots", ".tar.gz", ".tgz"])
def test_a_folder_and_its_archives_read_the_same(kind, tmp_path):
    opened = files.opened(str(make(tmp_path, kind)), FIELD)
    assert opened.names() == sorted(CONTENT)
    names = ["below/c.txt.gz", "a.txt", "below/b.txt"]
    read = opened.contents(names)
    assert list(read) == names
    assert read == {"below/c.txt.gz": b"packed\n", "a.txt": b"one\ntwo\n", "below/b.txt": "für\n".encode()}
    assert files.choose(opened, "below/c.txt", FIELD) == "below/c.txt.gz", ".gz need not be written"


def test_what_has_changed_is_read_anew(tmp_path, monkeypatch):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        tar(tmp_path / folder / "x.tar", (f"{folder}.txt", {}))
        monkeypatch.chdir(tmp_path / folder)
        first = files.opened("x.tar", FIELD)
        assert first.names() == [f"{folder}.txt"]
        assert files.opened("x.tar", FIELD) is first
    Path("x.tar").write_bytes(b"broken")
    with pytest.raises(UserError, match="is no archive"):
        files.opened("x.tar", FIELD)


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz"])
def test_threads_may_read_one_archive(kind, tmp_path):
    opened = files.opened(str(make(tmp_path, kind)), FIELD)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda name: opened.contents([name])[name], [*CONTENT] * 200))
    assert read == [b"one\ntwo\n", "für\n".encode(), b"packed\n"] * 200


def test_a_file_alone_is_the_only_one(tmp_path):
    opened = files.opened(str(make(tmp_path, "folder") / "a.txt"), FIELD)
    assert opened.names() == ["a.txt"]
    assert opened.contents(["a.txt"]) == {"a.txt": b"one\ntwo\n"}


def test_paths_are_looked_up_here_and_in_the_data_folder(tmp_path, monkeypatch):
    make(tmp_path / "data", "folder")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATA_DIR", raising=False)
    with pytest.raises(UserError, match=r"config.data.source.path: 'below' does not exist .*DATA_DIR is not set"):
        files.find("below", FIELD)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert str(files.find("below", FIELD)) == str(tmp_path / "data" / "below")
    (tmp_path / "below").mkdir()
    assert str(files.find("below", FIELD)) == "below", "what is here comes first"
    with pytest.raises(UserError, match=rf"looked at nowhere and {tmp_path}/data/nowhere"):
        files.find("nowhere", FIELD)


def test_a_file_that_is_not_there(tmp_path):
    opened = files.opened(str(make(tmp_path, "folder")), FIELD)
    with pytest.raises(UserError, match=r"config.data.source.train: .* has no file 'a.text'; did you mean 'a.txt'\?"):
        files.choose(opened, "a.text", "config.data.source.train")
    with pytest.raises(UserError, match="gone.txt cannot be read"):
        opened.contents(["gone.txt"])


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\n", ["a"]),  # the mark that some programs write first
        ("a\u2028b\x0bc\n\nd\n".encode(), ["a\u2028b\x0bc", "", "d"]),  # only \n ends a line
    ],
)
def test_lines(content, expected, tmp_path):
    (tmp_path / "x.txt").write_bytes(content)
    given = list(files.lines(files.opened(str(tmp_path), FIELD), "x.txt"))
    assert given == [(f"x.txt:{number}", line) for number, line in enumerate(expected, 1)]


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
def test_what_is_not_utf8_is_named_with_its_line(name, tmp_path):
    content = "gut\nschön\n".encode("latin-1")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(UserError, match=f"^{name}:2: is not UTF-8 text"):
        list(files.lines(files.opened(str(tmp_path), FIELD), name))


# Members that would lie outside, and links that lead there.
LINK = {"type": tarfile.SYMTYPE}
OUTSIDE = {
    "tar, above": [("../x", {})],
    "tar, below and above": [("a/../../x", {})],
    "tar, absolute": [("/x", {})],
    "tar, link above": [("a/link", {**LINK, "linkname": "../../x"})],
    "tar, absolute link": [("link", {**LINK, "linkname": "/etc/hostname"})],
    "tar, hard link above": [("link", {"type": tarfile.LNKTYPE, "linkname": "../x"})],
}


@pytest.mark.parametrize("members", OUTSIDE.values(), ids=list(OUTSIDE))
def test_a_tar_member_outside_is_refused(members, tmp_path):
    path = tar(tmp_path / "bad.tar", ("good.txt", {}), *members)
    with pytest.raises(UserError, match=r"config.data.source.path: .*bad.tar has a member .* outside of it"):
        files.opened(str(path), FIELD)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x"])
def test_a_zip_member_outside_is_refused(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("good.txt", "")
        archive.writestr(name, "")
    with pytest.raises(UserError, match="lies outside of it"):
        files.opened(str(tmp_path / "bad.zip"), FIELD)


@pytest.mark.parametrize("target", ["../../x", "/etc/hostname"])
def test_a_zip_link_that_leads_outside_is_refused(target, tmp_path):
    with pytest.raises(UserError, match="lies outside of it"):
        files.opened(str(zip_with_link(tmp_path / "bad.zip", target)), FIELD)


@pytest.mark.parametrize("target", ["real.txt", "../below/real.txt"])
def test_links_within_an_archive_stand_for_what_they_lead_to(target, tmp_path):
    path = tmp_path / "linked.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "below/real.txt", b"here\n")
        add(archive, "below/link.txt", linkname=target, **LINK)
        add(archive, "below/hard.txt", type=tarfile.LNKTYPE, linkname="below/real.txt")
    opened = files.opened(str(path), FIELD)
    assert set(opened.contents(["below/link.txt", "below/hard.txt"]).values()) == {b"here\n"}
    opened = files.opened(str(zip_with_link(tmp_path / "linked.zip", target)), FIELD)
    assert opened.contents(["below/link.txt"]) == {"below/link.txt": b"here\n"}


@pytest.mark.parametrize("target", ["nothing", "link.txt"])
def test_a_link_to_nothing_or_to_itself_is_refused(target, tmp_path):
    for path in (
        zip_with_link(tmp_path / "bad.zip", target),
        tar(tmp_path / "bad.tar", ("below/link.txt", {**LINK, "linkname": target})),
    ):
        with pytest.raises(UserError, match=r"below/(link.txt|nothing) cannot be read"):
            files.opened(str(path), FIELD).contents(["below/link.txt"])


def test_a_pipe_in_an_archive_is_refused(tmp_path):
    path = tar(tmp_path / "bad.tar", ("pipe", {"type": tarfile.FIFOTYPE}))
    with pytest.raises(UserError, match="pipe is no regular file"):
        files.opened(str(path), FIELD).contents(["pipe"])


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("damage", ["truncated", "other"])
def test_a_damaged_archive_is_refused(kind, damage, tmp_path):
    path = make(tmp_path, kind)
    whole = path.read_bytes()
    kept = {".zip": len(whole) - 30, ".tar": 700, ".tar.gz": len(whole) // 2}[kind]
    path.write_bytes(whole[:kept] if damage == "truncated" else b"no archive at all")
    with pytest.raises(UserError, match=r"config.data.source.path: .* is no archive that can be read"):
        files.opened(str(path), FIELD)


def of_six(kind: str) -> bytes:
    """A .tar of six members, or that packed."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for number in range(6):
            add(archive, f"{number}.txt", f"text {number}\n".encode() * 50)
    return made.getvalue() if kind == ".tar" else gzip.compress(made.getvalue(), mtime=0)


# Of .tar: where the second member begins, 1024, its header is changed or missing, or the end is.
DAMAGED = {
    "header": (".tar", lambda whole: whole[:1028] + b"?" + whole[1029:]),
    "cut in a header": (".tar", lambda whole: whole[: 1024 + 300]),
    "cut between members": (".tar", lambda whole: whole[:1024]),
    "checksum": (".tar.gz", lambda whole: whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]),
    "no checksum": (".tar.gz", lambda whole: whole[:-8]),
}


@pytest.mark.parametrize("kind, damage", DAMAGED.values(), ids=list(DAMAGED))
def test_damage_that_leaves_some_members_is_noticed(kind, damage, tmp_path):
    path, whole = tmp_path / f"six{kind}", tmp_path / f"whole{kind}"
    whole.write_bytes(of_six(kind))
    assert len(files.opened(str(whole), FIELD).names()) == 6
    path.write_bytes(damage(of_six(kind)))
    with pytest.raises(UserError, match="is no archive that can be read") as error:
        files.opened(str(path), FIELD)
    assert "\n" not in str(error.value)


def test_a_link_to_a_folder_above_is_refused(tmp_path):
    make(tmp_path, "folder")
    (tmp_path / "below" / "up").symlink_to(tmp_path)
    with pytest.raises(UserError, match="below/up: is a link to a folder that it lies in"):
        files.opened(str(tmp_path), FIELD).names()


def test_a_zip_member_with_a_password_is_refused(tmp_path):
    path = make(tmp_path, ".zip")
    content = path.read_bytes().replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")
    path.write_bytes(content)
    with pytest.raises(UserError, match="a.txt cannot be read: .*password"):
        files.opened(str(path), FIELD).contents(["a.txt"])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "other"])
def test_a_damaged_gz_is_refused(damage, tmp_path):
    whole = gzip.compress(b"some text\n" * 100)
    flipped = bytes(byte ^ (number == len(whole) - 6) for number, byte in enumerate(whole))  # in the checksum
    (tmp_path / "x.gz").write_bytes({"truncated": whole[:-10], "flipped": flipped, "other": b"plain"}[damage])
    with pytest.raises(UserError, match="x.gz is no gzip file that can be read"):
        files.opened(str(tmp_path), FIELD).contents(["x.gz"])
