"""Dispatch on the shape of an answer: eleven rules, all evaluated, exactly one must hold.

Never on host or brand: a proxy changes family from one model to the next and from one month to the
next. Extra members never influence a rule.

Source: providers.md 1, 1.1, 2.8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from verify.engine.errors import FormatError, Refused
from verify.engine.later import later
from verify.engine.reason import Reason
from verify.families import dstack
from verify.families.identity import (
    Binding,
    Family,
    NonceRuling,
    RecognisedAnswer,
    ReportObject,
    Shape,
)
from verify.families.members import Companion
from verify.wire.strict_json import Json, JsonError, parse_evidence

if TYPE_CHECKING:
    from verify.families import aci, chutes, ionet, tinfoil
else:
    aci = later("verify.families.aci")
    chutes = later("verify.families.chutes")
    ionet = later("verify.families.ionet")
    tinfoil = later("verify.families.tinfoil")

MAX_ANSWER: Final = 8 * 1024 * 1024
"""Bytes of an attestation body (providers.md 2.8)."""

_V3: Final = "https://tinfoil.sh/predicate/attestation/v3"
_TINFOIL: Final = "https://tinfoil.sh/predicate/"
_JSON_FAULTS: Final[Mapping[str, Reason]] = {
    "input.duplicate_member": Reason.EXCHANGE_JSON_DUPLICATE_MEMBER,
    "input.depth": Reason.EXCHANGE_OVER_LIMIT,
    "input.count": Reason.EXCHANGE_OVER_LIMIT,
    "input.too_large": Reason.EXCHANGE_OVER_LIMIT,
}
_ERROR_MEMBERS: Final = ("error", "detail", "error_code", "message")
_EVIDENCE_MEMBERS: Final = frozenset(
    (
        "gateway_attestation",
        "intel_quote",
        "all_attestations",
        "evidence",
        "report_data",
        "body",
        "cpu",
        "attestation",
        "attestation_document",
    )
)

_Members = Mapping[str, Json]


def _object(members: _Members, name: str) -> bool:
    return isinstance(members.get(name), Mapping)


def _string(members: _Members, name: str) -> bool:
    return isinstance(members.get(name), str)


def _array(members: _Members, name: str) -> bool:
    value = members.get(name)
    return isinstance(value, Sequence) and not isinstance(value, str)


def _format(members: _Members) -> str:
    value = members.get("format")
    return value if isinstance(value, str) else ""


def _native_item(value: Json) -> bool:
    return (
        isinstance(value, Mapping)
        and _string(value, "quote")
        and _string(value, "instance_id")
        and _array(value, "gpu_evidence")
    )


def _native(members: _Members) -> bool:
    value = members.get("evidence")
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    return all(_native_item(item) for item in value)


def _ionet_cpu(members: _Members) -> bool:
    cpu = members.get("cpu")
    return isinstance(cpu, Mapping) and _string(cpu, "quote")


RULES: Final[tuple[tuple[Shape, Callable[[_Members], bool]], ...]] = (
    ("dstack-gateway", lambda m: _object(m, "gateway_attestation")),
    (
        "dstack-flat",
        lambda m: (
            _string(m, "intel_quote")
            and _string(m, "signing_address")
            and "gateway_attestation" not in m
            and "attestation_type" not in m
        ),
    ),
    (
        "chutes-aggregated",
        lambda m: m.get("attestation_type") == "chutes" and _array(m, "all_attestations"),
    ),
    ("chutes-native", _native),
    ("tinfoil-v3", lambda m: _format(m) == _V3 and _object(m, "report_data") and _object(m, "cpu")),
    (
        "tinfoil-v2",
        lambda m: _format(m).startswith(_TINFOIL) and _format(m) != _V3 and _string(m, "body"),
    ),
    (
        "tinfoil-wrapped",
        lambda m: m.get("attestation_type") == "tinfoil" and _string(m, "intel_quote"),
    ),
    (
        "ionet",
        lambda m: _ionet_cpu(m) and _object(m, "gpu") and _string(m, "signing_address"),
    ),
    ("aci", lambda m: m.get("api_version") == "aci/1" and _object(m, "attestation")),
    ("nitro", lambda m: _string(m, "attestation_document")),
)
"""R1 to R10. R11 speaks of three answers together: `is_secretvm`."""

FAMILIES: Final[Mapping[Shape, Family]] = {
    "dstack-gateway": "dstack",
    "dstack-flat": "dstack",
    "chutes-aggregated": "chutes",
    "chutes-native": "chutes",
    "tinfoil-v3": "tinfoil",
    "tinfoil-v2": "tinfoil",
    "tinfoil-wrapped": "tinfoil",
    "ionet": "ionet",
    "aci": "aci",
    "nitro": "nitro",
    "secretvm": "secretvm",
}

PROFILE_SHAPES: Final[Mapping[str, frozenset[str]]] = {
    "near-direct": frozenset(("dstack-flat",)),
    "near-gateway": frozenset(("dstack-gateway", "chutes-native")),
    "vllm-proxy": frozenset(("dstack-flat",)),
    "venice": frozenset(("dstack-flat",)),
    "redpill": frozenset(("dstack-gateway", "dstack-flat", "chutes-aggregated", "tinfoil-wrapped")),
    "nanogpt": frozenset(("dstack-gateway", "dstack-flat", "chutes-aggregated", "tinfoil-v2")),
    "ionet": frozenset(("ionet",)),
    "chutes": frozenset(("chutes-native",)),
    "tinfoil-v3": frozenset(("tinfoil-v3",)),
    "tinfoil-v2": frozenset(("tinfoil-v2",)),
    "aci": frozenset(("aci",)),
    "secretvm": frozenset(("secretvm",)),
    "nitro": frozenset(("nitro",)),
}
"""Profile -> shapes that its answers may have. Source: providers.md 1.1."""

PROXIED: Final = frozenset(("nanogpt", "venice", "redpill"))
"""Profiles whose client channel ends at a proxy without a TEE (providers.md 3.10, 3.11, 4)."""


class FamilyRules(Protocol):
    """What a family's module offers: one answer read, and its two formulas over a verified quote.

    ``companions``: other documents of the same service that the answer needs, such as a list of
    instances. ``seen``: SHA-256 of TLS keys seen with the answer. ``nonces``: of the session.
    """

    def read(
        self,
        members: _Members,
        artifact: str,
        shape: Shape,
        companions: Sequence[Companion] = (),
    ) -> RecognisedAnswer:
        """Read one answer. Raises `FormatError`, `Refused` with a closed code."""

    def judge_nonce(self, report: ReportObject, report_data: bytes, nonce: bytes) -> NonceRuling:
        """Return which nonce the quote binds."""

    def judge_binding(
        self,
        report: ReportObject,
        report_data: bytes,
        seen: Sequence[bytes],
        nonces: Sequence[bytes],
    ) -> Binding:
        """Return what else the quote binds."""


RULES_OF: Final[Mapping[Family, FamilyRules]] = {
    "dstack": dstack,
    "chutes": chutes,
    "tinfoil": tinfoil,
    "ionet": ionet,
    "aci": aci,
}
"""The families this version judges. A shape of another family is recognised, not judged."""

NOT_JUDGED: Final[frozenset[Shape]] = frozenset(("tinfoil-wrapped",))
"""Shapes of judged families whose bindings nobody can tell (providers.md 1)."""


def _parse(body: bytes) -> Json:
    if len(body) > MAX_ANSWER:
        raise FormatError(
            MAX_ANSWER, f"{len(body)} bytes of answer", reason=Reason.EXCHANGE_OVER_LIMIT
        )
    try:
        return parse_evidence(body)
    except JsonError as error:
        reason = _JSON_FAULTS.get(error.code, Reason.EXCHANGE_BODY_NOT_JSON)
        raise FormatError(error.offset, error.what, reason=reason) from error


def _refuse_error(members: _Members) -> None:
    for name in _ERROR_MEMBERS:
        if members.get(name) is not None:
            raise FormatError(
                0,
                "an error object instead of evidence",
                reason=Reason.EXCHANGE_ERROR_BODY,
                path=f"/{name}",
            )


def parse_record(body: bytes) -> _Members:
    """Return the top-level object of a versioned record beside the attestation.

    Raises `FormatError`: ``exchange.over_limit``, ``exchange.json_duplicate_member``,
    ``exchange.body_not_json``, ``exchange.error_body``, ``shape.field_type``.
    """
    value = _parse(body)
    if not isinstance(value, Mapping):
        raise FormatError(0, "not an object", reason=Reason.SHAPE_FIELD_TYPE, path="")
    if "api_version" not in value:
        _refuse_error(value)
    return value


def parse_answer(body: bytes) -> _Members:
    """Return the top-level object of an attestation body.

    Raises `FormatError`: ``exchange.over_limit``, ``exchange.json_duplicate_member``,
    ``exchange.body_not_json``, ``exchange.error_body``.
    """
    value = _parse(body)
    if not isinstance(value, Mapping):
        raise FormatError(0, "not an object", reason=Reason.SHAPE_UNKNOWN, path="")
    if not _EVIDENCE_MEMBERS.intersection(value):
        _refuse_error(value)
    return value


def recognise(members: _Members) -> Shape:
    """Return the one shape whose rule holds.

    Raises `Refused`: ``shape.unknown``, ``shape.ambiguous``. Source: providers.md 1.
    """
    found = [shape for shape, rule in RULES if rule(members)]
    if not found:
        raise Refused(
            Reason.SHAPE_UNKNOWN,
            "no dispatch rule holds",
            got=", ".join(sorted(members)),
            expected="the members of one known family",
            path="",
        )
    if len(found) > 1:
        raise Refused(
            Reason.SHAPE_AMBIGUOUS,
            "several dispatch rules hold",
            got=", ".join(found),
            expected="exactly one shape",
            path="",
        )
    return found[0]


def is_secretvm(answers: Sequence[tuple[str, str]]) -> bool:
    """Whether (URL, media type) pairs are R11: three text answers of one origin.

    Source: providers.md 1, 9.
    """
    origins: dict[str, set[str]] = {}
    for url, media_type in answers:
        scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        if media_type.startswith("text/plain"):
            origins.setdefault(f"{scheme}://{host}", set()).add(path.partition("?")[0])
    return any(paths >= {"cpu", "gpu", "docker-compose"} for paths in origins.values())


def read_answer(
    members: _Members, artifact: str, companions: Sequence[Companion] = ()
) -> RecognisedAnswer:
    """Return the answer read by its family. Raises `FormatError`, `Refused`.

    A shape whose family has no reader here is ``shape.family_not_judged`` (class absent): the
    `Refused` names it in ``got``.
    """
    shape = recognise(members)
    rules = RULES_OF.get(FAMILIES[shape])
    if rules is None or shape in NOT_JUDGED:
        raise Refused(
            Reason.SHAPE_FAMILY_NOT_JUDGED,
            f"shape {shape} is recognised and not judged by this version",
            got=shape,
            expected="a shape of a family that is judged",
            path="",
        )
    return rules.read(members, artifact, shape, companions)
