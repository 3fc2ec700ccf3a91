"""Files that are made aside: there whole or not at all, and with errors told of the right file."""

from pathlib import Path

import pytest

from dispatcher.evidence.new_files import new_file
from dispatcher.log import LogError


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with new_file(path) as aside:
        aside.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_another_file_is_not_retold_as_one_of_this(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with pytest.raises(FileNotFoundError) as told, new_file(tmp_path / "made") as aside:
        aside.write_bytes(source.read_bytes())
    assert told.value.filename == str(source)
    assert list(tmp_path.iterdir()) == []


def test_what_keeps_it_from_being_made_is_told(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with pytest.raises(LogError) as told, new_file(path):
        pass  # and nothing is made
    assert str(told.value) == f"{path}: can't be made: No such file or directory"
    too_long = tmp_path / ("x" * 300)
    with pytest.raises(LogError) as told, new_file(too_long):
        pass
    assert str(told.value) == f"{too_long}: can't be made: File name too long"
    assert list(tmp_path.iterdir()) == []


def test_what_was_put_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "made"

    def make() -> None:
        with new_file(path) as aside:
            aside.write_text("ours")
            path.write_text("theirs")

    with pytest.raises(LogError, match="is there by now, and is not replaced"):
        make()
    assert path.read_text() == "theirs"
