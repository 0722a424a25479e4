"""The bundles that are measured: deterministic, simulated, TEST ONLY.

python -m bench.cases DIR    write the eight-GPU case as files
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from fixtures import chat_sim, goods, policies
from fixtures.registry import Case
from fixtures.sealed import Draft
from fixtures.sessions import Session, model_node

FILES = ("bundle.evidence.json", "policy.yaml", "trust.json")


@cache
def eight_gpus(mark: str = "model") -> Session:
    """Return a session with one TDX quote, eight GPUs, NRAS, a chat and its signature.

    ``mark``: another one gives another machine with other GPUs, quote and chat.
    """
    signer = chat_sim.ed25519_signer(f"{mark} signer")
    return replace(
        goods.near_direct(),
        node=model_node(count=8, host=goods.HOST, signer=signer, label=mark),
        attest_after=False,
        rims=False,
        revocation=False,
        with_manager=False,
        with_key_config=False,
    )


@cache
def eight_gpu_case(mark: str = "model") -> Case:
    """Return the bundle of `eight_gpus`, a policy that it is VERIFIED under, and the trust file."""
    session = eight_gpus(mark)

    def one_attestation(document: policies.Document) -> None:
        document["session"] |= {"attest_around": False, "allow_attest_after_chat": True}
        document["bindings"]["require"].remove("attested-around")
        policies.exclude(document, "compose_manager", "the measured session records no launcher")
        policies.waive(document, "binding.document", "the measured session records no OHTTP key")

    return Case(
        bundle=Draft(session=session).build(),
        policy=policies.session_policy("near-direct", session, one_attestation),
        trust=(goods.trust(),),
    )


def write(folder: Path, case: Case) -> tuple[Path, ...]:
    """Write a case as the three files that a command line takes; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / name for name in FILES)
    for path, data in zip(paths, (case.bundle, case.policy, case.trust[0]), strict=True):
        path.write_bytes(data)
    return paths


if __name__ == "__main__":
    for written in write(Path(sys.argv[1]), eight_gpu_case()):
        print(written)
