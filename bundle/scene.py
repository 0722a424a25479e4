"""One attest-chat-attest run as a provider's sequence sees it: nonces, marker, collateral.

Every nonce commits to the key that will sign, and to a beacon if there is one. Its random part is
on disk before the nonce is used, so that a resumed capture makes the same nonces again and the
bundle can show how each was made.

Source: bundle-format.md 8.1, 8.2; providers.md 2.2.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bundle.calls import Steps
from bundle.collateral import Endpoints, Want, collect
from bundle.journal import Journal
from bundle.recording import RecordedExchange
from verify.wire.model import KeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeNonce:
    """A nonce of ours. ``value``: 32 bytes as sent; ``random``: what it was made of."""

    value: bytes
    random: bytes


@dataclass(slots=True, kw_only=True)
class CaptureScene:
    """What a sequence is told (`bundle.calls.Scene`), over a journal.

    ``signer``: id of the key that seals, which nonces and marker commit to. ``beacon``: body of the
    checkpoint that nonces commit to, None without one. ``chat_body``: fixed before the chat is.
    ``known``: keys of collateral asked for; shared by the rounds of a capture. ``random_bytes``:
    of the operating system.
    """

    journal: Journal
    signer: KeyId
    base_url: str
    model: str | None
    chat_body: bytes | None
    stream: bool
    algorithms: tuple[str, ...]
    options: dict[str, str]
    beacon: bytes | None = None
    endpoints: Endpoints = field(default_factory=Endpoints)
    want: Want = field(default_factory=Want)
    session: str = "s1"
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    known: set[str] = field(default_factory=set)

    def nonce(self, step: str) -> bytes:
        """Return the 32-byte nonce of a step: fresh, but the same again on resuming.

        Raises `bundle.journal.JournalError`.
        """
        random = self.journal.random_of(step)
        if random is None:
            first = self.journal.plan.first_random
            random = self.random_bytes(32) if first in self.journal.randoms else first
            self.journal.keep_random(step, random)
        return self._commitment(random)

    def first_nonce(self) -> bytes:
        """Return the nonce that the first step to ask for one will get."""
        return self._commitment(self.journal.plan.first_random)

    def made(self) -> Mapping[bytes, MadeNonce]:
        """Return every nonce of this capture by its value, in the order of their making."""
        found = [
            MadeNonce(value=self._commitment(random), random=random)
            for random in self.journal.randoms
        ]
        return {nonce.value: nonce for nonce in found}

    def collateral(self, label: str, attestations: tuple[RecordedExchange, ...]) -> Steps[None]:
        """Ask for vendor material of whatever came back and was not asked for before."""
        yield from collect(
            attestations,
            endpoints=self.endpoints,
            label=label,
            known=self.known,
            want=self.want,
            random_bytes=self.random_bytes,
            session=self.session,
        )

    def _commitment(self, random: bytes) -> bytes:
        # the formula is the verifier's own, so that the two cannot differ
        from verify.checks.nonces import nonce_commitment  # noqa: PLC0415  (heavy import)

        return nonce_commitment(self.signer, self.beacon, random)


def marker_of(signer: KeyId, nonce: bytes, secret: bytes) -> str:
    """Return the text that marks a request. ``secret``: 32 bytes. Source: bundle-format.md 8.2."""
    from verify.checks.nonces import marker_text  # noqa: PLC0415  (heavy import)

    return marker_text(signer, nonce, secret)
