"""External blobs are read once, in pieces, up to a limit."""

from __future__ import annotations

from hashlib import sha256, sha512
from io import BytesIO

import pytest

from verify.wire.outside import PIECE, Given, Listener, read_outside

BODY = bytes(range(256)) * 9000


class Trickle(BytesIO):
    """Gives at most ``most`` bytes at a time; fails behind ``breaks`` bytes."""

    def __init__(self, data: bytes, most: int, breaks: int | None = None) -> None:
        super().__init__(data)
        self.most = most
        self.breaks = breaks

    def read(self, size: int | None = -1, /) -> bytes:
        if self.breaks is not None and self.tell() >= self.breaks:
            raise OSError(5, "Input/output error")
        return super().read(min(self.most, size or 0))


class Kept:
    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        assert piece
        self.parts.append(piece)


def test_bytes_and_files_give_the_same() -> None:
    assert len(BODY) > 2 * PIECE
    for given in (BODY, BytesIO(BODY), Trickle(BODY, 7777)):
        found = read_outside(given, limit=len(BODY), held=len(BODY), second=True)
        assert found is not None
        assert found.size == len(BODY)
        assert found.sha256 == sha256(BODY).hexdigest()
        assert found.sha512 == sha512(BODY).hexdigest()
        assert found.data == BODY


@pytest.mark.parametrize("given", [BODY, BytesIO(BODY)])
def test_more_than_may_be_held_is_not_held(given: Given) -> None:
    found = read_outside(given, limit=len(BODY), held=len(BODY) - 1)
    assert found is not None
    assert found.data is None
    assert found.sha512 is None
    assert found.sha256 == sha256(BODY).hexdigest()


def test_more_than_the_limit_is_not_there_and_not_read_on() -> None:
    file = Trickle(BODY, PIECE)
    place: list[int] = []
    file.close = lambda: place.append(file.tell())  # type: ignore[method-assign]
    assert read_outside(file, limit=100) is None
    assert place == [PIECE]
    assert read_outside(BODY, limit=len(BODY) - 1) is None


def test_file_that_breaks_is_not_there_and_is_closed() -> None:
    file = Trickle(BODY, 1000, breaks=5000)
    assert read_outside(file, limit=1 << 30) is None
    assert file.closed
    whole = BytesIO(BODY)
    read_outside(whole, limit=1 << 30)
    assert whole.closed


@pytest.mark.parametrize("most", [1, 7, 31, 32, 33, 500])
def test_listener_gets_the_body_behind_the_salt(most: int) -> None:
    data = BODY[:1000]
    salted, raw = Kept(), Kept()
    read_outside(
        Trickle(data, most),
        limit=1000,
        listeners=[Listener(skip=32, reader=salted), Listener(skip=0, reader=raw)],
    )
    assert b"".join(salted.parts) == data[32:]
    assert b"".join(raw.parts) == data


def test_listener_of_a_blob_that_is_all_salt_gets_nothing() -> None:
    listener = Kept()
    assert read_outside(b"x" * 32, limit=99, listeners=[Listener(skip=32, reader=listener)])
    assert not listener.parts
