"""What all tests share: shapes in signatures are checked, ranks are never promoted silently, compilations are kept."""

import os
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent.parent

# Must come before anything imports archs.
install_import_hook("archs", "beartype.beartype")

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))  # Commands run by tests share it.
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(autouse=True)
def _strict_ranks():
    """Raises where an operation would broadcast arrays of different rank."""
    with jax.numpy_rank_promotion("raise"):
        yield
