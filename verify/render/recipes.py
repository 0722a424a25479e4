"""Published client recipes, step by step, and the checks that answer what each step asks.

Source: providers.md 11.1 (nanogpt), 11.3 (ionet).
"""

from __future__ import annotations

from typing import Final

from verify.engine.outcome import Status
from verify.engine.report import Report
from verify.engine.value import value


@value
class Step:
    """One step of a recipe. ``checks``: ids, or ``subject.*`` for all of a subject."""

    step: str
    does: str
    checks: tuple[str, ...]


NANOGPT: Final = (
    Step(
        step="request the attestation",
        does="fetches; the answer is one of several shapes",
        checks=("exchange.recorded", "shape.recognised"),
    ),
    Step(
        step="compare data.nonce with the nonce sent",
        does="compares an echo; only the value inside the signed quote counts",
        checks=("freshness.nonce_in_quote",),
    ),
    Step(
        step="post nvidia_payload to NRAS, want status 200",
        does="accepts failures, which are 200 as well",
        checks=("nras.token", "nras.result", "nras.binding", "gpu.*"),
    ),
    Step(
        step="paste the quote at a proof web page",
        does="trusts a web page; not reproducible",
        checks=("tdx.*",),
    ),
    Step(
        step='compare "NVIDIA MRENCLAVE/MRSIGNER" with constants',
        does="compares slices of measurement blocks of the first GPU, signature unverified",
        checks=("gpu.report.signature", "gpu.policy", "gpu.measurement", "legacy.nanogpt_pins"),
    ),
    Step(
        step='compare "Intel MRENCLAVE/MRSIGNER" with constants',
        does="compares slices across fields; leaves RTMRs and report_data free",
        checks=("tdx.attributes", "reference.measurements", "legacy.nanogpt_pins"),
    ),
    Step(
        step="take evidence_list[0]",
        does="ignores every further GPU",
        checks=("evidence.inventory", "gpu.devices"),
    ),
    Step(
        step="take the public key of the GPU certificate",
        does="it is the device key, unrelated to the key that signs answers",
        checks=("gpu.chain", "gpu.report.signature", "binding.public_key"),
    ),
    Step(
        step="see that signing_address is present",
        does="presence only",
        checks=("binding.report_data",),
    ),
    Step(
        step="hash request and response",
        does="hashes bytes that were not sent, compares nothing",
        checks=("content.request", "content.response"),
    ),
    Step(
        step="compare the signature's address with the attested one",
        does="right, once the attested one is bound",
        checks=("signature.signer",),
    ),
    Step(
        step="recover the EIP-191 signer",
        does="right",
        checks=("signature.recovery",),
    ),
)

IONET: Final = (
    Step(
        step="nonce matches, is unique and random",
        does="a prefix comparison accepts padded and reused nonces",
        checks=("session.nonces", "freshness.nonce_in_quote"),
    ),
    Step(
        step="GPU report valid",
        does="needs every entry, not the first",
        checks=("gpu.*", "nras.*"),
    ),
    Step(
        step="CPU report valid (TDX or SEV-SNP)",
        does="absent or error text must not pass",
        checks=("shape.recognised", "cpu.authentic", "tdx.*", "snp.*"),
    ),
    Step(
        step="image_digest equals the official release",
        does="compares a string that no report binds",
        checks=("image.digest",),
    ),
    Step(
        step="signing_address of header and report match",
        does="compares two claims; the key is bound to no report",
        checks=("signature.recovery", "signature.signer", "binding.report_data"),
    ),
    Step(
        step="recover the signer of the signed text",
        does="right",
        checks=("signature.recovery",),
    ),
    Step(
        step="signed text is typically the body",
        does="the text names hashes of normal forms of the body",
        checks=("content.request", "content.response"),
    ),
    Step(
        step="retry until the address fits after a key rotation",
        does="hides a change of identity; attest around the chat instead",
        checks=("identity.stability",),
    ),
)

RECIPES: Final = {"nanogpt": NANOGPT, "ionet": IONET}


def _named(step: Step, ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return the check ids a step names, ``subject.*`` spelled out, in catalogue order."""
    return tuple(
        check_id
        for check_id in ids
        if any(
            check_id == name or (name.endswith(".*") and check_id.startswith(name[:-1]))
            for name in step.checks
        )
    )


def results(step: Step, report: Report) -> list[str]:
    """Say how each check of a step ended on a verified bundle, the worst kind first."""
    rows = {row.id: row for row in report.checks}
    found: dict[str, list[str]] = {}
    for check_id in _named(step, report.catalogue.ids()):
        row = rows[check_id]
        reason = "" if row.reason is None else f" ({row.reason.code})"
        found.setdefault(row.status.value, []).append(f"{check_id}{reason}")
    order = (Status.FAIL, Status.ERROR, Status.BLOCKED, Status.PASS, Status.NOT_APPLICABLE)
    return [
        f"    {status.value:<14} {', '.join(found[status.value])}"
        for status in order
        if status.value in found
    ]


def recipe_text(name: str, report: Report | None = None) -> str:
    """Return a recipe for people, with the results of a verification where one is given.

    Raises KeyError for a name that is not in `RECIPES`.
    """
    lines = [f"{name}: each step of the published recipe, and the checks that answer it", ""]
    for number, step in enumerate(RECIPES[name], start=1):
        lines.append(f"{number:>2}. {step.step}")
        lines.append(f"    what it does   {step.does}")
        lines.append(f"    our checks     {', '.join(step.checks)}")
        if report is not None:
            lines += results(step, report)
    if report is not None:
        lines += [
            "",
            f"{report.verdict.value} ({int(report.exit_code)}) under {report.policy.name}",
        ]
    return "\n".join(lines) + "\n"
