"""How NVIDIA evidence checking compares with the raw signature work it cannot avoid.

    python -m bench.nvidia [ROUNDS]

Simulated devices (TEST ONLY keys); medians of CPU time in milliseconds, measured in one run.
"raw" verifies the same signatures with keys that are loaded already; "raw and load" reads each
certificate and takes out its key first, as any program has to.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from fixtures import nvidia_nras, nvidia_pki, nvidia_rim, nvidia_spdm
from verify.crypto import ecdsa
from verify.crypto import x509 as certificates_cache
from verify.nvidia import certificates, nras, rim, spdm

SHA384 = ec.ECDSA(hashes.SHA384())


def forget() -> None:
    """Empty every cache, so that a measurement pays for all of its work."""
    certificates_cache.forget()
    certificates.forget()
    rim.forget()
    nras.forget()
    ecdsa.forget()


def median_ms(work: Callable[[], object], rounds: int, prepare: Callable[[], object]) -> float:
    times = []
    for _ in range(rounds):
        prepare()
        start = time.process_time()
        work()
        times.append((time.process_time() - start) * 1000)
    return statistics.median(times)


def raw_edges(chain: tuple[nvidia_pki.Plan, ...]) -> list[tuple[object, bytes, bytes]]:
    loaded = [nvidia_pki.certificate(plan) for plan in chain]
    return [
        (issuer.public_key(), child.signature, child.tbs_certificate_bytes)
        for child, issuer in pairwise(loaded)
    ]


def load_and_verify(items: list[tuple[bytes, bytes, bytes]]) -> None:
    for der, signature, message in items:
        key = x509.load_der_x509_certificate(der).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, message, SHA384)


def verify_all(edges: list[tuple[ec.EllipticCurvePublicKey, bytes, bytes]]) -> None:
    for key, signature, message in edges:
        key.verify(signature, message, SHA384)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    devices = [nvidia_spdm.Device(label=f"bench {index}") for index in range(8)]
    evidence = [(nvidia_spdm.report(device), device.chain_pem()) for device in devices]
    roots = {nvidia_pki.certificate(nvidia_pki.device_root()).fingerprint(hashes.SHA256())}
    believed = {nvidia_pki.certificate(nvidia_pki.rim_root()).fingerprint(hashes.SHA256())}

    def judge(pairs: list[tuple[bytes, bytes]]) -> None:
        for data, text in pairs:
            report = spdm.parse_report(data)
            chain = certificates.parse_chain(text)
            assert not certificates.chain_refusals(chain, roots, nvidia_pki.AS_OF)
            certificates.judge_report_signature(report, chain)

    def raw(count: int, *, shared: bool) -> list[tuple[ec.EllipticCurvePublicKey, bytes, bytes]]:
        found: list = []
        for index in range(count):
            edges = raw_edges(devices[index].chain())
            found += edges[:2] if shared and index else edges
            report = spdm.parse_report(evidence[index][0])
            r, s = (int.from_bytes(report.signature[at : at + 48], "big") for at in (0, 48))
            leaf = nvidia_pki.certificate(devices[index].chain()[0]).public_key()
            found.append((leaf, encode_dss_signature(r, s), report.signed))
        return found

    xml = nvidia_rim.document(nvidia_rim.driver_manifest())
    rim_edges = raw_edges(nvidia_pki.rim_chain())[:3]

    def judge_rim() -> None:
        assert not rim.authenticity_refusals(rim.parse_rim(xml), believed, nvidia_pki.AS_OF)

    exchange = nvidia_nras.exchange(devices, evidence)
    pins = {
        certificates_cache.load_certificate(
            nvidia_pki.der(nvidia_pki.nras_intermediate())
        ).spki_sha256
    }
    rules = nras.TokenRules(
        pins=pins,
        versions=nras.VERSIONS,
        received_at=nvidia_nras.RECEIVED,
        as_of=nvidia_pki.AS_OF,
        max_distance_s=600,
    )

    def judge_nras() -> None:
        answer = nras.parse_answer(exchange.answer)
        assert not nras.token_refusals(answer, nras.parse_key_set(exchange.jwks), 8, rules)
        assert not nras.result_refusals(answer)

    def nothing() -> None:
        return

    one_raw, eight_raw = raw(1, shared=False), raw(8, shared=True)

    def with_certificates(count: int, raws: list) -> list[tuple[bytes, bytes, bytes]]:
        by_key = {}
        for device in devices[:count]:
            for plan in device.chain():
                der = nvidia_pki.der(plan)
                by_key[nvidia_pki.certificate(plan).public_key().public_numbers()] = der
        return [(by_key[key.public_numbers()], made, text) for key, made, text in raws]

    verify_all(one_raw)
    judge(evidence)
    base = median_ms(lambda: verify_all(one_raw[:1]), rounds, nothing)
    print(f"one P-384 verification          {base:7.2f}")
    for name, count, raws in (
        ("one GPU, nothing cached", 1, one_raw),
        ("eight GPUs, nothing cached", 8, eight_raw),
    ):
        loads = with_certificates(count, raws)
        mine = median_ms(lambda count=count: judge(evidence[:count]), rounds, forget)
        theirs = median_ms(lambda raws=raws: verify_all(raws), rounds, nothing)
        whole = median_ms(lambda loads=loads: load_and_verify(loads), rounds, nothing)
        print(
            f"{name:31} {mine:7.2f}  raw {theirs:7.2f} ratio {mine / theirs:.2f}"
            f"  raw and load {whole:7.2f} ratio {mine / whole:.2f}"
        )
    mine = median_ms(judge_rim, rounds, forget)
    theirs = median_ms(lambda: verify_all(rim_edges), rounds, nothing)
    print(f"RIM, nothing cached             {mine:7.2f}  raw (3 links) {theirs:7.2f}")
    print(f"nine NRAS tokens with their key {median_ms(judge_nras, rounds, forget):7.2f}")
    parse = median_ms(lambda: spdm.parse_report(evidence[0][0]), rounds, nothing)
    print(f"report parser alone             {parse:7.3f}")
    assert isinstance(nvidia_pki.certificate(devices[0].chain()[0]), x509.Certificate)


if __name__ == "__main__":
    main()
