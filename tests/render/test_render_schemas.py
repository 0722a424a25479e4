"""Schemas of what we write: each member is needed, none may be added, each value is bounded."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from tests.render.sample_report import CRASHED, REJECTED, VERIFIED, sample
from verify.render import json as json_form

ROOT: Final = Path(__file__).resolve().parents[2]
Place = tuple[str | int, ...]


def validator(name: str) -> jsonschema.Draft202012Validator:
    path = ROOT / "schemas" / f"{name}.v1.schema.json"
    return jsonschema.Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))


def report(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    found = json.loads(json_form.rendered(sample(changes)))
    assert isinstance(found, dict)
    return found


def reports() -> list[dict[str, Any]]:
    full = report(REJECTED)
    full["error"] = {
        "kind": "online-unavailable",
        "code": "input.json",
        "file": "b.json",
        "pointer": "/a",
        "what": "no answer",
    }
    full["asOf"]["notBefore"] = {"instant": full["asOf"]["instant"], "by": "name:log-a"}
    full["reappraisal"] = {
        "asOf": copy.deepcopy(full["asOf"]),
        "verdict": "REJECTED",
        "checks": full["checks"][:1],
    }
    return [full, report(), report(CRASHED), report(VERIFIED)]


def row() -> dict[str, Any]:
    found = report(REJECTED)
    return {
        "path": "2026/a.evidence.json",
        "fileSha256": found["input"]["fileSha256"],
        "size": 1,
        "bundleId": found["input"]["bundleId"],
        "captureId": "urn:uuid:12345678-1234-4234-8234-123456789abc",
        "profile": "nanogpt",
        "mode": "live",
        "startedAt": found["asOf"]["instant"],
        "endedAt": found["asOf"]["instant"],
        "level": "upper",
        "asOf": found["asOf"]["instant"],
        "verdict": "REJECTED",
        "exitCode": 1,
        "firstCheck": "gpu.nonce",
        "firstReason": "gpu.nonce.mismatch",
        "failed": ["gpu.nonce"],
        "blocked": ["content.request"],
        "waived": ["gpu.topology"],
        "absentRoles": ["http.request.body"],
        "signers": [found["input"]["bundleId"]],
        "matchedPins": ["os-image"],
        "policySha256": "0" * 64,
        "trustSha256": "1" * 64,
        "tool": "teebundle-verify 1.0.0",
        "catalogueSha256": "2" * 64,
        "error": {
            "kind": "internal",
            "code": None,
            "file": None,
            "pointer": None,
            "what": "x",
        },
    }


def vectors() -> list[dict[str, Any]]:
    path = ROOT / "fixtures" / "vectors" / "INDEX.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    failing = next(r for r in rows if r["expect"]["also"])
    unusable = next((r for r in rows if r["expect"]["errorCode"]), None)
    return [found for found in (failing, unusable) if found is not None]


GOOD: Final = {"report": reports(), "result-row": [row()], "vector": vectors()}


def places(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    yield at, value
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, below in items:
        yield from places(below, (*at, key))


def changed(document: Any, at: Place, new: Any) -> Any:
    if not at:
        return new
    made = copy.deepcopy(document)
    holder = made
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = new
    return made


def mutants(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for at, found in places(document):
        if isinstance(found, dict):
            if at[-1:] != ("also",):
                for name in found:
                    yield (
                        f"{at} without {name}",
                        changed(document, at, {k: v for k, v in found.items() if k != name}),
                    )
            yield f"{at} with more", changed(document, at, {**found, "further": 1})
        yield f"{at} of another kind", changed(document, at, 0.5)
        if isinstance(found, str):
            yield f"{at} too long", changed(document, at, found + "x" * 5000)
            if len(found) < 128 and at[-1] not in FREE:
                yield f"{at} with a line end", changed(document, at, found + "\n")
        if isinstance(found, list):
            yield f"{at} of what it cannot hold", changed(document, at, [*found, 0.5])


FREE: Final = frozenset(
    [
        "what",
        "file",
        "pointer",
        "by",
        "operator",
        "name",
        "version",
        "profile",
        "profileClaimed",
        "detail",
        "got",
        "expected",
        "text",
        "because",
        "kind",
        "role",
        "signer",
        "path",
        "purpose",
        "description",
    ]
) | {0}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_schema_accepts_what_is_written(name: str) -> None:
    for document in GOOD[name]:
        validator(name).validate(document)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_schema_refuses_every_single_change_of_shape(name: str) -> None:
    judge = validator(name)
    accepted = [
        what
        for document in GOOD[name]
        for what, mutant in mutants(document)
        if judge.is_valid(mutant)
    ]
    assert accepted == []
