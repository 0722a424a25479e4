"""Time stamps: read, matched, verified at their own time; another tool agrees."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checks.time_case import Authority, Stamp, natural, sequence, tlv
from verify.crypto.timestamps import TOKEN_LIMIT, read_token, verify_token
from verify.crypto.x509 import load_certificate
from verify.engine.errors import FormatError

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
GOOD = Stamp(message=b"hello", at=NOON)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_token_over_each_permitted_digest_is_verified(algorithm):
    token = read_token(Stamp(message=b"hello", at=NOON, algorithm=algorithm).response())
    assert token.gen_time == NOON
    assert token.stamps(b"hello")
    assert not token.stamps(b"hullo")
    verify_token(token, Authority().root(), b"hello")


@pytest.mark.parametrize(
    ("accuracy", "margin"),
    [
        (None, timedelta()),
        (sequence(natural(2)), timedelta(seconds=2)),
        (sequence(tlv(0x80, b"\x05")), timedelta(milliseconds=5)),
        (
            sequence(natural(1), tlv(0x80, b"\x05"), tlv(0x81, b"\x07")),
            timedelta(seconds=1, microseconds=5007),
        ),
    ],
)
def test_token_proves_existence_by_its_time_plus_accuracy(accuracy, margin):
    token = read_token(Stamp(message=b"hello", at=NOON, accuracy=accuracy).response())
    assert token.latest == NOON + margin


def test_token_names_the_authority_that_issued_its_certificate():
    token = read_token(GOOD.response())
    assert token.names(load_certificate(Authority().root()))
    assert token.names(token.certificates[0])
    assert not token.names(load_certificate(Authority(label="other").root()))


def test_token_says_which_certificate_does_not_cover_it():
    ends = Authority(leaf_end=NOON)
    assert read_token(Stamp(message=b"", at=NOON, authority=ends).response()).outside() is None
    late = Stamp(message=b"", at=NOON + timedelta(seconds=1), authority=ends)
    assert read_token(late.response()).outside() is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        GOOD.response()[:-1],
        GOOD.response() + b"\x00",
        Stamp(message=b"hello", at=NOON, status=1).response(),
        Stamp(message=b"hello", at=NOON, status=2).response(),
        Stamp(message=b"hello", at=NOON, algorithm="sha1").response(),
        Stamp(message=b"hello", at=NOON, embedded=False).response(),
        b"\x30" * (TOKEN_LIMIT + 1),
    ],
)
def test_token_that_is_none_is_a_format_error(data):
    with pytest.raises(FormatError):
        read_token(data)


@pytest.mark.parametrize(
    "stamp",
    [
        Stamp(message=b"hello", at=NOON, signed_by="another"),
        Stamp(message=b"hello", at=NOON, content=b"other content"),
        Stamp(message=b"hello", at=NOON, authority=Authority(stamping=False)),
        Stamp(message=b"hello", at=NOON, authority=Authority(leaf_end=NOON - timedelta(seconds=1))),
        Stamp(message=b"hello", at=NOON, authority=Authority(label="other")),
        Stamp(message=b"hullo", at=NOON),
    ],
)
def test_token_that_does_not_hold_is_refused(stamp):
    with pytest.raises(FormatError, match="does not lead to the authority"):
        verify_token(read_token(stamp.response()), Authority().root(), b"hello")


def test_token_is_not_verified_up_to_bytes_that_are_no_certificate():
    with pytest.raises(FormatError):
        verify_token(read_token(GOOD.response()), b"\x30\x00", b"hello")


def test_token_that_the_library_does_not_confirm_is_refused(monkeypatch):
    """A library that answered no without raising would still be heard."""

    class Silent:
        def __init__(self, **_):
            pass

        def build(self):
            return self

        def verify_message(self, *_):
            return False

    monkeypatch.setattr("rfc3161_client.VerifierBuilder", Silent)
    with pytest.raises(FormatError, match="does not lead"):
        verify_token(read_token(GOOD.response()), Authority().root(), b"hello")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_token_or_a_format_error(data):
    with contextlib.suppress(FormatError):
        read_token(data)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(min_value=0, max_value=len(GOOD.response()) - 1),
    st.integers(min_value=1, max_value=255),
)
def test_token_with_one_byte_changed_never_stamps_anything_else(place, mask):
    changed = bytearray(GOOD.response())
    changed[place] ^= mask
    with contextlib.suppress(FormatError):
        token = read_token(bytes(changed))
        verify_token(token, Authority().root(), b"hello")
        # what little may change is outside of everything signed: version, parameters, status text
        assert token.stamps(b"hello")
        assert (token.gen_time, token.latest) == (NOON, NOON + timedelta(seconds=1))


def test_token_is_read_alike_by_another_tool(tmp_path):
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("openssl is not installed: no outside witness for time stamps")
    (tmp_path / "token.tsr").write_bytes(GOOD.response())
    shown = subprocess.run(
        [tool, "ts", "-reply", "-in", "token.tsr", "-text"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert b"Jun 10 12:00:00 2026 GMT" in shown.stdout
