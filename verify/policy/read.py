"""Policy document to `Policy`: complete and strict in itself, no member left over or missing.

The shape comes first, then the rules between members. Raises ShapeError with the pointer of the
value at fault and, in the message, what to do. Source: verification.md 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar, cast

from verify.engine.check import Mode
from verify.policy import subjects
from verify.policy.model import (
    AllowedFinding,
    AnyOf,
    AnyText,
    AttachmentRules,
    Bound,
    ComposeManagerRules,
    Counts,
    EventLogRules,
    FieldRule,
    FlagRule,
    GpuRules,
    Ignore,
    ImageRules,
    IndexedValues,
    LegacyRules,
    LegacySlice,
    Level,
    Masked,
    NitroRules,
    NrasRules,
    PinSet,
    Policy,
    ProvenanceRules,
    ReceiptRules,
    RedactionRules,
    Release,
    SessionRules,
    Set,
    SignatureRules,
    Signers,
    SnpRules,
    SubjectRule,
    TdxRules,
    TimeRules,
    Tolerated,
    TrustRules,
    VtpmRules,
    Waiver,
    Zero,
)
from verify.wire.members import (
    DIGITS,
    HEX,
    LOWER,
    Members,
    ShapeError,
    as_hex,
    as_number,
    below,
    distinct,
    made_of,
)

SCHEMA_ID: Final = "urn:teebundle:schema:policy:v1"

T = TypeVar("T")

_DAY_S: Final = 86400
_MOST_S: Final = 100 * 366 * _DAY_S
_DAYS: Final = 36600
_COUNT: Final = 4096

_VISIBLE: Final = "".join(map(chr, range(0x20, 0x7F)))


def _is_profile(text: str) -> bool:
    return text[0] in LOWER + DIGITS and len(text) <= 64 and made_of(text, LOWER + DIGITS + ".-")


def _is_reference(text: str) -> bool:
    if text.startswith("sha256:"):
        return len(text) == 71 and made_of(text[7:], HEX)
    name = text.removeprefix("name:")
    return (
        len(name) == len(text) - 5
        and 1 <= len(name) <= 64
        and name[0] in LOWER
        and made_of(name, LOWER + DIGITS + "-")
    )


def _is_role(text: str) -> bool:
    parts = text.replace("-", ".").split(".")
    return len(parts) > 1 and all(part and made_of(part, LOWER + DIGITS) for part in parts)


def _is_advisory(text: str) -> bool:
    head, number = text[:-5], text[-5:]
    return head in ("INTEL-SA-", "INTEL-DOC-") and len(number) == 5 and made_of(number, DIGITS)


def _is_visible(text: str) -> bool:
    return len(text) <= 128 and made_of(text, _VISIBLE)


def _is_small_number(text: str) -> bool:
    """0 to 999 without leading zeros."""
    return made_of(text, DIGITS) and (text == "0" or (0 < len(text) <= 3 and text[0] != "0"))


TCB_STATUSES: Final = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
)
"""Statuses a policy may accept; ``Revoked`` is always a rejection (tdx.md 8)."""

FINDINGS: Final = (
    "tdx.policy.td_debug",
    "tdx.policy.td_profiling",
    "tdx.policy.td_reserved_bits",
    "tdx.policy.td_migratable",
    "tdx.policy.td_servtd_ext",
    "tdx.policy.service_td_bound",
    "tdx.policy.td_sept_ve_disable_clear",
    "tdx.policy.sgx_debug",
)
GPU_FAMILIES: Final = ("GH100", "GB100", "LS10")
GPU_MODES: Final = ("SPT", "MPT", "PPCIE", "unknown")
REQUEST_FORMS: Final = ("raw", "python_compact", "ionet_request", "model_renamed")
RESPONSE_FORMS: Final = ("raw", "python_default", "python_compact", "ionet_stream")
SNP_PRODUCTS: Final = ("milan", "genoa", "turin")
_SNP_COMPONENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "milan": ("bootloader", "tee", "snp", "microcode"),
    "genoa": ("bootloader", "tee", "snp", "microcode"),
    "turin": ("fmc", "bootloader", "tee", "snp", "microcode"),
}
SNP_GUEST_FLAGS: Final = (
    "smt_allowed",
    "single_socket",
    "cxl_allowed",
    "mem_aes_256_xts",
    "rapl_dis",
    "ciphertext_hiding_dram",
    "page_swap_disable",
)
SNP_PLATFORM_FLAGS: Final = (
    "smt_enabled",
    "tsme_enabled",
    "ecc_enabled",
    "rapl_disabled",
    "ciphertext_hiding_dram_enabled",
    "alias_check_complete",
    "tio_enabled",
)


def _some(items: tuple[T, ...], members: Members, name: str) -> tuple[T, ...]:
    """Refuse an empty list: it would accept nothing, or everything."""
    if not items:
        raise ShapeError(members.at(name), "must list at least one")
    return items


# --- field rules and sets --------------------------------------------------------------------


def _rule(members: Members, size: int) -> FieldRule:
    name = members.choice("rule", ("set", "any_of", "mask", "zero", "bound", "release", "ignore"))
    match name:
        case "any_of":
            return AnyOf(values=members.hexes("values", size))
        case "mask":
            mask = as_hex(members.take("mask"), members.at("mask"), size)
            value = as_hex(members.take("value"), members.at("value"), size)
            if bytes(a & b for a, b in zip(mask, value, strict=True)) != value:
                raise ShapeError(members.at("value"), "has bits outside the mask: it can never fit")
            return Masked(mask=mask, value=value)
        case "bound":
            return Bound(by=members.choice("by", tuple(subjects.SUBJECT_OF)))
        case "ignore":
            return Ignore(because=members.text("because"))
        case "zero":
            return Zero()
        case "release":
            return Release()
        case _:
            return Set()


def _fields(members: Members, sizes: Mapping[str, int]) -> dict[str, FieldRule]:
    fields = members.below("fields")
    found: dict[str, FieldRule] = {}
    for name in fields.names():
        if name not in sizes:
            raise ShapeError(fields.at(name), f"{name!r} is no field of an accepted structure")
        rule = fields.below(name)
        found[name] = _rule(rule, sizes[name])
        rule.done()
    missing = [name for name in sizes if name not in found]
    if missing:
        raise ShapeError(fields.pointer, f"no rule for {', '.join(missing)}: every field needs one")
    return found


def _sets(
    members: Members, fields: Mapping[str, FieldRule], sizes: Mapping[str, int]
) -> tuple[PinSet, ...]:
    wanted = [name for name, rule in fields.items() if isinstance(rule, Set)]

    def one(entry: Members) -> PinSet:
        name = entry.text("name")
        because = entry.text("because")
        values = entry.below("values")
        found = {field: _some(values.hexes(field, sizes[field]), values, field) for field in wanted}
        values.done()
        return PinSet(name=name, because=because, values=found)

    sets = members.each("sets", one)
    distinct(tuple(pins.name for pins in sets), members.at("sets"))
    if sets and not wanted:
        raise ShapeError(members.at("sets"), "no field has the rule set, so no set is ever used")
    return sets


def _pins(
    members: Members, sizes: Mapping[str, int]
) -> tuple[dict[str, FieldRule], tuple[PinSet, ...]]:
    fields = _fields(members, sizes)
    return fields, _sets(members, fields, sizes)


# --- sections of subjects --------------------------------------------------------------------


def _tdx(members: Members) -> TdxRules:
    types = _some(
        members.choices("accept_report_types", tuple(subjects.REPORT_FIELDS)),
        members,
        "accept_report_types",
    )
    sizes: dict[str, int] = {}
    for report_type in types:
        sizes.update(subjects.REPORT_FIELDS[report_type])
    statuses = _some(
        members.choices("accepted_tcb_status", TCB_STATUSES), members, "accepted_tcb_status"
    )
    fields = _fields(members, sizes)
    for name in subjects.ELSEWHERE & fields.keys():
        if isinstance(fields[name], Set | Release):
            raise ShapeError(
                below(members.at("fields"), name),
                "is judged in tdx.attributes: use any_of, mask, zero or ignore",
            )
    sets = _sets(members, fields, sizes)
    return TdxRules(
        accept_report_types=types,
        accepted_tcb_status=statuses,
        platform_grace_days=members.number("platform_grace_days", 0, _DAYS),
        rejected_advisory_ids=members.matches(
            "rejected_advisory_ids", _is_advisory, "an id like INTEL-SA-00837"
        ),
        min_tcb_evaluation_data_number=members.number("min_tcb_evaluation_data_number", 0, 2**31),
        allow_dynamic_platform=members.flag("allow_dynamic_platform"),
        allow_cached_keys=members.flag("allow_cached_keys"),
        allow_smt=members.flag("allow_smt"),
        allow_findings=members.each(
            "allow_findings",
            lambda entry: AllowedFinding(
                finding=entry.choice("finding", FINDINGS), because=entry.text("because")
            ),
        ),
        fields=fields,
        sets=sets,
    )


def _flags(members: Members, name: str, known: Sequence[str]) -> dict[str, FlagRule]:
    flags = members.below(name)
    found = {
        flag: cast("FlagRule", flags.choice(flag, ("required", "forbidden", "any")))
        for flag in known
    }
    flags.done()
    return found


def _numbers_text(members: Members, name: str, count: int) -> tuple[int, ...] | None:
    value = members.take(name)
    if value == "any":
        return None
    parts = value.split(".") if isinstance(value, str) else []
    if len(parts) != count or not all(map(_is_small_number, parts)):
        raise ShapeError(
            members.at(name), f'must be a quoted version of {count} numbers like "1.55", or "any"'
        )
    return tuple(map(int, parts))


def _minimum_tcb(members: Members) -> dict[str, Mapping[str, int]]:
    table = members.below("minimum_tcb")
    found: dict[str, Mapping[str, int]] = {}
    for product in table.names():
        if product not in SNP_PRODUCTS:
            raise ShapeError(table.at(product), f"no product: {', '.join(SNP_PRODUCTS)}")
        levels = table.below(product)
        found[product] = {name: levels.number(name, 0, 255) for name in _SNP_COMPONENTS[product]}
        levels.done()
    return found


def _mitigations(members: Members) -> dict[str, int]:
    table = members.below("required_mitigations")
    found = {product: table.number(product, 0, 2**32 - 1) for product in SNP_PRODUCTS}
    table.done()
    return found


def _snp(members: Members) -> SnpRules:
    products = _some(members.choices("accept_products", SNP_PRODUCTS), members, "accept_products")
    versions = _listed_numbers(members, "accept_report_versions", 2, 5)
    keys = _some(
        members.choices("accept_signing_keys", ("vcek", "vlek")), members, "accept_signing_keys"
    )
    csp = members.take("accept_csp_ids")
    csp_ids: tuple[str, ...] | None = None
    if csp != "any":
        again = Members({"accept_csp_ids": csp}, members.pointer)
        csp_ids = again.texts("accept_csp_ids")
        if "vlek" in keys:
            _some(csp_ids, members, "accept_csp_ids")
    apply_to = _some(
        members.choices("apply_minimum_to", ("reported", "launch", "committed", "current")),
        members,
        "apply_minimum_to",
    )
    fields, sets = _pins(members, subjects.SNP_FIELDS)
    abi = _numbers_text(members, "minimum_guest_abi", 2)
    firmware = _numbers_text(members, "minimum_firmware", 3)
    return SnpRules(
        accept_products=products,
        accept_report_versions=versions,
        accept_signing_keys=keys,
        accept_csp_ids=csp_ids,
        allow_debug=members.flag("allow_debug"),
        allow_migration=members.flag("allow_migration"),
        allow_masked_chip_id=members.flag("allow_masked_chip_id"),
        accept_vmpl=_listed_numbers(members, "accept_vmpl", 0, 3),
        guest_flags=_flags(members, "guest_flags", SNP_GUEST_FLAGS),
        minimum_guest_abi=None if abi is None else (abi[0], abi[1]),
        minimum_tcb=_minimum_tcb(members),
        apply_minimum_to=apply_to,
        minimum_firmware=None if firmware is None else (firmware[0], firmware[1], firmware[2]),
        require_committed_equals_current=members.flag("require_committed_equals_current"),
        required_mitigations=_mitigations(members),
        platform_flags=_flags(members, "platform_flags", SNP_PLATFORM_FLAGS),
        accept_leaf_minted_within_s=members.number("accept_leaf_minted_within_s", 0, _MOST_S),
        minimum_guest_svn=members.number("minimum_guest_svn", 0, 2**32 - 1),
        fields=fields,
        sets=sets,
    )


def _listed_numbers(members: Members, name: str, low: int, high: int) -> tuple[int, ...]:
    value = members.take(name)
    pointer = members.at(name)
    if not isinstance(value, list) or not value:
        raise ShapeError(pointer, f"must list at least one number from {low} to {high}")
    return distinct(
        tuple(as_number(item, below(pointer, i), low, high) for i, item in enumerate(value)),
        pointer,
    )


def _nitro(members: Members) -> NitroRules:
    fields, sets = _pins(members, subjects.NITRO_FIELDS)
    distance = members.number("max_document_distance_s", 0, _MOST_S)
    return NitroRules(max_document_distance_s=distance, fields=fields, sets=sets)


def _vtpm(members: Members) -> VtpmRules:
    fields, sets = _pins(members, subjects.VTPM_FIELDS)
    return VtpmRules(fields=fields, sets=sets)


def _event_log(members: Members) -> EventLogRules:
    return EventLogRules(
        compose_hashes=members.hexes("compose_hashes", 32),
        require_events=members.matches("require_events", _is_visible, "an event name"),
    )


def _any_text(members: Members, name: str) -> AnyText | Ignore:
    entry = members.below(name)
    found: AnyText | Ignore
    if entry.choice("rule", ("any_of", "ignore")) == "any_of":
        found = AnyText(values=entry.matches("values", _is_visible, "a version text"))
    else:
        found = Ignore(because=entry.text("because"))
    entry.done()
    return found


def _gpu_measurements(members: Members) -> IndexedValues | Ignore:
    entry = members.below("measurements")
    found: IndexedValues | Ignore
    if entry.choice("rule", ("any_of", "ignore")) == "any_of":
        rows = entry.each(
            "values",
            lambda row: (
                row.number("index", 1, 239),
                _some(row.hexes("values", None), row, "values"),
            ),
        )
        distinct(tuple(index for index, _ in rows), entry.at("values"))
        found = IndexedValues(values=dict(rows))
    else:
        found = Ignore(because=entry.text("because"))
    entry.done()
    return found


def _gpu(members: Members) -> GpuRules:
    return GpuRules(
        families=_some(members.choices("families", GPU_FAMILIES), members, "families"),
        driver=_any_text(members, "driver"),
        vbios=_any_text(members, "vbios"),
        mode=_some(members.choices("mode", GPU_MODES), members, "mode"),
        measurements=_gpu_measurements(members),
        allow_certificate_hold=members.flag("allow_certificate_hold"),
    )


def _nras(members: Members) -> NrasRules:
    return NrasRules(
        claims_versions=_some(
            members.choices("claims_versions", ("2.0", "3.0")), members, "claims_versions"
        ),
        max_capture_distance_s=members.number("max_capture_distance_s", 0, _MOST_S),
    )


def _texts_or_any(members: Members, name: str) -> tuple[str, ...] | None:
    found = members.take(name)
    if found == "any":
        return None
    return Members({name: found}, members.pointer).texts(name)


def _provenance(members: Members) -> ProvenanceRules:
    return ProvenanceRules(
        repositories=members.texts("repositories"),
        workflows=_texts_or_any(members, "workflows"),
        tags=_texts_or_any(members, "tags"),
        predicate_types=members.texts("predicate_types"),
    )


def _signature(members: Members) -> SignatureRules:
    return SignatureRules(
        algorithms=_some(
            members.choices("algorithms", ("ecdsa", "ed25519")), members, "algorithms"
        ),
        roles=_some(members.choices("roles", ("model", "gateway")), members, "roles"),
        request_forms=_some(
            members.choices("request_forms", REQUEST_FORMS), members, "request_forms"
        ),
        response_forms=_some(
            members.choices("response_forms", RESPONSE_FORMS), members, "response_forms"
        ),
    )


def _slice(entry: Members) -> LegacySlice:
    label = entry.text("label")
    role = entry.choice("role", ("tdx.quote", "nvidia.gpu-evidence"))
    start = entry.number("start", 0, 65535)
    stop = entry.number("stop", 1, 65536)
    if stop <= start:
        raise ShapeError(entry.at("stop"), "must lie after start")
    return LegacySlice(
        label=label,
        role=role,
        start=start,
        stop=stop,
        allowed=_some(entry.hexes("allowed", stop - start), entry, "allowed"),
        covers=entry.text("covers"),
    )


def _compose_manager(members: Members) -> ComposeManagerRules:  # noqa: ARG001
    return ComposeManagerRules()


# --- members of every policy -----------------------------------------------------------------


def _signers(members: Members) -> Signers:
    return Signers(
        accept=members.matches("accept", _is_reference, '"name:…" or a key id'),
        threshold=members.number("threshold", 1, 8),
        distinct_operators=members.flag("distinct_operators"),
    )


def _attachments(members: Members) -> AttachmentRules:
    return AttachmentRules(
        accept=members.matches("accept", _is_reference, '"name:…" or a key id'),
        require=members.choices("require", subjects.ATTACHMENT_KINDS),
        require_custody_chain=members.flag("require_custody_chain"),
    )


def _time(members: Members) -> TimeRules:
    return TimeRules(
        require=Level(members.choice("require", [level.value for level in Level])),
        accept_tsa=members.matches("accept_tsa", _is_reference, '"name:…" or a digest'),
        accept_logs=members.matches("accept_logs", _is_reference, '"name:…" or a digest'),
        witness_quorum=members.number("witness_quorum", 0, 64),
        max_sealing_delay_s=members.number("max_sealing_delay_s", 0, _MOST_S),
        max_beacon_age_s=members.number("max_beacon_age_s", 0, _MOST_S),
        max_capture_s=members.number("max_capture_s", 0, _MOST_S),
        clock_error_ms=members.number("clock_error_ms", 0, 1000 * _DAY_S),
    )


def _session(members: Members) -> SessionRules:
    rules = SessionRules(
        allow_import=members.flag("allow_import"),
        allow_foreign_nonce=members.flag("allow_foreign_nonce"),
        min_nonce_bytes=members.number("min_nonce_bytes", 16, 32),
        attest_around=members.flag("attest_around"),
        allow_attest_after_chat=members.flag("allow_attest_after_chat"),
    )
    if rules.min_nonce_bytes not in (16, 32):
        raise ShapeError(members.at("min_nonce_bytes"), "must be 16 or 32")
    return rules


def _trust(members: Members) -> TrustRules:
    return TrustRules(
        accept_added=members.choices("accept_added", subjects.VENDOR_PURPOSES),
        max_snapshot_age_days=members.number_or_any("max_snapshot_age_days", 0, _DAYS),
    )


def _redaction(members: Members) -> RedactionRules:
    rules = RedactionRules(
        require_signed=members.flag("require_signed"),
        tolerate=members.each(
            "tolerate",
            lambda entry: Tolerated(
                role=entry.match("role", _is_role, "an artifact role"),
                because=entry.text("because"),
            ),
        ),
    )
    distinct(tuple(entry.role for entry in rules.tolerate), members.at("tolerate"))
    return rules


def _counts(members: Members) -> Counts:
    return Counts(
        cpu_min=members.number("cpu_min", 0, _COUNT),
        gpu_min=members.number("gpu_min", 0, _COUNT),
        gpu_exact=members.number_or_any("gpu_exact", 0, _COUNT),
        switch_exact=members.number_or_any("switch_exact", 0, _COUNT),
    )


def _subjects(members: Members) -> dict[str, SubjectRule]:
    found: dict[str, SubjectRule] = {}
    for name in subjects.NAMED:
        entry = members.below(name)
        mode = entry.choice("mode", (Mode.REQUIRED, Mode.IF_PRESENT, Mode.EXCLUDED))
        because = "" if mode == Mode.REQUIRED else entry.text("because")
        entry.done()
        found[name] = SubjectRule(mode=mode, because=because)
    for name in members.names():
        if name in subjects.ALWAYS_REQUIRED:
            raise ShapeError(members.at(name), f"{name} is always required and is not named here")
    return found


def _waive(entry: Members) -> Waiver:
    check = entry.text("check")
    if check not in subjects.SUBJECT_OF:
        raise ShapeError(entry.at("check"), f"no check is called {check!r}: see the catalogue")
    if subjects.SUBJECT_OF[check] == "container":
        raise ShapeError(entry.at("check"), "checks of the container cannot be waived")
    return Waiver(check=check, because=entry.text("because"))


def _image(members: Members) -> ImageRules:
    return ImageRules(digests=members.hexes("digests", 32))


def _receipt(members: Members) -> ReceiptRules:
    return ReceiptRules(allow_upstream_unverified=members.flag("allow_upstream_unverified"))


def _legacy(members: Members) -> LegacyRules:
    return LegacyRules(slices=_some(members.each("slices", _slice), members, "slices"))


def _bindings(members: Members) -> tuple[str, ...]:
    return members.choices("require", subjects.BINDING_TYPES)


def _reappraisal(members: Members) -> bool:
    return members.flag("enforce")


def _closed(members: Members, name: str, read: Callable[[Members], T]) -> T:
    """Read one map member to its end."""
    section = members.below(name)
    found = read(section)
    section.done()
    return found


def _section(
    members: Members,
    modes: Mapping[str, SubjectRule],
    name: str,
    read: Callable[[Members], T],
) -> T | None:
    """Read the section of a subject: there unless the subject is excluded, and only then."""
    if modes[name].mode != Mode.EXCLUDED:
        return _closed(members, name, read)
    if name in members:
        raise ShapeError(members.at(name), f"{name} is excluded: leave its section out")
    return None


# --- rules between members -------------------------------------------------------------------


def _shapes(members: Members) -> tuple[str, ...]:
    shapes = _some(
        members.choices("shapes", (*subjects.SHAPES, subjects.NO_SHAPE)), members, "shapes"
    )
    if subjects.NO_SHAPE in shapes and len(shapes) > 1:
        raise ShapeError(members.at("shapes"), f"{subjects.NO_SHAPE!r} stands alone")
    return shapes


def _judged(policy: Policy, check: str) -> str | None:
    """Say why a check does not judge under this policy, or None."""
    subject = subjects.SUBJECT_OF[check]
    mode = policy.mode(subject)
    if policy.waives(check):
        return f"{check} is waived"
    if mode == Mode.EXCLUDED:
        return f"{subject} is excluded"
    if mode == Mode.IF_PRESENT:
        return f"{subject} is judged only where present; make it required"
    return None


def _field_rules(policy: Policy, section: str, fields: Mapping[str, FieldRule]) -> None:
    for name, rule in fields.items():
        pointer = f"/{section}/fields/{name}"
        if isinstance(rule, Bound):
            if rule.by not in subjects.BINDERS.get(name, frozenset()):
                raise ShapeError(f"{pointer}/by", f"{rule.by} does not judge {name}")
            complaint = _judged(policy, rule.by)
            if complaint is not None:
                raise ShapeError(f"{pointer}/by", f"{complaint}, so nobody would judge {name}")
        elif isinstance(rule, Release):
            complaint = _judged(policy, "sigstore.release")
            if complaint is not None:
                raise ShapeError(pointer, f"{complaint}, so no release gives {name}")


def _between(policy: Policy) -> None:
    """Judge the rules that tie members together."""
    if not any(policy.judges(subject) for subject in ("tdx", "snp", "nitro", "gpu")):
        raise ShapeError("/subjects", "every kind of hardware evidence is excluded")
    if not policy.judges("gpu"):
        counts = policy.counts
        for name, value, wanted in (
            ("gpu_min", counts.gpu_min, 0),
            ("gpu_exact", counts.gpu_exact, None),
            ("switch_exact", counts.switch_exact, None),
        ):
            if value != wanted:
                word = "0" if wanted == 0 else '"any"'
                raise ShapeError(f"/counts/{name}", f"gpu is excluded: write {word}")
    for section, rules in (
        ("tdx", policy.tdx),
        ("snp", policy.snp),
        ("nitro", policy.nitro),
        ("vtpm", policy.vtpm),
    ):
        if rules is not None:
            _field_rules(policy, section, rules.fields)


def read_policy(document: object, sha256: str) -> Policy:
    """Read a parsed policy document. ``sha256``: of the file's bytes, lower-case hex.

    Raises ShapeError: the first thing wrong, with its pointer.
    """
    members = Members(document, "")
    members.choice("schema", (SCHEMA_ID,))
    name = members.text("name")
    version = members.text("version")
    profile = members.match("profile", _is_profile, "a profile name")
    description = members.text("description", empty=True)
    shapes = _shapes(members)
    modes = _closed(members, "subjects", _subjects)
    waive = members.each("waive", _waive)
    distinct(tuple(waiver.check for waiver in waive), members.at("waive"))
    policy = Policy(
        sha256=sha256,
        name=name,
        version=version,
        profile=profile,
        description=description,
        shapes=shapes,
        signers=_closed(members, "signers", _signers),
        attachments=_closed(members, "attachments", _attachments),
        time=_closed(members, "time", _time),
        session=_closed(members, "session", _session),
        trust=_closed(members, "trust", _trust),
        redaction=_closed(members, "redaction", _redaction),
        counts=_closed(members, "counts", _counts),
        subjects=modes,
        tdx=_section(members, modes, "tdx", _tdx),
        snp=_section(members, modes, "snp", _snp),
        nitro=_section(members, modes, "nitro", _nitro),
        vtpm=_section(members, modes, "vtpm", _vtpm),
        event_log=_section(members, modes, "event_log", _event_log),
        compose_manager=_section(members, modes, "compose_manager", _compose_manager),
        gpu=_section(members, modes, "gpu", _gpu),
        nras=_section(members, modes, "nras", _nras),
        provenance=_section(members, modes, "provenance", _provenance),
        image=_section(members, modes, "image", _image),
        signature=_section(members, modes, "signature", _signature),
        receipt=_section(members, modes, "receipt", _receipt),
        legacy=_section(members, modes, "legacy", _legacy),
        bindings=_closed(members, "bindings", _bindings),
        waive=waive,
        enforce_reappraisal=_closed(members, "reappraisal", _reappraisal),
    )
    members.done()
    _between(policy)
    return policy
