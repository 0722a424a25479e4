"""Real and synthetic items of the evidence folder, as the procedure takes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from verify.intel.appraisal import Answer, Appraisal, Collateral, appraise


@dataclass(frozen=True)
class Item:
    folder: Path
    expected: dict

    @property
    def quote(self) -> bytes:
        return (self.folder / "quote.bin").read_bytes()

    def cases(self) -> list[dict]:
        whole = (
            []
            if "collateral" in self.expected
            else [{**self.expected, "collateral": "collateral.json"}]
        )
        return self.expected.get("cases") or whole

    def collateral(self, name: str) -> tuple[Collateral, bytes]:
        roles = json.loads((self.folder / name).read_text())

        def data(entry: dict) -> bytes:
            return (self.folder / entry["file"]).read_bytes()

        def answer(role: str) -> tuple[Answer, ...]:
            return (
                Answer(body=data(roles[role]["body"]), chain=data(roles[role]["issuer_chain"])),
            )

        found = Collateral(
            tcb_info=answer("tcb_info"),
            qe_identity=answer("qe_identity"),
            pck_crl=(data(roles["pck_crl"]["body"]),),
            root_crl=(data(roles["root_crl"]["body"]),),
        )
        return found, data(roles["trust_anchor"])

    def judged(self) -> list[tuple[dict, Collateral, bytes, datetime]]:
        if not (self.folder / "collateral.json").exists():
            return []
        return [
            (
                case,
                *self.collateral(case["collateral"]),
                datetime.fromtimestamp(case["as_of_unix"], UTC),
            )
            for case in self.cases()
        ]

    def appraise(self, found: Collateral, anchor: bytes, at: datetime) -> Appraisal:
        return appraise(self.quote, found, at, anchor)


@pytest.fixture(scope="session")
def tdx_items(evidence_root: Path) -> dict[str, Item]:
    folder = evidence_root / "tdx"
    return {
        path.parent.name: Item(path.parent, json.loads(path.read_text()))
        for path in sorted(folder.glob("*/expected.json"))
    }
