"""A live capture against the simulator over HTTPS, as a user would make it, without waiting."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundle.capture import CaptureAsked, CaptureResult, Means, capture
from bundle.collateral import Endpoints, Want
from bundle.events import Event
from bundle.journal import CaptureError, Journal
from bundle.keys import FileSigner, generate, key_id
from bundle.providers import provider
from bundle.transport import Credential, Transport, utc_now
from fixtures.simulator.world import Simulator
from verify.api import verify_bundle
from verify.cli.blobs import BlobFolder
from verify.engine.asof import AsOf
from verify.engine.report import Report
from verify.policy.loader import load_policy
from verify.trust.file import read_signer, read_trust_file
from verify.trust.store import TrustStore

PROMPT = "say yes, no, or é ok"
PROVIDERS = (
    "nanogpt",
    "ionet",
    "near-direct",
    "near-gateway",
    "phala",
    "dstack",
    "redpill",
    "venice",
    "chutes",
    "tinfoil",
    "aci",
)


@dataclass(kw_only=True)
class Made:
    """What came of a capture: a result or an error, what was told, what was sent to whom."""

    folder: Path
    simulator: Simulator
    signer: FileSigner
    policy: bytes
    result: CaptureResult | None = None
    error: CaptureError | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "chat.evidence.json"

    @property
    def journal(self) -> Path:
        return self.folder / "chat.evidence.json.journal"

    def report(self, *, trusted: bool = True, policy: bytes | None = None) -> Report:
        """Verify what was written, offline, as an auditor with or without the anchors would."""
        files = [read_trust_file(self.simulator.trust)] if trusted else []
        own = read_signer(self.signer.public_pem())
        blobs = self.out.with_name(self.out.name + ".blobs")
        return verify_bundle(
            self.out.read_bytes(),
            policy=load_policy(policy or self.policy),
            trust=TrustStore.build(files=files, signers=[own]),
            as_of=AsOf.capture(),
            blobs=BlobFolder(str(blobs)) if blobs.is_dir() else None,
        )

    def reasons(self, report: Report) -> set[str]:
        """Every reason code of a report: of outcomes that failed or are blocked, and of notes."""
        found: set[str] = set()
        for outcome in report.outcomes.values():
            found |= {str(outcome.reason)} if outcome.reason is not None else set()
            found |= {str(finding.reason) for finding in outcome.findings}
        return found

    def files(self) -> list[Path]:
        """Every file that the capture left."""
        kept = {"ca.pem"}
        return [p for p in self.folder.rglob("*") if p.is_file() and p.name not in kept]


def asked_of(
    name: str, simulator: Simulator, folder: Path, *, chat: bool = True, **more: Any
) -> CaptureAsked:
    """Return what to ask of a simulated provider."""
    return CaptureAsked(
        provider=provider(name),
        out=folder / "chat.evidence.json",
        operator="tests",
        model=simulator.model,
        prompt=PROMPT if chat else None,
        base_url=simulator.base_url,
        endpoints=Endpoints(**simulator.endpoints),
        **more,
    )


def means_for(
    simulator: Simulator,
    folder: Path,
    signer: FileSigner,
    transport: AbstractContextManager[Transport] | Transport,
    **more: Any,
) -> Means:
    """Return the means of a capture that never sleeps."""
    assert isinstance(transport, Transport)
    credential = Credential("Authorization", f"Bearer {simulator.api_key}")
    return Means(
        transport=transport,
        signers=(signer,),
        clock=more.pop("clock", utc_now),
        credentials={"provider": credential},
        secrets=(simulator.api_key,),
        **{"sleep": lambda _seconds: None, **more},
    )


def captured(
    name: str,
    folder: Path,
    *,
    chat: bool = True,
    asked: dict[str, Any] | None = None,
    means: dict[str, Any] | None = None,
    transport: dict[str, Any] | None = None,
    **simulator: Any,
) -> Made:
    """Capture a session of a simulated provider; never raises for a capture that failed."""
    signer = generate()
    with Simulator(name, **simulator) as running:
        ca = folder / "ca.pem"
        ca.write_bytes(running.ca_pem)
        made = Made(
            folder=folder,
            simulator=running,
            signer=signer,
            policy=running.policy(key_id(signer.spki()), chat=chat),
        )
        with Transport(ca_file=ca, secrets=(running.api_key,), **(transport or {})) as line:
            wish = asked_of(name, running, folder, chat=chat, **(asked or {}))
            wanted = means_for(
                running, folder, signer, line, watch=made.events.append, **(means or {})
            )
            try:
                made.result = capture(wish, wanted)
            except CaptureError as error:
                made.error = error
    return made


__all__ = [
    "PROMPT",
    "PROVIDERS",
    "CaptureAsked",
    "Journal",
    "Made",
    "Want",
    "asked_of",
    "captured",
    "means_for",
    "replace",
]
