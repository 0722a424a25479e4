"""Which hosts a provider's list may send us to.

Source: providers.md 3.7 (list of endpoints), 7 (routing table).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LONGEST: Final = 253
"""Characters of a host name (RFC 1035 2.3.4)."""


def listed_url(base_url: str, domain: str, *allowed: str) -> str | None:
    """Return the URL of a host that the service at ``base_url`` lists, None where it is not to be.

    An API key is sent there, so a list may name hosts at or below its own name or one of
    ``allowed``, and no others; a list on a loopback address loopback addresses only.
    """
    base = urlsplit(base_url)
    try:
        found = urlsplit(f"{base.scheme}://{domain}")
        port = "" if found.port is None else f":{found.port}"
    except ValueError:
        return None
    host, own = found.hostname or "", base.hostname or ""
    if found.username is not None or found.path not in {"", "/"} or found.query or found.fragment:
        return None
    if not domain.isprintable():  # line ends and tabs are left out where a URL is taken apart
        return None
    named = _NAME.fullmatch(host) is not None and len(host) <= _LONGEST
    if (not named and host not in _LOOPBACK) or found.port == 0:
        return None
    if own in _LOOPBACK:
        if host not in _LOOPBACK:
            return None
    elif not any(host == name or host.endswith(f".{name}") for name in (own, *allowed)):
        return None
    shown = f"[{host}]" if ":" in host else host
    return f"{base.scheme}://{shown}{port}"
