"""One module per provider: which requests to make, in which order.

`provider` gives a fresh one by its name on the command line; `PROVIDERS` lists them. Each module's
text says which options (``Scene.options``) it knows.

Source: providers.md 1.1, 2.4, 3 to 8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from bundle.calls import Provider
from bundle.providers.aci import Aci
from bundle.providers.chutes import Chutes
from bundle.providers.ionet import IoNet
from bundle.providers.nanogpt import NanoGpt
from bundle.providers.near_direct import NearDirect
from bundle.providers.near_gateway import NearGateway
from bundle.providers.redpill import RedPill
from bundle.providers.tinfoil import Tinfoil
from bundle.providers.venice import Venice
from bundle.providers.vllm_proxy import dstack, phala
from verify.engine.errors import UsageError

_MADE: Final[Mapping[str, Callable[[], Provider]]] = {
    "nanogpt": NanoGpt,
    "ionet": IoNet,
    "near-direct": NearDirect,
    "near-gateway": NearGateway,
    "phala": phala,
    "dstack": dstack,
    "redpill": RedPill,
    "venice": Venice,
    "chutes": Chutes,
    "tinfoil": Tinfoil,
    "aci": Aci,
}
PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {name: make() for name, make in _MADE.items()}
)
"""One of each, by name: to list them and to read what they say of themselves."""


def provider(name: str) -> Provider:
    """Return a provider of its own for one capture. Raises UsageError naming those there are."""
    make = _MADE.get(name)
    if make is None:
        message = f"no provider {name!r}; there are: {', '.join(sorted(_MADE))}"
        raise UsageError(message)
    return make()
