"""ACI (``aci/1``): a report, a chat, and a signed receipt with the records it names.

Options: ``sessions`` (``off``: do not fetch the session records that a receipt names).

Source: providers.md 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bundle.calls import PATIENT, Scene, Steps, patiently
from bundle.providers.basis import LOOK_UP, Basis, always, query, segment
from bundle.providers.reading import (
    chat_id,
    header,
    hex64,
    members,
    objects,
    text_of,
    url_name,
    whole_chat,
)
from bundle.recording import RecordedExchange
from verify.wire.strict_json import Json

MOST_SESSIONS: Final = 16
"""Session records asked for of one receipt: more than any honest one names."""


def _sessions(receipt: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the ids of the session records that a receipt names, each once, in order."""
    found: dict[str, None] = {}
    for event in objects(receipt.get("event_log")):
        name = hex64(event.get("session_id"))
        if text_of(event, "type") == "upstream.verified" and name is not None:
            found[name.lower()] = None
    return tuple(found)[:MOST_SESSIONS]


@dataclass(kw_only=True)
class Aci(Basis):
    """A service that speaks ``aci/1``."""

    name: str = "aci"
    title: str = "ACI (inference.phala.com and others)"
    profile: str = "aci"
    base_url: str | None = "https://inference.phala.com"
    algorithms: tuple[str, ...] = ()

    def attestation_path(
        self,
        scene: Scene,  # noqa: ARG002
        nonce: bytes,
        algorithm: str | None,  # noqa: ARG002
        signer: str | None,  # noqa: ARG002
    ) -> str:
        """Return path and query of a report request."""
        return query("/v1/aci/attestation", ("nonce", nonce.hex()))

    def unsigned(self, chat: RecordedExchange, exchanges: Sequence[RecordedExchange]) -> str:
        """Say why there is no receipt; empty where there is one."""
        if url_name(header(chat, "x-receipt-id")) is None and chat_id(chat) is None:
            return "the answer has no id by which its receipt could be looked up"
        found = any(one.purpose == "receipt" and members(one) is not None for one in exchanges)
        return "" if found else "no look-up brought a receipt"

    def after_chat(self, scene: Scene, chat: RecordedExchange) -> Steps[None]:
        """Fetch the receipt, by its id or the chat's, and the records that it names."""
        found = url_name(header(chat, "x-receipt-id")) or chat_id(chat)
        if chat.status is None or not 200 <= chat.status < 300:
            return
        if found is None:
            return
        self.served(scene, chat)
        path = f"/v1/aci/receipts/{segment(found)}"
        call = self.look_up(scene, "receipt", "receipt", path)
        patience = LOOK_UP if whole_chat(chat) else PATIENT
        _, recorded = yield from patiently(always(call), patience)
        receipt = members(recorded)
        if receipt is None or scene.options.get("sessions") == "off":
            return
        for number, name in enumerate(_sessions(receipt), 1):
            path = f"/v1/aci/sessions/{name}"
            asked = self.look_up(scene, f"session.{number}", "receipt", path)
            yield from patiently(always(asked))
