"""Venice: a proxy in front of NEAR and Phala nodes. Confidential models are called ``e2ee-...``.

Options: none.

Source: providers.md 3.10.
"""

from __future__ import annotations

from dataclasses import dataclass

from bundle.calls import Scene
from bundle.providers.basis import Basis, query


@dataclass(kw_only=True)
class Venice(Basis):
    """Venice."""

    name: str = "venice"
    title: str = "Venice"
    profile: str = "venice"
    base_url: str | None = "https://api.venice.ai"

    def attestation_path(
        self,
        scene: Scene,
        nonce: bytes,
        algorithm: str | None,  # noqa: ARG002
        signer: str | None,  # noqa: ARG002
    ) -> str:
        """Return path and query of an attestation request."""
        return query(
            "/api/v1/tee/attestation", ("model", self.model_of(scene)), ("nonce", nonce.hex())
        )

    def chat_path(self, scene: Scene) -> str:  # noqa: ARG002
        """Return the path of the chat."""
        return "/api/v1/chat/completions"

    def signature_path(self, scene: Scene, found: str, algorithm: str) -> str | None:  # noqa: ARG002
        """Return path and query of a signature look-up."""
        return query(
            "/api/v1/tee/signature", ("model", self.model_of(scene)), ("request_id", found)
        )
