"""io.net: the nonce goes in a request body; the signature comes with the chat, none is looked up.

Bodies are written in the service's own normal form, so that the bytes on the wire and what the
service hashes are the same. The signature stands in the headers of an answer in one piece, or in an
event of a stream.

Options: ``attestation_path`` (default ``/attestation``); ``chat_path`` (default ``/completions``;
the published in-guest service has ``/completion``); ``model_id`` (``omit``: that service takes no
model with the nonce).

Source: providers.md 5.1, 5.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bundle.calls import Call, ChatAsk, Scene
from bundle.providers import bodies
from bundle.providers.basis import JSON, Basis
from bundle.recording import RecordedExchange
from verify.engine.errors import UsageError


def normal_form(body: bytes) -> bytes:
    """Return a request as the service hashes it. Raises UsageError: a value it cannot hold."""
    from verify.families.content import Inadmissible, ionet_request  # noqa: PLC0415  (one provider)

    try:
        return ionet_request(body)
    except Inadmissible as error:
        message = f"io.net hashes requests in a normal form that this one has not: {error}"
        raise UsageError(message) from error


@dataclass(kw_only=True)
class IoNet(Basis):
    """io.net."""

    name: str = "ionet"
    title: str = "io.net"
    profile: str = "ionet"
    base_url: str | None = "https://api.intelligence.io.net/v1/private"

    def chat_body(self, ask: ChatAsk) -> bytes:
        """Return the request body in the normal form, the marker last. Raises UsageError."""
        if ask.request is None:
            return normal_form(bodies.from_prompt(ask))
        return normal_form(bodies.from_request(ask, ask.model or None, last=True))

    def attestation_path(
        self,
        scene: Scene,
        nonce: bytes,  # noqa: ARG002
        algorithm: str | None,  # noqa: ARG002
        signer: str | None,  # noqa: ARG002
    ) -> str:
        """Return the path of an attestation request."""
        return scene.options.get("attestation_path", "/attestation")

    def attestation_call(
        self, scene: Scene, step: str, nonce: bytes, signer: str | None, *, algorithm: str | None
    ) -> Call:
        """Return one attestation request."""
        call = super().attestation_call(scene, step, nonce, signer, algorithm=algorithm)
        members = {"model_id": self.model_of(scene), "nonce": nonce.hex()}
        if scene.options.get("model_id") == "omit":
            del members["model_id"]
        return replace(call, method="POST", body=bodies.compact(members), headers=JSON)

    def unsigned(
        self,
        chat: RecordedExchange,
        exchanges: Sequence[RecordedExchange],  # noqa: ARG002
    ) -> str:
        """Say that no signature came with a chat; empty where one did."""
        from bundle.inventory import carries_signature  # noqa: PLC0415  (reads what was recorded)

        return "" if carries_signature(chat) else "no signature came with the answer"

    def chat_path(self, scene: Scene) -> str:
        """Return the path of the chat."""
        return scene.options.get("chat_path", "/completions")
