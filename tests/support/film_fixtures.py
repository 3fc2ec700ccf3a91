"""A file that is sent to the store or to a bucket. Name this module in `pytest_plugins`."""

from pathlib import Path

import pytest

from tests.support.stored import FILM

__all__ = ["film", "folder"]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A film that is none: bytes of a known SHA-256."""
    path = tmp_path / "film.mov"
    path.write_bytes(FILM)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder
