"""Every budget in one run: what verification costs beside what it cannot avoid.

    python -m bench.run [RUNS]        default and least: 15 alternating runs, medians are printed

Each line: what, figure, baseline, ratio, budget, met or not. Times are processor time (user and
system) in milliseconds, so a busy machine distorts them little; subject and baseline take turns.

- cold        one `teebundle-verify verify` of one TDX quote, eight GPUs, NRAS answer, chat and
              signature, beside ``python -I -c pass``; and beside a process that imports the same
              modules and makes the same signature verifications, nothing else
- TDX         `verify.intel.appraisal.appraise` beside dcap-qvl: every cache emptied before each
              run (the engine has none), and with the chains of the vendor remembered
- GPU         eight reports with their chains beside `public_key.verify` of the same signatures,
              links that devices share once on both sides
- RIM         one manifest with its chain, nothing cached
- memory      peak of the cold process beside bare Python
- archive     bundles of other machines in one warm process beside their signature verifications

Recorded signature work: ECDSA over P-256 and P-384 and Ed25519. Everything is simulated (TEST ONLY)
but for the TDX quotes of a folder of real evidence where there is one.
"""

from __future__ import annotations

import argparse
import compileall
import json
import marshal
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import verify.api
from bench.cases import eight_gpu_case, write
from fixtures import intel_cases, intel_pki, nvidia_pki, nvidia_rim, nvidia_spdm
from fixtures.registry import Case
from verify.crypto import ecdsa, ed25519, signatures, x509
from verify.engine.asof import AsOf
from verify.intel.appraisal import Answer, Collateral, appraise
from verify.intel.second_engine import OneOfEach, engine_json
from verify.nvidia import certificates, nras, rim, spdm
from verify.policy.loader import load_policy
from verify.trust.file import read_trust_file
from verify.trust.store import TrustStore
from verify.wire import strict_json

ROOT = Path(__file__).resolve().parent.parent
EVIDENCE = ROOT.parent / "shared" / "evidence" / "tdx"
LEAST = 15

Operation = tuple[str, bytes, bytes, bytes]
"""Curve name or ``ed25519``, raw public key, signature, message."""


@dataclass(frozen=True)
class Line:
    what: str
    figure: float
    baseline: float | None = None
    budget: float | None = None
    unit: str = "ms"

    def __str__(self) -> str:
        base = ratio = budget = met = ""
        if self.baseline is not None:
            base, ratio = f"{self.baseline:9.2f}", f"{self.figure / self.baseline:6.2f}x"
            if self.budget is not None:
                budget = f"<= {self.budget}x"
                met = "met" if self.figure <= self.budget * self.baseline else "NOT MET"
        figure = f"{self.figure:9.2f} {self.unit:3}"
        return f"{self.what:60} {figure} {base:>9} {ratio:>7} {budget:>8} {met}"


# --- processes -------------------------------------------------------------------------------


def child(words: list[str]) -> float:
    """Run a process; return its processor time in ms."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    null = os.open(os.devnull, os.O_WRONLY)
    pid = os.posix_spawn(
        words[0], words, environment, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)]
    )
    os.close(null)
    _, status, usage = os.wait4(pid, 0)
    if status:
        message = f"{words[0]} ended with {os.waitstatus_to_exitcode(status)}"
        raise RuntimeError(message)
    return (usage.ru_utime + usage.ru_stime) * 1000


LAUNCHER = """
import os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
"""


def peak(place: Path, words: list[str]) -> float:
    """Return the peak memory of a process in MiB.

    A small process starts it: a child's peak begins at that of the process it was started by.
    """
    child([sys.executable, "-I", "-c", LAUNCHER, str(place), *words])
    return int(place.read_text()) / 1024


def in_turn(runs: int, *works: Callable[[], Any]) -> list[list[Any]]:
    """Run the works in turn, once without counting; return what each gave."""
    for work in works:
        work()
    rows = [[work() for work in works] for _ in range(runs)]
    return [list(column) for column in zip(*rows, strict=True)]


def timed(
    work: Callable[[], object], before: Callable[[], object] | None = None
) -> Callable[[], float]:
    def once() -> float:
        if before is not None:
            before()
        start = time.process_time()
        work()
        return (time.process_time() - start) * 1000

    return once


def medians(runs: int, *works: Callable[[], float]) -> list[float]:
    return [statistics.median(column) for column in in_turn(runs, *works)]


# --- signature work ----------------------------------------------------------------------------


class Recorder:
    """Notes every signature verification while it is entered."""

    PLACES = ((ecdsa, "signed_der"), (x509, "signed_der"), (signatures, "signed_der"))

    def __enter__(self) -> list[Operation]:
        self.made: list[Operation] = []
        self._der, self._ed = ecdsa.signed_der, ed25519.signed

        def signed_der(key: Any, signature: bytes, message: bytes, curve: Any) -> Any:
            point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            self.made.append((curve.name, point, signature, message))
            return self._der(key, signature, message, curve)

        def signed(key: bytes, signature: bytes, message: bytes) -> bool:
            self.made.append(("ed25519", key, signature, message))
            return self._ed(key, signature, message)

        for module, name in self.PLACES:
            setattr(module, name, signed_der)
        ed25519.signed = signed  # type: ignore[assignment]
        return self.made

    def __exit__(self, *_: object) -> None:
        for module, name in self.PLACES:
            setattr(module, name, self._der)
        ed25519.signed = self._ed


def prepared(operations: list[Operation]) -> Callable[[], None]:
    """Return a function that makes the verifications, keys already loaded."""
    works = []
    for kind, point, signature, message in operations:
        if kind == "ed25519":
            works.append((Ed25519PublicKey.from_public_bytes(point), (signature, message)))
            continue
        curve = ec.SECP256R1() if kind == "P256" else ec.SECP384R1()
        digest = hashes.SHA256() if kind == "P256" else hashes.SHA384()
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
        works.append((key, (signature, message, ec.ECDSA(digest))))

    def work() -> None:
        for key, words in works:
            key.verify(*words)  # type: ignore[arg-type]

    return work


FLOOR = """
import gc; gc.disable()
import marshal, os, sys
with open(sys.argv[1], "rb") as file:
    modules, operations = marshal.loads(file.read())
for name in modules:
    try:
        __import__(name)
    except ImportError:
        pass
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
for kind, point, signature, message in operations:
    if kind == "ed25519":
        Ed25519PublicKey.from_public_bytes(point).verify(signature, message)
        continue
    curve, digest = (
        (ec.SECP256R1(), hashes.SHA256()) if kind == "P256" else (ec.SECP384R1(), hashes.SHA384())
    )
    key = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    key.verify(signature, message, ec.ECDSA(digest))
os._exit(0)
"""
"""The process that imports and verifies, and judges nothing."""

SHOW_MODULES = """
import json, os, sys
before = set(sys.modules)
sys.argv = sys.argv[1:]
from verify.cli import call
code = call()
with open(os.environ["MODULES"], "w") as file:
    json.dump([code, [name for name in sys.modules if name not in before]], file)
"""


def own_modules(words: list[str], place: Path) -> list[str]:
    """Return the modules that one verification imports, in their order."""
    program = "import os; os.environ['MODULES'] = " + repr(str(place)) + SHOW_MODULES
    child([sys.executable, "-c", program, *words])
    code, names = json.loads(place.read_text())
    if code:
        message = f"the measured bundle is not VERIFIED: exit code {code}"
        raise RuntimeError(message)
    return list(names)


def forget() -> None:
    """Empty every cache."""
    for module in (x509, certificates, rim, nras, ecdsa, strict_json):
        module.forget()  # type: ignore[attr-defined]


def judge(case: Case) -> Callable[[], None]:
    """Return a function that verifies a bundle; policy and trust are read once."""
    policy = load_policy(case.policy, file="policy.yaml")
    trust = TrustStore.build(files=[read_trust_file(data) for data in case.trust])

    def work() -> None:
        report = verify.api.verify_bundle(
            case.bundle, policy=policy, trust=trust, as_of=AsOf.capture()
        )
        if report.verdict.value != "VERIFIED":
            raise RuntimeError(report.verdict.value)

    return work


def cold(runs: int) -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        case = eight_gpu_case()
        bundle, policy, trust = (str(path) for path in write(place / "case", case))
        words = ["verify", bundle, "--policy", policy, "--trust", trust]
        modules = own_modules(["teebundle-verify", *words], place / "modules.json")
        forget()
        with Recorder() as operations:
            judge(case)()
        (place / "floor").write_bytes(marshal.dumps((modules, operations)))
        program = str(Path(sys.executable).with_name("teebundle-verify"))
        found = in_turn(
            runs,
            lambda: child([program, *words]),
            lambda: child([sys.executable, "-I", "-c", "pass"]),
            lambda: child([sys.executable, "-c", FLOOR, str(place / "floor")]),
        )
        mine, bare, floor = (statistics.median(column) for column in found)
        yield Line("cold, 1 TDX + 8 GPUs, beside bare Python", mine, bare, 10)
        yield Line(
            f"the same, beside its {len(modules)} imports + {len(operations)} signatures",
            mine,
            floor,
            1.3,
        )
        nothing = peak(place / "peak", [sys.executable, "-I", "-c", "pass"])
        memory = peak(place / "peak", [program, *words])
        yield Line("peak memory, beside bare Python", memory, nothing, 4, unit="MiB")


def _real() -> Iterator[tuple[bytes, Collateral, datetime, bytes]]:
    """Give recorded quotes with collateral that were accepted."""
    for path in sorted(EVIDENCE.glob("*/expected.json")):
        expected = json.loads(path.read_text())
        for case in expected.get("cases") or [{**expected, "collateral": "collateral.json"}]:
            if case.get("code") or not case.get("status") or not case.get("collateral"):
                continue
            roles = json.loads((path.parent / case["collateral"]).read_text())

            def data(entry: dict[str, str], folder: Path = path.parent) -> bytes:
                return (folder / entry["file"]).read_bytes()

            def answer(role: dict[str, Any]) -> tuple[Answer, ...]:
                return (Answer(body=data(role["body"]), chain=data(role["issuer_chain"])),)

            recorded = Collateral(
                tcb_info=answer(roles["tcb_info"]),
                qe_identity=answer(roles["qe_identity"]),
                pck_crl=(data(roles["pck_crl"]["body"]),),
                root_crl=(data(roles["root_crl"]["body"]),),
            )
            at = datetime.fromtimestamp(case["as_of_unix"], UTC)
            yield (
                (path.parent / "quote.bin").read_bytes(),
                recorded,
                at,
                data(roles["trust_anchor"]),
            )
            break


def tdx(runs: int) -> Iterator[Line]:
    try:
        import dcap_qvl  # noqa: PLC0415  (optional)
    except ImportError:
        yield Line("TDX: dcap-qvl is not installed, nothing to compare with", 0.0)
        return
    shot = intel_cases.shot(intel_pki.BASE)
    simulated = (shot.quote, intel_cases.collateral(shot), shot.at, shot.anchor)
    for name, cases in (("simulated", [simulated]), ("real", list(_real()))):
        pairs = []
        for quote, recorded, at, anchor in cases:
            found = appraise(quote, recorded, at, anchor)
            one = OneOfEach(
                tcb_info=recorded.tcb_info[0],
                qe_identity=recorded.qe_identity[0],
                pck_crl=recorded.pck_crl[0],
                root_crl=recorded.root_crl[0],
                chain=found.chain,
                pck_chain=None,
            )
            text = engine_json(one)
            engine = (
                quote,
                dcap_qvl.QuoteCollateralV3.from_json(text),
                anchor,
                int(at.timestamp()),
            )
            try:
                dcap_qvl.verify_with_root_ca(*engine)
            except ValueError:
                continue  # one of the listed differences: nothing to time
            pairs.append(((quote, recorded, at, anchor), engine))
        if not pairs:
            continue

        def ours(pairs: list[Any] = pairs) -> None:
            for words, _ in pairs:
                appraise(*words)

        def ours_uncached(pairs: list[Any] = pairs) -> None:
            for words, _ in pairs:
                forget()
                appraise(*words)

        def theirs(pairs: list[Any] = pairs) -> None:
            for _, words in pairs:
                dcap_qvl.verify_with_root_ca(*words)

        uncached, warm, engine_ms = medians(runs, timed(ours_uncached), timed(ours), timed(theirs))
        count = len(pairs)
        label = f"TDX quote, {name} ({count})"
        yield Line(f"{label}, beside dcap-qvl", uncached / count, engine_ms / count, 2.5)
        yield Line(f"{label}, seen before", warm / count, engine_ms / count)


def gpu(runs: int) -> Iterator[Line]:
    devices = [nvidia_spdm.Device(label=f"bench {index}") for index in range(8)]
    evidence = [(nvidia_spdm.report(device), device.chain_pem()) for device in devices]
    roots = {nvidia_pki.certificate(nvidia_pki.device_root()).fingerprint(hashes.SHA256())}

    def work() -> None:
        for data, text in evidence:
            report = spdm.parse_report(data)
            chain = certificates.parse_chain(text)
            if certificates.chain_refusals(chain, roots, nvidia_pki.AS_OF):
                raise RuntimeError("a good chain is refused")
            certificates.judge_report_signature(report, chain)

    forget()
    with Recorder() as operations:
        work()
    mine, raw = medians(runs, timed(work, forget), timed(prepared(operations)))
    label = f"8 GPU reports + chains, beside {len(operations)} OpenSSL verifications"
    yield Line(label, mine, raw, 1.2)

    believed = {nvidia_pki.certificate(nvidia_pki.rim_root()).fingerprint(hashes.SHA256())}
    xml = nvidia_rim.document(nvidia_rim.driver_manifest())

    def manifest() -> None:
        if rim.authenticity_refusals(rim.parse_rim(xml), believed, nvidia_pki.AS_OF):
            raise RuntimeError("a good manifest is refused")

    forget()
    with Recorder() as operations:
        manifest()
    mine, raw = medians(runs, timed(manifest, forget), timed(prepared(operations)))
    yield Line(f"RIM with its chain, beside {len(operations)} verifications", mine, raw)


def archive(runs: int) -> Iterator[Line]:
    works = [judge(eight_gpu_case(f"archive {number}")) for number in range(4)]
    first = judge(eight_gpu_case())

    def warmed() -> None:
        forget()
        first()

    def work() -> None:
        for one in works:
            one()

    warmed()
    with Recorder() as operations:
        work()
    mine, raw = medians(runs, timed(work, warmed), timed(prepared(operations)))
    count = len(works)
    label = f"archive, per bundle, beside {len(operations) // count} verifications each"
    yield Line(label, mine / count, raw / count, 1.15)


def main() -> None:
    asked = argparse.ArgumentParser(
        prog="python -m bench.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asked.add_argument("runs", nargs="?", type=int, default=LEAST, help="alternating runs")
    runs = max(LEAST, asked.parse_args().runs)
    compileall.compile_dir(ROOT / "verify", quiet=1)
    for part in (cold, tdx, gpu, archive):
        for line in part(runs):
            print(line, flush=True)


if __name__ == "__main__":
    main()
