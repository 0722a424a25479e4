"""An application records itself: its chats, unaltered, become bundles that verify."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import bundle
from bundle import Recorder, RecordingError, RecordingWarning
from bundle.journal import CaptureError
from bundle.keys import FileSigner, generate, key_id, write_pair
from bundle.proxy import WORK
from fixtures.simulator.world import Simulator
from verify.api import open_unverified, verify_bundle
from verify.engine.asof import AsOf
from verify.engine.errors import UsageError
from verify.engine.report import Report
from verify.policy.loader import load_policy
from verify.trust.file import read_signer, read_trust_file
from verify.trust.store import TrustStore


class Case:
    """A simulated provider and a folder for one recorder."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.simulator = simulator
        self.folder = folder
        self.signer: FileSigner = generate()
        write_pair(folder / "k", self.signer, None)
        (folder / "ca.pem").write_bytes(simulator.ca_pem)
        (folder / "policy.yaml").write_bytes(
            simulator.policy(key_id(self.signer.spki()), marked=False)
        )
        (folder / "trust.json").write_bytes(simulator.trust)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def model(self) -> str:
        return self.simulator.model

    @property
    def files(self) -> list[Path]:
        return sorted(self.out.rglob("*")) if self.out.exists() else []

    def recorder(self, **given: Any) -> Recorder:
        simulator = self.simulator
        named: dict[str, Any] = {
            "model": self.model,
            "key": self.folder / "k" / "signer.key",
            "out": self.out,
            "api_key": simulator.api_key,
            "base_url": simulator.base_url,
            "ca_file": self.folder / "ca.pem",
            "endpoints": simulator.endpoints,
            "options": simulator.options,
            **given,
        }
        return Recorder(simulator.world.provider, **named)

    def client(self, recorder: Recorder, **given: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=recorder.base_url,
            api_key=self.simulator.api_key,
            http_client=httpx.Client(transport=recorder.transport()),
            max_retries=0,
            **given,
        )

    def report(self, path: Path) -> Report:
        own = read_signer(self.signer.public_pem())
        return verify_bundle(
            path.read_bytes(),
            policy=load_policy((self.folder / "policy.yaml").read_bytes()),
            trust=TrustStore.build(files=[read_trust_file(self.simulator.trust)], signers=[own]),
            as_of=AsOf.capture(),
        )

    def verified(self, recorder: Recorder, count: int) -> None:
        assert len(recorder.bundles) == count
        assert recorder.troubles == ()
        for done in recorder.bundles:
            report = self.report(done.path)
            assert report.verdict.value == "VERIFIED", [
                (name, o.reason) for name, o in report.outcomes.items() if o.reason
            ]
        assert [p for p in self.files if p.is_file()] == sorted(d.path for d in recorder.bundles)


def says(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def text_of(stream: Any) -> str:
    return "".join(c.delta.content or "" for event in stream for c in event.choices or ())


@pytest.fixture
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Case]:
    given = dict(getattr(request, "param", {}))
    with Simulator(given.pop("provider", "aci"), **given) as simulator:
        yield Case(simulator, tmp_path)


@pytest.mark.parametrize(
    "case", [{"provider": name} for name in ("aci", "near-direct", "ionet")], indirect=True
)
def test_official_client_streaming_and_not_gives_verified_bundles(case: Case) -> None:
    with case.recorder() as recorder, case.client(recorder) as client:
        stream = client.chat.completions.create(model=case.model, messages=says("one"), stream=True)
        assert text_of(stream)
        whole = client.chat.completions.create(model=case.model, messages=says("two"))
        assert whole.choices[0].message.content
        assert recorder.bundles == ()
    case.verified(recorder, 2)
