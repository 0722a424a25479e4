"""The text that an enclave signs for one chat: hashes of request and response, perhaps a model.

Source: providers.md 2.6.
"""

from __future__ import annotations

from typing import Final

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value

MAX_TEXT: Final = 4096
_HASH: Final = 64
_DIGITS: Final = frozenset("0123456789abcdef")
_FOREIGN_PREFIX: Final = "zg-sig-v1/"


@value
class SignedText:
    """``request_hash``, ``response_hash``: 32 bytes. ``model``: None in the two-part form."""

    model: str | None
    request_hash: bytes
    response_hash: bytes

    @property
    def text(self) -> str:
        """The text, rebuilt from its parts."""
        hashes = f"{self.request_hash.hex()}:{self.response_hash.hex()}"
        return hashes if self.model is None else f"{self.model}:{hashes}"


def _hash(field: str) -> bytes | None:
    return bytes.fromhex(field) if len(field) == _HASH and _DIGITS.issuperset(field) else None


def parse_signed_text(text: str) -> SignedText:
    """Read ``[model:]hex64(request):hex64(response)`` from the right; a model may hold colons.

    Raises `FormatError`: ``signature.text_malformed`` (fields that are no hashes, empty model),
    ``signature.text_form_unknown`` (forms of other systems, another number of fields).
    """
    if len(text) > MAX_TEXT:
        raise FormatError(
            0, f"a signed text of {len(text)} characters", reason=Reason.SIGNATURE_TEXT_MALFORMED
        )
    fields = text.split(":")
    if text.startswith(_FOREIGN_PREFIX) or len(fields) < 2:
        raise FormatError(
            0, "a signed text of another form", reason=Reason.SIGNATURE_TEXT_FORM_UNKNOWN
        )
    if len(fields) > 2 and _hash(fields[0]) is not None and _hash(fields[1]) is not None:
        # two hashes in front: more follows them in forms of other systems, none precedes a model
        raise FormatError(
            0, "fields stand behind two hashes", reason=Reason.SIGNATURE_TEXT_FORM_UNKNOWN
        )
    request, response = _hash(fields[-2]), _hash(fields[-1])
    if request is None or response is None:
        raise FormatError(
            0,
            "the last two fields are not 64 lower-case hex digits each",
            reason=Reason.SIGNATURE_TEXT_MALFORMED,
        )
    model = ":".join(fields[:-2]) if len(fields) > 2 else None
    if model == "":
        raise FormatError(0, "the model is empty", reason=Reason.SIGNATURE_TEXT_MALFORMED)
    # every field is strict, so `SignedText.text` gives these very characters again
    return SignedText(model=model, request_hash=request, response_hash=response)
