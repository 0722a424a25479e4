"""Equal inputs give byte-identical reports: whatever was judged before, wherever it runs.

Source: verification.md 1 (D5), 12 (caches), 13.14.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from fixtures import goods
from fixtures.build import HERE, all_vectors
from fixtures.registry import Case
from fixtures.vectors import intel
from tests.conformance.judging import judged
from verify.crypto import secp256k1
from verify.crypto.cache import Bounded
from verify.engine.errors import MalformedInput
from verify.render.json import rendered

ROOT = HERE.parent
BASES = ("nanogpt", "near-gateway", "hardware-tdx")
HOSTILE_STEP = 7
"""Every so many vectors warm the caches before the good bundle is judged again."""


def good(name: str) -> Case:
    return intel.good() if name == intel.BASE_NAME else goods.good(name)


def caches() -> list[Bounded[object, object]]:
    """Return every cache of the verifier's modules."""
    return [
        value
        for name, module in sorted(sys.modules.items())
        if name.startswith("verify.")
        for value in vars(module).values()
        if isinstance(value, Bounded)
    ]


def forget() -> None:
    for cache in caches():
        cache.clear()
    for value in vars(secp256k1).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def report(case: Case) -> bytes:
    return rendered(judged(case))


def test_caches_are_used_at_all() -> None:
    forget()
    report(good("nanogpt"))
    assert sum(len(cache) for cache in caches()) > 10


@pytest.mark.parametrize("name", BASES)
def test_report_with_cold_and_warm_caches_is_the_same(name: str) -> None:
    case = good(name)
    forget()
    cold = report(case)
    assert report(case) == cold


def test_report_after_hostile_bundles_is_the_same() -> None:
    """Nothing that a bad bundle leaves in a cache speaks for or against a good one."""
    cold: dict[str, bytes] = {}
    for name in BASES:
        forget()
        cold[name] = report(good(name))
    forget()
    for vector in list(all_vectors().values())[::HOSTILE_STEP]:
        with suppress(MalformedInput):
            judged(vector.build())
    for name in BASES:
        assert report(good(name)) == cold[name]


def test_hostile_reports_after_good_bundles_are_the_same() -> None:
    """Nothing that a good bundle leaves in a cache speaks for a bad one."""
    chosen = [v.build() for v in list(all_vectors().values())[3::41] if v.verdict is not None]
    cold = []
    for case in chosen:
        forget()
        cold.append(report(case))
    for name in BASES:
        judged(good(name))
    assert [report(case) for case in chosen] == cold


SURROUNDINGS = (
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "4711", "TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "99", "TZ": "America/St_Johns", "LC_ALL": "POSIX", "PYTHONOPTIMIZE": "1"},
)


def test_report_is_the_same_in_any_surroundings(tmp_path: Path) -> None:
    case = goods.good("nanogpt")
    (tmp_path / "bundle.evidence.json").write_bytes(case.bundle)
    (tmp_path / "policy.yaml").write_bytes(case.policy)
    (tmp_path / "trust.json").write_bytes(case.trust[0])
    found = []
    for number, surroundings in enumerate(SURROUNDINGS):
        target = tmp_path / f"report-{number}.json"
        kept = {name: value for name, value in os.environ.items() if name == "PATH"}
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from verify.cli import main; sys.exit(main())",
                "verify",
                "bundle.evidence.json",
                "--policy",
                "policy.yaml",
                "--trust",
                "trust.json",
                "--format",
                "json",
                "-o",
                str(target),
            ],
            cwd=tmp_path,
            env={**kept, **surroundings, "PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        found.append(target.read_bytes())
    assert found[0] == found[1] == found[2]
