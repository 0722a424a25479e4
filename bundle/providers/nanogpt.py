"""NanoGPT: a plain proxy in front of several families.

Confidential models are called ``TEE/...``; the prefix is added where it is missing. Their chats are
always streamed: an answer in one piece gets members added on the way and could not be verified.

Options: ``signing_algo`` (``send``: name the algorithm in attestation requests, too).

Source: providers.md 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bundle.calls import ChatAsk, Scene
from bundle.providers.basis import Basis, query, segment

_PREFIX = "TEE/"


@dataclass(kw_only=True)
class NanoGpt(Basis):
    """NanoGPT."""

    name: str = "nanogpt"
    title: str = "NanoGPT"
    profile: str = "nanogpt"
    base_url: str | None = "https://nano-gpt.com"

    def model_name(self, model: str) -> str:
        """Return the model's name with its prefix."""
        return model if model.upper().startswith(_PREFIX) else f"{_PREFIX}{model}"

    def chat_body(self, ask: ChatAsk) -> bytes:
        """Return the request body; what is not left to the user's file asks for a stream."""
        return super().chat_body(ask if ask.stream is None else replace(ask, stream=True))

    def attestation_path(
        self,
        scene: Scene,
        nonce: bytes,
        algorithm: str | None,  # noqa: ARG002
        signer: str | None,  # noqa: ARG002
    ) -> str:
        """Return path and query of an attestation request."""
        named = scene.options.get("signing_algo") == "send"
        return query(
            "/api/v1/tee/attestation",
            ("model", self.model_of(scene)),
            ("nonce", nonce.hex()),
            ("signing_algo", next(iter(scene.algorithms), None) if named else None),
        )

    def chat_path(self, scene: Scene) -> str:  # noqa: ARG002
        """Return the path of the chat."""
        return "/api/v1/chat/completions"

    def signature_path(self, scene: Scene, found: str, algorithm: str) -> str | None:
        """Return path and query of a signature look-up."""
        return query(
            f"/api/v1/tee/signature/{segment(found)}",
            ("model", self.model_of(scene)),
            ("signing_algo", algorithm),
        )
