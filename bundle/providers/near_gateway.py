"""NEAR AI through its gateway: two trust domains, the gateway's and the model's.

Options: ``usage_stats`` (``off``: leave ``stream_options`` out of a body made of a prompt; the
gateway then rewrites the stream and signs it itself, in the place of the model);
``provider`` (another tier than ``near``; empty for none).

Source: providers.md 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass

from bundle.calls import ChatAsk, Scene
from bundle.providers.basis import JSON, Basis, query, segment


@dataclass(kw_only=True)
class NearGateway(Basis):
    """NEAR AI, through the gateway."""

    name: str = "near-gateway"
    title: str = "NEAR AI, through its gateway"
    profile: str = "near-gateway"
    base_url: str | None = "https://cloud-api.near.ai"
    algorithms: tuple[str, ...] = ("ecdsa", "ed25519")
    per_algorithm: bool = True
    names_signer: bool = True

    def attestation_path(
        self, scene: Scene, nonce: bytes, algorithm: str | None, signer: str | None
    ) -> str:
        """Return path and query of an attestation request."""
        return query(
            "/v1/attestation/report",
            ("model", self.model_of(scene)),
            ("nonce", nonce.hex()),
            ("signing_algo", algorithm),
            ("signing_address", signer),
            ("include_tls_fingerprint", "true"),
            ("provider", scene.options.get("provider", "near") or None),
        )

    def prompt_members(self, ask: ChatAsk) -> dict[str, object]:
        """Return what lets the model's own bytes and signature of a stream pass the gateway."""
        if ask.stream is False or ask.options.get("usage_stats") == "off":
            return {}
        return {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}

    def chat_headers(self, scene: Scene) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """Return the headers of the chat: an alias is refused instead of resolved."""
        return (*JSON, ("X-No-Aliasing", "true"))

    def signature_path(self, scene: Scene, found: str, algorithm: str) -> str | None:
        """Return path and query of a signature look-up."""
        return query(
            f"/v1/signature/{segment(found)}",
            ("model", self.model_of(scene)),
            ("signing_algo", algorithm),
        )
