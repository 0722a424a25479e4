"""Parts of a whole bundle taken away, doubled, exchanged: never VERIFIED, never a crash.

The Statement is signed again by the same key, and what refers to a part that goes, goes with it: a
capturer who wanted to leave something out would do as much. What stays VERIFIED all the same is
listed here with the reason, exactly.

Source: verification.md 13.5.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from bundle.seal import packed
from fixtures import goods
from fixtures.registry import Case
from fixtures.resealed import resealed
from fixtures.sealed import statement_of
from tests.conformance.judging import UNUSABLE, verdict

Document = dict[str, Any]
BASE = "nanogpt"

SPARE_ARTIFACTS = {
    "http.request.headers": "shown; nothing is proven by what a client says it sent",
    "http.response.headers": "shown, but for those that a collateral chain is derived from",
    "intel.pck-crl-chain": "the list is judged with the authority of the quote's own chain",
    "nras.answer": "judged where it is recorded; the policy does not demand a second opinion",
    "nras.jwks": "any recorded key set whose chain is pinned serves; it belongs to no one answer",
    "nvidia.ocsp-request": "without the request there is no nonce to compare; the answer is signed",
    "tls.certificate": "the provider's own proxy ends TLS: the policy waives the channel by name",
}
"""Role to the reason why a bundle of this path without such an artifact is VERIFIED all the same."""

SPARE_BINDINGS = {
    "chain-for": "says what to try; a wrong chain fails, and the right one is found by position",
    "collateral-for": "says what to try; without it every recorded item of the platform is tried",
    "nras-covers": "devices are found by the digests in the tokens; the policy demands no NRAS",
}
"""Type to the reason why nothing is lost where no such pair is declared."""

SPARE_ONE_OF_SEVERAL = {
    "key-in-evidence": "each quote binds address and public key, which are one key: one suffices",
}
"""Type to the reason why one pair of several may go; all together may not."""

SPARE_EXCHANGES = {
    "nras": "judged where it is recorded; the policy does not demand a second opinion",
    "jwks": "the key set of the other attestation's answer is the same service's",
}
"""Purpose to the reason why an exchange of it may be left out."""


@cache
def good() -> Case:
    return goods.good(BASE)


@cache
def statement() -> Document:
    return statement_of(json.loads(good().bundle))


def _gone(predicate: Document, first: set[str]) -> set[str]:
    """Return ``first`` and everything derived from it."""
    gone = set(first)
    while True:
        more = {
            artifact["id"]
            for artifact in predicate["artifacts"]
            if artifact["origin"].get("artifact") in gone
        }
        if more <= gone:
            return gone
        gone |= more


def _without(value: Any, gone: set[str]) -> Any:
    """Return a binding's member without ids that are gone; None where nothing is left."""
    if isinstance(value, list):
        return [name for name in value if name not in gone] or None
    return None if value in gone else value


def _binding(binding: Document, gone: set[str]) -> Document | None:
    """Return a binding without what is gone, None where it lost a side."""
    made = {name: _without(value, gone) for name, value in binding.items()}
    if made["type"] == "signature-covers":
        lost = made["signature"] is None or made["request"] is made["response"] is None
        return None if lost else made
    if any(value is None and binding[name] is not None for name, value in made.items()):
        return None
    return made


def strip(statement: Document, document: Document, first: set[str]) -> None:
    """Take artifacts out of a Statement and a file with everything that names them."""
    predicate = statement["predicate"]
    gone = _gone(predicate, first)
    predicate["artifacts"] = [a for a in predicate["artifacts"] if a["id"] not in gone]
    statement["subject"] = [s for s in statement["subject"] if s["name"] not in gone]
    named = {artifact["digest"] for artifact in predicate["artifacts"]}
    document["blobs"] = {d: blob for d, blob in document["blobs"].items() if d in named}
    for exchange in predicate["exchanges"]:
        for side in ("request", "response"):
            for member in ("headers", "body"):
                if exchange[side] and exchange[side][member] in gone:
                    exchange[side][member] = None
        if exchange["tls"]:
            exchange["tls"]["chain"] = [c for c in exchange["tls"]["chain"] if c not in gone]
    found = (_binding(binding, gone) for binding in predicate["bindings"])
    predicate["bindings"] = [binding for binding in found if binding is not None]


def changed(change: Callable[[Document, Document], object]) -> str:
    return verdict(good(), bundle=resealed(good().bundle, change))


def survivors(parts: dict[str, Callable[[Document, Document], object]]) -> set[str]:
    return {name for name, change in parts.items() if changed(change) == "VERIFIED"}


def test_resealed_without_a_change_is_verified() -> None:
    assert changed(lambda _statement, _document: None) == "VERIFIED"


def test_stripped_artifact_is_noticed() -> None:
    parts = {
        artifact["id"]: (lambda s, d, name=artifact["id"]: strip(s, d, {name}))
        for artifact in statement()["predicate"]["artifacts"]
    }
    artifacts = statement()["predicate"]["artifacts"]
    roles = {artifact["id"]: artifact["role"] for artifact in artifacts}
    spare = {
        name
        for name in roles
        if all(roles[one] in SPARE_ARTIFACTS for one in _gone(statement()["predicate"], {name}))
    }
    assert survivors(parts) == spare
    assert {roles[name] for name in spare} == set(SPARE_ARTIFACTS)


def test_artifact_entry_alone_stripped_is_never_verified() -> None:
    """Nothing else is tidied up: references, blobs or the subject list tell."""
    for index in range(len(statement()["predicate"]["artifacts"])):

        def change(found: Document, _document: Document, index: int = index) -> None:
            del found["predicate"]["artifacts"][index]
            del found["subject"][index]

        assert changed(change) != "VERIFIED"


def _strip_binding(found: Document, _document: Document, *, index: int) -> None:
    del found["predicate"]["bindings"][index]


def _label(binding: Document) -> str:
    ends = [value for name, value in binding.items() if name != "type"]
    flat = [str(x) for end in ends for x in (end if isinstance(end, list) else [end])]
    return " ".join([binding["type"], *flat[:3]])


def test_stripped_binding_is_noticed() -> None:
    parts = {
        _label(binding): (lambda s, d, index=index: _strip_binding(s, d, index=index))
        for index, binding in enumerate(statement()["predicate"]["bindings"])
    }
    spare = {*SPARE_BINDINGS, *SPARE_ONE_OF_SEVERAL}
    assert survivors(parts) == {name for name in parts if name.partition(" ")[0] in spare}


def test_stripped_type_of_binding_is_noticed() -> None:
    def without(kind: str) -> Callable[[Document, Document], None]:
        def change(found: Document, _document: Document) -> None:
            predicate = found["predicate"]
            predicate["bindings"] = [b for b in predicate["bindings"] if b["type"] != kind]

        return change

    kinds = {binding["type"] for binding in statement()["predicate"]["bindings"]}
    assert survivors({kind: without(kind) for kind in kinds}) == set(SPARE_BINDINGS)


def _strip_exchange(found: Document, document: Document, *, name: str) -> None:
    predicate = found["predicate"]
    own = {a["id"] for a in predicate["artifacts"] if a["origin"].get("exchange") == name}
    strip(found, document, own)
    predicate["exchanges"] = [e for e in predicate["exchanges"] if e["id"] != name]
    predicate["bindings"] = [
        b for b in predicate["bindings"] if name not in [v for v in b.values() if v == name]
    ]


def test_stripped_exchange_is_noticed() -> None:
    parts = {
        exchange["id"]: (lambda s, d, name=exchange["id"]: _strip_exchange(s, d, name=name))
        for exchange in statement()["predicate"]["exchanges"]
    }
    spare = {
        exchange["id"]
        for exchange in statement()["predicate"]["exchanges"]
        if exchange["purpose"] in SPARE_EXCHANGES
    }
    assert survivors(parts) == spare


def test_stripped_nonce_is_noticed() -> None:
    def without(name: str) -> Callable[[Document, Document], None]:
        def change(found: Document, _document: Document) -> None:
            session, predicate = found["predicate"]["session"], found["predicate"]
            session["nonces"] = [n for n in session["nonces"] if n["id"] != name]
            predicate["bindings"] = [b for b in predicate["bindings"] if b.get("nonce") != name]

        return change

    names = [nonce["id"] for nonce in statement()["predicate"]["session"]["nonces"]]
    assert survivors({name: without(name) for name in names}) == set()


def _lists(found: Document) -> Iterator[tuple[str, list[Document]]]:
    predicate = found["predicate"]
    yield "nonces", predicate["session"]["nonces"]
    for name in ("artifacts", "exchanges"):
        yield name, predicate[name]
    yield "subject", found["subject"]


@pytest.mark.parametrize("name", ["artifacts", "exchanges", "nonces", "subject"])
def test_doubled_or_exchanged_entries_are_noticed(name: str) -> None:
    """An entry twice, or two neighbours in each other's place: one reading alone is accepted.

    The order of nonces says nothing: everything names them by id.
    """
    length = len(dict(_lists(statement()))[name])
    step = max(1, length // 12)
    for index in range(0, length, step):

        def double(found: Document, _document: Document, index: int = index) -> None:
            entries = dict(_lists(found))[name]
            entries.insert(index, copy.deepcopy(entries[index]))

        def exchange(found: Document, _document: Document, index: int = index) -> None:
            entries = dict(_lists(found))[name]
            entries[index - 1], entries[index] = entries[index], entries[index - 1]

        assert changed(double) != "VERIFIED"
        assert (changed(exchange) == "VERIFIED") is (name == "nonces")


# --- the packed object ------------------------------------------------------------------------


def document() -> Document:
    found: Document = json.loads(good().bundle)
    return found


def outer(found: Document) -> str:
    return verdict(good(), bundle=packed(found))


@pytest.mark.parametrize("name", sorted(document()))
def test_outer_member_deleted_or_of_another_type_is_unusable(name: str) -> None:
    found = document()
    value = found.pop(name)
    assert outer(found) == UNUSABLE
    for other in (None, 1, "text", [1], {"a": 1}):
        assert outer({**document(), name: other}) == UNUSABLE
    assert value != 1


@pytest.mark.parametrize("name", sorted(document()["statement"]))
def test_envelope_member_deleted_is_unusable(name: str) -> None:
    found = document()
    del found["statement"][name]
    assert outer(found) == UNUSABLE


def test_signature_stripped_or_doubled_is_never_verified() -> None:
    found = document()
    found["statement"]["signatures"] = []
    assert outer(found) != "VERIFIED"
    found = document()
    found["statement"]["signatures"] *= 2
    assert outer(found) == UNUSABLE


def test_member_that_stands_twice_is_unusable() -> None:
    text = good().bundle.decode()
    for name in (*document(), "payload", "keyid", "encoding"):
        doubled = text.replace(f'"{name}":', f'"{name}": null, "{name}":', 1)
        assert verdict(good(), bundle=doubled.encode()) == UNUSABLE


def test_order_of_members_says_nothing() -> None:
    assert outer(dict(reversed(document().items()))) == "VERIFIED"


def test_deleted_blob_is_never_verified() -> None:
    for digest in document()["blobs"]:
        found = document()
        del found["blobs"][digest]
        assert outer(found) == "INCOMPLETE", digest


def test_exchanged_blobs_are_rejected() -> None:
    digests = list(document()["blobs"])
    for first, second in pairwise(digests):
        found = document()
        blobs = found["blobs"]
        blobs[first], blobs[second] = blobs[second], blobs[first]
        assert outer(found) == "REJECTED", first
