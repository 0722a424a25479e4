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

from typing import TYPE_CHECKING, TypeAlias

from verify.engine.value import value

if TYPE_CHECKING:
    from collections.abc import Callable

    from verify.engine.asof import AsOf
    from verify.policy.model import Policy
    from verify.trust.store import TrustStore
    from verify.wire.container import UnverifiedBundle
    from verify.wire.outside import Given

BlobSource: TypeAlias = "Callable[[str], Given | None]"
"""Given a digest (``sha256:…``), an external blob, or None where none was supplied.

Either its bytes, or a file opened for reading (`open(path, "rb")`), which is read once in small
pieces and closed: memory then does not depend on its size.
"""


@value
class Inputs:
    """The explicit arguments of a verification. ``blobs``: source of external blobs, or None."""

    bundle: UnverifiedBundle
    policy: Policy
    trust: TrustStore
    as_of: AsOf
    blobs: BlobSource | None = None
