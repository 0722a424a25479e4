"""The online step as commands see it: consent, progress, exit codes (`teebundle nras`, `--online`).

Source: verification.md 8, 11.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from bundle.importing import load_key
from bundle.keys import FileSigner
from bundle.nras import (
    NOTICE,
    SERVICE,
    OnlineUnavailable,
    Submission,
    Submitted,
    judgement,
    line_to,
    submit,
)
from bundle.seal import refuse_input, write_new
from bundle.transport import demand_secure
from verify.api import verify_bundle
from verify.cli.arguments import VerifyArguments, as_of, parse, wants_json
from verify.cli.files import BUNDLE_LIMIT, POLICY_LIMIT, TRUST_LIMIT, read_file
from verify.cli.loading import policy_of, trust_of
from verify.cli.output import Outputs, colour_wanted, error_report, say, write_stdout
from verify.cli.verification import usage
from verify.engine.asof import AsOf
from verify.engine.errors import MalformedInput, TeebundleError, UsageError
from verify.engine.report import ErrorSummary, Report
from verify.engine.value import replace
from verify.policy.loader import load_policy
from verify.policy.model import Policy
from verify.render import text
from verify.render.text import error_lines
from verify.trust.anchor import Anchor, Purpose
from verify.trust.file import TrustFile, read_signer, read_trust_file
from verify.trust.store import TrustStore

CLAIMS = ("2.0", "3.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What both forms of the online step ask for."""

    bundle: str
    key: Path
    passphrase: bytes | None = None
    service: str | None = None
    api_key_env: str | None = None
    claims: str = "2.0"
    by: str = "submitter"
    consent: bool = False
    again: bool = False
    insist: bool = False


def agreed(consent: bool) -> bool:
    """Show what is sent to NVIDIA's service, and ask where a person can answer.

    ``consent``: the user agreed beforehand.
    """
    say(NOTICE)
    if consent:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write("Send it? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def service_address(url: str) -> str:
    """Return the address of a service, if it is a plain one. Raises UsageError, not repeating it.

    User, query and fragment are where credentials stand; an address goes into records and messages.
    """
    try:
        parts = urlsplit(url)
        plain = bool(parts.hostname) and parts.port != 0
    except ValueError:
        plain = False
    if not plain or not url.isascii() or not url.isprintable() or set(url) & set(" @?#\\"):
        message = (
            "--service takes an address such as https://host/path, without user, query or fragment"
        )
        raise UsageError(message)
    demand_secure(url)
    return url


def _submission(asked: Asked) -> Submission:
    if asked.claims not in CLAIMS:
        message = f"--claims takes 2.0 or 3.0, not {asked.claims!r}"
        raise UsageError(message)
    service = SERVICE if asked.service is None else service_address(asked.service)
    api_key = None
    if asked.api_key_env is not None:
        api_key = os.environ.get(asked.api_key_env)
        if not api_key:
            message = f"the environment variable {asked.api_key_env} holds no API key"
            raise UsageError(message)
        if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            message = f"what {asked.api_key_env} holds is no API key: blanks or no plain ASCII"
            raise UsageError(message)
    if not agreed(asked.consent):
        message = "nothing was sent: agree to the notice with --yes"
        raise UsageError(message)
    return Submission(
        service=service,
        claims=asked.claims,
        api_key=api_key,
        consent=True,
        again=asked.again,
        insist=asked.insist,
        by=asked.by,
    )


def _anchors(trust: Sequence[str], signer: Sequence[str]) -> tuple[list[TrustFile], list[Anchor]]:
    files = [read_trust_file(read_file(n, TRUST_LIMIT, "trust"), file=n) for n in trust]
    keys = [read_signer(read_file(n, TRUST_LIMIT, "trust"), file=n) for n in signer]
    return files, keys


def _send(
    asked: Asked,
    data: bytes,
    *,
    policy: Policy | None,
    files: list[TrustFile],
    keys: list[Anchor],
    key: FileSigner,
) -> Submitted:
    submission = _submission(asked)
    under = judgement(data, policy=policy, files=files, signers=keys, key=key)
    if not under.given:
        say("no policy named: judged under one drafted from the bundle itself")
    transport, line = line_to(submission, say=say)
    with transport:
        return submit(data, key=key, under=under, asked=submission, line=line)


def submit_to_file(
    asked: Asked,
    *,
    policy: str | None,
    trust: tuple[str, ...],
    signer: tuple[str, ...],
    out: Path,
    overwrite: bool,
) -> int:
    """Submit, write the new bundle, print its report; return the exit code.

    Raises UsageError and MalformedInput; then nothing was written.
    """
    if not overwrite and (out.exists() or out.is_symlink()):
        message = f"{out}: exists already; choose another name or pass --overwrite"
        raise UsageError(message)
    refuse_input(out, (asked.bundle, asked.key, policy, *trust, *signer))
    data = read_file(asked.bundle, BUNDLE_LIMIT, "bundle")
    key = load_key(asked.key, asked.passphrase)
    files, keys = _anchors(trust, signer)
    given = None
    if policy is not None:
        given = load_policy(read_file(policy, POLICY_LIMIT, "policy"), file=policy)
    try:
        made = _send(asked, data, policy=given, files=files, keys=keys, key=key)
    except OnlineUnavailable as error:
        summary = ErrorSummary(kind="online-unavailable", what=f"{error} ({error.code})")
        say(*error_lines(summary), "nothing was written")
        return int(summary.exit_code)
    write_new(out, made.data, overwrite=overwrite)
    shown = text.rendered(made.report, colour=colour_wanted())
    write_stdout(shown.encode("utf-8", "backslashreplace"))
    say(f"wrote {out} ({', '.join(made.groups)} answered)")
    return int(made.report.exit_code)


# --- verify --online nras --------------------------------------------------------------------

_SINGLE = {
    "--online": "online",
    "--key": "key",
    "--service": "service",
    "--api-key-env": "api_key_env",
    "--claims": "claims",
    "--passphrase-env": "passphrase_env",
}
_FLAGS = {"--yes": "consent", "--again": "again", "--insist": "insist"}


def _split_words(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Take the options of the online step out of the words of ``verify``."""
    own: dict[str, str] = {}
    rest: list[str] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        name, equals, value = word.partition("=")
        if word in _FLAGS:
            own[_FLAGS[word]] = "yes"
        elif name in _SINGLE:
            if not equals:
                if not pending:
                    message = f"{name} needs a value"
                    raise UsageError(message)
                value = pending.pop(0)
            own[_SINGLE[name]] = value
        else:
            rest.append(word)
    return own, rest


def _demand_key(own: dict[str, str]) -> None:
    if own["online"] != "nras":
        message = f"--online takes nras, not {own['online']!r}"
        raise UsageError(message)
    if "key" not in own:
        message = "--online nras needs --key KEY: the answer is attached under your signature"
        raise UsageError(message)


def verify_online(words: Sequence[str]) -> int:
    """Run ``verify --online nras``: submit in memory, verify, write no bundle."""
    try:
        own, rest = _split_words(words)
        given = parse(rest)
        _demand_key(own)
        with Outputs(given) as outputs:
            return _online(given, own, outputs)
    except UsageError as error:
        return usage(error, json=wants_json(words))


def _online(given: VerifyArguments, own: dict[str, str], outputs: Outputs) -> int:
    try:
        report = _online_report(given, own)
    except TeebundleError as error:
        if isinstance(error, UsageError):
            raise
        summary = ErrorSummary.of(error)
        say(*error_lines(summary, error.file if isinstance(error, MalformedInput) else None))
        outputs.write(error_report(summary))
        return int(summary.exit_code)
    outputs.write(report)
    return int(report.exit_code)


def _online_report(given: VerifyArguments, own: dict[str, str]) -> Report:
    if len(given.paths) != 1:
        message = "name exactly one bundle"
        raise UsageError(message)
    if (given.policy is None) is (given.profile is None):
        message = "give --policy FILE or --profile NAME, one of the two"
        raise UsageError(message)
    variable = own.get("passphrase_env")
    asked = Asked(
        bundle=given.paths[0],
        key=Path(own["key"]),
        passphrase=None if variable is None else (os.environ.get(variable) or "").encode(),
        service=own.get("service"),
        api_key_env=own.get("api_key_env"),
        claims=own.get("claims", "2.0"),
        consent="consent" in own,
        again="again" in own,
        insist="insist" in own,
    )
    policy = policy_of(given.policy, given.profile)
    data = read_file(asked.bundle, BUNDLE_LIMIT, "bundle")
    key = load_key(asked.key, asked.passphrase)
    files, keys = _anchors(given.trust, given.signer)
    instant = as_of(given.as_of, datetime.now(UTC))
    try:
        made = _send(asked, data, policy=policy, files=files, keys=keys, key=key)
    except OnlineUnavailable as error:
        summary = ErrorSummary(kind="online-unavailable", what=f"{error} ({error.code})")
        say(*error_lines(summary))
        offline = verify_bundle(
            data, policy=policy, trust=trust_of(given.trust, given.signer), as_of=instant
        )
        return replace(offline, error=summary)
    if instant == AsOf.capture():
        return made.report
    attaching = replace(read_signer(key.public_pem()), purpose=Purpose.ATTACHMENT_SIGNER)
    trust = TrustStore.build(files=files, signers=(*keys, attaching))
    return verify_bundle(made.data, policy=policy, trust=trust, as_of=instant)
