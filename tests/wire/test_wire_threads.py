"""Several threads verify at once: what is remembered or compiled late is shared by them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fixtures import goods
from fixtures.registry import Case
from fixtures.verification import answer
from verify.crypto import x509
from verify.crypto.cache import Bounded
from verify.wire import schema, strict_json


@pytest.fixture(autouse=True)
def _eager_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def told(case: Case) -> str:
    found = answer(case)
    return f"{found.verdict} {sorted(found.checks.items())}"


def test_threads_that_verify_at_once_give_one_answer() -> None:
    case = goods.good("nanogpt")
    expected = told(case)
    for _ in range(3):
        schema._compiled.cache_clear()
        strict_json.forget()
        x509._CERTIFICATES.clear()
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: told(case), range(16)))
        assert set(found) == {expected}


def test_threads_share_a_full_cache() -> None:
    cache: Bounded[int, int] = Bounded(4)

    def fill(start: int) -> None:
        for number in range(start, start + 2000):
            cache.put(number, number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(0, 16000, 2000)))
    assert len(cache) == 4


def test_threads_share_the_documents_read_last() -> None:
    texts = [b'{"n":%d,"pad":"%b"}' % (number, b"x" * 60_000) for number in range(40)]

    def read(_: int) -> int:
        return sum(strict_json.parse_evidence(text)["n"] for text in texts)  # type: ignore[call-overload,index]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(16))) == {sum(range(40))}
