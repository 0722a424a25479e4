"""Derivation steps: each does one thing, strictly."""

from __future__ import annotations

import gzip
import json
import zlib
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.engine.errors import FormatError
from verify.wire.derive import Body, run_steps
from verify.wire.headers import read_headers, write_headers
from verify.wire.strict_json import parse_evidence

DOCUMENT = (
    b'{"quote": "0x04AB", "list": [{"e": "AAEC"}, {"e": "AAE"}], "inner": "{\\"a\\": \\"00ff\\"}",'
    b' "text": "h\\u00e9", "pem": "a%2Bb+c%0A", "n": 1.50, "span": {"b": 1,  "c":[2]}}'
)
HEADERS = write_headers([("X-One", "a%20b"), ("x-Two", "1"), ("X-TWO", "2"), ("Secret", None)])


@pytest.mark.parametrize(
    ("body", "steps", "wanted"),
    [
        (DOCUMENT, ["select:/quote", "hex"], b"\x04\xab"),
        (DOCUMENT, ["select:/list/0/e", "base64"], b"\x00\x01\x02"),
        (DOCUMENT, ["select:/list", "select:/1/e", "base64url"], b"\x00\x01"),
        (DOCUMENT, ["select:/inner", "json", "select:/a", "hex"], b"\x00\xff"),
        (DOCUMENT, ["select:/text", "text"], "hé".encode()),
        (DOCUMENT, ["select:/pem", "percent"], b"a+b+c\n"),
        (DOCUMENT, ["span:/span"], b'{"b": 1,  "c":[2]}'),
        (DOCUMENT, ["span:/n"], b"1.50"),
        (DOCUMENT, ["span:/span", "select:/c", "select:/0"], None),
        (DOCUMENT, ["span:"], DOCUMENT),
        (HEADERS, ["header:x-one", "percent"], b"a b"),
        (gzip.compress(b"abc", mtime=0), ["gunzip"], b"abc"),
        (gzip.compress(b'["00"]', mtime=0), ["gunzip", "select:/0", "hex"], b"\x00"),
        (b'"plain"', ["select:", "text"], b"plain"),
    ],
)
def test_steps_lead_to_the_bytes_they_name(body, steps, wanted):
    if wanted is None:
        with pytest.raises(FormatError):
            run_steps(body, steps)
    else:
        assert run_steps(body, steps) == wanted


@pytest.mark.parametrize(
    ("body", "steps"),
    [
        (DOCUMENT, []),
        (DOCUMENT, ["select:/quote"] * 9),
        (DOCUMENT, ["select:/absent", "text"]),
        (DOCUMENT, ["select:/quote"]),
        (DOCUMENT, ["select:/list", "text"]),
        (DOCUMENT, ["select:/n", "hex"]),
        (DOCUMENT, ["select:/text", "hex"]),
        (DOCUMENT, ["select:/quote", "base64"]),
        (DOCUMENT, ["select:/quote", "base64url"]),
        (DOCUMENT, ["select:/quote", "json"]),
        (DOCUMENT, ["select:/quote", "span:"]),
        (DOCUMENT, ["select:/quote", "gunzip"]),
        (DOCUMENT, ["hex"]),
        (DOCUMENT, ["text:x"]),
        (DOCUMENT, ["select"]),
        (DOCUMENT, ["reverse"]),
        (DOCUMENT, ["header:x-one"]),
        (DOCUMENT, ["gunzip"]),
        (b"no json", ["select:/a", "text"]),
        (b"no json", ["span:/a"]),
        (b'{"a":1,"a":2}', ["span:/a"]),
        (b'{"a":"%zz"}', ["select:/a", "percent"]),
        (b'{"a":"%a"}', ["select:/a", "percent"]),
        (b'{"a":""}', ["select:/a", "text"]),
        (HEADERS, ["header:x-two", "text"]),
        (HEADERS, ["header:secret", "text"]),
        (HEADERS, ["header:absent", "text"]),
        (HEADERS, ["header:X-One", "text"]),
        (gzip.compress(b"a", mtime=0) + b"x", ["gunzip"]),
        (gzip.compress(b"a", mtime=0) * 2, ["gunzip"]),
        (gzip.compress(b"a", mtime=0)[:-1], ["gunzip"]),
        (gzip.compress(bytes((1 << 20) + 1), mtime=0), ["gunzip"]),
        (zlib.compress(b"a"), ["gunzip"]),
    ],
)
def test_steps_that_do_not_fit_are_refused(body, steps):
    with pytest.raises(FormatError):
        run_steps(body, steps)


def test_gunzip_gives_as_much_as_allowed():
    body = bytes(1 << 20)
    assert run_steps(gzip.compress(body, mtime=0), ["gunzip"]) == body


def test_body_answers_several_derivations():
    body = Body(DOCUMENT)
    assert body.derive(["select:/quote", "hex"]) == b"\x04\xab"
    assert body.derive(["select:/text", "text"]) == "hé".encode()


STEPS = st.sampled_from(
    ["select:/a", "span:/a", "json", "text", "hex", "base64", "base64url", "header:a", "percent",
     "gunzip", "select:", "span:"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    body=st.binary(max_size=40) | st.text('{}[]":a,0', max_size=20).map(str.encode),
    steps=st.lists(STEPS, max_size=4),
)
def test_steps_on_any_bytes_give_bytes_or_a_format_error(body, steps):
    try:
        assert run_steps(body, steps)
    except FormatError:
        return


def test_headers_come_back_and_hide_secrets():
    fields = (("Content-Type", "text/plain; ü"), ("Set-Cookie", None))
    assert read_headers(write_headers(fields)) == fields


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'[["a"]]',
        b'[["a","b","c"]]',
        b'[["","b"]]',
        b'[["a b","c"]]',
        b'[["a",1]]',
        b'[["a",{"redacted":"other"}]]',
        b'[["a",{"redacted":"secret","x":1}]]',
        b'[["a","b\\n"]]',
        b'[["a\\n","b"]]',
        b"[" + b",".join([b'["a","b"]'] * 513) + b"]",
        b'[["a","' + b"b" * 65537 + b'"]]',
        b'[["a","' + b"b" * (256 << 10) + b'"]]',
        b"",
    ],
)
def test_headers_document_of_another_form_is_refused(data):
    with pytest.raises(FormatError):
        read_headers(data)


def test_body_reads_a_text_inside_once_and_every_derivation_stays_what_it_is_alone() -> None:
    inner = json.dumps({"list": [{"a": "QUE=", "b": '{"c": "x"}'}, {"a": "Qg==", "b": "{}"}]})
    document = json.dumps({"payload": inner, "other": '{"list": [{"a": "Qw=="}]}'}).encode()
    head = ("select:/payload", "json")
    chains = [
        (*head, "select:/list/0/a", "base64"),
        (*head, "select:/list/1/a", "base64"),
        ("select:/other", "json", "select:/list/0/a", "base64"),
        (*head, "select:/list/0/b", "json", "select:/c", "text"),
        (*head, "select:/list/0/b", "text"),
        ("select:/payload", "text"),
        (*head, "select:/list/0/a", "base64"),
    ]
    body = Body(document)
    assert [body.derive(steps) for steps in chains] == [run_steps(document, s) for s in chains]
    with patch("verify.wire.derive.parse_evidence", side_effect=parse_evidence) as read:
        again = Body(document)
        for steps in chains[:2]:
            again.derive(steps)
    assert read.call_count == 2  # the document, and the payload inside it


def test_many_spans_of_one_body_walk_each_container_once(monkeypatch):
    from verify.wire import strict_json

    walked: list[int] = []
    elements = strict_json._elements

    def counted(text, at):
        walked.append(at)
        return elements(text, at)

    monkeypatch.setattr(strict_json, "_elements", counted)
    body = Body(b'{"all":[' + b",".join([b'{"log":[1,2],"log2":{}}'] * 200) + b"]}")
    for number in range(200):
        assert body.derive((f"span:/all/{number}/log",)) == b"[1,2]"
        assert body.derive((f"span:/all/{number}/log2",)) == b"{}"
    assert len(walked) == 2 + 200
