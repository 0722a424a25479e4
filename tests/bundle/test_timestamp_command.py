"""`teebundle timestamp`: a new file or none, the old one untouched, exit codes."""

from __future__ import annotations

import time

import pytest

from bundle.commands.timestamp import register
from fixtures import time_sim
from tests.bundle.timestamp_case import Authority, honest, sealed
from verify.cli.console import new_app, run_app
from verify.wire.container import read_bundle

DATA = sealed()


def run(*words):
    """Run the command alone, as the whole program would."""
    app = new_app("A program.")
    register(app, "teebundle")
    app.command("other")(lambda: None)
    try:
        return run_app(app, ["timestamp", *map(str, words)], "teebundle")
    except SystemExit as stop:
        return stop.code


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    (tmp_path / "chat.json").write_bytes(DATA)
    (tmp_path / "trust.json").write_bytes(time_sim.trusted())
    return tmp_path


def words(place, *urls, out="stamped.json"):
    found = [place / "chat.json", "--trust", place / "trust.json", "-o", place / out]
    for url in urls:
        found += ["--tsa", url]
    return found


def test_new_file_has_the_token_and_the_old_one_is_untouched(place, capfd):
    with Authority() as authority:
        assert run(*words(place, authority.url)) == 0
    made = (place / "stamped.json").read_bytes()
    assert (place / "chat.json").read_bytes() == DATA
    assert read_bundle(made).id == read_bundle(DATA).id
    assert len(read_bundle(made).statement.material[0].timestamps) == 1
    out, err = capfd.readouterr()
    (keyid,) = [one.keyid for one in read_bundle(DATA).statement.envelope.signatures]
    assert out == (
        f"test-tsa: the signature of {keyid} existed by 2026-06-10T12:00:07.000Z, "
        "7 s after the end of the capture\n"
    )
    assert f"wrote {place / 'stamped.json'}" in err


def test_two_authorities_give_two_lines(place, capfd):
    with Authority() as first, Authority(give=lambda q: honest(q, serial=9)) as second:
        assert run(*words(place, first.url, second.url)) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("give", "what"),
    [
        (lambda _: time_sim.refused(), "not granted"),
        (lambda q: honest(q, nonce=1), "another request"),
        (lambda _: (500, "text/plain", b"no"), "status 500"),
        (lambda q: honest(q) + bytes(40 << 10), "32768"),
    ],
)
def test_authority_that_fails_gives_exit_5_and_no_file(place, capfd, give, what):
    before = sorted(place.iterdir())
    with Authority(give=give) as authority:
        assert run(*words(place, authority.url)) == 5
    assert sorted(place.iterdir()) == before
    out, err = capfd.readouterr()
    assert out == ""
    assert what in err
    assert "nothing was written" in err
    assert "Traceback" not in err


def test_second_authority_that_fails_leaves_no_file(place, capfd):
    with Authority() as good, Authority(give=lambda _: time_sim.refused()) as bad:
        assert run(*words(place, good.url, bad.url)) == 5
        assert bad.url in capfd.readouterr().err
    assert not (place / "stamped.json").exists()


def test_busy_authority_is_asked_again_aloud(place, capfd, monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    answers = iter([(503, "text/plain", b"busy")])
    with Authority(give=lambda query: next(answers, None) or honest(query)) as authority:
        assert run(*words(place, authority.url)) == 0
    assert "trying again in 1 s" in capfd.readouterr().err
    assert waited == [1.0]
    for headers, _, _ in authority.received:
        assert headers["Content-Type"] == "application/timestamp-query"
        assert headers["Accept"] == "application/timestamp-reply"


def test_without_a_trusted_authority_nothing_is_asked(place, capfd):
    with Authority() as authority:
        found = [place / "chat.json", "--tsa", authority.url, "-o", place / "stamped.json"]
        assert run(*found) == 2
        assert authority.received == []
    assert "--trust" in capfd.readouterr().err


def test_insecure_address_is_refused(place, capfd):
    assert run(*words(place, "http://tsa.example/tsr")) == 2
    assert "https://" in capfd.readouterr().err


@pytest.mark.parametrize(
    "odd", ["http://tsa.example/tsr?token=hunter2", "https://[u:hunter2@h/", "https://u:hunter2@h/"]
)
def test_address_that_cannot_be_asked_is_found_before_another_is_asked(place, capfd, odd):
    with Authority() as authority:
        assert run(*words(place, authority.url, odd)) == 2
        assert authority.received == []
    err = capfd.readouterr().err
    assert "hunter2" not in err
    assert "Traceback" not in err
    assert not (place / "stamped.json").exists()


def test_existing_file_is_kept_unless_told(place, capfd):
    (place / "stamped.json").write_text("mine")
    with Authority() as authority:
        assert run(*words(place, authority.url)) == 2
        assert authority.received == []
        assert (place / "stamped.json").read_text() == "mine"
        assert run(*words(place, authority.url), "--overwrite") == 0
    assert (place / "stamped.json").read_bytes() != b"mine"
    capfd.readouterr()


@pytest.mark.parametrize("name", ["chat.json", "trust.json"])
def test_input_is_never_an_output(place, capfd, name):
    before = (place / name).read_bytes()
    with Authority() as authority:
        assert run(*words(place, authority.url, out=name), "--overwrite") == 2
    assert (place / name).read_bytes() == before
    assert "is an input" in capfd.readouterr().err


def test_file_that_is_no_bundle_gives_exit_4(place, capfd):
    (place / "chat.json").write_text("{}")
    with Authority() as authority:
        assert run(*words(place, authority.url)) == 4
        assert authority.received == []
    capfd.readouterr()


def test_ninth_token_is_refused(place, capfd):
    urls = [f"https://t{number}.example/tsr" for number in range(9)]
    assert run(*words(place, *urls)) == 2
    assert "at most 8" in capfd.readouterr().err


def test_help_says_what_leaves_the_machine(capfd):
    assert run("--help") == 0
    text = capfd.readouterr().out
    for part in ("SHA-256", "--tsa", "--trust", "teebundle timestamp", "Exit 5"):
        assert part in text
