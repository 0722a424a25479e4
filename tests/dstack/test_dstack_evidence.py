"""Real logs, compose texts and compose managers, read in place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from verify.dstack.compose import (
    judge_compose,
    judge_config_id,
    judge_published,
    mr_aggregated,
    mr_system,
    pinned_images,
)
from verify.dstack.compose_manager import (
    dump_of_actions,
    judge_nonce,
    judge_report_data,
    judge_same_td,
    parse_manager,
)
from verify.dstack.event_log import compare, parse_event_log, parse_key_provider, replay
from verify.dstack.registers import TdRegisters

EXPECTED_LOGS = 20
FIELDS = (
    ("mr_td", 136),
    ("mr_config_id", 184),
    ("mr_owner", 232),
    ("mr_owner_config", 280),
    ("rtmr0", 328),
    ("rtmr1", 376),
    ("rtmr2", 424),
    ("rtmr3", 472),
)


def registers(quote: bytes) -> TdRegisters:
    """Read a version 4 quote's TD report, 48 bytes behind its start."""
    fields = {name: quote[48 + offset : 48 + offset + 48] for name, offset in FIELDS}
    return TdRegisters(**fields, report_data=quote[48 + 520 : 48 + 584])


def dstack_items(root: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    for log in sorted(root.glob("tdx/*/event_log*.json")):
        yield log, json.loads((log.parent / "expected.json").read_text())


def test_event_log_every_real_log_explains_its_quote(evidence_root: Path) -> None:
    count = 0
    for path, expected in dstack_items(evidence_root):
        facts = expected["dstack"]
        quote = registers((path.parent / "quote.bin").read_bytes())
        found = replay(parse_event_log(path.read_bytes()))
        assert not found.faults, path
        assert not compare(found, quote.rtmrs), path
        assert [r.hex() for r in found.registers if r] == list(facts["replayed"].values())
        claims = found.claims
        assert claims.one("compose-hash") == bytes.fromhex(facts["compose_hash"])
        assert claims.one("app-id") == bytes.fromhex(facts["app_id"])
        assert claims.one("instance-id") == bytes.fromhex(facts["instance_id"])
        provider = parse_key_provider(claims.one("key-provider") or b"")
        assert {"name": provider.name, "id": provider.id.hex()} == facts["key_provider"]
        assert judge_config_id(quote.mr_config_id, claims).version == (
            facts["mr_config_id_version"] or 0
        )
        assert mr_aggregated(quote).hex() == facts["mr_aggregated"]
        assert mr_system(quote, claims.one("key-provider") or b"").hex() == facts["mr_system"]
        count += 1
    assert count == EXPECTED_LOGS


def test_compose_every_real_text_is_the_measured_one(evidence_root: Path) -> None:
    pinned = {}
    for path, _ in dstack_items(evidence_root):
        compose = path.parent / "app_compose.json"
        if compose.exists():
            claims = replay(parse_event_log(path.read_bytes())).claims
            judge_compose(compose.read_bytes(), claims)
            pinned[path.parent.name] = bool(pinned_images(compose.read_bytes()))
    assert len(pinned) == 14
    # the single-node answers behind one proxy name images by tag alone
    assert sorted(name for name, some in pinned.items() if not some) == [
        "nanogpt-20260325-gemma-3-27b-it-node",
        "nanogpt-20260325-gpt-oss-120b-node",
        "nanogpt-20260610-node",
    ]


def report_objects(value: object, path: str = "") -> Iterator[tuple[str, Mapping[str, object]]]:
    if isinstance(value, Mapping):
        if "intel_quote" in value and "info" in value:
            yield path, value
        for name, member in value.items():
            if name != "all_attestations":
                yield from report_objects(member, f"{path}/{name}")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from report_objects(member, f"{path}/{index}")


def answers(root: Path) -> Iterator[tuple[Path, object]]:
    bodies = [
        *root.glob("captures/*/responses/0001_*.body"),
        *root.glob("captures/nanogpt_20260325_225022/*/*_attestation.json"),
    ]
    for body in sorted(bodies):
        yield body, json.loads(body.read_bytes())


def log_text(member: object) -> bytes:
    return (member if isinstance(member, str) else json.dumps(member)).encode()


def test_report_objects_every_real_one_holds_together(evidence_root: Path) -> None:
    count = 0
    for path, answer in answers(evidence_root):
        for pointer, report in report_objects(answer):
            place = f"{path.name}{pointer}"
            quote = registers(bytes.fromhex(str(report["intel_quote"])))
            info = report["info"]
            tcb_info = info["tcb_info"]
            tcb_info = json.loads(tcb_info) if isinstance(tcb_info, str) else tcb_info
            for member in (report["event_log"], tcb_info["event_log"]):
                found = replay(parse_event_log(log_text(member)))
                assert not found.faults, place
                assert not compare(found, quote.rtmrs), place
                judge_compose(tcb_info["app_compose"].encode(), found.claims)
                for echoes in (info, tcb_info):
                    assert not judge_published(echoes, quote, found.claims, found.boot_rtmr3), place
            count += 1
    assert count == 13


def test_compose_managers_every_real_one_holds(evidence_root: Path) -> None:
    count = 0
    for path, answer in answers(evidence_root):
        for pointer, report in report_objects(answer):
            manager = report.get("compose_manager_attestation")
            if manager is None:
                continue
            statement = parse_manager(manager, pointer)
            own = registers(bytes.fromhex(manager["quote"]))
            judge_report_data(statement, own)
            judge_nonce(statement, bytes.fromhex(str(report["request_nonce"])))
            judge_same_td(own, registers(bytes.fromhex(str(report["intel_quote"]))))
            assert not compare(replay(parse_event_log(log_text(manager["event_log"]))), own.rtmrs)
            listed = json.dumps(manager["actions"]).encode()
            assert dump_of_actions(listed, statement.actions_hash) == "as-sent", path.name
            count += 1
    assert count == 3


@pytest.mark.parametrize("member", ["event_log", "app_compose"])
def test_real_log_and_compose_one_byte_changed_is_refused(evidence_root: Path, member: str) -> None:
    folder = evidence_root / "tdx" / "venice-20260610-node"
    log = (folder / "event_log.json").read_bytes()
    quote = registers((folder / "quote.bin").read_bytes())
    found = replay(parse_event_log(log))
    if member == "event_log":
        needle = found.claims.one("app-id") or b""
        changed = log.replace(needle.hex().encode(), b"00" * 20)
        assert replay(parse_event_log(changed)).faults
        return
    compose = bytearray((folder / "app_compose.json").read_bytes())
    compose[-2] ^= 1
    with pytest.raises(Exception, match="compose_hash_mismatch"):
        judge_compose(bytes(compose), found.claims)
    assert not compare(found, quote.rtmrs)
