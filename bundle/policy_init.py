"""`policy init`: a policy of one's own, from a shipped default and, if given, a good bundle.

Without a bundle the default is written down to be filled in. With one, whatever the bundle shows is
taken over: its signer, the registers of *verified* quotes, the versions of *verified* GPU reports,
counts; subjects it does not hold are excluded; what it needs allowed is allowed. Every such line
says ``# from the bundle: confirm elsewhere``: a policy taken from a bundle accepts that bundle by
construction, and only a second source makes it a judgement.

Source: verification.md 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from bundle.policy_text import FROM_BUNDLE, policy_text
from verify.amd import snp as amd
from verify.api import open_unverified
from verify.checks.catalogue import CATALOGUE
from verify.checks.event_log import ReplayedLogs
from verify.checks.gpu_devices import AttestedDevices
from verify.checks.inputs import BlobSource, Inputs
from verify.checks.provenance import SignedReleases
from verify.checks.snp import VerifiedSnpReports
from verify.checks.subjects import listed, present
from verify.checks.tdx import VerifiedQuotes
from verify.dstack.compose import judge_compose
from verify.engine.asof import AsOf
from verify.engine.check import Catalogue, Check, Facts, Mode
from verify.engine.errors import Refused, UsageError
from verify.engine.outcome import Outcome, Status, passed
from verify.engine.reason import Reason
from verify.engine.run import run
from verify.engine.value import replace, value
from verify.policy.closed_yaml import parse_yaml
from verify.policy.loader import default_bytes, default_names, load_policy
from verify.policy.model import Fit, Policy, SnpRules, TdxRules, fit
from verify.policy.subjects import NAMED, REPORT_FIELDS, SUBJECT_OF
from verify.trust.store import TrustStore
from verify.wire.container import read_bundle
from verify.wire.limits import EXTERNAL_HARD, Limits
from verify.wire.model import ArtifactUnavailable, Evidence, Statement
from verify.wire.statement import AcceptedSigner, VerifiedPayload, establish_payload

Json: TypeAlias = Any
"""Plain values of a policy document, as the closed YAML reader gives them."""

Outcomes = Mapping[str, Outcome[object]]

_HELD_BY: Final = "the bundle this policy was made from holds none"


@value
class Draft:
    """A policy file's bytes and what keeps the bundle from VERIFIED under it.

    ``open``: check, status and reason of every row that neither passed nor is out of scope; none
    without a bundle. ``signer_known``: whether the bundle's own signature could be verified.
    ``default``: the shipped default it was made from.
    """

    default: str
    data: bytes
    open: tuple[tuple[str, str, str], ...]
    signer_known: bool


# --- reading a bundle whose signer may be unknown --------------------------------------------


def _taken(inputs: Inputs, facts: Facts) -> Outcome[VerifiedPayload]:  # noqa: ARG001
    """Stand in for row 1: take the payload although nobody vouched for it.

    Used to *read* a bundle for a draft, never to judge one: what a vendor signed inside is verified
    all the same, and the draft says of everything that it wants confirming.
    """
    envelope = inputs.bundle.statement.envelope
    signers = tuple(
        AcceptedSigner(
            keyid=found.keyid,
            name="",
            operator="",
            anchor=found.keyid.removeprefix("sha256:"),
            chain=(),
            signature=found.sig,
        )
        for found in envelope.signatures
    )
    return passed(establish_payload(envelope.payload, envelope.id, signers))


def _reading_catalogue() -> Catalogue[Inputs]:
    """The catalogue with row 1 replaced by `_taken`."""
    first, *rest = CATALOGUE
    taken: Check[Inputs] = replace(first, run=_taken)
    return Catalogue((taken, *rest))


BOUNDS: Final = Limits(external_blob=EXTERNAL_HARD)
"""A draft reads what the user has at hand, however large an answer lies beside it."""


def _outcomes(
    data: bytes,
    policy: Policy,
    trust: TrustStore,
    catalogue: Catalogue[Inputs],
    blobs: BlobSource | None,
) -> Outcomes:
    bundle = read_bundle(data, bounds=BOUNDS)
    inputs = Inputs(bundle=bundle, policy=policy, trust=trust, as_of=AsOf.capture(), blobs=blobs)
    rulings = policy.rulings((check.id, check.subject) for check in CATALOGUE)
    return run(catalogue, inputs, rulings, present)


# --- taking over -----------------------------------------------------------------------------


class _Document:
    """A policy document being adapted, and which of its values come from the bundle."""

    def __init__(self, document: dict[str, Json]) -> None:
        self.document = document
        self.comments: dict[str, str] = {}

    def put(self, pointer: str, new: Json) -> None:
        """Set a value and mark it, unless it stands there already."""
        *path, last = pointer.strip("/").split("/")
        container = self.document
        for name in path:
            container = container[name]
        if last in container and container[last] == new:
            return
        container[last] = new
        self.comments[pointer] = FROM_BUNDLE

    def policy(self) -> Policy:
        """Read the document as it stands."""
        return load_policy(policy_text(self.document))

    def reading_policy(self) -> Policy:
        """Return the policy to read a bundle with: every structure of a quote is let in."""
        document = {**self.document}
        if "tdx" in document:
            unpinned = {"rule": "ignore", "because": "being read, not judged"}
            every = {name for kind in REPORT_FIELDS.values() for name in kind}
            fields = {**dict.fromkeys(sorted(every), unpinned), **document["tdx"]["fields"]}
            types = list(REPORT_FIELDS)
            document["tdx"] = {**document["tdx"], "accept_report_types": types, "fields": fields}
        return load_policy(policy_text(document))


def _lets_in(document: Mapping[str, Json], held: Iterable[str]) -> bool:
    return all(document["subjects"][subject]["mode"] != Mode.EXCLUDED for subject in held)


def _hardware(statement: Statement) -> tuple[str, ...]:
    """Return the kinds of CPU evidence a bundle holds, or ``gpu`` where it holds none."""
    return tuple(s for s in ("tdx", "snp", "nitro") if listed(s, statement)) or ("gpu",)


def fitting_defaults(statement: Statement) -> tuple[str, ...]:
    """Return the shipped defaults for a bundle: of its profile, judging the hardware it holds.

    The one that bears the name of the profile comes first, if it is among them.
    """
    held = _hardware(statement)
    found = []
    for name in default_names():
        document = parse_yaml(default_bytes(name)).value
        assert isinstance(document, dict)  # noqa: S101  (every shipped default is a map)
        if document["profile"] == statement.profile and _lets_in(document, held):
            found.append(name)
    return tuple(sorted(found, key=lambda name: (name != statement.profile, name)))


_UNPROVEN: Final = "the family signs no responses; the chat is kept, unproven"
_RELEASES: Final = "tinfoil-v3-snp"
"""The default whose section says how signed releases are judged."""


def _widen_subjects(made: _Document, statement: Statement) -> None:
    """Judge what the bundle holds beyond the default: a chat nobody signs, signed releases.

    Evidence that a policy leaves out would keep the bundle from VERIFIED, and rightly so.
    """
    document = made.document
    subjects = document["subjects"]
    if subjects["content"]["mode"] == Mode.EXCLUDED and listed("content", statement):
        made.put("/subjects/content", {"mode": Mode.REQUIRED})
        unproven = [
            {"check": check, "because": _UNPROVEN}
            for check in ("content.request", "content.response")
        ]
        made.put("/waive", [*document["waive"], *unproven])
    if subjects["provenance"]["mode"] == Mode.EXCLUDED and listed("provenance", statement):
        made.put("/subjects/provenance", {"mode": Mode.REQUIRED})
        other = parse_yaml(default_bytes(_RELEASES)).value
        assert isinstance(other, dict)  # noqa: S101  (every shipped default is a map)
        made.put("/provenance", other["provenance"])
    if "provenance" in document:
        asked = [e.request.url for e in statement.exchanges if e.purpose == "provenance"]
        named = {found for url in asked if (found := _repository(url))}
        if named:
            made.put("/provenance/repositories", sorted(named))


def _repository(url: str) -> str:
    """Return ``owner/name`` of the repository whose statements a URL asks for, or nothing."""
    found = re.search(r"/repos/([\w.-]+/[\w.-]+)/attestations/", url, re.ASCII)
    return "" if found is None else found.group(1)


def _narrow_subjects(made: _Document, statement: Statement) -> None:
    """Exclude what the bundle does not hold; drop sections and waivers that go with it."""
    document = made.document
    for subject in NAMED:
        mode = document["subjects"][subject]["mode"]
        held = listed(subject, statement)
        if subject == "second_engine" or mode == Mode.EXCLUDED or held:
            continue
        made.put(f"/subjects/{subject}", {"mode": Mode.EXCLUDED, "because": _HELD_BY})
        document.pop(subject, None)
    gone = {s for s in NAMED if document["subjects"][s]["mode"] == Mode.EXCLUDED}
    for section in ("tdx", "snp"):
        fields = document[section]["fields"] if section in document else {}
        for name, rule in fields.items():
            if rule["rule"] == "release" and "provenance" in gone:
                made.put(f"/{section}/fields/{name}", {"rule": "any_of", "values": []})
    document["waive"] = [w for w in document["waive"] if SUBJECT_OF[w["check"]] not in gone]
    declared = {binding.type for binding in statement.bindings}
    wanted = document["bindings"]["require"]
    made.put("/bindings/require", [name for name in wanted if name in declared])
    if "gpu" in gone:
        made.put("/counts", {**document["counts"], "gpu_min": 0, "gpu_exact": "any"})
    fields = document.get("tdx", {}).get("fields", {})
    for name, rule in fields.items():
        if rule["rule"] != "bound":
            continue
        judged_by = SUBJECT_OF[rule["by"]]
        if judged_by != "session" and document["subjects"][judged_by]["mode"] != Mode.REQUIRED:
            made.put(f"/tdx/fields/{name}", {"rule": "set"})


def _allow_session(made: _Document, statement: Statement) -> None:
    """Allow what the recorded session needs: import, foreign nonce, sides of attestation."""
    session = made.document["session"]
    capture = statement.capture
    if capture.mode == "import":
        made.put("/session/allow_import", True)
    if any(nonce.derivation == "foreign" for nonce in statement.nonces):
        made.put("/session/allow_foreign_nonce", True)
    if any(len(nonce.value) < session["min_nonce_bytes"] for nonce in statement.nonces):
        made.put("/session/min_nonce_bytes", 16)
    attested = [e for e in statement.exchanges if e.purpose == "attestation"]
    for chat in (e for e in statement.exchanges if e.purpose == "chat"):
        own = [e.seq for e in attested if e.session == chat.session]
        if not (any(seq < chat.seq for seq in own) and any(seq > chat.seq for seq in own)):
            made.put("/session/attest_around", False)
        if own and min(own) > chat.seq:
            made.put("/session/allow_attest_after_chat", True)
    made.put("/time/require", "claimed")
    span = int((capture.ended_at - capture.started_at).total_seconds()) + 1
    if span > made.document["time"]["max_capture_s"]:
        made.put("/time/max_capture_s", span)


def _seen(values: Iterable[bytes]) -> list[str]:
    return sorted({found.hex() for found in values})


def _pin_quotes(made: _Document, rules: TdxRules, quotes: VerifiedQuotes, origin: str) -> None:
    """Pin the registers of verified quotes: complete fields, one set for each combination."""
    bodies = [quote.body.fields() for quote in quotes.quotes.values()]
    types = sorted({quote.quote.report_type.value for quote in quotes.quotes.values()})
    accepted = made.document["tdx"]["accept_report_types"]
    if not set(types) <= set(accepted):
        made.put("/tdx/accept_report_types", [*accepted, *(t for t in types if t not in accepted)])
    for name in {name for kind in types for name in REPORT_FIELDS[kind]} - rules.fields.keys():
        seen = _seen(body[name] for body in bodies if name in body)
        made.put(f"/tdx/fields/{name}", {"rule": "any_of", "values": seen})
    for name, rule in rules.fields.items():
        values = [body[name] for body in bodies if name in body]
        if any(fit(rule, found) in (Fit.DIFFERS, Fit.NO_REFERENCE) for found in values):
            made.put(f"/tdx/fields/{name}", {"rule": "any_of", "values": _seen(values)})
    pinned = [
        name for name, rule in made.document["tdx"]["fields"].items() if rule["rule"] == "set"
    ]
    sets: list[dict[str, Json]] = []
    for body in bodies:
        values_of = {name: [body[name].hex()] for name in pinned if name in body}
        if values_of and values_of not in [entry["values"] for entry in sets]:
            number = len(sets) + 1
            sets.append({"name": f"from-bundle-{number}", "because": origin, "values": values_of})
    made.put("/tdx/sets", sets)


def _pin_composes(made: _Document, evidence: Evidence, logs: ReplayedLogs) -> None:
    """Accept the compose texts that a replayed log measures."""
    claims = [log.replay.claims for log in logs.logs]
    found: set[bytes] = set()
    for artifact in evidence.statement.of_role("dstack.app-compose"):
        for claim in claims:
            try:
                found.add(judge_compose(evidence.body(artifact.id), claim))
            except (Refused, ArtifactUnavailable):
                continue
    if found and "event_log" in made.document:
        made.put("/event_log/compose_hashes", _seen(found))


def _pin_devices(made: _Document, attested: AttestedDevices) -> None:
    """Pin versions, modes, families and numbers of GPUs whose reports are signed."""
    gpus = [one.device for one in attested.devices if not one.device.is_switch]
    made.put("/gpu/families", sorted({one.device.family.name for one in attested.devices}))
    for name, found in (
        ("driver", {gpu.report.driver for gpu in gpus}),
        ("vbios", {gpu.report.vbios for gpu in gpus}),
    ):
        texts = sorted(text for text in found if text)
        made.put(f"/gpu/{name}", {"rule": "any_of", "values": texts})
    if gpus:
        made.put("/gpu/mode", sorted({gpu.report.mode.value for gpu in gpus}))
    answers = [[one.device.is_switch for one in group] for group in attested.answers().values()]
    counts = {group.count(False) for group in answers}
    switches = {group.count(True) for group in answers}
    made.put("/counts/gpu_min", min(counts))
    if len(counts) == 1:
        made.put("/counts/gpu_exact", min(counts))
    if len(switches) == 1:
        made.put("/counts/switch_exact", min(switches))


def _pin_reports(made: _Document, rules: SnpRules, reports: VerifiedSnpReports) -> None:
    """Take the firmware of verified SEV-SNP reports as the floor, their identity as the pin."""
    floors: dict[str, dict[str, int]] = {}
    for verified in reports.items:
        product, report = verified.product, verified.report
        least = floors.setdefault(product.value.lower(), {})
        for tcb in (report.reported_tcb, report.launch_tcb):
            for name, level in tcb.read(product).levels.items():
                least[name] = min(level, least.get(name, level))
    made.put("/snp/minimum_tcb", {**made.document["snp"]["minimum_tcb"], **floors})
    fields = [amd.pinned_values(verified.report) for verified in reports.items]
    for name, rule in rules.fields.items():
        values = [found[name] for found in fields]
        if any(fit(rule, found) in (Fit.DIFFERS, Fit.NO_REFERENCE) for found in values):
            made.put(f"/snp/fields/{name}", {"rule": "any_of", "values": _seen(values)})


def _pin_releases(made: _Document, releases: SignedReleases) -> None:
    """Accept the workflows that made the verified releases, any tag of theirs."""
    found = {one.workflow for listed in releases.of.values() for one in listed}
    if found:
        made.put("/provenance/workflows", sorted(found))


def _count_cpus(made: _Document, statement: Statement) -> None:
    roles = ("tdx.quote", "sgx.quote", "snp.report", "nitro.document")
    made.put("/counts/cpu_min", len(statement.of_role(*roles)))


def _adapt(made: _Document, data: bytes, trust: TrustStore, blobs: BlobSource | None) -> None:
    """Take over everything that the bundle shows."""
    opened = open_unverified(data, bounds=BOUNDS)
    statement = opened.evidence.statement
    wanted = made.document["profile"]
    if statement.profile != wanted:
        message = (
            f"the bundle is of profile {statement.profile!r}, this default is for {wanted!r}: "
            f"take a default for {statement.profile!r}, or import again with --profile {wanted}"
        )
        raise UsageError(message)
    held = _hardware(statement)
    if not _lets_in(made.document, held):
        others = ", ".join(fitting_defaults(statement)) or "none is shipped"
        message = (
            f"the bundle holds {' and '.join(held)} evidence, which this default excludes; "
            f"defaults for it: {others}"
        )
        raise UsageError(message)
    made.put("/signers/accept", list(opened.signatures))
    _widen_subjects(made, statement)
    _narrow_subjects(made, statement)
    _allow_session(made, statement)
    _count_cpus(made, statement)
    policy = made.policy()
    outcomes = _outcomes(data, made.reading_policy(), trust, _reading_catalogue(), blobs)
    origin = f"as measured in bundle {opened.bundle_id}"
    quotes = outcomes["tdx.quote.signature"].fact
    if isinstance(quotes, VerifiedQuotes) and policy.tdx is not None:
        _pin_quotes(made, policy.tdx, quotes, origin)
    reports = outcomes["snp.report.signature"].fact
    if isinstance(reports, VerifiedSnpReports) and policy.snp is not None:
        _pin_reports(made, policy.snp, reports)
    releases = outcomes["sigstore.release"].fact
    if isinstance(releases, SignedReleases):
        _pin_releases(made, releases)
    evidence = outcomes["blobs.derived"].fact
    logs = outcomes["event_log.replay"].fact
    if isinstance(evidence, Evidence) and isinstance(logs, ReplayedLogs):
        _pin_composes(made, evidence, logs)
    attested = outcomes["gpu.report.signature"].fact
    if isinstance(attested, AttestedDevices) and attested.devices:
        _pin_devices(made, attested)
        _waive_unrecorded(made, outcomes)


_UNRECORDED: Final[Mapping[Reason, tuple[tuple[str, str], ...]]] = {
    Reason.GPU_RIM_MISSING: (
        ("gpu.rim", "no reference manifest of these versions is recorded in the bundle"),
        ("gpu.measurement", "without reference manifests there is nothing to compare with"),
    ),
    Reason.GPU_REVOCATION_NOT_RECORDED: (
        ("gpu.revocation", "the bundle records no revocation answers for every device issuer"),
    ),
}
"""Gaps that a default leaves open because a capture can close them; a recording cannot any more."""


def _waive_unrecorded(made: _Document, outcomes: Outcomes) -> None:
    """Waive by name what the bundle's recorder did not record about its devices."""
    waived = list(made.document["waive"])
    names = {entry["check"] for entry in waived}
    for check in ("gpu.rim", "gpu.revocation"):
        reason = outcomes[check].reason
        if outcomes[check].status is not Status.BLOCKED or reason is None:
            continue
        for name, because in _UNRECORDED.get(reason, ()):
            if name not in names:
                waived.append({"check": name, "because": because})
    if len(waived) > len(names):
        made.put("/waive", waived)


# --- the best of several -------------------------------------------------------------------


def best_draft(
    bundle: bytes,
    trust: TrustStore | None = None,
    blobs: BlobSource | None = None,
    *,
    accept_added: bool = False,
) -> Draft | None:
    """Return the draft from the shipped default that leaves least of a bundle open.

    None where no default fits. Raises as `draft_policy`.
    """
    statement = open_unverified(bundle, bounds=BOUNDS).evidence.statement
    made = [
        draft_policy(name, bundle, trust, blobs, accept_added=accept_added)
        for name in fitting_defaults(statement)
    ]
    return min(made, key=lambda draft: len(draft.open), default=None)


# --- the command -----------------------------------------------------------------------------


def draft_policy(
    name: str,
    bundle: bytes | None,
    trust: TrustStore | None = None,
    blobs: BlobSource | None = None,
    *,
    accept_added: bool = False,
) -> Draft:
    """Make a policy from the shipped default ``name`` and, if given, a good bundle.

    ``accept_added``: accept the vendor roots that trust files add to the shipped ones.

    ``trust``: a store that knows the bundle's signer, if the caller has one; without it the
    signature is not verified and the draft says so. ``blobs``: what is too large for the file, as
    `verify.api.verify_bundle` takes it. Raises UsageError for an unknown default, for
    one of another profile than the bundle's, or a signature that is wrong; MalformedInput for an
    unusable bundle.
    """
    document = parse_yaml(default_bytes(name)).value
    assert isinstance(document, dict)  # noqa: S101  (every shipped default is a map)
    made = _Document(document)
    title = [f"Made from the default {name}."]
    if bundle is None:
        title += [
            "It names no signer and pins nothing yet: fill in signers.accept, tdx.sets, xfam,",
            "event_log.compose_hashes, gpu.driver and gpu.vbios from sources you trust.",
        ]
        data = policy_text(document, title=title)
        return Draft(default=name, data=data, open=(), signer_known=False)
    store = TrustStore.build() if trust is None else trust
    if accept_added:
        added = {anchor.purpose.value for anchor in store.added_vendor_anchors}
        made.document["trust"]["accept_added"] = sorted(added)
    _adapt(made, bundle, store, blobs)
    title += [
        "Lines marked below were taken from one bundle. They accept that bundle by construction;",
        "they judge others only after you have confirmed each of them from another source.",
    ]
    document["name"] = f"{name}-own"
    data = policy_text(document, title=title, comments=made.comments)
    policy = load_policy(data)
    outcomes = _outcomes(bundle, policy, store, CATALOGUE, blobs)
    known = outcomes["envelope.signature"].status is Status.PASS
    if outcomes["envelope.signature"].status is Status.FAIL:
        message = f"this is no good bundle: {outcomes['envelope.signature'].detail}"
        raise UsageError(message)
    if not known:
        outcomes = _outcomes(bundle, policy, store, _reading_catalogue(), blobs)
    remaining = tuple(
        (check, outcome.status.value, str(outcome.reason))
        for check, outcome in outcomes.items()
        if outcome.status not in (Status.PASS, Status.NOT_APPLICABLE)
        and (known or check != "signer.standing")  # the key is not here to be judged
    )
    return Draft(default=name, data=data, open=remaining, signer_known=known)
