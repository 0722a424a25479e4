"""One enveloped XML signature in one fixed profile, and the canonical bytes it covers.

A single pass of the standard tokeniser writes inclusive Canonical XML 1.1 (without comments) of the
document without its Signature, and of SignedInfo. Declarations that nobody uses are kept: that is
where the 2.0 form of `xml.etree.ElementTree.canonicalize` differs. Anything the two versions 1.0
and 1.1 would treat differently (attributes of the ``xml:`` namespace) is refused.

Source: nvidia.md 8.4, 17.
"""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from typing import Final, NoReturn
from xml.parsers import expat

from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.wire import base64

MAX_DOCUMENT: Final = 256 * 1024
MAX_DEPTH: Final = 16
MAX_ELEMENTS: Final = 1024
MAX_ATTRIBUTES: Final = 32 + 64

DSIG: Final = "http://www.w3.org/2000/09/xmldsig#"
C14N11: Final = "http://www.w3.org/2006/12/xml-c14n11"
ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
ECDSA_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#sha384"

_ATTRIBUTE_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
)
_TEXT_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"})
_PLAIN: Final = re.compile('[^&<>"\\t\\n\\r]*').fullmatch
_SPACE: Final = " \t\r\n"
_Attribute = tuple[str, str, str, str]
"""Namespace, local name, name as written, value: sorted as such."""


class _Node:
    """An element of the Signature while it is read; ``text`` is its own character data."""

    __slots__ = ("attributes", "children", "local", "namespace", "text")

    def __init__(
        self, namespace: str, local: str, attributes: tuple[tuple[str, str, str], ...]
    ) -> None:
        self.namespace = namespace
        self.local = local
        self.attributes = attributes
        self.text = ""
        self.children: list[_Node] = []


@value
class SignedDocument:
    """What an enveloped signature covers and says.

    ``body``: canonical document without the Signature. ``signed_info``: canonical SignedInfo.
    ``digest``: 48 bytes it demands of ``body``. ``signature``: raw r || s over ``signed_info``.
    ``certificates``: DER as embedded, signer first; nobody has looked at them yet.
    """

    body: bytes
    signed_info: bytes
    digest: bytes
    signature: bytes
    certificates: tuple[bytes, ...]


def _malformed(offset: int, what: str) -> FormatError:
    return FormatError(offset, what, reason=Reason.GPU_RIM_MALFORMED)


def _profile(what: str) -> FormatError:
    return FormatError(0, what, reason=Reason.GPU_RIM_DSIG_PROFILE_INVALID)


class _Canonical:
    """The handlers of one pass. Not reusable."""

    def __init__(self) -> None:
        parser = expat.ParserCreate("UTF-8")
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.ProcessingInstructionHandler = self._instruction
        parser.CommentHandler = self._comment
        parser.StartCdataSectionHandler = self._cdata
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        self._parser = parser
        self._scopes: list[dict[str, str]] = [{"": ""}]
        self._names: dict[str, tuple[str, str]] = {}
        self._elements = 0
        self._body: list[str] = []
        self._info: list[str] = []
        self._signatures = 0
        self._nodes: list[_Node] = []
        self._signature: _Node | None = None
        self._info_depth = 0
        self._root_children_after = 0

    def read(self, data: bytes) -> tuple[bytes, bytes, _Node]:
        """Return canonical body, canonical SignedInfo and the Signature element."""
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            raise _malformed(
                max(self._parser.ErrorByteIndex, 0), f"not well-formed XML ({error.code})"
            ) from error
        signature = self._signature
        if self._signatures != 1 or signature is None or self._root_children_after:
            raise _profile("the document needs one Signature, the last element child of its root")
        return (
            "".join(self._body).encode("utf-8"),
            "".join(self._info).encode("utf-8"),
            signature,
        )

    def _refuse(self, what: str) -> NoReturn:
        raise _malformed(max(self._parser.CurrentByteIndex, 0), what)

    def _too_large(self, what: str) -> NoReturn:
        raise FormatError(
            max(self._parser.CurrentByteIndex, 0), what, reason=Reason.GPU_INPUT_TOO_LARGE
        )

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        del standalone
        if version != "1.0" or (encoding is not None and encoding.upper() != "UTF-8"):
            self._refuse("only XML 1.0 in UTF-8 is read")

    def _doctype(self, *_: object) -> None:
        self._refuse("a document type declaration")

    def _instruction(self, *_: object) -> None:
        self._refuse("a processing instruction")

    def _comment(self, *_: object) -> None:
        self._refuse("a comment")

    def _cdata(self) -> None:
        self._refuse("a CDATA section")

    def _split(self, name: str) -> tuple[str, str]:
        """Return prefix and local name of a qualified name; each name is looked at once."""
        known = self._names.get(name)
        if known is not None:
            return known
        prefix, colon, local = name.partition(":")
        if not colon:
            prefix, local = "", name
        elif not prefix or not local or ":" in local:
            self._refuse(f"{name[:64]} is not a qualified name")
        self._names[name] = prefix, local
        return prefix, local

    def _declare(self, prefix: str, uri: str, scope: dict[str, str]) -> None:
        if prefix and (prefix in ("xml", "xmlns") or not uri):
            self._refuse(f"the declaration of {prefix[:64]} is not allowed")
        scope[prefix] = uri

    def _start(self, name: str, flat: list[str]) -> None:
        scopes = self._scopes
        self._elements += 1
        if (
            len(scopes) > MAX_DEPTH
            or self._elements > MAX_ELEMENTS
            or len(flat) > 2 * MAX_ATTRIBUTES
        ):
            self._too_large("more depth, elements or attributes than a manifest has")
        parent = scope = scopes[-1]
        attributes: list[_Attribute] = []
        prefixed: list[tuple[str, str, str, str]] = []
        for key, found in zip(flat[::2], flat[1::2], strict=True):
            prefix, local = self._split(key)
            if prefix == "xmlns" or key == "xmlns":
                if scope is parent:
                    scope = dict(parent)
                self._declare(local if prefix else "", found, scope)
            elif prefix:
                prefixed.append((prefix, local, key, found))
            else:
                attributes.append(("", local, key, found))
        scopes.append(scope)
        attributes += [
            (self._resolve(prefix), local, key, found) for prefix, local, key, found in prefixed
        ]
        attributes.sort()
        if len(prefixed) > 1:
            for one, other in pairwise(attributes):
                if one[:2] == other[:2]:
                    self._refuse(f"the attribute {other[2][:64]} stands twice")
        prefix, local = self._split(name)
        self._write_start(
            name, self._resolve(prefix) if prefix else scope[""], local, parent, attributes
        )

    def _resolve(self, prefix: str) -> str:
        found = self._scopes[-1].get(prefix)
        if found is None:
            self._refuse(f"the prefix {prefix[:64]} is not declared (or is xml)")
        return found

    def _write_start(
        self,
        name: str,
        namespace: str,
        local: str,
        parent: dict[str, str],
        attributes: list[_Attribute],
    ) -> None:
        depth = len(self._scopes) - 1
        if namespace == DSIG and local == "Signature":
            self._signatures += 1
            if depth == 2 and self._signature is None:
                node = _Node(namespace, local, tuple((u, k, v) for u, k, _, v in attributes))
                self._signature = node
                self._nodes.append(node)
                return
        elif depth == 2 and self._signature is not None:
            self._root_children_after += 1
        sink = self._body
        effective = parent
        if self._nodes:
            node = _Node(
                namespace=namespace,
                local=local,
                attributes=tuple((uri, key, value) for uri, key, _, value in attributes),
            )
            self._nodes[-1].children.append(node)
            self._nodes.append(node)
            if not self._info_depth and namespace == DSIG and local == "SignedInfo":
                self._info_depth = depth
                effective = {"": ""}
            if not self._info_depth:
                return
            sink = self._info
        scope = self._scopes[-1]
        written = [
            f' {key}="{found if _PLAIN(found) else found.translate(_ATTRIBUTE_ESCAPES)}"'
            for _, _, key, found in attributes
        ]
        if scope is not effective:
            written[:0] = [
                f" xmlns{':' if prefix else ''}{prefix}="
                f'"{scope[prefix].translate(_ATTRIBUTE_ESCAPES)}"'
                for prefix in sorted(scope)
                if effective.get(prefix) != scope[prefix]
            ]
        sink.append(f"<{name}{''.join(written)}>")

    def _end(self, name: str) -> None:
        depth = len(self._scopes) - 1
        self._scopes.pop()
        if not self._nodes:
            self._body.append(f"</{name}>")
            return
        self._nodes.pop()
        if self._info_depth:
            self._info.append(f"</{name}>")
            if depth == self._info_depth:
                # A second SignedInfo would be written behind the first; the profile refuses it.
                self._info_depth = 0

    def _text(self, text: str) -> None:
        if not self._nodes:
            self._body.append(text.translate(_TEXT_ESCAPES))
            return
        self._nodes[-1].text += text
        if self._info_depth:
            self._info.append(text.translate(_TEXT_ESCAPES))


def _children(node: _Node, *names: str) -> tuple[_Node, ...]:
    """Return the children, which must be exactly these elements, with nothing but space between."""
    found = tuple(child.local for child in node.children)
    if found != names or any(child.namespace != DSIG for child in node.children):
        raise _profile(f"{node.local} must hold exactly {', '.join(names) or 'no element'}")
    if names and node.text.strip(_SPACE):
        raise _profile(f"{node.local} holds text")
    return tuple(node.children)


def _algorithm(node: _Node, accepted: str) -> None:
    if node.attributes != (("", "Algorithm", accepted),):
        raise _profile(f"{node.local} must name {accepted} and nothing else")
    _children(node)
    if node.text.strip(_SPACE):
        raise _profile(f"{node.local} holds text")


def _no_attributes(*nodes: _Node) -> None:
    for node in nodes:
        if node.attributes:
            raise _profile(f"{node.local} has attributes")


def _decoded(node: _Node, *, length: int | None = None) -> bytes:
    """Return the base64 content of a leaf element; ASCII white space in it is not significant."""
    _no_attributes(node)
    _children(node)
    text = node.text.translate({0x20: None, 0x09: None, 0x0A: None, 0x0D: None})
    try:
        raw = base64.decode(text)
    except FormatError as error:
        raise _profile(f"{node.local}: {error.what}") from error
    if length is not None and len(raw) != length:
        raise _profile(f"{node.local} has {len(raw)} bytes, not {length}")
    return raw


def parse_signed_document(data: bytes) -> SignedDocument:
    """Canonicalise a document and read its one enveloped signature in the fixed profile.

    Raises FormatError: ``gpu.input.too_large``, ``gpu.rim.malformed`` (not the XML subset),
    ``gpu.rim.dsig_profile_invalid`` (any other form of signature). Source: nvidia.md 8.4.
    """
    if len(data) > MAX_DOCUMENT:
        raise FormatError(
            MAX_DOCUMENT,
            f"{len(data)} bytes, at most {MAX_DOCUMENT} are read",
            reason=Reason.GPU_INPUT_TOO_LARGE,
        )
    body, info, signature = _Canonical().read(data)
    signed_info, value, key_info = _children(signature, "SignedInfo", "SignatureValue", "KeyInfo")
    method, algorithm, reference = _children(
        signed_info, "CanonicalizationMethod", "SignatureMethod", "Reference"
    )
    _algorithm(method, C14N11)
    _algorithm(algorithm, ECDSA_SHA384)
    if reference.attributes != (("", "URI", ""),):
        raise _profile("Reference must have an empty URI and nothing else")
    transforms, digest_method, digest = _children(
        reference, "Transforms", "DigestMethod", "DigestValue"
    )
    enveloped, canonical = _children(transforms, "Transform", "Transform")
    _algorithm(enveloped, ENVELOPED)
    _algorithm(canonical, C14N11)
    _algorithm(digest_method, SHA384)
    (x509_data,) = _children(key_info, "X509Data")
    certificates = _children(x509_data, *("X509Certificate" for _ in x509_data.children))
    if not certificates:
        raise _profile("X509Data holds no certificate")
    _no_attributes(signature, signed_info, transforms, key_info, x509_data)
    return SignedDocument(
        body=body,
        signed_info=info,
        digest=_decoded(digest, length=48),
        signature=_decoded(value, length=96),
        certificates=tuple(_decoded(node) for node in certificates),
    )


def judge_digest(document: SignedDocument) -> None:
    """The canonical document has the digest that SignedInfo demands.

    Raises Refused (``gpu.rim.digest_mismatch``). Source: nvidia.md 8.4, step 1.
    """
    found = hashlib.sha384(document.body).digest()
    if found != document.digest:
        raise Refused(
            Reason.GPU_RIM_DIGEST_MISMATCH,
            "the manifest is not the one that was signed",
            got=found.hex(),
            expected=document.digest.hex(),
        )
