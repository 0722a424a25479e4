"""`teebundle demo`: verify the shipped bundle, then change one byte of a copy and look again.

The bundle is made of simulated vendor hardware (TEST ONLY); nothing real trusts its roots. Offline.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from verify.api import verify_bundle
from verify.engine.asof import AsOf
from verify.engine.errors import InternalFault
from verify.engine.report import Report
from verify.policy.loader import load_policy
from verify.render import text
from verify.trust.file import read_trust_file
from verify.trust.store import TrustStore

_PACKAGE: Final = Path(__file__).resolve().parent
_FIXTURES: Final = _PACKAGE.parent / "fixtures"
BUNDLE: Final = "nanogpt.evidence.json"
POLICY: Final = "nanogpt.policy.yaml"
TRUST: Final = "test-only.json"


def _file(folder: str, name: str) -> bytes:
    """Return a demo file: in an installed wheel, or in a checkout."""
    for path in (_PACKAGE / "_demo" / name, _FIXTURES / folder / name):
        if path.is_file():
            return path.read_bytes()
    message = f"the demo's {name} is not where it was installed"
    raise InternalFault(message)


def tampered(bundle: bytes) -> tuple[bytes, str]:
    """Change one byte in the middle of the model's answer; return the file and the artifact's id.

    Raises KeyError where the bundle holds no answer.
    """
    document = json.loads(bundle)
    statement = json.loads(base64.b64decode(document["statement"]["payload"]))
    artifacts = statement["predicate"]["artifacts"]
    answer = next(
        artifact
        for artifact in artifacts
        if artifact["role"] == "http.response.body" and artifact["digest"] in document["blobs"]
    )
    blob = document["blobs"][answer["digest"]]
    data = bytearray(base64.b64decode(blob["data"]))
    data[len(data) // 2] ^= 1
    blob["data"] = base64.b64encode(bytes(data)).decode()
    changed = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    return changed.encode(), str(answer["id"])


def _judged(bundle: bytes) -> Report:
    return verify_bundle(
        bundle,
        policy=load_policy(_file("bundles", POLICY), file=POLICY),
        trust=TrustStore.build(files=[read_trust_file(_file("trust", TRUST), file=TRUST)]),
        as_of=AsOf.capture(),
    )


def changes(before: Report, after: Report) -> list[str]:
    """Say which checks ended otherwise than before: those that say why, then how many wait."""
    lines = []
    waiting = 0
    for old, new in zip(before.checks, after.checks, strict=True):
        if old.status is new.status:
            continue
        if new.reason is not None and new.reason.code == "need.not_passed":
            waiting += 1
            continue
        reason = "" if new.reason is None else f"  {new.reason.code}"
        where = f"  {new.findings[0].pointer}" if new.findings else ""
        lines.append(f"  {old.status.value} -> {new.status.value}  {new.id}{reason}{where}")
    if waiting:
        lines.append(f"  and {waiting} checks that rest on them are blocked")
    return lines


def run(write: Callable[[str], None], *, colour: bool) -> int:
    """Run the demo; ``write`` takes text to print. Returns 0 if it went as it should, else 70."""
    bundle = _file("bundles", BUNDLE)
    good = _judged(bundle)
    write("1. The shipped bundle (simulated hardware, TEST ONLY), as of its capture:\n\n")
    write(text.rendered(good, colour=colour))
    changed, answer = tampered(bundle)
    bad = _judged(changed)
    write(f"\n2. The same file with one bit of the model's answer ({answer}) changed:\n\n")
    verdict = text.Paint(colour=colour).verdict(bad.verdict)
    write(f"{verdict} ({int(bad.exit_code)})  {bad.input.bundle_id}\n")
    write("\n".join(changes(good, bad)) + "\n")
    write("\nNext: teebundle verify FILE --policy POLICY.yaml; teebundle explain CHECK\n")
    expected = (good.verdict.value, bad.verdict.value) == ("VERIFIED", "REJECTED")
    return 0 if expected else 70
