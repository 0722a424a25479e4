"""No credential leaves the transport: header, address, body, message, however it is cut."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.bounds import Bounds
from bundle.recording import RecordedExchange, StoredBody, Withholding, redacted_url
from bundle.seal import credential_forms
from bundle.transport import Credential, Transport, forms_of
from tests.bundle.raw_server import Line, RawServer, chunked, length, serving
from verify.engine.errors import UsageError

KEY = "sk-nano-+/0123456789?abcdef"
FORMS = {
    "plain": KEY.encode(),
    "base64": b64encode(b"x" + KEY.encode() + b"y"),
    "percent": b"sk-nano-%2B%2F0123456789%3Fabcdef",
    "hex": KEY.encode().hex().encode(),
    "HEX": KEY.encode().hex().upper().encode(),
    "lower percent": b"sk-nano-%2b%2f0123456789%3fabcdef",
    "percent of a path": b"sk-nano-%2B/0123456789%3Fabcdef",
    "upper case": KEY.upper().encode(),
    "JSON": b"sk-nano-+\\/0123456789?abcdef",
    "JSON of .NET": b"sk-nano-\\u002B/0123456789?abcdef",
}
QUICK = Bounds(connect_s=5.0, idle_s=5.0, total_s=10.0)
BEARER = Credential("Authorization", f"Bearer {KEY}")


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def begin(self, head: RecordedExchange) -> None:
        assert KEY not in repr(head)

    def write(self, part: bytes) -> None:
        self.data += part

    def finish(self) -> StoredBody | None:
        return StoredBody(path=Path(), size=len(self.data), sha256=b"")


def clean(recorded: RecordedExchange) -> None:
    shown = repr(recorded)
    assert not any(form.decode() in shown for form in credential_forms(KEY))


@pytest.mark.parametrize("configured", [True, False])
def test_secret_sent_is_recorded_as_none_at_its_place(configured: bool) -> None:
    secrets = (KEY,) if configured else ()
    with serving(length(b"{}")) as server, Transport(bounds=QUICK, secrets=secrets) as transport:
        recorded = transport.record(
            "POST",
            server.url(),
            purpose="chat",
            body=b"{}",
            headers=(("X-Api-Key", "k" * 20), ("X-Echo", f"a{KEY}")),
            credential=BEARER,
        )
    assert f"Authorization: Bearer {KEY}".encode() in server.requests[0]
    kept = [(name, value) for name, value in recorded.request_headers or () if value is None]
    assert kept == [("X-Api-Key", None), ("X-Echo", None), ("Authorization", None)]
    clean(recorded)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_secret_in_an_answers_header_is_redacted_whatever_its_name(form: bytes) -> None:
    answer = length(b"{}", "X-Plain: 1", f"X-Echo: <{form.decode()}>", "Set-Cookie: a=b")
    with serving(answer) as server, Transport(bounds=QUICK) as transport:
        recorded = transport.record("GET", server.url(), purpose="other", credential=BEARER)
    assert (recorded.response_headers or ())[:3] == (
        ("X-Plain", "1"),
        ("X-Echo", None),
        ("Set-Cookie", None),
    )
    assert recorded.complete
    clean(recorded)


def test_credential_in_a_header_of_any_name_is_a_secret() -> None:
    odd = Credential("X-Auth", KEY)
    with serving(length(b"you: " + KEY.encode(), "x-auth: again")) as server:
        with Transport(bounds=QUICK) as transport:
            recorded = transport.record("GET", server.url(), purpose="other", credential=odd)
    assert f"X-Auth: {KEY}".encode() in server.requests[0]
    assert ("X-Auth", None) in (recorded.request_headers or ())
    assert ("x-auth", None) in (recorded.response_headers or ())
    assert recorded.failure is not None
    assert (recorded.failure.trouble, recorded.response_body) == ("secret-in-body", b"you: ")
    clean(recorded)


def test_secret_too_short_to_look_for_is_still_no_part_of_the_record() -> None:
    with serving(length(b"12")) as server, Transport(bounds=QUICK) as transport:
        recorded = transport.record(
            "GET", server.url(), purpose="other", credential=Credential("X-Auth", "12")
        )
    assert ("X-Auth", None) in (recorded.request_headers or ())
    assert recorded.complete


@pytest.mark.parametrize(
    "url",
    [
        "https://u:hunter2@ex\u2100mple.com/",
        "https://[u:hunter2@h/",
        "http://[::1?token=hunter2",
        "https://[::1/hunter2",
    ],
)
def test_secret_in_an_address_that_cannot_be_read_is_not_printed(url: str) -> None:
    with Transport() as transport, pytest.raises(UsageError, match="cannot be read") as caught:
        transport.record("GET", url, purpose="other")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "hunter2" not in redacted_url(url)


@pytest.mark.parametrize(
    "url",
    [
        f"http://h.example/{KEY}",
        f"https://h.example:0/{KEY}",
        f"https://me@h.example/{KEY}",
        f"https://me:{KEY}@h.example/",  # the slash in it ends the authority
    ],
)
def test_configured_secret_in_an_address_that_is_refused_is_not_printed(url: str) -> None:
    with Transport(secrets=(KEY,)) as transport, pytest.raises(UsageError) as caught:
        transport.record("GET", url, purpose="other")
    assert KEY not in str(caught.value)


def test_secret_as_a_headers_name_is_replaced() -> None:
    key = "abcdefghijklmnop"
    answer = length(b"{}", f"X-{key}: 1")
    with serving(answer) as server, Transport(bounds=QUICK, secrets=(key,)) as transport:
        recorded = transport.record("GET", server.url(), purpose="other")
    assert (recorded.response_headers or ())[0] == ("{redacted}", "1")


def test_secret_in_the_address_is_replaced_in_the_record_alone() -> None:
    form = FORMS["percent"].decode()
    with serving(length(b"{}")) as server, Transport(bounds=QUICK, secrets=(KEY,)) as transport:
        recorded = transport.record("GET", server.url(f"/a/{form}/b?x={form}"), purpose="other")
    assert recorded.url == server.url("/a/{redacted}/b?x={redacted}")
    assert FORMS["percent"] in server.requests[0]
    clean(recorded)


CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        f"{CHUNKED}\r\n1;KEY\r\nx\r\n0\r\nX-Trailer: KEY\r\n\r\n",
        f"{CHUNKED}Location: https://h/KEY?k=KEY#KEY\r\nX-Folded:\r\n KEY\r\n\r\n0\r\n\r\n",
        f"{CHUNKED}\r\nKEY\r\n",
        f"{CHUNKED}\r\n1\r\nxKEY\r\n",
        "HTTP/1.1 200 KEY\r\n\r\nKEY",
        "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nxKEY",
        "HTTP/1.1 KEY\r\n\r\n",
        "KEY\r\n\r\n",
        "HTTP/1.1 200 OK\r\nKEY\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: KEY\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: KEY\r\n\r\n",
        "HTTP/1.1 103 KEY\r\nLink: KEY\r\n\r\nHTTP/1.1 204 KEY\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: KEY\r\n" + "A: b\r\n" * 600 + "\r\n",
        "HTTP/1.1 200 OK\r\nX-A: KEY\r\nB: " + "b" * (70 << 10) + "\r\n\r\n",
    ],
)
def test_secret_is_recorded_from_no_place_of_an_answer(answer: str) -> None:
    for form in credential_forms(KEY):
        sink = Sink()
        text = answer.replace("KEY", form.decode())
        with serving(text.encode()) as server, Transport(bounds=QUICK) as transport:
            recorded = transport.record(
                "POST", server.url(), purpose="chat", body=b"{}", credential=BEARER, sink=sink
            )
        clean(recorded)
        assert not any(found in sink.data for found in credential_forms(KEY))


def test_secret_in_a_refused_address_is_not_printed() -> None:
    with Transport(secrets=(KEY,)) as transport, pytest.raises(UsageError) as caught:
        transport.record("GET", "http://10.0.0.1/?api_key=" + KEY, purpose="other")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_secret_in_a_body_cuts_it_before_the_first_byte_of_it(form: bytes, size: int) -> None:
    body = b'{"you sent":"' + form + b'","more":"' + b"x" * 300 + b'"}'
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    sink = Sink()
    with serving(chunked(parts)) as server, Transport(bounds=QUICK) as transport:
        recorded = transport.record(
            "GET", server.url(), purpose="chat", credential=BEARER, sink=sink
        )
    assert recorded.failure is not None
    assert (recorded.failure.trouble, recorded.complete) == ("secret-in-body", False)
    assert recorded.response_body == sink.data
    assert b'{"you sent":"'.startswith(sink.data[:13])
    # base64 has a first character in which bits of the byte before the credential stand, too
    assert len(sink.data) in {13, 14, 15}
    assert not any(found in sink.data for found in credential_forms(KEY))
    clean(recorded)


@pytest.mark.parametrize("end", ["cut", "limit", "end"])
def test_secret_begun_at_the_end_of_a_body_is_dropped(end: str) -> None:
    """A body that breaks off within the credential does not keep the first part of it."""
    body = b"before " + KEY.encode()[:-2]
    framed = {
        "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + body,
        "limit": length(body + b"ef"),
        "end": length(body),
    }[end]
    limits = Bounds(body=len(body) if end == "limit" else 1000, idle_s=5.0)
    sink = Sink()
    with serving(framed) as server, Transport(secrets=(KEY,)) as transport:
        recorded = transport.record("GET", server.url(), purpose="other", sink=sink, bounds=limits)
    assert recorded.failure is not None
    assert (
        recorded.failure.trouble
        == {"cut": "cut", "limit": "too-large", "end": "secret-in-body"}[end]
    )
    assert recorded.response_body == sink.data == b"before "


def test_body_without_secret_passes_the_search_unaltered() -> None:
    body = b"sk-nano- " * 100 + KEY.encode()[:8]
    for size in (1, 5, 999):
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        with serving(chunked(parts)) as server, Transport(secrets=(KEY,)) as transport:
            recorded = transport.record("GET", server.url(), purpose="other")
        assert (recorded.response_body, recorded.complete) == (body, True)


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=60),
    st.binary(max_size=5),
    st.binary(max_size=5),
)
def test_credential_is_known_in_every_usual_writing(key: str, before: bytes, after: bytes) -> None:
    forms = credential_forms(key)
    around = before + key.encode() + after
    for text in (
        around,
        around.hex().encode(),
        around.hex().upper().encode(),
        b64encode(around),
        urlsafe_b64encode(around),
        quote(key, safe="").encode(),
        quote(key).encode(),
        json.dumps(key).encode(),
        json.dumps(key).replace("/", "\\/").encode(),
        key.lower().encode(),
    ):
        assert any(form in text for form in forms)


def test_withholding_finds_what_lies_across_any_cut() -> None:
    forms = forms_of((KEY, "other-credential"))
    text = b"a" * 50 + KEY.encode() + b"b" * 50
    for cut in range(len(text)):
        held = Withholding(forms)
        first, early = held.add(text[:cut])
        second, late = (b"", True) if early else held.add(text[cut:])
        assert (first + second, early or late) == (b"a" * 50, True)


def test_withholding_cuts_before_the_first_of_several() -> None:
    plain, hexed = KEY.encode(), KEY.encode().hex().encode()
    for text in (b"a" + plain + b"b" + hexed, b"a" + hexed + b"b" + plain):
        assert Withholding(forms_of((KEY,))).add(text) == (b"a", True)


def test_withholding_without_credentials_holds_nothing_back() -> None:
    held = Withholding(())
    assert held.add(b"abc") == (b"abc", False)
    assert held.end() == (b"", False)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_secret_in_a_request_body_is_refused_before_sending(form: bytes) -> None:
    body = b'{"prompt":"' + form + b'"}'
    with serving(length(b"1")) as server, Transport(bounds=QUICK, secrets=(KEY,)) as transport:
        with pytest.raises(UsageError, match="nothing was sent") as caught:
            transport.record("POST", server.url(), purpose="chat", body=body)
        assert server.accepted == 0
        recorded = transport.record(
            "POST", server.url(), purpose="chat", body=body, allow_secret_in_body=True
        )
    assert recorded.request_body == body
    assert KEY not in str(caught.value)


def test_short_header_values_are_no_credentials() -> None:
    """``X-Max-Tokens: 5`` is redacted by its name, but 5 may stand in the answer."""
    with serving(length(b'{"n":5}')) as server, Transport(bounds=QUICK) as transport:
        recorded = transport.record(
            "GET", server.url(), purpose="other", headers=(("X-Max-Tokens", "5"),)
        )
    assert recorded.complete


def test_secret_said_in_a_status_line_is_in_no_message() -> None:
    def script(line: Line) -> None:
        line.request()
        line.send(f"HTTP/1.1 {KEY}\r\n\r\n".encode())

    with RawServer(script) as server, Transport(bounds=QUICK) as transport:
        recorded = transport.record("GET", server.url(), purpose="other", credential=BEARER)
    assert recorded.failure is not None
    clean(recorded)


def test_url_loses_credentials_wherever_they_stand() -> None:
    assert redacted_url(f"https://h/{KEY.partition('?')[0]}", (b"nano-+/",)) == (
        "https://h/sk-{redacted}0123456789"
    )
