"""Commands that only look: show, explain, catalogue, trust show."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256

from verify.checks.catalogue import CATALOGUE, CATALOGUE_ID
from verify.checks.inputs import Inputs
from verify.cli.files import bundle_bytes
from verify.cli.loading import trust_of
from verify.engine.check import Check
from verify.engine.errors import FormatError, MalformedInput, TeebundleError, UsageError
from verify.engine.outcome import shown
from verify.engine.report import catalogue_digest
from verify.render import explain, recipes, show, trust


def opened(path: str) -> show.Contents:
    """Read a bundle for showing: its Statement and bytes, nothing verified.

    Raises UsageError, MalformedInput (kind bundle).
    """
    from verify.api import open_unverified  # noqa: PLC0415  (most commands here open no bundle)

    data = bundle_bytes(path)
    try:
        found = open_unverified(data)
    except MalformedInput as error:
        error.file = path
        raise
    return show.Contents(
        bundle_id=found.bundle_id,
        file_sha256=sha256(data).hexdigest(),
        signatures=found.signatures,
        attachments=found.attachments,
        evidence=found.evidence,
    )


def claimed_profile(path: str) -> str | None:
    """Return the profile a bundle claims, or None where it cannot be read that far."""
    try:
        return opened(path).evidence.statement.profile
    except TeebundleError:
        return None


def device_key(chain: bytes) -> str:
    """Return the name, serial number and public key (PEM) of a device chain's leaf.

    Or why it cannot be read; nothing is verified.
    """
    from verify.nvidia.certificates import (  # noqa: PLC0415  (only --gpu-keys needs it)
        parse_chain,
        public_key_pem,
    )

    try:
        found = parse_chain(chain)
    except FormatError as error:
        return f"not a device chain: {shown(error.what)}"
    label = shown(" / ".join(found.leaf.common_names))
    return f"{label}, serial {found.leaf.serial:X}\n{public_key_pem(found)}"


def shown_bundle(path: str, form: str, *, signature: bool, quote: bool, gpu_keys: bool) -> str:
    """Return what ``show`` prints."""
    contents = opened(path)
    parts: list[Callable[[], str]] = []
    if signature:
        parts.append(lambda: show.signatures(contents.evidence))
    if quote:
        parts.append(lambda: show.quotes(contents.evidence))
    if gpu_keys:
        parts.append(lambda: show.gpu_keys(contents.evidence, device_key))
    if parts:
        return "\n".join(part() for part in parts)
    if form == "json":
        return json.dumps(show.document(contents), ensure_ascii=False, indent=1) + "\n"
    return show.summary(contents)


def _check(name: str) -> Check[Inputs]:
    for check in CATALOGUE:
        if check.id == name:
            return check
    family = name.partition(".")[0]
    near = [check.id for check in CATALOGUE if check.id.partition(".")[0] == family]
    hint = f"; there are {', '.join(near)}" if near else "; `catalogue` lists them all"
    message = f"no check is called {shown(name)}{hint}"
    raise UsageError(message)


def explained_check(name: str, bundle: str | None) -> str:
    """Return what ``explain CHECK [BUNDLE]`` prints."""
    check = _check(name)
    artifacts = None if bundle is None else opened(bundle).evidence.statement.artifacts
    return explain.explained(check, artifacts)


def explained_recipe(
    name: str,
    bundle: str | None = None,
    policy: str | None = None,
    trust: tuple[str, ...] = (),
    signer: tuple[str, ...] = (),
) -> str:
    """Return what ``explain --recipe NAME [BUNDLE --policy FILE]`` prints.

    With a bundle, each step shows how its checks ended there. Raises UsageError, MalformedInput.
    """
    if name not in recipes.RECIPES:
        message = f"no recipe is called {shown(name)}; there are {', '.join(recipes.RECIPES)}"
        raise UsageError(message)
    if bundle is None:
        return recipes.recipe_text(name)
    if policy is None:
        message = "a recipe on a bundle needs --policy FILE: nothing is judged without one"
        raise UsageError(message)
    from verify.cli.arguments import VerifyArguments  # noqa: PLC0415  (a recipe alone needs none)
    from verify.cli.verification import judged  # noqa: PLC0415  (the same)

    given = VerifyArguments(paths=(bundle,), policy=policy, trust=trust, signer=signer)
    return recipes.recipe_text(name, judged(given))


def catalogue_listing(form: str) -> str:
    """Return what ``catalogue`` prints."""
    if form == "json":
        return explain.catalogue_json(CATALOGUE, CATALOGUE_ID, catalogue_digest(CATALOGUE))
    return explain.catalogue_text(CATALOGUE)


def trust_listing(files: tuple[str, ...], signers: tuple[str, ...]) -> str:
    """Return what ``trust show`` prints."""
    return trust.listing(trust_of(files, signers))
