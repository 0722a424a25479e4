"""Asking the simulated vendors without sockets, and putting what they answer before the verifier."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote, urlsplit

from fixtures import intel_pki, nvidia_pki
from fixtures.simulator.vendors import Vendors, vendor_endpoints
from fixtures.simulator.wire import Answer, Request
from verify.crypto.x509 import load_certificate
from verify.intel import appraisal as intel

DAYS: Final = (
    datetime(2026, 6, 10, 12, tzinfo=UTC),
    datetime(2026, 11, 21, 11, 38, 21, 500000, tzinfo=UTC),
    datetime(2031, 1, 1, tzinfo=UTC),
    datetime(2035, 12, 31, 23, 59, 59, tzinfo=UTC),
)
"""The day of the fixtures, a day of this year, the first second of another, the end of a later."""
PRESENT: Final = DAYS[1]
BASE: Final = "https://127.0.0.1:1"
ENDPOINTS: Final = vendor_endpoints(BASE)
DEVICE_ROOTS: Final = {hashlib.sha256(nvidia_pki.der(nvidia_pki.device_root())).digest()}
RIM_ROOTS: Final = {hashlib.sha256(nvidia_pki.der(nvidia_pki.rim_root())).digest()}
NRAS_PINS: Final = {load_certificate(nvidia_pki.der(nvidia_pki.nras_intermediate())).spki_sha256}


def at(moment: datetime, *faults: str) -> Vendors:
    """Return the vendors of an instant that stands still."""
    return Vendors(time=lambda: moment, faults=faults)


def second(moment: datetime) -> datetime:
    """Return the instant as a bundle is judged at it: whole seconds."""
    return moment.replace(microsecond=0)


def ask(
    vendors: Vendors, service: str, path: str = "", *, body: bytes | None = None
) -> Answer | None:
    """GET (or POST ``body`` to) a path of a service."""
    url = urlsplit(ENDPOINTS[service] + path)
    return vendors(
        Request(
            method="GET" if body is None else "POST",
            target=url.path + (f"?{url.query}" if url.query else ""),
            headers=(),
            body=body or b"",
            connection=0,
            spki=None,
            number=0,
        )
    )


def given(vendors: Vendors, service: str, path: str = "", *, body: bytes | None = None) -> bytes:
    """Return the body of an answer that must be 200."""
    found = ask(vendors, service, path, body=body)
    assert found is not None
    assert found.status == 200, (service, path)
    assert isinstance(found.body, bytes)
    return found.body


def header(answer: Answer, name: str) -> str | None:
    """Return a header of an answer."""
    return next((value for found, value in answer.headers if found.lower() == name.lower()), None)


def with_chain(vendors: Vendors, path: str, name: str) -> tuple[intel.Answer, ...]:
    """Return an item of Intel's with its chain, nothing where the answer is not 200."""
    found = ask(vendors, "intel_pcs", path)
    assert found is not None
    if found.status != 200:
        return ()
    assert isinstance(found.body, bytes)
    chain = unquote(header(found, name) or "").encode()
    return (intel.Answer(body=found.body, chain=chain),)


def bodies(vendors: Vendors, service: str, path: str) -> tuple[bytes, ...]:
    """Return the body of an answer, nothing where it is not 200."""
    found = ask(vendors, service, path)
    assert found is not None
    assert isinstance(found.body, bytes)
    return (found.body,) if found.status == 200 else ()


def collateral(vendors: Vendors, world: intel_pki.World, tee: str = "tdx") -> intel.Collateral:
    """Fetch everything for a quote of a platform."""
    ca = "platform" if world.pck.platform else "processor"
    return intel.Collateral(
        tcb_info=with_chain(
            vendors,
            f"/{tee}/certification/v4/tcb?fmspc={world.pck.fmspc.hex()}",
            "TCB-Info-Issuer-Chain",
        ),
        qe_identity=with_chain(
            vendors,
            f"/{tee}/certification/v4/qe/identity",
            "SGX-Enclave-Identity-Issuer-Chain",
        ),
        pck_crl=bodies(vendors, "intel_pcs", f"/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"),
        root_crl=bodies(vendors, "intel_certificates", "/IntelSGXRootCA.der"),
    )


def appraised(
    vendors: Vendors, moment: datetime, world: intel_pki.World, *, tee: str = "tdx"
) -> intel.Appraisal:
    """Judge the platform's quote with what the vendors answer."""
    made = intel_pki.world_at(moment, world)
    return intel.appraise(
        made.quote, collateral(vendors, world, tee), second(moment), intel_pki.BASE.anchor
    )
