"""Intel's signed JSON answers: slicing out the signed bytes, strict reading, typed content.

A body is read once, with positions; its typed content is a fact only after the signature over the
slice was verified (`verify.intel.dcap`). Source: tdx.md 4.1, 4.2, 4.5, 13.1, 13.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NoReturn, TypeVar

from verify.crypto.cache import Bounded
from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.intel.quote import Tee
from verify.intel.tcb import (
    COMPONENT_STATUSES,
    PLATFORM_STATUSES,
    ComponentLevel,
    Module,
    PlatformLevel,
    TcbStatus,
)

BODY_LIMIT: Final = 256 * 1024
CHAIN_LIMIT: Final = 64 * 1024
DEPTH_LIMIT: Final = 32
OPENERS_LIMIT: Final = 8192
"""Arrays and objects in one body (about 900 *seen*)."""

T = TypeVar("T")


@value
class BodyCodes:
    """Reason codes of one kind of signed body (tdx.md 11, X in tcb_info, qe_identity)."""

    malformed: Reason
    signature_invalid: Reason
    type_mismatch: Reason
    status_unknown: Reason
    not_yet_valid: Reason
    expired: Reason


TCB_INFO: Final = BodyCodes(
    malformed=Reason.TDX_TCB_INFO_MALFORMED,
    signature_invalid=Reason.TDX_TCB_INFO_SIGNATURE_INVALID,
    type_mismatch=Reason.TDX_TCB_INFO_TYPE_MISMATCH,
    status_unknown=Reason.TDX_TCB_INFO_STATUS_UNKNOWN,
    not_yet_valid=Reason.TDX_TCB_INFO_NOT_YET_VALID,
    expired=Reason.TDX_TCB_INFO_EXPIRED,
)
QE_IDENTITY: Final = BodyCodes(
    malformed=Reason.TDX_QE_IDENTITY_MALFORMED,
    signature_invalid=Reason.TDX_QE_IDENTITY_SIGNATURE_INVALID,
    type_mismatch=Reason.TDX_QE_IDENTITY_TYPE_MISMATCH,
    status_unknown=Reason.TDX_QE_IDENTITY_STATUS_UNKNOWN,
    not_yet_valid=Reason.TDX_QE_IDENTITY_NOT_YET_VALID,
    expired=Reason.TDX_QE_IDENTITY_EXPIRED,
)


@value(eq=False)
class SignedBody:
    """``signed``: the inner object's exact bytes; ``content``: the same as parsed, unverified."""

    signed: bytes
    signature: bytes
    content: object


@value(eq=False)
class TcbInfo:
    """TCB info version 3. ``levels``: highest first. ``tdx_module``: TDX only.

    ``modules_in_order``: every module's levels stood highest first in the file already.
    """

    tee: Tee
    issue_date: datetime
    next_update: datetime
    fmspc: bytes
    pce_id: bytes
    evaluation_number: int
    tdx_module: Module | None
    modules: tuple[Module, ...]
    levels: tuple[PlatformLevel, ...]
    modules_in_order: bool


@value(eq=False)
class QeIdentity:
    """QE identity version 2. ``levels``: highest first; ``levels_in_order``: in the file too."""

    tee: Tee
    issue_date: datetime
    next_update: datetime
    evaluation_number: int
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mr_signer: bytes
    isv_prod_id: int
    levels: tuple[ComponentLevel, ...]
    levels_in_order: bool


# --- strict JSON with positions -----------------------------------------------------------------


def _no_float(text: str) -> NoReturn:
    message = f"a number that is no integer: {text[:20]}"
    raise ValueError(message)


def _integer(text: str) -> int:
    if text == "-0" or len(text) > 20:
        message = f"an integer out of any range: {text[:20]}"
        raise ValueError(message)
    return int(text)


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "a member name stands twice in one object"
        raise ValueError(message)
    return found


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=_no_float, parse_constant=_no_float, parse_int=_integer
)
_BLANKS: Final = re.compile(r"[ \t\n\r]*")
_SIGNATURE: Final = re.compile(r"[0-9A-Fa-f]{128}")


def _after_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()


def _value(text: str, at: int) -> tuple[object, int]:
    value: object
    value, end = _DECODER.raw_decode(text, at)
    return value, end


def _too_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return False
        level = below
    return True


def _split(text: str, member: str) -> tuple[dict[str, object], int, int]:
    """Read the outer object: its members, and where the value of ``member`` starts and stops."""
    at = _after_blanks(text, 0)
    if text[at : at + 1] != "{":
        message = "the body is no JSON object"
        raise ValueError(message)
    found: dict[str, object] = {}
    start = stop = 0
    while True:
        at = _after_blanks(text, at + 1)
        if text[at : at + 1] != '"':
            message = "a member name is missing"
            raise ValueError(message)
        name, at = _value(text, at)
        at = _after_blanks(text, at)
        if text[at : at + 1] != ":" or not isinstance(name, str) or name in found:
            message = "a member without a value, or twice"
            raise ValueError(message)
        begin = _after_blanks(text, at + 1)
        found[name], at = _value(text, begin)
        if name == member:
            start, stop = begin, at
        at = _after_blanks(text, at)
        if text[at : at + 1] == "}":
            break
        if text[at : at + 1] != "," or len(found) == 2:
            message = "the body has other members than two"
            raise ValueError(message)
    if _after_blanks(text, at + 1) != len(text):
        message = "text after the body's object"
        raise ValueError(message)
    return found, start, stop


def split_body(body: bytes, member: str, codes: BodyCodes) -> SignedBody:
    """Slice the signed object ``member`` out of a recorded answer.

    Raises FormatError (``tdx.input.too_large``, ``codes.malformed``). Source: tdx.md 4.5, 13.2.
    """
    if len(body) > BODY_LIMIT:
        raise FormatError(
            BODY_LIMIT, "a body of more than 256 KiB", reason=Reason.TDX_INPUT_TOO_LARGE
        )
    if body.count(b"[") + body.count(b"{") > OPENERS_LIMIT:
        # the decoder recurses once a level, and how far it may is not ours to say
        raise FormatError(0, "more nested values than any item holds", reason=codes.malformed)
    try:
        text = body.decode("utf-8")
        found, start, stop = _split(text, member)
    except (ValueError, RecursionError) as error:
        raise FormatError(0, str(error)[:120], reason=codes.malformed) from None
    signature = found.get("signature")
    inner = found.get(member)
    if set(found) != {member, "signature"} or not isinstance(inner, dict) or _too_deep(found):
        raise FormatError(
            0, f"not exactly the members {member} and signature", reason=codes.malformed
        )
    if not isinstance(signature, str) or _SIGNATURE.fullmatch(signature) is None:
        raise FormatError(
            0, "not 128 hexadecimal digits", reason=codes.malformed, path="/signature"
        )
    first = len(text[:start].encode("utf-8"))
    return SignedBody(
        signed=body[first : first + len(text[start:stop].encode("utf-8"))],
        signature=bytes.fromhex(signature),
        content=inner,
    )


# --- typed members ------------------------------------------------------------------------------

_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")
_HEX: Final = re.compile(r"[0-9A-Fa-f]*")
_ADVISORY: Final = re.compile(r"[\x21-\x7e]{1,64}")


@value(kw_only=False)
class _Place:
    """A value inside a signed object with its JSON Pointer: every reading method is strict."""

    value: object
    path: str
    codes: BodyCodes

    def fault(self, what: str) -> FormatError:
        return FormatError(0, what, reason=self.codes.malformed, path=self.path)

    def has(self, name: str) -> bool:
        return isinstance(self.value, dict) and name in self.value

    def at(self, name: str) -> _Place:
        if not isinstance(self.value, dict):
            raise self.fault("not an object")
        if name not in self.value:
            raise self.fault(f"without the member {name}")
        return _Place(self.value[name], f"{self.path}/{name}", self.codes)

    def items(self) -> list[_Place]:
        if not isinstance(self.value, list):
            raise self.fault("not a list")
        return [
            _Place(item, f"{self.path}/{index}", self.codes)
            for index, item in enumerate(self.value)
        ]

    def integer(self, top: int) -> int:
        value = self.value
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= top:
            raise self.fault(f"not an integer between 0 and {top}")
        return value

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fault("not a string")
        return self.value

    def octets(self, size: int) -> bytes:
        text = self.text()
        if len(text) != 2 * size or _HEX.fullmatch(text) is None:
            raise self.fault(f"not {2 * size} hexadecimal digits")
        return bytes.fromhex(text)

    def date(self) -> datetime:
        found = _DATE.fullmatch(self.text())
        if found is None:
            raise self.fault("not of the form YYYY-MM-DDTHH:MM:SSZ")
        year, month, day, hour, minute, second = (int(part) for part in found.groups())
        try:
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            raise self.fault("no date of the calendar") from None

    def status(self, allowed: dict[str, TcbStatus]) -> TcbStatus:
        found = allowed.get(self.text())
        if found is None:
            raise FormatError(
                0, f"TCB status {self.text()}", reason=self.codes.status_unknown, path=self.path
            )
        return found

    def advisories(self) -> tuple[str, ...]:
        if not self.has("advisoryIDs"):
            return ()
        names = []
        for item in self.at("advisoryIDs").items():
            if _ADVISORY.fullmatch(item.text()) is None:
                raise item.fault("not an advisory id")
            names.append(item.text())
        return tuple(names)

    def same(self, wanted: object) -> None:
        if type(self.value) is not type(wanted):
            raise self.fault(f"not a {type(wanted).__name__}")
        if self.value != wanted:
            raise FormatError(
                0,
                f"{self.value}, not {wanted}",
                reason=self.codes.type_mismatch,
                path=self.path,
            )


def _component_levels(place: _Place, top: int) -> tuple[tuple[ComponentLevel, ...], bool]:
    levels = [
        ComponentLevel(
            isv_svn=item.at("tcb").at("isvsvn").integer(top),
            tcb_date=item.at("tcbDate").date(),
            status=item.at("tcbStatus").status(COMPONENT_STATUSES),
            advisory_ids=item.advisories(),
        )
        for item in place.items()
    ]
    ordered = sorted(levels, key=lambda level: -level.isv_svn)
    if len({level.isv_svn for level in levels}) != len(levels):
        raise place.fault("a level stands twice")
    return tuple(ordered), ordered == levels


def _module(place: _Place) -> Module:
    place.at("attributesMask").octets(8)
    return Module(
        id="tdxModule",
        mr_signer=place.at("mrsigner").octets(48),
        attributes=place.at("attributes").octets(8),
        levels=(),
    )


def _module_identities(place: _Place) -> tuple[tuple[Module, ...], bool]:
    modules: list[Module] = []
    in_order = True
    for item in place.items():
        item.at("attributesMask").octets(8)
        levels, sorted_already = _component_levels(item.at("tcbLevels"), 0xFF)
        in_order = in_order and sorted_already
        modules.append(
            Module(
                id=item.at("id").text().upper(),
                mr_signer=item.at("mrsigner").octets(48),
                attributes=item.at("attributes").octets(8),
                levels=levels,
            )
        )
    if not modules:
        raise place.fault("an empty list of module identities")
    if len({module.id for module in modules}) != len(modules):
        raise place.fault("a module identity stands twice")
    return tuple(modules), in_order


def _components(place: _Place) -> tuple[int, ...]:
    found = tuple(item.at("svn").integer(0xFF) for item in place.items())
    if len(found) != 16:
        raise place.fault(f"{len(found)} components, not 16")
    return found


def _platform_level(place: _Place, tee: Tee) -> PlatformLevel:
    tcb = place.at("tcb")
    return PlatformLevel(
        sgx_components=_components(tcb.at("sgxtcbcomponents")),
        pce_svn=tcb.at("pcesvn").integer(0xFFFF),
        tdx_components=_components(tcb.at("tdxtcbcomponents")) if tee is Tee.TDX else (),
        tcb_date=place.at("tcbDate").date(),
        status=place.at("tcbStatus").status(PLATFORM_STATUSES),
        advisory_ids=place.advisories(),
    )


def _identified(place: _Place, names: dict[str, Tee]) -> Tee:
    found = names.get(place.text())
    if found is None:
        raise FormatError(0, place.text(), reason=place.codes.type_mismatch, path=place.path)
    return found


def _tcb_info(content: object) -> TcbInfo:
    place = _Place(content, "/tcbInfo", TCB_INFO)
    # Version 2 has another layout altogether, so the version is looked at before the members.
    place.at("version").same(3)
    tee = _identified(place.at("id"), {"TDX": Tee.TDX, "SGX": Tee.SGX})
    place.at("tcbType").same(0)
    tdx = tee is Tee.TDX
    modules: tuple[Module, ...] = ()
    in_order = True
    if tdx and place.has("tdxModuleIdentities"):
        modules, in_order = _module_identities(place.at("tdxModuleIdentities"))
    levels = sorted(
        (_platform_level(item, tee) for item in place.at("tcbLevels").items()),
        key=lambda level: level.key,
        reverse=True,
    )
    if len({level.key for level in levels}) != len(levels):
        raise place.at("tcbLevels").fault("a level stands twice")
    return TcbInfo(
        tee=tee,
        issue_date=place.at("issueDate").date(),
        next_update=place.at("nextUpdate").date(),
        fmspc=place.at("fmspc").octets(6),
        pce_id=place.at("pceId").octets(2),
        evaluation_number=place.at("tcbEvaluationDataNumber").integer(0x7FFFFFFF),
        tdx_module=_module(place.at("tdxModule")) if tdx else None,
        modules=modules,
        levels=tuple(levels),
        modules_in_order=in_order,
    )


def _qe_identity(content: object) -> QeIdentity:
    place = _Place(content, "/enclaveIdentity", QE_IDENTITY)
    place.at("version").same(2)
    tee = _identified(place.at("id"), {"TD_QE": Tee.TDX, "QE": Tee.SGX})
    levels, in_order = _component_levels(place.at("tcbLevels"), 0xFFFF)
    return QeIdentity(
        tee=tee,
        issue_date=place.at("issueDate").date(),
        next_update=place.at("nextUpdate").date(),
        evaluation_number=place.at("tcbEvaluationDataNumber").integer(0x7FFFFFFF),
        misc_select=place.at("miscselect").octets(4),
        misc_select_mask=place.at("miscselectMask").octets(4),
        attributes=place.at("attributes").octets(16),
        attributes_mask=place.at("attributesMask").octets(16),
        mr_signer=place.at("mrsigner").octets(32),
        isv_prod_id=place.at("isvprodid").integer(0xFFFF),
        levels=levels,
        levels_in_order=in_order,
    )


_BODIES: Final[Bounded[tuple[bytes, str], SignedBody]] = Bounded(64)
_INFOS: Final[Bounded[bytes, TcbInfo]] = Bounded(64)
_IDENTITIES: Final[Bounded[bytes, QeIdentity]] = Bounded(64)


def forget() -> None:
    """Empty the caches of this module."""
    _BODIES.clear()
    _INFOS.clear()
    _IDENTITIES.clear()


def _split_once(body: bytes, member: str, codes: BodyCodes) -> SignedBody:
    found = _BODIES.get((body, member))
    return found or _BODIES.put((body, member), split_body(body, member, codes))


def tcb_info_body(body: bytes) -> SignedBody:
    """Slice a TCB info answer. Raises FormatError. Source: tdx.md 4.1, 4.5."""
    return _split_once(body, "tcbInfo", TCB_INFO)


def qe_identity_body(body: bytes) -> SignedBody:
    """Slice a QE identity answer. Raises FormatError. Source: tdx.md 4.2, 4.5."""
    return _split_once(body, "enclaveIdentity", QE_IDENTITY)


def _read_once(cache: Bounded[bytes, T], body: SignedBody, read: Callable[[object], T]) -> T:
    found = cache.get(body.signed)
    return found if found is not None else cache.put(body.signed, read(body.content))


def read_tcb_info(body: SignedBody) -> TcbInfo:
    """Read the content of a TCB info whose signature was verified (step T4). Raises FormatError."""
    return _read_once(_INFOS, body, _tcb_info)


def read_qe_identity(body: SignedBody) -> QeIdentity:
    """Read the content of a QE identity whose signature was verified. Raises FormatError."""
    return _read_once(_IDENTITIES, body, _qe_identity)
