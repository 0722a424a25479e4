"""`teebundle` as a process of its own, told of a simulator by a configuration file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bundle.keys import FileSigner, generate, key_id, write_pair
from fixtures.simulator.world import Simulator

_CHILD = """
import os, sys
real = os._exit
def leave(code):
    # not ru_maxrss: it starts at what the parent had
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    sys.stderr.write(f"peak {peak} KiB\\n")
    sys.stderr.flush()
    real(code)
os._exit = leave
import bundle.start
bundle.start.main()
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with everything that a user of a simulator has."""

    folder: Path
    signer: FileSigner
    environment: dict[str, str]

    @property
    def out(self) -> Path:
        return self.folder / "o.evidence.json"

    @property
    def key(self) -> Path:
        return self.folder / "k" / "signer.key"

    @property
    def config(self) -> Path:
        return self.folder / "teebundle.yaml"

    def words(self, *words: object) -> list[str]:
        return [sys.executable, "-c", _CHILD, *map(str, words)]

    def run(self, *words: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run `teebundle` to its end."""
        return subprocess.run(
            self.words(*words),
            cwd=self.folder,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            input=None if stdin is None else stdin.decode(),
        )

    def capture(self, *words: object, **more: bytes) -> subprocess.CompletedProcess[str]:
        """Run ``teebundle capture`` with the configuration, key and output of this place."""
        return self.run(
            "capture", "--config", self.config, "--key", self.key, "-o", self.out, *words, **more
        )


def place(folder: Path, simulator: Simulator, provider: str, *, chat: bool = True) -> Place:
    """Write what a user of this simulator has: key pair, CA, anchors, policy, configuration."""
    signer = generate()
    write_pair(folder / "k", signer, None)
    (folder / "ca.pem").write_bytes(simulator.ca_pem)
    (folder / "trust.json").write_bytes(simulator.trust)
    (folder / "policy.yaml").write_bytes(simulator.policy(key_id(signer.spki()), chat=chat))
    lines = [
        f"provider: {provider}",
        'ca_file: "ca.pem"',
        f'base_url: "{simulator.base_url}"',
        f'model: "{simulator.model}"',
        'api_key_env: "SIMULATED_KEY"',
        'trust: ["trust.json"]',
        'policy: "policy.yaml"',
        "endpoints:",
        *(f'  {name}: "{url}"' for name, url in simulator.endpoints.items()),
    ]
    (folder / "teebundle.yaml").write_text("\n".join(lines) + "\n")
    return Place(
        folder=folder,
        signer=signer,
        environment={**os.environ, "SIMULATED_KEY": simulator.api_key, "NO_COLOR": "1"},
    )


def peak_kib(said: str) -> int:
    """Return the peak memory that a child told on its standard error."""
    found = re.search(r"^peak (\d+) KiB$", said, re.MULTILINE)
    assert found is not None, said
    return int(found.group(1))


def without_peak(said: str) -> str:
    """Return what a child said on its standard error, but for its peak memory."""
    return re.sub(r"^peak \d+ KiB\n", "", said, flags=re.MULTILINE)
