"""Ed25519 without the choices that RFC 8032 leaves open.

Refused besides a wrong signature: a scalar S that is not reduced, a key that is not in canonical
form, a key of small order (with it one signature fits many texts).

Source: RFC 8032 5.1.7; providers.md 2.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_PRIME: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_SIGN: Final = 1 << 255
_SMALL_ORDER_Y: Final = frozenset(
    (
        0,  # order 4
        1,  # the neutral element
        _PRIME - 1,  # order 2
        # order 8
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
            "little",
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
            "little",
        ),
    )
)


def acceptable_key(key: bytes) -> bool:
    """Whether 32 bytes are a canonical encoding of a y-coordinate that is not of small order."""
    if len(key) != 32:
        return False
    y = int.from_bytes(key, "little") & (_SIGN - 1)
    return y < _PRIME and y not in _SMALL_ORDER_Y


def _loader() -> Callable[[bytes], Ed25519PublicKey]:
    """Return what `Ed25519PublicKey.from_public_bytes` hands the bytes to.

    That method first imports the library's ciphers, a thirtieth of a whole verification in time and
    memory. Where a version keeps its compiled part elsewhere, the method itself is used.
    """
    try:
        from cryptography.hazmat.bindings._rust import openssl  # noqa: PLC0415  (may not be there)
    except ImportError:
        return Ed25519PublicKey.from_public_bytes
    compiled = getattr(openssl, "ed25519", None)
    return getattr(compiled, "from_public_bytes", Ed25519PublicKey.from_public_bytes)


_LOAD: Final = _loader()


def public_key(key: bytes) -> Ed25519PublicKey:
    """Return the library's key of 32 bytes. Raises ValueError, UnsupportedAlgorithm."""
    return _LOAD(key)


def signed(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the holder of ``key`` (32 bytes) made ``signature`` (64 bytes) over ``message``."""
    if len(signature) != 64 or not acceptable_key(key):
        return False
    if int.from_bytes(signature[32:], "little") >= _ORDER:
        return False
    try:
        public_key(key).verify(signature, message)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True
