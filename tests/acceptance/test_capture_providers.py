"""Every provider and mode, over HTTPS: VERIFIED with the simulator's anchors, never without."""

from pathlib import Path

import pytest

from bundle.providers import provider
from tests.acceptance.capture_case import PROVIDERS, Made, captured
from verify.engine.report import Verdict

MODES = {
    "streamed": {"chat": True, "asked": {"stream": True}},
    "whole": {"chat": True, "asked": {"stream": False}},
    "attestation": {"chat": False},
}


def secrets_in(made: Made) -> list[Path]:
    import base64
    from urllib.parse import quote

    key = made.simulator.api_key
    forms = {
        key.encode(),
        quote(key, safe="").encode(),
        key.encode().hex().encode(),
        base64.b64encode(key.encode())[:-4],
        base64.b64encode(f"Bearer {key}".encode())[:-4],
    }
    return [p for p in made.files() if any(form in p.read_bytes() for form in forms)]


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("name", PROVIDERS)
def test_a_capture_is_verified_with_the_simulators_anchors_only(
    name: str, mode: str, tmp_path: Path
) -> None:
    if mode != "attestation" and not provider(name).has_chat:
        pytest.skip(f"{name}: its chats are not signed and not recorded here, by specification")
    made = captured(name, tmp_path, **MODES[mode])
    assert made.error is None, made.error
    assert made.result is not None
    assert made.result.whole, made.result.gaps
    assert made.result.journal is None
    assert not made.journal.exists()
    report = made.report()
    assert report.verdict is Verdict.VERIFIED, made.reasons(report)
    unknown = made.report(trusted=False)
    assert unknown.verdict in {Verdict.REJECTED, Verdict.INCOMPLETE}
    assert secrets_in(made) == []
    assert all(
        request.header("accept-encoding") == "identity"
        for request in made.simulator.journal.requests
    )
