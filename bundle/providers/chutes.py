"""Chutes: the machines of a model with their encryption keys, and the evidence of each.

A chat goes through a channel encrypted to one machine and nobody signs it: what was said proves
nothing to others. So only attestation is captured; the two calls of a round are matched by instance
when the evidence is read.

Options: ``chute_id`` (of the model; else it is looked up in the list of models); ``models_url``
(that list; by default the service's, or ``/v1/models`` under a base URL of one's own).

Source: providers.md 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bundle.calls import ATTESTATION, Attested, Call, ChatAsk, Scene, Steps, patiently
from bundle.providers.basis import Basis, always, query, segment
from bundle.providers.reading import members, objects, parsed, text_of, url_name
from bundle.recording import RecordedExchange
from verify.engine.errors import UsageError

API: Final = "https://api.chutes.ai"
MODELS: Final = "https://llm.chutes.ai/v1/models"
NO_CHAT: Final = (
    "chutes signs no responses: a chat would be encrypted to one machine and prove nothing to "
    "others. Capture the attestation alone (--attest-only), or use a proxy that signs"
)


def _chute_of(recorded: RecordedExchange, model: str) -> str | None:
    """Return the id under which a list of models has a confidential one."""
    found = members(recorded)
    listed = parsed(recorded.response_body) if found is None else found.get("data")
    for item in objects(listed):
        if text_of(item, "id") == model and item.get("confidential_compute") is not False:
            return url_name(text_of(item, "chute_id"))
    return None


@dataclass(kw_only=True)
class Chutes(Basis):
    """Chutes, attestation alone."""

    name: str = "chutes"
    title: str = "Chutes (attestation alone)"
    profile: str = "chutes"
    base_url: str | None = API
    marker_pointer: str | None = None
    algorithms: tuple[str, ...] = ()
    has_chat: bool = False
    _chutes: dict[tuple[str, str | None], str] = field(default_factory=dict, repr=False)

    def chat_body(self, ask: ChatAsk) -> bytes:  # noqa: ARG002
        """Refuse: nobody signs a chat here. Raises UsageError saying what to do instead."""
        raise UsageError(NO_CHAT)

    def chat_call(self, scene: Scene) -> Call:  # noqa: ARG002
        """Refuse: nobody signs a chat here. Raises UsageError saying what to do instead."""
        raise UsageError(NO_CHAT)

    def after_chat(self, scene: Scene, chat: RecordedExchange) -> Steps[None]:  # noqa: ARG002
        """Ask for nothing: nobody signs a chat here."""
        yield from ()

    def unsigned(
        self,
        chat: RecordedExchange,  # noqa: ARG002
        exchanges: Sequence[RecordedExchange],  # noqa: ARG002
    ) -> str:
        """Return nothing: nobody signs a chat here, so nothing is missing."""
        return ""

    def fixed(self, scene: Scene) -> str | None:  # noqa: ARG002
        """Return None: the id of the model is to be looked up first."""
        return None

    def locate(self, scene: Scene) -> Steps[str | None]:
        """Look up the id of the model."""
        chute = scene.options.get("chute_id")
        if chute is None:
            model = self.model_of(scene)
            own = MODELS if scene.base_url == API else f"{scene.base_url}/v1/models"
            call = Call(
                step="models",
                purpose="model-list",
                method="GET",
                url=scene.options.get("models_url", own),
                credential="provider",
                bounds=ATTESTATION,
                session=scene.session,
                stage="discovery",
            )
            _, recorded = yield from patiently(always(call))
            chute = _chute_of(recorded, model)
        if not chute:
            return None
        self._chutes[scene.base_url, scene.model] = chute
        return scene.base_url

    def chute(self, scene: Scene) -> str:
        """Return the located id as one segment of a path."""
        return segment(self._chutes[scene.base_url, scene.model])

    def round(self, scene: Scene, number: int, signers: dict[str, str]) -> Steps[Attested]:
        """Ask for the machines' keys, then for their evidence: keys first, they are what is bound.

        A list that does not come does not end the round: evidence without keys is still evidence.
        """
        call = Call(
            step=f"instances-{number}",
            purpose="key-config",
            method="GET",
            url=f"{self.base_of(scene)}/e2e/instances/{self.chute(scene)}",
            credential="provider",
            bounds=ATTESTATION,
            session=scene.session,
            stage="instances",
        )
        yield from patiently(always(call))
        return (yield from super().round(scene, number, signers))

    def attestation_path(
        self,
        scene: Scene,
        nonce: bytes,
        algorithm: str | None,  # noqa: ARG002
        signer: str | None,  # noqa: ARG002
    ) -> str:
        """Return path and query of an evidence request."""
        return query(f"/chutes/{self.chute(scene)}/evidence", ("nonce", nonce.hex()))
