"""The command `verify`: from words to an exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime

from verify.cli.arguments import VerifyArguments, as_of, blob_limit, parse, wants_json
from verify.cli.files import bundle_bytes, is_exploded
from verify.cli.output import Outputs, error_document, error_report, say, write_stdout
from verify.engine.errors import MalformedInput, TeebundleError, UsageError
from verify.engine.outcome import shown
from verify.engine.report import ErrorSummary, Report
from verify.render.text import error_lines


def verify_words(words: Sequence[str]) -> int:
    """Run ``verify`` with the words that follow it; return the exit code."""
    try:
        given = parse(words)
    except UsageError as error:
        return usage(error, json=wants_json(words))
    return verify(given)


def usage(error: UsageError, *, json: bool) -> int:
    """Tell a wrong call: on standard error, and as JSON where that format was asked for."""
    summary = ErrorSummary.of(error)
    say(*error_lines(summary), "  `--help` shows the options with examples.")
    if json:
        write_stdout(error_document(summary))
    return int(summary.exit_code)


def verify(given: VerifyArguments) -> int:
    """Run one verification and write what was asked for; return the exit code."""
    try:
        with Outputs(given) as outputs:
            return _verify(given, outputs)
    except UsageError as error:  # a place that cannot be written
        return usage(error, json=given.format == "json")


def _verify(given: VerifyArguments, outputs: Outputs) -> int:
    try:
        report = judged(given)
    except TeebundleError as error:
        summary = ErrorSummary.of(error)
        say(*error_lines(summary, error.file if isinstance(error, MalformedInput) else None))
        outputs.write(error_report(summary))
        return int(summary.exit_code)
    outputs.write(report)
    return int(report.exit_code)


def _one_bundle(paths: Sequence[str]) -> str:
    if not paths:
        raise UsageError("no bundle named: give one file, such as chat.evidence.json")
    for path in paths:
        if os.path.isdir(path) and not is_exploded(path):  # noqa: PTH112  (pathlib is slow to import)
            message = (
                f"{path} is a directory without bundle.json; this version verifies one bundle at "
                "a time: a file (*.evidence.json) or an exploded bundle (*.evidence/)"
            )
            raise UsageError(message)
    if len(paths) > 1:
        message = f"{len(paths)} files named; this version verifies one at a time"
        raise UsageError(message)
    return paths[0]


def _no_policy(path: str) -> UsageError:
    """Say which profile the bundle claims, and the two commands that lead on."""
    from verify.cli.opening import claimed_profile  # noqa: PLC0415  (only this message needs it)

    claimed = claimed_profile(path)
    file = shown(path, 4096)
    if claimed is None:
        message = "no policy named: give --policy FILE or --profile NAME"
        return UsageError(message)
    return UsageError(
        f"no policy named, and the bundle never chooses one. It claims profile "
        f"{shown(claimed)}. Two commands lead on: "
        f"`teebundle policy init --from {shown(claimed)} --bundle {file} -o policy.yaml`, "
        f"then, after reading it, `teebundle-verify verify {file} --policy policy.yaml`"
    )


def judged(given: VerifyArguments) -> Report:
    """Read the inputs of a call and verify. Raises TeebundleError for unusable ones."""
    path = _one_bundle(given.paths)
    if given.policy is not None and given.profile is not None:
        raise UsageError("--policy and --profile are both given; it is not clear which is meant")
    instant = as_of(given.as_of, datetime.now(UTC))
    most = blob_limit(given.max_blob)
    if given.policy is None and given.profile is None:
        raise _no_policy(path)
    from verify.api import verify_bundle  # noqa: PLC0415  (a wrong call is told without it)
    from verify.cli.loading import policy_of, trust_of  # noqa: PLC0415  (the same)
    from verify.wire.limits import Limits  # noqa: PLC0415  (the same)

    bounds = Limits(external_blob=most)
    policy = policy_of(given.policy, given.profile)
    trust = trust_of(given.trust, given.signer)
    blobs = None
    if given.blobs is not None:
        from verify.cli.blobs import BlobFolder  # noqa: PLC0415  (rare)

        blobs = BlobFolder(given.blobs, limit=bounds.external_blob)
    data = bundle_bytes(path)
    try:
        return verify_bundle(
            data, policy=policy, trust=trust, as_of=instant, blobs=blobs, bounds=bounds
        )
    except MalformedInput as error:
        error.file = path
        raise
