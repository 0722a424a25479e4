"""What a check receives besides the facts of its needs.

A check is a plain function ``(inputs, facts) -> Outcome[Fact]``. Artifact bytes are reached through
facts alone, never through ``inputs.bundle``, except by the container checks (rows 1 to 8) that
establish them:

* ``blobs.digests``  gives `verify.wire.model.Evidence` with the bodies of every *stored* artifact
* ``blobs.derived``  gives `verify.wire.model.Evidence` with stored and derived bodies

A check may read the facts of its needs and of everything those rest on, so nearly every check reads
``facts.get("blobs.derived", Evidence)`` and ``facts.get("time.as_of", AsOfInstant)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from verify.engine.value import value

if TYPE_CHECKING:
    from verify.engine.asof import AsOf
    from verify.policy.model import Policy
    from verify.trust.store import TrustStore
    from verify.wire.container import UnverifiedBundle

BlobSource = Callable[[str], bytes | None]
"""Given a digest (``sha256:…``), the bytes of an external blob, or None where none was supplied."""


@value
class Inputs:
    """The explicit arguments of a verification. ``blobs``: source of external blobs, or None."""

    bundle: UnverifiedBundle
    policy: Policy
    trust: TrustStore
    as_of: AsOf
    blobs: BlobSource | None = None
