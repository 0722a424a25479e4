"""What an evidence family reads out of one provider answer, and what attested code vouched for.

Plain frozen values, shared by the recogniser, the extractors, the checks and the importer. A
`ReportObject` is what the *answer states*; an `AttestedIdentity` is what a *verified quote binds*.

Source: providers.md 1, 1.2, 3.1, 3.2; verification.md 3 (rows 17, 47, 50).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from verify.engine.errors import Refused
from verify.engine.value import value

Role = Literal["gateway", "model", "instance", "enclave", "router"]
Algorithm = Literal["ecdsa", "ed25519", "ml-kem-768", "hpke", "keyset"]
"""Kind of the identity that a quote binds. The third and fourth encrypt and sign nothing; a key set
is known by its digest, and its keys by their ids."""

BindingForm = Literal[
    "address_padded",
    "sha256_address_tls",
    "sha256_asciinonce_asciie2epub",
    "tinfoil_v3",
    "tinfoil_v2",
    "nonce_then_zeros",
    "aci_statement",
]
"""How report_data is made, in the spelling of the recorded expectations."""

Family = Literal["dstack", "chutes", "tinfoil", "ionet", "aci", "nitro", "secretvm"]

Shape = Literal[
    "dstack-gateway",
    "dstack-flat",
    "chutes-aggregated",
    "chutes-native",
    "tinfoil-v3",
    "tinfoil-v2",
    "tinfoil-wrapped",
    "ionet",
    "aci",
    "nitro",
    "secretvm",
]


@value
class Item:
    """One piece of evidence inside an answer: a role and the derivation steps that give its bytes.

    ``pointer``: the report object it belongs to. ``source``: artifact id of the other document the
    steps start from, None for the answer itself. Source: providers.md 1.2; bundle-format.md 5.3.
    """

    role: str
    steps: tuple[str, ...]
    pointer: str
    media_type: str = "application/octet-stream"
    source: str | None = None


@value
class Disagreement:
    """One fact that stands twice in an answer, differently. Source: providers.md 2.3."""

    path: str
    got: str
    expected: str


@value
class ReportObject:
    """One object of an answer that describes one machine, as stated and not yet verified.

    What every family has; each adds its own members in a class of its own. ``pointer``: JSON
    Pointer into the answer body (``""``, ``/gateway_attestation``, ``/evidence/0``). ``quote``: the
    CPU item. ``devices``: (evidence, chain) items of each GPU, in order. ``logs``, ``compose``:
    both copies of the log, the compose text. ``manager``: its items, if there is a compose manager.
    ``keys``: signing or encryption keys as offered. ``tls_fingerprint``: 32 bytes as stated.
    """

    pointer: str
    role: Role
    quote: Item
    model_name: str | None = None
    tls_fingerprint: bytes | None = None
    logs: tuple[Item, ...] = ()
    compose: Item | None = None
    devices: tuple[tuple[Item, Item], ...] = ()
    payload: Item | None = None
    manager: tuple[Item, ...] = ()
    keys: tuple[Item, ...] = ()


@value
class NonceRuling:
    """Which nonce a quote binds, by its family's formula.

    ``bound``: the value, None where none can be told; then ``refused`` says why. ``refused`` may
    name a contradiction beside a bound value, too.
    """

    bound: bytes | None
    refused: tuple[Refused, ...] = ()


@value
class TlsKey:
    """A TLS key that a key set names. ``spki``: SHA-256; ``domain``: the one it is for, or None."""

    spki: bytes
    domain: str | None


@value
class Binding:
    """What a quote binds besides a nonce, by its family's formula.

    ``tls_keys``: every bound TLS key, where a family binds a list. ``refused``: every contradiction
    (class reject) and gap (class absent) found.
    """

    form: BindingForm
    algorithm: Algorithm
    address: bytes
    public_key: bytes | None
    tls_fingerprint: bytes | None
    refused: tuple[Refused, ...] = ()
    tls_keys: tuple[TlsKey, ...] = ()


@value
class KeyConfig:
    """An OHTTP key configuration signed by a key it names; decoded, not yet verified.

    ``pointer``: where ``ohttp_attestation`` stands. ``beside``: ``ohttp_key_config`` next to it.
    """

    pointer: str
    signing_key: bytes
    key_config: bytes
    signature: bytes
    beside: bytes | None


@value
class RecognisedAnswer:
    """One attestation answer of exactly one shape. ``artifact``: the `provider.attestation` id.

    ``items``: everything the family's extractor yields, in document order (bundle-format.md D5).
    ``echo``: the top-level ``nonce`` member as it stands, never evidence. ``verdicts``: pointers of
    members in which a service judges itself. ``tls_certificate``: PEM text of the answer, or None.
    ``document_signature``: base64 of a signature over the answer itself, or None.
    ``disagreements``: facts that stand twice and differ: recognised, not accepted.
    ``unknown``: names of top-level members that the family does not define.
    """

    artifact: str
    shape: Shape
    family: Family
    reports: tuple[ReportObject, ...] = ()
    items: tuple[Item, ...] = ()
    key_configs: tuple[KeyConfig, ...] = ()
    echo: str | None = None
    nonce_source: str | None = None
    verdicts: tuple[str, ...] = ()
    tls_certificate: str | None = None
    document_signature: str | None = None
    disagreements: tuple[Disagreement, ...] = ()
    unknown: tuple[str, ...] = ()

    def gpu_nonce_span(self) -> tuple[int, int] | None:
        """Return the bytes of report_data that every GPU of a report must carry as its nonce.

        None where the expected nonce does not stand in report_data itself. Source: providers.md
        3.4.
        """
        if self.family == "dstack":
            return (32, 64)
        if self.family in ("chutes", "ionet"):
            return (0, 32)
        return None


@value
class RecognisedAnswers:
    """Fact of `shape.recognised`: every attestation answer of the bundle, in Statement order."""

    answers: tuple[RecognisedAnswer, ...]

    def of(self, artifact_id: str) -> RecognisedAnswer | None:
        """Return the answer read from that artifact, or None."""
        for answer in self.answers:
            if answer.artifact == artifact_id:
                return answer
        return None


@value
class AuthenticReport:
    """A CPU report whose own signature chain holds.

    ``artifact``: the quote's id. ``report_data``: its 64 bytes. ``code``: the registers that name
    what runs (MRTD, RTMR0 to RTMR3, MRCONFIGID for a TD), each complete.
    """

    artifact: str
    kind: Literal["tdx", "sgx", "snp", "nitro"]
    report_data: bytes
    code: tuple[bytes, ...]


@value
class AuthenticReports:
    """Fact of `cpu.authentic`: CPU artifact id to its authenticated report."""

    reports: Mapping[str, AuthenticReport]


@value
class AttestedIdentity:
    """One identity that an authenticated quote binds: the fact of `binding.report_data` has these.

    ``pointer``: report object in the answer. ``artifact``: the `provider.attestation` artifact;
    ``exchange``: the exchange that delivered it; ``quote``: the CPU artifact. ``address``: 20 bytes
    (ecdsa) or 32 (ed25519). ``nonce``: the 32 bytes the quote binds, empty where its family has no
    place for one. ``code``: as in `AuthenticReport`. ``tls_fingerprint``: bound, or None where the
    object states none. ``tls_keys``: as in `Binding`.
    """

    pointer: str
    role: Role
    algorithm: Algorithm
    address: bytes
    public_key: bytes | None
    model_name: str | None
    artifact: str
    exchange: str
    quote: str
    form: BindingForm
    nonce: bytes
    tls_fingerprint: bytes | None
    code: tuple[bytes, ...]
    tls_keys: tuple[TlsKey, ...] = ()
