"""What a bundle proves, in words: from the checks that passed, per family, and nothing beyond.

Three lists: what is proven (and by which checks), what is only claimed, what is not covered. A
sentence stands under "proven" only if every check it rests on is PASS; nothing here is an input to
a verdict.

Source: providers.md 1 (table), 10; verification.md 3 (proves, does not prove).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from verify.engine.asof import AsOfInstant
from verify.engine.outcome import Outcome, Status
from verify.engine.reason import Reason
from verify.engine.report import Meaning, Sentence
from verify.engine.value import value
from verify.families.identity import AttestedIdentity, RecognisedAnswers

Outcomes = Mapping[str, Outcome[object]]


@value
class _Rule:
    """One sentence. ``checks``: all must be PASS. ``families``: any of them, empty for all."""

    checks: tuple[str, ...]
    text: str
    families: frozenset[str] = frozenset()


def _for(*families: str) -> frozenset[str]:
    return frozenset(families)


PROVEN: Final = (
    _Rule(
        checks=("envelope.signature", "statement.form", "blobs.digests", "blobs.derived"),
        text="the accepted capture key sealed exactly these bytes together",
    ),
    _Rule(
        checks=("tdx.quote.signature", "tdx.pck.revocation", "tdx.tcb"),
        text="genuine Intel hardware made the quotes, at a patch level the policy accepts as of "
        "the instant judged",
    ),
    _Rule(
        checks=("snp.report.signature", "snp.certificates.chain", "snp.signer.match"),
        text="genuine AMD SEV-SNP firmware made the report",
    ),
    _Rule(
        checks=("nitro.document", "nitro.chain", "nitro.pcr"),
        text="an AWS Nitro system signed the document, with the platform values the policy accepts",
    ),
    _Rule(
        checks=("reference.measurements",),
        text="what was measured at launch equals values the policy's author accepts",
    ),
    _Rule(
        checks=("event_log.replay",),
        text="the event log is complete: it replays to the registers the hardware signed",
    ),
    _Rule(
        checks=("compose.hash",),
        text="the compose text is the one measured at launch",
    ),
    _Rule(
        checks=("compose.manager",),
        text="the trust domain vouches for the hash of its launcher's action list",
    ),
    _Rule(
        checks=("sigstore.release",),
        text="the pinned workflow published the measurements of this software",
    ),
    _Rule(
        checks=("binding.report_data",),
        text="code running in the attested trust domain vouched for the signing key",
        families=_for("dstack", "aci"),
    ),
    _Rule(
        checks=("binding.report_data",),
        text="the attested instance vouched for its end-to-end encryption key",
        families=_for("chutes"),
    ),
    _Rule(
        checks=("binding.report_data",),
        text="the attested enclave vouched for its TLS key and its encryption key",
        families=_for("tinfoil"),
    ),
    _Rule(
        checks=("binding.tls_channel",),
        text="the connection that delivered the attestation ended at a key the trust domain "
        "vouched for",
    ),
    _Rule(
        checks=("binding.gpu_evidence",),
        text="the attested code had this GPU evidence in hand when it made the quote",
    ),
    _Rule(
        checks=("gpu.report.signature", "gpu.chain", "gpu.nonce", "gpu.devices"),
        text="genuine, distinct NVIDIA devices answered the same challenge as the CPU",
    ),
    _Rule(
        checks=("gpu.rim", "gpu.measurement"),
        text="the devices' firmware equals NVIDIA's published reference values",
    ),
    _Rule(
        checks=("gpu.revocation",),
        text="the recorded revocation answers leave the devices' issuers standing",
    ),
    _Rule(
        checks=("nras.token", "nras.result", "nras.binding"),
        text="NVIDIA's attestation service judged these very devices favourably at the recorded "
        "time",
    ),
    _Rule(
        checks=("signature.recovery", "signature.signer", "content.request"),
        text="a key that attested code vouched for signed the hash of exactly this request",
    ),
    _Rule(
        checks=("signature.recovery", "signature.signer", "content.response"),
        text="a key that attested code vouched for signed the hash of exactly this response",
    ),
    _Rule(
        checks=("receipt.signature", "content.response"),
        text="the attested service issued a receipt for exactly this response",
    ),
    _Rule(
        checks=("identity.stability",),
        text="the signer was attested on the sides of the chat that the policy demands",
    ),
    _Rule(
        checks=("marker.binding",),
        text="the request was made for this capture key and this session's nonce",
    ),
)

CLAIMED: Final = (
    _Rule(
        checks=("shape.recognised",),
        text="io.net: that the signing address and the image digest belong to the attested machine",
        families=_for("ionet"),
    ),
)

UNCOVERED: Final = (
    _Rule(
        checks=("gpu.report.signature", "tdx.quote.signature"),
        text="that the GPUs sit in the machine that made the CPU quote: they share only a nonce",
        families=_for("dstack", "chutes", "ionet"),
    ),
    _Rule(
        checks=("binding.gpu_evidence",),
        text="a physical connection between CPU and GPUs",
        families=_for("tinfoil"),
    ),
    _Rule(
        checks=("shape.recognised",),
        text="which model weights ran: they are not measured in this family",
        families=_for("dstack", "chutes", "ionet"),
    ),
    _Rule(
        checks=("shape.recognised",),
        text="that the enclave gave this answer: the family signs no responses",
        families=_for("chutes", "tinfoil"),
    ),
    _Rule(
        checks=("compose.hash",),
        text="what the measured code started after boot",
    ),
    _Rule(
        checks=("event_log.replay",),
        text="that trusted code wrote the events the guest appended itself",
    ),
)


def _families(outcomes: Outcomes) -> frozenset[str]:
    answers = outcomes["shape.recognised"].fact
    if not isinstance(answers, RecognisedAnswers):
        return frozenset()
    return frozenset(answer.family for answer in answers.answers)


def _sentences(
    rules: tuple[_Rule, ...], outcomes: Outcomes, families: frozenset[str]
) -> list[Sentence]:
    return [
        Sentence(text=rule.text, checks=rule.checks)
        for rule in rules
        if all(outcomes[check].status is Status.PASS for check in rule.checks)
        and (not rule.families or rule.families & families)
    ]


def _noted(outcomes: Outcomes, check: str, reason: Reason) -> bool:
    return any(note.reason is reason for note in outcomes[check].notes)


def _freshness(outcomes: Outcomes) -> tuple[list[Sentence], list[Sentence]]:
    """Return what is proven and what is only claimed about the age of the CPU evidence."""
    bound = outcomes["freshness.nonce_in_quote"]
    ours = not _noted(outcomes, "session.nonces", Reason.NONCE_FOREIGN_ACCEPTED)
    exact = not _noted(outcomes, "freshness.nonce_in_quote", Reason.NONCE_FOREIGN_ACCEPTED)
    rests = ("session.nonces", "freshness.nonce_in_quote")
    if bound.status is not Status.PASS:
        return [], []
    if not exact:
        text = "that the CPU evidence is fresh: it binds a nonce that this session did not choose"
        return [], [Sentence(text=text, checks=rests)]
    if not ours:
        text = "the CPU evidence carries the recorded nonce in its signed field"
        claim = "that the nonce was chosen by the capturer just then: it commits to nobody"
        return [Sentence(text=text, checks=rests)], [Sentence(text=claim, checks=rests)]
    text = "the CPU evidence was made for this capture key, after its nonce was chosen"
    return [Sentence(text=text, checks=rests)], []


def _time(outcomes: Outcomes) -> tuple[list[Sentence], list[Sentence]]:
    """Return what is proven and what is only claimed about when the capture was made."""
    bracket = outcomes["time.bracket"]
    instant = outcomes["time.as_of"].fact
    if bracket.status is not Status.PASS or not isinstance(instant, AsOfInstant):
        return [], []
    if _noted(outcomes, "time.bracket", Reason.TIME_CLAIMED_ONLY):
        return [], [Sentence(text="when this was captured", checks=("time.bracket",))]
    text = "the bundle was sealed before a time that a trusted third party vouches for"
    return [Sentence(text=text, checks=("time.timestamp", "time.bracket"))], []


def _gateway(outcomes: Outcomes) -> list[Sentence]:
    fact = outcomes["binding.report_data"].fact
    gateways = isinstance(fact, tuple) and any(
        isinstance(identity, AttestedIdentity) and identity.role == "gateway" for identity in fact
    )
    signed = _noted(outcomes, "signature.role", Reason.SIGNATURE_SIGNER_IS_GATEWAY)
    if not (gateways and signed):
        return []
    text = "that a model computed the answer: the gateway signed it"
    return [Sentence(text=text, checks=("signature.role",))]


def _unverifiable(outcomes: Outcomes) -> list[Sentence]:
    request = outcomes["content.request"]
    if request.underlying is Reason.CONTENT_REQUEST_UNVERIFIABLE:
        text = "that the enclave received the request as it was sent: a proxy rewrites requests"
        return [Sentence(text=text, checks=("content.request",))]
    return []


ALWAYS: Final = "that the capturer showed every exchange, or that a server sent what only it signed"

_MORE: Final[tuple[Callable[[Outcomes], list[Sentence]], ...]] = (_gateway, _unverifiable)


def meaning(outcomes: Outcomes) -> Meaning:
    """Return what the passed checks of a verification prove, in words."""
    families = _families(outcomes)
    proven = _sentences(PROVEN, outcomes, families)
    claimed = _sentences(CLAIMED, outcomes, families)
    uncovered = _sentences(UNCOVERED, outcomes, families)
    for found, only_claimed in (_freshness(outcomes), _time(outcomes)):
        proven += found
        claimed += only_claimed
    for more in _MORE:
        uncovered += more(outcomes)
    if proven:
        uncovered.append(Sentence(text=ALWAYS, checks=("envelope.signature",)))
    return Meaning(proven=tuple(proven), claimed=tuple(claimed), uncovered=tuple(uncovered))
