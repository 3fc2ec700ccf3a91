"""Subtitles of a clip, as text: without ffmpeg."""

import pytest

from dispatcher.engine.cut_subtitles import cut_text
from dispatcher.engine.cutting import Cut

CUT = Cut(seek_s=5.0, length_s=2.0)


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_text_keeps_what_follows_a_mark_that_ends_no_line_of_the_file(
    mark: str, end: str
) -> None:
    said = f"Dialogue: 0,0:00:05.50,0:00:06.00,Default,,0,0,0,,before{mark}after"
    text = end.join(["[Events]", said, ""])
    assert cut_text(text, CUT) == (
        f"[Events]\nDialogue: 0,0:00:00.50,0:00:01.00,Default,,0,0,0,,before{mark}after\n"
    )
