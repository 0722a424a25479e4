"""vllm-proxy: a model's own endpoint, at Phala or anywhere else (``dstack``).

Options: ``version`` (``2``: newer builds then bind the TLS key as well; the plain request gives the
padded form); ``include_tls_fingerprint`` (``true``: how other builds spell the same wish).

Source: providers.md 3.9.
"""

from __future__ import annotations

from dataclasses import dataclass

from bundle.calls import Scene
from bundle.providers.basis import Basis, query, segment


@dataclass(kw_only=True)
class VllmProxy(Basis):
    """A vllm-proxy under any base URL."""

    profile: str = "vllm-proxy"
    algorithms: tuple[str, ...] = ("ecdsa", "ed25519")
    per_algorithm: bool = True
    names_signer: bool = True

    def attestation_path(
        self, scene: Scene, nonce: bytes, algorithm: str | None, signer: str | None
    ) -> str:
        """Return path and query of an attestation request."""
        return query(
            "/v1/attestation/report",
            ("signing_algo", algorithm),
            ("nonce", nonce.hex()),
            ("version", scene.options.get("version")),
            ("include_tls_fingerprint", scene.options.get("include_tls_fingerprint")),
            ("signing_address", signer),
        )

    def signature_path(self, scene: Scene, found: str, algorithm: str) -> str | None:  # noqa: ARG002
        """Return path and query of a signature look-up."""
        return query(f"/v1/signature/{segment(found)}", ("signing_algo", algorithm))


def phala() -> VllmProxy:
    """Return Phala's endpoint."""
    return VllmProxy(
        name="phala", title="Phala, vllm-proxy", base_url="https://inference-api.phala.network"
    )


def dstack() -> VllmProxy:
    """Return a vllm-proxy whose base URL the user says."""
    return VllmProxy(name="dstack", title="any vllm-proxy on dstack", base_url=None)
