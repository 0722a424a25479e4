"""A capture over real HTTPS, judged by the shipped verifier, with and without a policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bundle.capture import CaptureAsked, CaptureError, CaptureResult, Means, capture, resume
from bundle.collateral import Endpoints
from bundle.keys import key_id
from bundle.providers import provider
from bundle.transport import Credential, Transport, utc_now
from fixtures.sessions import CAPTURER
from fixtures.simulator.world import Simulator
from verify.api import open_unverified
from verify.policy.loader import load_policy
from verify.trust.file import read_signer, read_trust_file
from verify.trust.store import TrustStore

NAME = "venice"


@dataclass
class Setting:
    simulator: Simulator
    folder: Path

    def means(self, transport: Transport, **more: Any) -> Means:
        key = self.simulator.api_key
        return Means(
            transport=transport,
            signers=(CAPTURER,),
            clock=utc_now,
            credentials={"provider": Credential("Authorization", f"Bearer {key}")},
            secrets=(key,),
            sleep=lambda _seconds: None,
            **more,
        )

    def transport(self) -> Transport:
        authority = self.folder / "ca.pem"
        authority.write_bytes(self.simulator.ca_pem)
        return Transport(ca_file=authority, secrets=(self.simulator.api_key,))

    def asked(self, **more: Any) -> CaptureAsked:
        return CaptureAsked(
            provider=provider(NAME),
            out=self.folder / "o.json",
            operator="operator",
            model=self.simulator.model,
            prompt="hello",
            base_url=self.simulator.base_url,
            endpoints=Endpoints(**self.simulator.endpoints),
            **more,
        )

    def trust(self) -> TrustStore:
        return TrustStore.build(
            files=[read_trust_file(self.simulator.trust)],
            signers=[read_signer(CAPTURER.public_pem())],
        )


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with Simulator(NAME) as simulator:
        yield Setting(simulator, tmp_path)


def captured(setting: Setting, **more: Any) -> CaptureResult:
    with setting.transport() as transport:
        return capture(setting.asked(), setting.means(transport, **more))


def test_capture_is_verified_under_a_policy_in_a_file(setting: Setting) -> None:
    policy = setting.folder / "policy.yaml"
    policy.write_bytes(setting.simulator.policy(key_id(CAPTURER.spki())))
    result = captured(setting, policy=policy, trust=setting.trust())
    assert result.report is not None
    assert result.report.verdict.value == "VERIFIED"
    assert result.draft is None
    assert result.whole


def test_capture_is_not_verified_by_built_in_anchors(setting: Setting) -> None:
    policy = setting.folder / "policy.yaml"
    policy.write_bytes(setting.simulator.policy(key_id(CAPTURER.spki())))
    result = captured(setting, policy=policy, trust=())
    assert result.report is not None
    assert result.report.verdict.value in {"INCOMPLETE", "REJECTED"}
    assert result.out.exists(), "written whatever the verdict"


def test_capture_without_a_policy_drafts_one(setting: Setting) -> None:
    result = captured(setting, trust=setting.trust())
    assert result.report is None
    assert result.no_draft == ""
    assert result.draft is not None
    assert result.draft.signer_known


def test_capture_stopped_and_resumed_is_as_good(setting: Setting) -> None:
    """The first process ends in the middle; the second one's connections have other names."""
    with setting.transport() as transport:
        means = setting.means(transport)
        record = transport.record

        def interrupt(method: str, url: str, **given: Any) -> Any:
            if given["purpose"] == "signature":
                raise KeyboardInterrupt
            return record(method, url, **given)

        transport.record = interrupt  # type: ignore[method-assign]
        with pytest.raises(CaptureError, match="interrupted"):
            capture(setting.asked(), means)
    with setting.transport() as transport:
        policy = load_policy(setting.simulator.policy(key_id(CAPTURER.spki())))
        means = setting.means(transport, trust=setting.trust(), policy=policy)
        folder = setting.folder / "o.json.journal"
        result = resume(folder, provider(NAME), means)
    assert result.whole
    statement = open_unverified(result.out.read_bytes()).evidence.statement
    chats = [one for one in setting.simulator.journal.requests if one.method == "POST"]
    assert len(chats) == 1
    chat = next(one for one in statement.exchanges if one.purpose == "chat")
    after = next(one for one in statement.exchanges if one.seq > chat.seq + 1)
    assert chat.connection is not None
    assert after.connection is not None
    assert after.connection.startswith("r2-")
    assert result.report is not None
    assert result.report.verdict.value == "VERIFIED"
