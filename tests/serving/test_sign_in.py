"""Tokens that stand for a key: once, for a minute, and not too many."""

import asyncio

import pytest

from dispatcher.serving.sign_in import LIFETIME_S, TOKENS_PER_KEY, SignIns, UnknownTokenError

pytestmark = pytest.mark.anyio


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_token_gives_its_key_once() -> None:
    sign_ins = SignIns()
    token = sign_ins.begin("anna", "the secret")
    assert sign_ins.redeem(token) == "the secret"
    with pytest.raises(UnknownTokenError):
        sign_ins.redeem(token)


async def test_a_token_is_none_of_others_and_gives_nobody_elses_key() -> None:
    sign_ins = SignIns()
    tokens = {sign_ins.begin(name, f"secret of {name}"): name for name in ("anna", "bert", "carl")}
    assert len(tokens) == 3
    for token, name in reversed(tokens.items()):
        assert sign_ins.redeem(token) == f"secret of {name}"


async def test_where_no_key_is_needed_a_token_gives_none() -> None:
    sign_ins = SignIns()
    assert sign_ins.redeem(sign_ins.begin("anonymous", None)) is None


@pytest.mark.parametrize("token", ["", "x", "é\ud800", "x" * 100_000])
async def test_what_is_no_token_is_unknown(token: str) -> None:
    sign_ins = SignIns()
    sign_ins.begin("anna", "the secret")
    with pytest.raises(UnknownTokenError):
        sign_ins.redeem(token)
    assert len(sign_ins) == 1


async def test_a_token_lives_for_a_minute_to_the_moment() -> None:
    clock = Clock()
    sign_ins = SignIns(clock)
    first, second = sign_ins.begin("anna", "a"), sign_ins.begin("anna", "a")
    clock.now_s += LIFETIME_S - 0.001
    assert sign_ins.redeem(first) == "a"
    clock.now_s += 0.001
    with pytest.raises(UnknownTokenError):
        sign_ins.redeem(second)
    assert len(sign_ins) == 0


async def test_a_key_has_so_many_tokens_and_the_oldest_make_room() -> None:
    sign_ins = SignIns()
    of_other = sign_ins.begin("bert", "b")
    tokens = [sign_ins.begin("anna", "a") for _ in range(TOKENS_PER_KEY + 3)]
    assert len(sign_ins) == TOKENS_PER_KEY + 1
    for token in tokens[:3]:
        with pytest.raises(UnknownTokenError):
            sign_ins.redeem(token)
    assert [sign_ins.redeem(token) for token in tokens[3:]] == ["a"] * TOKENS_PER_KEY
    assert sign_ins.redeem(of_other) == "b"


async def test_a_key_does_not_stay_in_memory_because_nobody_redeems_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dispatcher.serving.sign_in.SWEEP_S", 0)
    clock = Clock()
    sign_ins = SignIns(clock)
    sign_ins.begin("anna", "a")
    clock.now_s += LIFETIME_S
    while sign_ins._tokens:  # noqa: ASYNC110 - what is awaited is a timer
        await asyncio.sleep(0)
    assert sign_ins._sweep is None
