"""RedPill: a proxy that gives the shape of whatever back end serves the model.

Options: ``signing_algo`` (``send``: name the algorithm in attestation and look-up requests, which
the service documents without it).

Source: providers.md 3.11.
"""

from __future__ import annotations

from dataclasses import dataclass

from bundle.calls import Scene
from bundle.providers.basis import Basis, query, segment


@dataclass(kw_only=True)
class RedPill(Basis):
    """RedPill."""

    name: str = "redpill"
    title: str = "RedPill"
    profile: str = "redpill"
    base_url: str | None = "https://api.redpill.ai"
    names_signer: bool = True

    def attestation_path(
        self,
        scene: Scene,
        nonce: bytes,
        algorithm: str | None,  # noqa: ARG002
        signer: str | None,
    ) -> str:
        """Return path and query of an attestation request."""
        named = scene.options.get("signing_algo") == "send"
        return query(
            "/v1/attestation/report",
            ("model", self.model_of(scene)),
            ("nonce", nonce.hex()),
            ("signing_algo", next(iter(scene.algorithms), None) if named else None),
            ("signing_address", signer),
        )

    def signature_path(self, scene: Scene, found: str, algorithm: str) -> str | None:
        """Return path and query of a signature look-up."""
        named = scene.options.get("signing_algo") == "send"
        return query(
            f"/v1/signature/{segment(found)}",
            ("model", self.model_of(scene)),
            ("signing_algo", algorithm if named else None),
        )
