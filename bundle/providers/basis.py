"""What providers have in common: attest, chat, look up, attest again.

A provider is a `Basis` with its own addresses. Sequences are pure (`bundle.calls.Steps`): the same
answers give the same requests. What a sequence learns on the way and needs later, such as the host
that serves a model, is remembered by model and learnt anew when the sequence runs again.

Source: providers.md 2.2, 2.4, 2.8, 3.7, 3.8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final
from urllib.parse import quote

from bundle.bounds import TRANSIENT
from bundle.calls import (
    ATTESTATION,
    CHAT,
    PATIENT,
    SIGNATURE,
    Attested,
    Call,
    ChatAsk,
    Patience,
    Scene,
    Steps,
    patiently,
    usable,
)
from bundle.providers import bodies
from bundle.providers.reading import attested, chat_id, members, text_of, whole_chat
from bundle.recording import RecordedExchange
from verify.engine.errors import UsageError

JSON: Final = (("Content-Type", "application/json"),)
REFUSED: Final = frozenset({401, 402, 403})
"""Statuses after which nothing else is asked: another request would be refused as well."""

LOOK_UP: Final = Patience(
    delays_s=(1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0, 5.0, 5.0, 6.0, 6.0),
    statuses=TRANSIENT | {404},
    within_s=60.0,
)
"""Twelve tries within a minute: another node may have the signature (providers.md 3.7).

Waits are made up to a quarter longer, so that clients do not ask in step: 55 seconds at most.
"""

_OTHER_NODE: Final = b"not found on this server"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerPatience(Patience):
    """Twelve tries to reach a machine that has the wanted signer (providers.md 3.7)."""

    delays_s: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0)

    def wait_for(self, recorded: RecordedExchange, tried: int, waited_s: float) -> float | None:
        """Return the seconds to wait before the next try, None where there is to be none."""
        if recorded.status == 404:
            elsewhere = _OTHER_NODE in (recorded.response_body or b"").lower()
            return self.delays_s[tried - 1] if elsewhere and tried <= len(self.delays_s) else None
        return PATIENT.wait_for(recorded, tried, waited_s)


def query(path: str, *fields: tuple[str, str | None]) -> str:
    """Return a path with those query fields that have a value, in order."""
    written = "&".join(
        f"{name}={quote(value, safe='/')}" for name, value in fields if value is not None
    )
    return f"{path}?{written}" if written else path


def segment(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="")


def always(call: Call) -> Callable[[int], Call]:
    """Return what `patiently` asks for the request of a try: the same one each time."""
    return lambda _number: call


@dataclass(slots=True, kw_only=True)
class Known:
    """What a sequence learnt of one model. ``base``: where it is served.

    ``algorithms``: those whose keys were attested, None before any attestation.
    """

    base: str
    algorithms: frozenset[str] | None = None


@dataclass(kw_only=True)
class Basis:
    """A provider whose sequence is the common one; see `bundle.calls.Provider`.

    ``per_algorithm``: whether an attestation is asked for once per signing algorithm, because a
    report binds only the key of the algorithm asked. ``names_signer``: whether the second round
    says whose key must answer. ``attestation_credential``: which credential goes along with it.
    """

    name: str
    title: str
    profile: str
    base_url: str | None
    marker_pointer: str | None = "/user"
    algorithms: tuple[str, ...] = ("ecdsa",)
    has_chat: bool = True
    per_algorithm: bool = False
    names_signer: bool = False
    attestation_credential: str | None = "provider"
    _known: dict[tuple[str, str | None], Known] = field(default_factory=dict, repr=False)

    # --- addresses: what a provider says of itself ----------------------------------------------

    def attestation_path(
        self, scene: Scene, nonce: bytes, algorithm: str | None, signer: str | None
    ) -> str:
        """Return path and query of an attestation request.

        ``algorithm``: None where the provider knows no such parameter. ``signer``: the address that
        must answer, None in the first round.
        """
        # every provider says its own: there is none to fall back on
        raise NotImplementedError

    def chat_path(self, scene: Scene) -> str:  # noqa: ARG002
        """Return the path of the chat."""
        return "/v1/chat/completions"

    def signature_path(self, scene: Scene, found: str, algorithm: str) -> str | None:  # noqa: ARG002
        """Return path and query of a signature look-up, None where the provider has none."""
        return None

    def chat_headers(self, scene: Scene) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        """Return the headers of the chat beyond those that the transport always sends."""
        return JSON

    def fixed(self, scene: Scene) -> str | None:
        """Return the base URL where it needs no look-up, None where it does."""
        return scene.base_url

    def locate(self, scene: Scene) -> Steps[str | None]:
        """Find where the model is served; return the base URL, None where nobody serves it."""
        yield from ()
        return self.fixed(scene)

    # --- the body -------------------------------------------------------------------------------

    def model_name(self, model: str) -> str:
        """Return a model's name in the provider's spelling."""
        return model

    def prompt_members(self, ask: ChatAsk) -> dict[str, object]:  # noqa: ARG002
        """Return members that a body made of a prompt has beyond the common ones."""
        return {}

    def chat_body(self, ask: ChatAsk) -> bytes:
        """Return the request body: serialised here, once. Raises UsageError."""
        model = None if not ask.model else self.model_name(ask.model)
        if ask.request is not None:
            return bodies.from_request(ask, model)
        named = replace(ask, model=model)
        return bodies.from_prompt(named, self.prompt_members(named))

    # --- the sequence ---------------------------------------------------------------------------

    def known(self, scene: Scene) -> Known | None:
        """Return what was learnt of the scene's model, None before it was located."""
        return self._known.get((scene.base_url, scene.model))

    def base_of(self, scene: Scene) -> str:
        """Return where the scene's model is served. Raises UsageError: not located yet."""
        known = self.known(scene)
        if known is not None:
            return known.base
        fixed = self.fixed(scene)
        if fixed is None:
            message = f"{self.name}: where {scene.model or 'the model'} is served is not known yet"
            raise UsageError(message)
        return self._root(scene, fixed)

    def model_of(self, scene: Scene) -> str:
        """Return the scene's model in the provider's spelling. Raises UsageError: none given."""
        if not scene.model:
            message = f"{self.name}: no model: give --model NAME"
            raise UsageError(message)
        return self.model_name(scene.model)

    def before(self, scene: Scene) -> Steps[Attested]:
        """Attest, with collateral: what must be there before a chat."""
        base = yield from self.locate(scene)
        if base is None:
            note = f"{self.name}: the service lists no model {scene.model}"
            return Attested(answers=(), signers={}, usable=False, note=note)
        known = self._located(scene, base)
        found = yield from self.round(scene, 1, {})
        known.algorithms = frozenset(found.signers)
        return found

    def after(self, scene: Scene, attested: Attested) -> Steps[Attested]:
        """Attest again with another nonce, with collateral of whatever is new."""
        if self.known(scene) is None:
            base = yield from self.locate(scene)
            if base is None:
                return replace(attested, answers=(), usable=False)
            self._located(scene, base)
        return (yield from self.round(scene, 2, attested.signers))

    def _root(self, scene: Scene, base: str) -> str:
        """Return a base URL without the version that clients often write and paths begin with."""
        path = self.chat_path(scene)
        version = path.removesuffix("/chat/completions")
        return base if version == path else base.removesuffix(version)

    def _located(self, scene: Scene, base: str) -> Known:
        """Remember where a model is served."""
        known = Known(base=self._root(scene, base))
        self._known[scene.base_url, scene.model] = known
        return known

    def served(self, scene: Scene, chat: RecordedExchange) -> None:
        """Remember where a chat was served, if a sequence begins with what follows a chat."""
        url, path = chat.url.partition("?")[0], self.chat_path(scene)
        if self.known(scene) is None and url.endswith(path):
            self._located(scene, url.removesuffix(path))

    def round(self, scene: Scene, number: int, signers: dict[str, str]) -> Steps[Attested]:
        """Attest once per algorithm; collateral for what came. ``signers``: who must answer."""
        answers: list[RecordedExchange] = []
        wanted: Sequence[str | None] = scene.algorithms if self.per_algorithm else (None,)
        for algorithm in wanted:
            step = f"attest-{number}" + ("" if algorithm is None else f".{algorithm}")
            signer = signers.get(algorithm or "ecdsa") if self.names_signer else None
            recorded = yield from self.attest(scene, step, algorithm, signer)
            answers.append(recorded)
            # whoever refuses, or cannot be reached after all patience, is not asked again
            if recorded.failure is not None or recorded.status in REFUSED | {429}:
                break
        held = tuple(answer for answer in answers if usable(answer))
        if held:
            label = "before" if number == 1 else "after"
            yield from scene.collateral(label, held)
        return attested(answers)

    def attest(
        self, scene: Scene, step: str, algorithm: str | None, signer: str | None
    ) -> Steps[RecordedExchange]:
        """Ask for one attestation, with patience; each try has a nonce of its own.

        Where the wanted signer answers nowhere, whoever answers is attested: a change of keys is to
        be on record.
        """
        make = partial(self.attestation_call, scene, algorithm=algorithm)
        patience = PATIENT if signer is None else SignerPatience()
        recorded = yield from self.tried(make, scene, step, signer, patience)
        if signer is not None and recorded.status in {400, 404, 422}:
            recorded = yield from self.tried(make, scene, f"{step}.any", None, PATIENT)
        return recorded

    def tried(
        self,
        make: Callable[[str, bytes, str | None], Call],
        scene: Scene,
        step: str,
        signer: str | None,
        patience: Patience,
    ) -> Steps[RecordedExchange]:
        """Send an attestation request until patience ends."""

        def one(number: int) -> Call:
            name = step if number == 1 else f"{step}/{number}"
            return replace(make(step, scene.nonce(name), signer), step=step)

        _, recorded = yield from patiently(one, patience)
        return recorded

    def attestation_call(
        self, scene: Scene, step: str, nonce: bytes, signer: str | None, *, algorithm: str | None
    ) -> Call:
        """Return one attestation request."""
        path = self.attestation_path(scene, nonce, algorithm, signer)
        return Call(
            step=step,
            purpose="attestation",
            method="GET",
            url=self.base_of(scene) + path,
            credential=self.attestation_credential,
            bounds=ATTESTATION,
            session=scene.session,
            stage="attestation",
        )

    def chat_call(self, scene: Scene) -> Call:
        """Return the call of the chat, which is never sent twice. Raises UsageError: no body."""
        if not self.has_chat or scene.chat_body is None:
            message = f"{self.name}: there is no chat to send"
            raise UsageError(message)
        return Call(
            step="chat",
            purpose="chat",
            method="POST",
            url=self.base_of(scene) + self.chat_path(scene),
            body=scene.chat_body,
            headers=self.chat_headers(scene),
            credential="provider",
            bounds=CHAT,
            once=True,
            session=scene.session,
            stage="chat",
        )

    def signing(self, scene: Scene) -> tuple[str, ...]:
        """Return the algorithms whose signatures are looked up: those whose keys are attested."""
        known = self.known(scene)
        held = tuple(sorted(() if known is None else known.algorithms or ()))
        wanted = tuple(name for name in scene.algorithms if name in held)
        # a signature by a key that no report binds would be refused, whatever it says
        return wanted or held or scene.algorithms

    def after_chat(self, scene: Scene, chat: RecordedExchange) -> Steps[None]:
        """Look up the signature of a chat, once per algorithm.

        A chat that was refused has none. One that broke off, or of machines that attest no signing
        key, is asked for without patience: nobody keeps a signature of it.
        """
        found = chat_id(chat)
        if chat.status is None or not 200 <= chat.status < 300 or found is None:
            return
        self.served(scene, chat)
        known = self.known(scene)
        unsigned = known is not None and known.algorithms == frozenset()
        patience = PATIENT if unsigned or not whole_chat(chat) else LOOK_UP
        for algorithm in self.signing(scene):
            path = self.signature_path(scene, found, algorithm)
            if path is None:
                return
            call = self.look_up(scene, f"signature.{algorithm}", "signature", path)
            _, recorded = yield from patiently(always(call), patience)
            stated = members(recorded)
            if stated is not None and "signature" not in stated and "error_code" in stated:
                return  # none and never (providers.md 3.8)
            if recorded.status in REFUSED or recorded.failure is not None:
                return
            if recorded.status == 404:
                patience = PATIENT  # what nobody had within a minute is not waited for again

    def unsigned(self, chat: RecordedExchange, exchanges: Sequence[RecordedExchange]) -> str:
        """Say why there is nothing that signs a chat; empty where there is."""
        if chat_id(chat) is None:
            return "the answer has no id by which its signature could be looked up"
        stated = (members(one) for one in exchanges if one.purpose == "signature")
        signed = any(found is not None and text_of(found, "signature") for found in stated)
        return "" if signed else "no look-up brought a signature"

    def look_up(self, scene: Scene, step: str, purpose: str, path: str) -> Call:
        """Return a request for what belongs to a chat."""
        return Call(
            step=step,
            purpose=purpose,
            method="GET",
            url=self.base_of(scene) + path,
            credential="provider",
            bounds=SIGNATURE,
            session=scene.session,
            stage=purpose,
        )
