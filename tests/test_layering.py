"""The direction of imports: configs -> nothing, archs -> jax and flax, train -> archs."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "archs": {"archs", "jax", "flax", "numpy", "jaxtyping"},
    "configs": {"configs", "ml_collections"},
}


def imports(file: Path) -> set[str]:
    """Top-level names of all packages that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found.add(str(node.module).partition(".")[0])
    return found


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_only_what_lies_below(package):
    for file in files(package):
        claims = {"numpy"} if file.parent.name == "claims" else set()  # They compute with what they measured.
        foreign = imports(file) - ALLOWED[package] - claims - sys.stdlib_module_names
        assert not foreign, f"{file.relative_to(ROOT)} imports {foreign}"


def test_train_imports_no_config():
    for file in files("train"):
        assert "configs" not in imports(file), file


@pytest.mark.parametrize(
    "library, owner", [("orbax", "checkpoint.py"), ("tensorflow_datasets", "tfds.py"), ("safetensors", "folder.py")]
)
def test_a_library_has_one_owner(library, owner):
    assert [file.name for file in files("train") if library in imports(file)] == [owner]


def test_sharding_is_known_to_mesh_alone():
    users = [file.name for file in files("train") if "PartitionSpec" in file.read_text()]
    assert users == ["mesh.py"]


@pytest.mark.parametrize("library", ["tensorflow", "clu", "jraph", "chex", "torch"])
def test_is_not_used_at_run_time(library):
    for package in ("archs", "train", "configs"):
        for file in files(package):
            assert library not in imports(file), file


def test_the_top_level_holds_no_other_package():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == {"archs", "train", "configs"}
