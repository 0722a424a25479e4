"""Capture keys for tests of the trust store."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization

from fixtures.intel_pki import key
from tests.checks.time_case import anchor


def spki_of(public, *, pem=False):
    encoding = serialization.Encoding.PEM if pem else serialization.Encoding.DER
    return public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def keyed(name, **changes):
    """A capture signer's entry whose key follows from its name."""
    return anchor(name, "capture-signer", spki_of(key(name).public_key()), "spki", **changes)
