"""NEAR AI at the model: one trust domain answers, TLS ends inside it.

The default base URL is the list of endpoints: the host that serves the model is looked up there.
Any other base URL is taken as the endpoint itself.

Options: ``discover`` (``true``: the given base URL has a list of endpoints at ``/endpoints``, too);
``attest_with_key`` (``true``: send the API key with attestation requests, which need none).

Source: providers.md 3.7.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bundle.calls import Call, Scene, Steps, patiently
from bundle.providers.basis import Basis, always, query, segment
from bundle.providers.hosts import listed_url
from bundle.providers.reading import members, objects, text_of, texts
from bundle.recording import RecordedExchange

LIST: Final = "https://completions.near.ai"


def _host_of(recorded: RecordedExchange, base_url: str, model: str) -> str | None:
    """Return the URL of the first listed host that serves a model, exact spelling before any."""
    found = members(recorded)
    listed = () if found is None else tuple(objects(found.get("endpoints")))
    for fold in (str, str.lower):
        for endpoint in listed:
            domain = text_of(endpoint, "domain")
            if domain and fold(model) in map(fold, texts(endpoint.get("models"))):
                url = listed_url(base_url, domain)
                if url is not None:
                    return url
    return None


@dataclass(kw_only=True)
class NearDirect(Basis):
    """NEAR AI, directly at the model."""

    name: str = "near-direct"
    title: str = "NEAR AI, directly at the model"
    profile: str = "near-direct"
    base_url: str | None = LIST
    algorithms: tuple[str, ...] = ("ecdsa", "ed25519")
    per_algorithm: bool = True
    names_signer: bool = True
    attestation_credential: str | None = None

    def fixed(self, scene: Scene) -> str | None:
        """Return the base URL, None where it is that of the list of endpoints."""
        listed = scene.base_url == LIST or scene.options.get("discover") == "true"
        return None if listed else scene.base_url

    def locate(self, scene: Scene) -> Steps[str | None]:
        """Take the base URL; look the host up where it is the list of endpoints."""
        fixed = self.fixed(scene)
        if fixed is not None:
            return fixed
        model = self.model_of(scene)
        call = Call(
            step="discover",
            purpose="model-list",
            method="GET",
            url=f"{scene.base_url}/endpoints",
            session=scene.session,
            stage="discovery",
        )
        _, recorded = yield from patiently(always(call))
        return _host_of(recorded, scene.base_url, model)

    def attestation_call(
        self, scene: Scene, step: str, nonce: bytes, signer: str | None, *, algorithm: str | None
    ) -> Call:
        """Return one attestation request; it needs no key."""
        call = super().attestation_call(scene, step, nonce, signer, algorithm=algorithm)
        if scene.options.get("attest_with_key") == "true":
            return replace(call, credential="provider")
        return call

    def attestation_path(
        self,
        scene: Scene,  # noqa: ARG002
        nonce: bytes,
        algorithm: str | None,
        signer: str | None,
    ) -> str:
        """Return path and query of an attestation request."""
        return query(
            "/v1/attestation/report",
            ("signing_algo", algorithm),
            ("nonce", nonce.hex()),
            ("include_tls_fingerprint", "true"),
            ("signing_address", signer),
        )

    def signature_path(self, scene: Scene, found: str, algorithm: str) -> str | None:  # noqa: ARG002
        """Return path and query of a signature look-up."""
        return query(f"/v1/signature/{segment(found)}", ("signing_algo", algorithm))
