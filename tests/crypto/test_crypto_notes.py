"""Signed notes, checkpoints, cosignatures, inclusion proofs (C2SP; RFC 6962)."""

from __future__ import annotations

import base64
import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checks.time_case import BEACON, LOG, WITNESSES, Logged
from verify.crypto.notes import (
    cosigned,
    leaf_hash,
    read_checkpoint,
    read_log_proof,
    read_note,
    read_verifier_key,
    root_of,
    signed,
)
from verify.engine.errors import FormatError
from verify.engine.value import replace

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
GOOD = Logged(entry=b"e", cosigned=((WITNESSES[0], NOON),)).proof()
EXAMPLE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # the example of the C2SP documents, shape only


def test_checkpoint_of_the_published_example_is_read():
    found = read_checkpoint(EXAMPLE)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.note.text.endswith(b"MPA3j2jxq2I=\n")
    assert [line.name for line in found.note.signatures] == [
        "example.com/behind-the-sofa",
        "witness.example.com/w1",
    ]
    assert int.from_bytes(found.note.signatures[1].signature[:8], "big") == 1679315147


def test_note_text_may_hold_empty_lines():
    text = "a\n\nb\n"
    assert read_note(f"{text}\n{LOG.line(text)}").text == text.encode()


@pytest.mark.parametrize("size", range(1, 18))
def test_proof_leads_to_the_root_for_every_leaf_of_every_size(size):
    for index in range(size):
        proof = read_log_proof(Logged(entry=b"e", index=index, size=size).proof())
        root = proof.checkpoint.root
        assert root_of(leaf_hash(b"e"), proof) == root
        assert root_of(leaf_hash(b"f"), proof) != root
        for other in range(size):
            if other != index:
                assert root_of(leaf_hash(b"e"), replace(proof, index=other)) != root
        if proof.path:
            assert root_of(leaf_hash(b"e"), replace(proof, path=proof.path[:-1])) != root
        assert root_of(leaf_hash(b"e"), replace(proof, path=(*proof.path, bytes(32)))) is None


def test_proof_of_an_index_outside_the_tree_leads_nowhere():
    proof = read_log_proof(GOOD)
    assert root_of(leaf_hash(b"e"), replace(proof, index=proof.checkpoint.size)) is None
    empty = replace(proof.checkpoint, size=0)
    assert root_of(leaf_hash(b"e"), replace(proof, index=0, checkpoint=empty)) is None


def test_proof_with_an_extra_line_is_read_and_the_line_gives_nothing():
    extra = GOOD.replace("index 3", f"extra {base64.b64encode(b'x').decode()}\nindex 3", 1)
    assert read_log_proof(extra) == read_log_proof(GOOD)


def test_signature_of_a_key_that_is_not_named_is_no_answer():
    note = read_checkpoint(GOOD.split("\n\n", 1)[1]).note
    assert signed(note, read_verifier_key(LOG.vkey())) is True
    assert signed(note, read_verifier_key(BEACON.vkey())) is None
    assert cosigned(note, read_verifier_key(WITNESSES[0].vkey())) == int(NOON.timestamp())
    assert cosigned(note, read_verifier_key(WITNESSES[1].vkey())) is None


def test_signature_over_other_text_does_not_hold():
    wrong = Logged(
        entry=b"e", cosigned=((WITNESSES[0], NOON),), wrong=(LOG.name, WITNESSES[0].name)
    ).checkpoint()
    note = read_checkpoint(wrong).note
    assert signed(note, read_verifier_key(LOG.vkey())) is False
    assert cosigned(note, read_verifier_key(WITNESSES[0].vkey())) is False


def test_one_wrong_line_of_a_key_spoils_its_good_one():
    text = "o\n1\n" + base64.b64encode(bytes(32)).decode() + "\n"
    both = f"{text}\n{LOG.line(text)}{LOG.line(text, wrong=True)}"
    assert signed(read_note(both), read_verifier_key(LOG.vkey())) is False
    lines = WITNESSES[0].line(text, at=NOON) + WITNESSES[0].line(text, at=NOON, wrong=True)
    assert cosigned(read_note(f"{text}\n{lines}"), read_verifier_key(WITNESSES[0].vkey())) is False


def test_lines_of_the_wrong_length_do_not_hold():
    key = read_verifier_key(LOG.vkey())
    witness = read_verifier_key(WITNESSES[0].vkey())
    short = base64.b64encode(key.key_id + bytes(63)).decode()
    cut = base64.b64encode(witness.key_id + bytes(71)).decode()
    note = read_note(f"a\n\n\u2014 {key.name} {short}\n\u2014 {witness.name} {cut}\n")
    assert signed(note, key) is False
    assert cosigned(note, witness) is False


def test_cosignature_time_beyond_63_bits_does_not_hold():
    witness = read_verifier_key(WITNESSES[0].vkey())
    line = base64.b64encode(witness.key_id + b"\xff" * 72).decode()
    assert cosigned(read_note(f"a\n\n\u2014 {witness.name} {line}\n"), witness) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a\n",
        "a\n\n",
        "a\n\nb\n",
        "a\n\n\u2014 name\n",
        "a\n\n\u2014 name AAAAAAA=",
        "a\n\n\u2014 name AAAAAAA\n",
        "a\n\n\u2014 na+me AAAAAAA=\n",
        "a\n\n\u2014  AAAAAAA=\n",
        "a\n\n\u2014 name AAAA\n",
        "a\n\n- name AAAAAAA=\n",
        "a\tb\n\n\u2014 name AAAAAAA=\n",
        "a\r\n\n\u2014 name AAAAAAA=\n",
        "a\ud800\n\n\u2014 name AAAAAAA=\n",
        "a\n\n" + "\u2014 name AAAAAAA=\n" * 65,
        "a" * 65537,
    ],
)
def test_note_that_is_none_is_a_format_error(text):
    with pytest.raises(FormatError):
        read_note(text)


@pytest.mark.parametrize(
    "body",
    [
        "o\n1\n",
        "o\n01\nAAAA\n",
        "o\n-1\nAAAA\n",
        "o\n1e3\nAAAA\n",
        "o\n\u0661\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "o\n" + "9" * 20 + "\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "o\n1\nAAAA\n",
        "o\n1\n\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "\n1\n" + base64.b64encode(bytes(32)).decode() + "\n",
    ],
)
def test_checkpoint_that_is_none_is_a_format_error(body):
    with pytest.raises(FormatError):
        read_checkpoint(f"{body}\n{LOG.line(body)}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"),
        ("index 3\n", ""),
        ("index 3", "index 03"),
        ("index 3", "index -3"),
        ("index 3", "Index 3"),
        ("index 3", "extra !\nindex 3"),
        ("index 3", "index 3\nAAAA"),
        ("index 3", "index 3\n" + "\n".join([base64.b64encode(bytes(32)).decode()] * 65)),
        ("\n\n", "\n"),
    ],
)
def test_log_proof_that_is_none_is_a_format_error(old, new):
    with pytest.raises(FormatError):
        read_log_proof(GOOD.replace(old, new, 1) if old != "\n\n" else GOOD.replace(old, new))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        "name+00000000+AAAA",
        LOG.vkey().replace("+", "+0", 1),
        LOG.vkey()[:-4],
        "other" + LOG.vkey(),
        LOG.vkey().replace("log.", "l og.", 1),
    ],
)
def test_verifier_key_that_is_none_is_a_format_error(text):
    with pytest.raises(FormatError):
        read_verifier_key(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_a_value_or_a_format_error(text):
    for read in (read_note, read_checkpoint, read_log_proof, read_verifier_key):
        with contextlib.suppress(FormatError):
            read(text)


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0, max_value=len(GOOD) - 1), st.characters())
def test_proof_with_one_character_changed_is_refused_or_another_answer(place, character):
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    if changed == GOOD:
        return
    with contextlib.suppress(FormatError):
        found = read_log_proof(changed)
        held = (
            root_of(leaf_hash(b"e"), found) == found.checkpoint.root,
            signed(found.checkpoint.note, read_verifier_key(LOG.vkey())),
            cosigned(found.checkpoint.note, read_verifier_key(WITNESSES[0].vkey())),
        )
        assert held != (True, True, int(NOON.timestamp()))
