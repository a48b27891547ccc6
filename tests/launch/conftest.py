"""What tests of launch.sh share."""

from pathlib import Path

import pytest

from tests.launch.checkouts import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)
