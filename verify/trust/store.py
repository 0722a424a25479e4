"""The trust store: built-ins, trust files, signer keys. Nothing embedded in a bundle is trusted.

An addition never replaces or re-enables a built-in; it may distrust one. Source: verification.md 6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from verify.engine.errors import MalformedInput
from verify.engine.value import field, replace, value
from verify.trust.anchor import (
    BUILT_IN,
    SIGNER_OPTION,
    VENDOR,
    Anchor,
    AnchorStatus,
    Purpose,
    Standing,
)
from verify.trust.builtin import builtins as load_builtins
from verify.trust.file import TrustFile

_NAMED = "name:"


def _content(anchor: Anchor) -> tuple[object, ...]:
    """Everything an entry says but where it came from."""
    return (
        anchor.kind,
        anchor.data,
        anchor.operator,
        anchor.start,
        anchor.end,
        anchor.status,
        anchor.since,
    )


def _differs(anchor: Anchor, why: str) -> MalformedInput:
    return MalformedInput(
        "trust",
        "input.schema",
        f"{anchor.name!r} ({anchor.purpose.value}, sha256 {anchor.sha256}): {why}",
        pointer="trust#/anchors",
    )


def _merged(known: Anchor, extra: Anchor) -> Anchor:
    """Bring two entries of one (purpose, sha256) together, or refuse.

    A key given singly (``--signer``) never loosens what a trust file says about it.
    """
    if known.origin == BUILT_IN:
        if extra.kind is not known.kind or extra.data != known.data:
            raise _differs(extra, "is a built-in anchor with other content")
        if extra.status is not AnchorStatus.COMPROMISED:
            return known
        return replace(known, status=extra.status, since=extra.since, source=extra.source)
    if extra.origin == SIGNER_OPTION:
        return known
    if _content(known) != _content(extra):
        raise _differs(extra, "stands twice with different content")
    return known


@value
class TrustStore:
    """Which anchors are believed, for which purpose. Build with `build`."""

    entries: tuple[Anchor, ...]
    files: tuple[TrustFile, ...]
    builtin_sha256: str
    _index: Mapping[tuple[Purpose, str], Anchor] = field(repr=False)
    _names: Mapping[tuple[Purpose, str], Anchor] = field(repr=False)

    @classmethod
    def build(
        cls,
        *,
        builtins: Iterable[Anchor] | None = None,
        files: Iterable[TrustFile] = (),
        signers: Iterable[Anchor] = (),
    ) -> TrustStore:
        """Put a store together. ``builtins`` None: the shipped ones.

        Raises MalformedInput (kind trust) where two entries of one purpose and digest, or of one
        purpose and name, differ; InternalFault where a built-in is damaged.
        """
        own = tuple(load_builtins() if builtins is None else builtins)
        given = tuple(files)
        index: dict[tuple[Purpose, str], Anchor] = {}
        names: dict[tuple[Purpose, str], tuple[Purpose, str]] = {}
        added = (anchor for file in given for anchor in file.anchors)
        for anchor in (*own, *added, *signers):
            key = (anchor.purpose, anchor.sha256)
            known = index.get(key)
            index[key] = anchor if known is None else _merged(known, anchor)
            named = (anchor.purpose, anchor.name)
            if names.setdefault(named, key) != key:
                raise _differs(anchor, "another anchor of this purpose has the same name")
        listing = "".join(
            f"{a.purpose.value} {a.kind.value} {a.sha256}\n"
            for a in sorted(own, key=lambda a: (a.purpose.value, a.sha256))
        )
        return cls(
            entries=tuple(index.values()),
            files=given,
            builtin_sha256=hashlib.sha256(listing.encode()).hexdigest(),
            _index=index,
            _names={named: index[key] for named, key in names.items()},
        )

    def anchors(
        self, purpose: Purpose, *, at: datetime, accept_added: Collection[str] = ()
    ) -> tuple[Anchor, ...]:
        """Return the anchors that count for ``purpose`` at ``at``, never a compromised one.

        For vendor purposes, anchors the user added count only where ``accept_added`` (of the
        policy's ``trust`` section) names the purpose.
        """
        return tuple(
            anchor
            for anchor in self.of(purpose, accept_added=accept_added)
            if anchor.standing(at, proven=False) is Standing.IN_FORCE
        )

    def of(self, purpose: Purpose, *, accept_added: Collection[str] = ()) -> tuple[Anchor, ...]:
        """Return every anchor that may count for ``purpose``, whatever its standing."""
        closed = purpose in VENDOR and purpose.value not in accept_added
        return tuple(
            anchor
            for anchor in self.entries
            if anchor.purpose is purpose and not (closed and anchor.added)
        )

    def find(self, purpose: Purpose, sha256: str) -> Anchor | None:
        """Return the anchor with this digest (lower-case hex), whatever its standing."""
        return self._index.get((purpose, sha256))

    def find_signer(self, purpose: Purpose, keyid: str) -> Anchor | None:
        """Return the signer with this key id (``sha256:`` and hex over the SPKI)."""
        return self._index.get((purpose, keyid.removeprefix("sha256:")))

    def resolve(self, purpose: Purpose, reference: str) -> Anchor | None:
        """Return what a policy's reference (``name:…`` or a key id) means, or None."""
        if reference.startswith(_NAMED):
            return self._names.get((purpose, reference.removeprefix(_NAMED)))
        return self.find_signer(purpose, reference)

    def accepted(self, purpose: Purpose, references: Iterable[str]) -> frozenset[str]:
        """Return the digests (hex) of the anchors a policy's references mean."""
        found = (self.resolve(purpose, reference) for reference in references)
        return frozenset(anchor.sha256 for anchor in found if anchor is not None)

    @property
    def added_vendor_anchors(self) -> tuple[Anchor, ...]:
        """The anchors of vendor purposes that the user added."""
        return tuple(a for a in self.entries if a.purpose in VENDOR and a.added)

    @property
    def signers(self) -> tuple[Anchor, ...]:
        """The signers given as single keys (``--signer``): without bounds in time."""
        return tuple(a for a in self.entries if a.origin == SIGNER_OPTION)

    @property
    def sha256(self) -> str:
        """Digest of the whole store's identity: built-ins, files, single keys; order is moot."""
        parts = [f"builtin {self.builtin_sha256}"]
        parts += sorted(f"file {file.sha256}" for file in self.files)
        parts += sorted(f"signer {anchor.sha256}" for anchor in self.signers)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def oldest_snapshot_days(self, at: datetime) -> int | None:
        """Return the age in whole days of the oldest trust file at ``at``; None without any."""
        ages = [max(0, (at - file.issued_at).days) for file in self.files]
        return max(ages, default=None)
