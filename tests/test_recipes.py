"""Recipes: what they may say, how their errors read, and that they survive the wire."""

import math
import re
import tomllib
from fractions import Fraction
from typing import Any, Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.recipes import (
    AUDIO_CODECS,
    RATES,
    VIDEO_CODECS,
    Container,
    Recipe,
    RecipeError,
    Speed,
    check,
    recipe_of,
    stored_recipe,
)

LONGEST: Final = 400
CODECS: Final = sorted({*RATES, "prores", "unheard of"})
KNOWN: Final = (
    "quality, crf, bitrate, vmaf, speed, max_width, max_height, fps, container, audio, subtitles, "
    "deinterlace, hdr, clip, split_s, ffmpeg_args"
)
languages = st.lists(st.sampled_from(["de", "deu", "eng"]), max_size=3)
sayings: Final[dict[str, st.SearchStrategy[Any]]] = {
    "quality": st.floats(0, 100) | st.integers(0, 100),
    "crf": st.floats(0, 63),
    "bitrate": st.integers(1_000, 10**9) | st.sampled_from(["2500k", "4M", "1.5M"]),
    "vmaf": st.floats(20, 99),
    "speed": st.sampled_from(get_args(Speed)),
    "max_width": st.integers(16, 16_384),
    "max_height": st.integers(16, 16_384),
    "fps": st.floats(0.001, 1_000) | st.sampled_from(["25/1", "30000/1001"]),
    "container": st.sampled_from(get_args(Container)),
    "audio": st.sampled_from(["copy", "none", "aac", "opus"])
    | st.fixed_dictionaries(
        {}, optional={"codec": st.just("aac"), "kbps_per_channel": st.integers(8, 1_024)}
    )
    | st.fixed_dictionaries({"languages": languages}),
    "subtitles": st.sampled_from(["keep", "none"])
    | st.fixed_dictionaries({"languages": languages}),
    "deinterlace": st.booleans() | st.sampled_from(["auto", "always", "never"]),
    "hdr": st.sampled_from(["keep", "tonemap"]),
    "clip": st.fixed_dictionaries(
        {}, optional={"from": st.sampled_from([0, 1.5, "0:10"]), "to": st.floats(20, 90)}
    ),
    "split_s": st.floats(1, 3_600) | st.integers(1, 3_600),
    "ffmpeg_args": st.lists(st.text(st.characters(codec="utf-8"), max_size=9), max_size=3),
}
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
NAMES: Final = [*sayings, "codec", "from", "to", "languages", "keep", "name", "x"]


def error_of(fields: dict[str, Any], codec: str | None = None) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe_of(fields, codec)
    return str(caught.value)


EACH: Final[dict[str, Any]] = dict.fromkeys(sayings, 30) | {
    "bitrate": "4M",
    "speed": "slow",
    "container": "mkv",
    "audio": "aac",
    "subtitles": "none",
    "deinterlace": "never",
    "hdr": "keep",
    "clip": {"to": 9},
    "ffmpeg_args": ["-x"],
}


@pytest.mark.parametrize("name", EACH)
def test_every_field_can_be_said(name: str) -> None:
    assert set(Recipe.__struct_encode_fields__) - {"name"} == set(sayings)
    assert list(recipe_of({name: EACH[name]}).wire()) == [name]


def outcome(fields: dict[str, Any], codec: str | None) -> Recipe | str:
    """Give the recipe, or the text of the error."""
    try:
        return recipe_of(fields, codec)
    except RecipeError as error:
        return str(error)


@given(st.fixed_dictionaries({}, optional=sayings), st.sampled_from([None, *CODECS]))
def test_what_is_accepted_survives_the_wire_and_needs_to_be_known(
    fields: dict[str, Any], codec: str | None
) -> None:
    recipe = outcome(fields, codec)
    if isinstance(recipe, str):
        assert "'recipe." in recipe
        return
    wire = recipe.wire()
    assert msgspec.json.decode(msgspec.json.encode(wire)) == wire
    again = stored_recipe(wire)
    assert again == recipe
    assert again.wire() == wire
    assert {"recipes"} <= again.needs <= {"recipes", "vmaf", "raw_args", "split"}
    check(again, codec)


@given(st.dictionaries(st.sampled_from(NAMES), anything, max_size=4))
def test_whatever_is_said_is_a_recipe_or_an_error_that_names_the_field(
    fields: dict[str, Any],
) -> None:
    recipe = outcome(fields, "h264")
    if isinstance(recipe, str):
        assert recipe.startswith("'recipe")
        assert len(recipe) < LONGEST


def test_nothing_said_is_no_recipe() -> None:
    said: list[dict[str, Any]] = [{}, {"audio": {}}, {"subtitles": "keep"}, {"deinterlace": True}]
    for nothing in said:
        assert recipe_of(nothing).wire() == {}


def test_short_forms_stand_for_long_ones() -> None:
    short = {
        "audio": "copy",
        "subtitles": "none",
        "deinterlace": False,
        "clip": {"to": "1:02:03.5"},
    }
    assert recipe_of(short).wire() == {
        "audio": {"codec": "copy"},
        "subtitles": {"keep": False},
        "deinterlace": "never",
        "clip": {"to": 3723.5},
    }


def test_a_recipe_of_the_file_has_its_name() -> None:
    assert recipe_of({"quality": 60}, name="web").wire() == {"name": "web", "quality": 60.0}
    assert error_of({"name": "web"}).startswith("'recipe.name' can't be set")


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"quality": 60}, {"recipes"}),
        ({"vmaf": 93}, {"recipes", "vmaf"}),
        ({"ffmpeg_args": ["-an"]}, {"recipes", "raw_args"}),
    ],
)
def test_a_recipe_needs_engines_that_can_follow_it(fields: dict[str, Any], needs: set[str]) -> None:
    assert recipe_of(fields).needs == needs


def test_rates_are_told_in_bits_and_frames() -> None:
    assert recipe_of({"bitrate": "1.5M"}).bits_per_s == 1_500_000
    assert recipe_of({"bitrate": 2000}).bits_per_s == 2_000
    assert recipe_of({"fps": "30000/1001"}).frames_per_s == Fraction(30_000, 1_001)
    assert recipe_of({"fps": 25}).frames_per_s == Fraction(25)
    assert recipe_of({"fps": "25"}).frames_per_s == Fraction(25)
    assert recipe_of({"fps": "12.5"}).frames_per_s == Fraction(25, 2)
    assert recipe_of({}).bits_per_s is None
    assert recipe_of({}).frames_per_s is None


# Errors


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"qualty": 1}, f"'recipe' has no field 'qualty'; it has {KNOWN}"),
        (
            {"audio": {"kbps": 1}},
            "'recipe.audio' has no field 'kbps'; it has codec, kbps_per_channel, languages",
        ),
        ({"clip": {"until": 1}}, "'recipe.clip' has no field 'until'; it has from, to"),
        ({"quality": 101}, "'recipe.quality' must be a number from 0 to 100, not 101"),
        ({"quality": "high"}, "'recipe.quality' must be a number from 0 to 100, not \"high\""),
        ({"quality": True}, "'recipe.quality' must be a number from 0 to 100, not true"),
        ({"quality": math.nan}, "'recipe.quality' must be a number from 0 to 100, not nan"),
        ({"crf": -1}, "'recipe.crf' must be a number from 0 to 63, not -1"),
        ({"vmaf": 100}, "'recipe.vmaf' must be a number from 20 to 99, not 100"),
        ({"max_height": 8}, "'recipe.max_height' must be an integer from 16 to 16384, not 8"),
        ({"max_width": 720.5}, "'recipe.max_width' must be an integer from 16 to 16384, not 720.5"),
        (
            {"bitrate": "0k"},
            (
                "'recipe.bitrate' must be bits a second, from 1000 to 1000000000, or a text such "
                "as "
                "'2500k' or '4M', not \"0k\""
            ),
        ),
        (
            {"bitrate": "4 Mbit"},
            (
                "'recipe.bitrate' must be bits a second, from 1000 to 1000000000, or a text such "
                "as "
                "'2500k' or '4M', not \"4 Mbit\""
            ),
        ),
        (
            {"fps": "999999/1"},
            (
                "'recipe.fps' must be a number from 0.001 to 1000, or a fraction such as "
                "'30000/1001', not \"999999/1\""
            ),
        ),
        (
            {"max_height": 90, "ffmpeg_args": ["-g", "9", "-vf", "hflip, scale=2000:1000"]},
            (
                "'recipe.ffmpeg_args' and 'recipe.max_height' contradict each other: the filter "
                "'scale' changes the size after it was bounded"
            ),
        ),
        (
            {"max_width": 90, "ffmpeg_args": ["-filter:v", "transpose"]},
            (
                "'recipe.ffmpeg_args' and 'recipe.max_width' contradict each other: the filter "
                "'transpose' changes the size after it was bounded"
            ),
        ),
        (
            {"fps": 0.0009},
            (
                "'recipe.fps' must be a number from 0.001 to 1000, or a fraction such as "
                "'30000/1001', not 0.0009"
            ),
        ),
        (
            {"fps": "ten"},
            (
                "'recipe.fps' must be a number from 0.001 to 1000, or a fraction such as "
                "'30000/1001', not \"ten\""
            ),
        ),
        (
            {"speed": "slower"},
            (
                "'recipe.speed' must be one of 'fastest', 'fast', 'medium', 'slow', 'slowest', not "
                '"slower"'
            ),
        ),
        (
            {"container": "avi"},
            "'recipe.container' must be one of 'mp4', 'mkv', 'webm', 'mov', 'ts', not \"avi\"",
        ),
        (
            {"audio": ["copy"]},
            (
                "'recipe.audio' must be an object, or a text: 'copy', 'none' or a codec, not "
                '["copy"]'
            ),
        ),
        (
            {"audio": {"languages": ["German"]}},
            (
                "'recipe.audio.languages' must be an array of codes of ISO 639 such as 'de' or "
                "'deu', "
                'not ["German"]'
            ),
        ),
        ({"hdr": "yes"}, "'recipe.hdr' must be 'keep' or 'tonemap', not \"yes\""),
        ({"subtitles": 0}, "'recipe.subtitles' must be an object, or 'keep' or 'none', not 0"),
        (
            {"clip": {"to": "1:75"}},
            (
                "'recipe.clip.to' must be seconds above 0 and at most 1000000, or a time such as "
                "'0:01:30.5', not \"1:75\""
            ),
        ),
        (
            {"clip": {"from": "9", "to": 8}},
            "'recipe.clip.to' must be later than 'recipe.clip.from', 9 s, not 8 s",
        ),
        (
            {"ffmpeg_args": "-an"},
            (
                "'recipe.ffmpeg_args' must be an array of at most 100 strings, each of at most "
                "4096 "
                'characters, not "-an"'
            ),
        ),
        (
            {"ffmpeg_args": ["a\0"]},
            "'recipe.ffmpeg_args' must have no NUL and no half characters: \"a\\u0000\"",
        ),
        (
            {"quality": 1, "vmaf": 90},
            "'recipe.quality' and 'recipe.vmaf' contradict each other: give one of them",
        ),
        (
            {"audio": {"codec": "none", "kbps_per_channel": 64}},
            "'recipe.audio.kbps_per_channel' contradicts 'recipe.audio.codec': 'none'",
        ),
        (
            {"audio": {"codec": "flac", "kbps_per_channel": 64}},
            "'recipe.audio.kbps_per_channel': flac is lossless and has no bit rate",
        ),
        (
            {"container": "webm", "audio": "aac"},
            "'recipe.audio.codec': webm takes opus, vorbis, not aac",
        ),
        (
            {"split_s": 0.5},
            "'recipe.split_s' must be seconds from 1 to 3600, not 0.5",
        ),
        *(
            (
                {"split_s": 10, name: value},
                (
                    f"'recipe.split_s' and 'recipe.{name}' contradict each other: a film that is "
                    "split is encoded by quality or CRF, with every picture of the source"
                ),
            )
            for name, value in [
                ("bitrate", "4M"),
                ("vmaf", 90),
                ("fps", 25),
                ("clip", {"to": 9}),
                ("ffmpeg_args", ["-x"]),
                ("deinterlace", "always"),
            ]
        ),
        (
            {"subtitles": {"keep": False, "languages": ["de"]}},
            "'recipe.subtitles.languages' contradicts 'recipe.subtitles.keep': false",
        ),
    ],
)
def test_an_error_names_the_field_the_rule_and_the_value(fields: dict[str, Any], text: str) -> None:
    assert error_of(fields) == text


@pytest.mark.parametrize(
    ("fields", "codec", "text"),
    [
        ({"container": "webm"}, "h264", "'recipe.container': webm takes av1, vp8, vp9, not h264"),
        ({"crf": 60}, "hevc", "'recipe.crf' must be at most 51 for hevc, not 60"),
        (
            {"bitrate": "101M"},
            "av1",
            "'recipe.bitrate' must be at most 100000000 bits a second for av1, not \"101M\"",
        ),
        ({"fps": 241}, "av1", "'recipe.fps' must be at most 240 for av1, not 241.0"),
        ({"crf": 20}, "mpeg4", "'recipe.crf': mpeg4 has none"),
        ({"vmaf": 93}, "ffv1", "'recipe.vmaf': ffv1 has no CRF to search for"),
        ({"quality": 60}, "prores", "'recipe.quality': that of prores can't be set"),
        ({"bitrate": "4M"}, "ffv1", "'recipe.bitrate': that of ffv1 can't be set"),
        ({"hdr": "keep"}, "h264", "'recipe.hdr': h264 has 8 bits here, which can't keep it"),
    ],
)
def test_a_recipe_may_contradict_its_codec(fields: dict[str, Any], codec: str, text: str) -> None:
    assert error_of(fields, codec) == text
    recipe_of(fields)
    recipe_of(fields, "a codec that nobody knows")


def test_a_value_of_toml_that_json_has_not_is_told() -> None:
    fields = tomllib.loads("quality = inf\nclip = {from = 2024-01-01}")
    assert error_of({"quality": fields["quality"]}).endswith("not inf")
    assert error_of({"clip": fields["clip"]}).endswith('not "2024-01-01"')


def test_a_recipe_is_bounded() -> None:
    text = error_of({"audio": {"languages": ["de"] * 5_000}})
    assert text == "'recipe' must be at most 16384 bytes of JSON, not 25,025"
    assert error_of({"ffmpeg_args": ["x" * 4_096] * 5}).startswith("'recipe' must be at most")


def test_a_long_value_is_cut() -> None:
    assert len(error_of({"speed": "x" * 10_000})) < 200


def test_a_field_of_a_newer_dispatcher_is_told_by_an_engine() -> None:
    with pytest.raises(RecipeError, match=re.escape("'recipe' has no field 'newer'")):
        stored_recipe({"name": "web", "newer": 1})


def test_every_container_takes_some_codecs_that_are_known() -> None:
    assert VIDEO_CODECS.keys() == AUDIO_CODECS.keys() == set(get_args(Container))
    assert frozenset().union(*VIDEO_CODECS.values()) == set(RATES)
