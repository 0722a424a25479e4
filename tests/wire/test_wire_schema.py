"""Schemas: the fast reader and the reference validator give one answer on every instance."""

from __future__ import annotations

import base64
import copy
import json
from functools import cache
from typing import Any

import jsonschema
import pytest

from fixtures.worked_example import OTHER, SIGNER, Draft, artifact, exchange
from verify.engine.errors import FormatError, InternalFault
from verify.wire import schema
from verify.wire.exploded import BUNDLE, explode
from verify.wire.roles import FRAMINGS
from verify.wire.strict_json import parse_own

NAMES = ("bundle", "statement", "attachment", "headers", "exploded")
OWN = pytest.mark.parametrize("name", NAMES)


@cache
def reference(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema.load(name))


def fast(name: str, value: Any) -> bool:
    try:
        schema.check(name, value)
    except FormatError:
        return False
    return True


def agreed(name: str, value: Any) -> bool:
    answer = fast(name, value)
    assert reference(name).is_valid(value) is answer, json.dumps(value)[:300]
    return answer


def rich_draft() -> Draft:
    """One bundle with every member, branch and kind that the schemas know."""
    draft = Draft(signers=(SIGNER, OTHER))
    predicate = draft.predicate
    predicate["capture"].update(
        mode="import",
        host="host-1",
        importedFrom={"description": "d", "times": "recorded", "files": ["sha256:" + "0" * 64]},
        retention={"class": "r", "until": None, "legalHold": False},
    )
    predicate["capture"]["tool"].update(
        digest="sha256:" + "0" * 64, lock="sha256:" + "1" * 64, python="3.11"
    )
    predicate["session"]["nonces"].append(
        {
            "id": "nonce-2",
            "value": "00" * 16,
            "derivation": "foreign",
            "random": None,
            "beacon": None,
            "sentAs": "none",
        }
    )
    predicate["exchanges"].append(
        exchange(3, "collateral", 2, connection=None, firstByteAt=None, response=None)
    )
    predicate["exchanges"][0]["tls"] = {
        "version": "TLSv1.3",
        "cipher": "TLS_AES_128_GCM_SHA256",
        "alpn": None,
        "chain": ["att-1"],
        "spki": "sha256:" + "0" * 64,
        "webpki": True,
    }
    predicate["artifacts"][0]["sha512"] = "0" * 128
    ids = ["att-1", "quote-1"]
    predicate["bindings"] += [
        {"type": "key-in-evidence", "key": "att-1", "evidence": "quote-1"},
        {"type": "tls-in-evidence", "exchange": "ex-1", "evidence": "quote-1"},
        {"type": "devices-in-evidence", "devices": ids, "evidence": "quote-1"},
        {"type": "devices-share-nonce", "devices": ids, "evidence": "quote-1"},
        {"type": "chain-for", "evidence": "quote-1", "with": ids},
        {"type": "collateral-for", "evidence": "quote-1", "with": ids},
        {"type": "log-in-evidence", "log": "att-1", "evidence": "quote-1"},
        {"type": "code-in-evidence", "code": "att-1", "evidence": "quote-1"},
        {"type": "release-for", "release": ids, "evidence": "quote-1"},
        {
            "type": "signature-covers",
            "signature": "att-1",
            "key": "att-1",
            "request": "req-1",
            "response": None,
        },
        {
            "type": "receipt-covers",
            "receipt": "att-1",
            "key": "att-1",
            "request": None,
            "response": "res-1",
        },
        {"type": "attested-around", "before": "att-1", "after": "att-1", "chat": "ex-2"},
        {
            "type": "nras-covers",
            "request": "att-1",
            "answer": "att-1",
            "jwks": "att-1",
            "devices": ids,
        },
    ]
    predicate["observations"] = [{"check": "tdx.quote.format", "status": "not-run", "note": ""}]
    predicate["extensions"] = {"urn:example:a": {"b": [1]}}
    predicate["critical"] = ["urn:example:a", "urn:example:b"]
    draft.redactions.append(
        {"artifact": "res-1", "reason": "size", "attachment": "sha256:" + "0" * 64}
    )
    draft.material.append(
        {"keyid": SIGNER.keyid, "x509Chain": ["AAAA"], "rfc3161": ["AAAA"], "tlogProofs": ["a\n"]}
    )
    draft.renewals.append(
        {
            "kind": "timestamp",
            "hash": "sha256",
            "covers": ["sha256:" + "0" * 64],
            "token": "AAAA",
        }
    )
    draft.extra["sha256:" + "0" * 64] = {"encoding": "external", "size": 5}
    digest = "sha256:" + "0" * 64
    note = artifact("note-1", "document.text", b"n", {"local": "x"})
    for kind, members in (
        ("custody", {"sequence": 1, "previous": None, "action": "store", "file": digest}),
        ("countersignature", {"role": "witness", "covers": [digest]}),
        (
            "redaction",
            {
                "profile": "bodies",
                "removed": [{"artifact": "res-1", "digest": digest, "reason": "legal"}],
                "materialised": ["quote-1"],
            },
        ),
        (
            "nras-result",
            {
                "service": "https://nras.example/v4",
                "claims": "3.0",
                "consent": True,
                "devices": ["gpu-1"],
                "request": "note-1",
                "answer": "note-1",
                "jwks": "note-1",
            },
        ),
        ("collateral", {"replaces": "none", "note": "n"}),
        (
            "verdict",
            {
                "report": "note-1",
                "verdict": "VERIFIED",
                "policySha256": "0" * 64,
                "trustSha256": "0" * 64,
                "asOf": "2026-11-22T09:00:00.000Z",
            },
        ),
        ("declaration", {"kind": "note", "text": "note-1"}),
        ("retention", {"action": "hold", "until": "2030-01-01T00:00:00.000Z"}),
    ):
        draft.attach(kind, members, artifacts=[note], exchanges=[exchange(1, "nras", 1)])
    return draft


@cache
def instances(name: str) -> tuple[Any, ...]:
    draft = rich_draft()
    match name:
        case "bundle":
            return (Draft().document(), draft.document())
        case "statement":
            return (Draft().statement, draft.statement)
        case "exploded":
            plain = Draft().build()
            return (
                parse_own(explode(plain)[BUNDLE], limit=1 << 20),
                json.loads(explode(plain)[BUNDLE]),
            )
        case "headers":
            return ([], [["A", "b"], ["c-D", {"redacted": "secret"}]])
    payloads = [entry["statement"]["payload"] for entry in draft.attachments]
    return tuple(json.loads(base64.b64decode(payload)) for payload in payloads)


@OWN
def test_schema_accepts_every_good_instance(name):
    for value in instances(name):
        assert agreed(name, value), list(reference(name).iter_errors(value))


OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**53,
    2**53 - 1,
    "",
    "a",
    "A\n",
    "a" * 64,
    "a" * 65,
    "a" * 1025,
    "é\u0085",
    "sha256:" + "0" * 64,
    "sha256:" + "0" * 64 + "\n",
    "SHA256:" + "0" * 64,
    "0" * 64,
    "0" * 64 + "\n",
    "2026-11-21T06:10:00.000Z",
    "2026-11-21T06:10:00.000Z\n",
    "https://a/b",
    "https://u@a/b",
    "https://a/b#c",
    "https://a/b\n",
    "select:/a~2",
    "select:/a\n",
    "/a~0/b",
    "urn:example:a",
    "urn:example:a\n",
    [],
    [1],
    ["a", "a"],
    {},
    {"a": 1},
    {"exchange": "a", "local": "b"},
)


def places(value: Any, path: tuple[Any, ...] = ()):
    yield path
    if isinstance(value, dict):
        for name in value:
            yield from places(value[name], (*path, name))
    elif isinstance(value, list):
        # Beyond the first two elements the same rules say the same.
        for index in range(min(len(value), 20)):
            yield from places(value[index], (*path, index))


def put(value: Any, path: tuple[Any, ...], change) -> Any:
    """Return a copy with the container of ``path`` changed in place."""
    made = copy.deepcopy(value)
    at = made
    for step in path[:-1]:
        at = at[step]
    change(at, path[-1])
    return made


def mutants(value: Any):
    for path in places(value):
        if not path:
            yield from OTHERS
            continue
        for other in OTHERS:
            yield put(value, path, lambda at, key, other=other: at.__setitem__(key, other))
        yield put(value, path, lambda at, key: at.__delitem__(key))
        if isinstance(path[-1], str):
            yield put(value, path, lambda at, key: at.update({key + "x": at[key]}))
        else:
            yield put(value, path, lambda at, key: at.append(at[key]))


@pytest.mark.parametrize("name", ["headers", "exploded"])
def test_schema_readers_agree_on_every_mutant(name):
    for value in instances(name):
        for mutant in mutants(value):
            agreed(name, mutant)


def trimmed(value: Any, every: int, offset: int):
    for number, mutant in enumerate(mutants(value)):
        if number % every == offset:
            yield mutant


@pytest.mark.parametrize("name", ["bundle", "statement", "attachment"])
def test_schema_readers_agree_on_a_spread_of_mutants(name):
    """Every place and every replacement is met; a stride keeps the slow reference affordable."""
    for value in instances(name):
        for mutant in trimmed(value, 53, 3):
            agreed(name, mutant)


# --- every keyword does something ------------------------------------------------------------


def keywords(node: Any, path: tuple[Any, ...] = ()):
    """Give (path of a subschema, keyword) for every assertion keyword."""
    assertions = {
        "type", "const", "enum", "required", "additionalProperties", "maxProperties",
        "propertyNames", "items", "minItems", "maxItems", "uniqueItems", "minLength",
        "maxLength", "pattern", "minimum", "maximum", "not", "anyOf",
    }  # fmt: skip
    if not isinstance(node, dict):
        return
    for keyword, below in node.items():
        if keyword in assertions:
            yield path, keyword
        if keyword in ("properties", "$defs", "patternProperties"):
            for name, inner in below.items():
                yield from keywords(inner, (*path, keyword, name))
        elif keyword in ("anyOf", "prefixItems"):
            for index, inner in enumerate(below):
                yield from keywords(inner, (*path, keyword, index))
        elif keyword in ("items", "not", "propertyNames"):
            yield from keywords(below, (*path, keyword))


def without(root: Any, path: tuple[Any, ...], keyword: str) -> Any:
    made = copy.deepcopy(root)
    at = made
    for step in path:
        at = at[step]
    del at[keyword]
    return made


def at_path(root: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        root = root[step]
    return root


def witness_values(node: dict[str, Any], keyword: str):
    """Values that this keyword may refuse; whether it alone does is tried."""
    rule = node[keyword]
    yield from OTHERS
    if keyword == "maxLength":
        yield "a" * (rule + 1)
        yield "https://" + "a" * rule
        yield "/" * (rule + 1)
        yield "a/" + "a" * rule
        yield "urn:aa:" + "a" * rule
        yield "select:" + "/" * rule
        yield "0" * (rule + 2)
    if keyword == "minLength":
        yield "a" * (rule - 1)
    if keyword == "minimum":
        yield rule - 1
    if keyword == "maximum":
        yield rule + 1
    if keyword == "pattern":
        yield "~" * node["minLength"] if "minLength" in node else "~"
        yield "Z" * node.get("minLength", 1)


EVERY = sorted(path.name.partition(".")[0] for path in schema.folder().glob("*.json"))


def scalar_definitions(root: Any):
    """Definitions without references or objects: each can be judged by itself."""
    for name, node in root.get("$defs", {}).items():
        text = json.dumps(node)
        if "$ref" not in text and '"properties"' not in text and '"items"' not in text:
            yield name, node


BESIDE_A_PATTERN = {"minLength", "maxLength", "not"}
"""Stand beside a pattern against a trailing newline, which some engines let through."""


@pytest.mark.parametrize("name", EVERY)
def test_schema_keyword_of_every_scalar_refuses_something(name):
    root = schema.load(name)
    for label, node in scalar_definitions(root):
        for path, keyword in keywords(node):
            inner = at_path(node, path)
            if "not" in path or (keyword in BESIDE_A_PATTERN and "pattern" in inner):
                continue
            reduced = without(node, path, keyword)
            lax = jsonschema.Draft202012Validator(reduced)
            strict = jsonschema.Draft202012Validator(node)
            assert any(
                lax.is_valid(value) and not strict.is_valid(value)
                for value in witness_values(inner, keyword)
            ), f"{name} {label}: {keyword} refuses nothing"


OPTIONAL = {"capture": ("host", "retention"), "tool": ("digest", "lock", "python")}


@OWN
def test_schema_objects_refuse_missing_and_further_members(name):
    """For every object that the good instances reach: each member, and one more."""
    for value in instances(name):
        for path in places(value):
            found = at_path(value, path)
            if not isinstance(found, dict) or "extensions" in path:
                continue
            if path and path[-1] in ("blobs", "extensions"):
                continue
            more = {**found, "further": 1}
            mutant = (
                more
                if not path
                else put(value, path, lambda at, key, m=more: at.__setitem__(key, m))
            )
            assert not agreed(name, mutant), path
            for member in found:
                less = {key: below for key, below in found.items() if key != member}
                mutant = (
                    less
                    if not path
                    else put(value, path, lambda at, key, m=less: at.__setitem__(key, m))
                )
                optional = member in OPTIONAL.get(str(path[-1:] and path[-1]), ())
                assert agreed(name, mutant) is (optional or member == "sha512"), (path, member)


def test_schema_lists_are_bounded_in_both_readers():
    base = Draft().statement
    subject = base["subject"][0]
    for count, accepted in ((4096, True), (4097, False)):
        value = {**base, "subject": [subject] * count}
        assert agreed("statement", value) is accepted


# --- the definitions that stand in several files ---------------------------------------------


def test_schema_definitions_of_one_name_are_equal_in_our_files():
    seen: dict[str, Any] = {}
    different = {"envelope", "blob"}  # payloads and data are empty in the exploded form
    for name in NAMES:
        for label, node in schema.load(name).get("$defs", {}).items():
            if label not in different:
                assert seen.setdefault(label, node) == node, (name, label)


def test_schema_roles_are_those_of_the_code():
    roles = schema.load("statement")["$defs"]["role"]["enum"]
    assert roles == list(FRAMINGS)
    assert len(roles) == len(set(roles)) == 75


# --- the compiler refuses what it would not apply --------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        {"format": "date-time"},
        {"oneOf": [True]},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {}, "additionalProperties": {}},
        {"type": "object", "additionalProperties": False, "required": ["a"]},
        {"type": "object", "additionalProperties": False, "patternProperties": {"^a": True}},
        {"items": True},
        {"minItems": 1},
        {"not": {"const": 1}, "anyOf": [True]},
        {"const": 1, "enum": [1]},
        {"$ref": "https://example.org/schema"},
        {"$ref": "#/$defs/absent"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ],
)
def test_schema_with_a_rule_that_would_not_apply_is_a_fault(broken):
    with pytest.raises(InternalFault):
        schema.compile_schema(broken)


@pytest.mark.parametrize("name", ["bundle", "statement", "attachment", "headers", "exploded"])
def test_schema_that_is_applied_has_no_branch_that_cannot_be_compiled(name):
    schema.compile_schema(schema.load(name))


def test_schema_that_is_not_there_or_no_object_is_a_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(schema, "_folder", lambda: str(tmp_path))
    with pytest.raises(InternalFault):
        schema.load("bundle")
    (tmp_path / "bundle.v1.schema.json").write_text("[]")
    with pytest.raises(InternalFault):
        schema.load("bundle")


def test_schema_constants_keep_true_and_one_apart():
    check = schema.compile_schema({"enum": [True, 0, None, "a"]})
    for value in (True, 0, None, "a"):
        check(value)
    for value in (1, False, "b", [], 0.0):
        with pytest.raises(FormatError):
            check(value)


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        (
            {"type": ["object", "null"], "additionalProperties": False, "properties": {"a": True}},
            [None, {}, {"a": 1}],
            [[], {"b": 1}],
        ),
        (
            {
                "type": ["object", "null"],
                "maxProperties": 1,
                "propertyNames": {"maxLength": 2},
                "patternProperties": {"^a": {"type": "null"}},
                "additionalProperties": False,
            },
            [None, {}, {"a": None}],
            [{"a": 1}, {"b": None}, {"abc": None}, {"a": None, "ab": None}],
        ),
        (
            {"type": ["array", "null"], "maxItems": 2, "items": {}, "uniqueItems": True},
            [None, [], [1, 2], [1, "1"], [True, 1], ["a" * 99 + "b", "a" * 99 + "c"]],
            [[1, 1], [1, 2, 3], {}],
        ),
        (
            {"type": "array", "maxItems": 3, "prefixItems": [{"const": 1}], "items": False},
            [[], [1]],
            [[2], [1, 1]],
        ),
        ({"type": ["integer", "null"], "minimum": 1}, [None, 1, 9], [0, True]),
        ({"type": ["integer", "null"], "maximum": 1}, [None, 1, -9], [2, False]),
        ({"type": ["string", "null"], "maxLength": 1}, [None, "", "a"], ["ab"]),
    ],
)
def test_schema_rules_say_nothing_about_other_types(rules, good, bad):
    check = schema.compile_schema(rules)
    validator = jsonschema.Draft202012Validator(rules)
    for value in good:
        check(value)
        assert validator.is_valid(value)
    for value in bad:
        assert not validator.is_valid(value)
        with pytest.raises(FormatError):
            check(value)


def test_schema_explains_with_place_and_rule():
    value = copy.deepcopy(Draft().statement)
    assert schema.explain("statement", value) is None
    value["predicate"]["artifacts"][0]["size"] = 0
    assert (
        schema.explain("statement", value) == "/predicate/artifacts/0/size: schema rule 'minimum'"
    )
    assert schema.explain("statement", None) == "(top): schema rule 'type'"


def test_schema_reader_names_the_nearest_branch():
    value = copy.deepcopy(Draft().statement)
    value["predicate"]["capture"]["clock"]["source"] = "moon"
    with pytest.raises(FormatError) as caught:
        schema.check("statement", value)
    assert caught.value.path == "/predicate/capture/clock/source"
    assert '"moon"' in caught.value.what
