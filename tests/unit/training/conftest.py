"""What the tests of training without the host use."""

from pathlib import Path

import pytest
from small_pictures import make_folder
from small_trainer import fresh_state


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Nine pictures, wide, tall and square."""
    sizes = [(80, 64), (64, 90), (70, 70), (128, 60), (60, 128), (64, 64), (90, 64), (66, 60), (50, 99)]
    return make_folder(tmp_path_factory.mktemp("mixed"), sizes)


@pytest.fixture(autouse=True)
def fresh_accelerate():
    yield
    fresh_state()
