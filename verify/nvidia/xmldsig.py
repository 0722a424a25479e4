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
from typing import Final, NamedTuple, NoReturn
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


class _Scope:
    """The declarations in force inside an element, and the shapes of its children so far."""

    __slots__ = ("shapes", "uris")

    def __init__(self, uris: dict[str, str]) -> None:
        self.uris = uris
        self.shapes: dict[tuple[str, tuple[str, ...]], _Shape] = {}


class _Shape(NamedTuple):
    """An element's resolved names: attributes as (namespace, local, opening text, position)."""

    namespace: str
    local: str
    attributes: tuple[tuple[str, str, str, int], ...]


_NOTHING_DECLARED: Final = _Scope({"": ""})


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
        self._scopes = [_Scope({"": ""})]
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
        """Return prefix and local name of a qualified name."""
        prefix, colon, local = name.partition(":")
        if not colon:
            return "", name
        if not prefix or not local or ":" in local:
            self._refuse(f"{name[:64]} is not a qualified name")
        return prefix, local

    def _resolve(self, prefix: str, scope: _Scope) -> str:
        found = scope.uris.get(prefix)
        if found is None:
            self._refuse(f"the prefix {prefix[:64]} is not declared (or is xml)")
        return found

    def _declared(self, names: tuple[str, ...], values: list[str], parent: _Scope) -> _Scope:
        """Return the scope of an element: its own declarations over those around it."""
        uris = dict(parent.uris)
        for name, uri in zip(names, values, strict=True):
            if name == "xmlns":
                uris[""] = uri
            elif name.startswith("xmlns:"):
                _, prefix = self._split(name)
                if prefix in ("xml", "xmlns") or not uri:
                    self._refuse(f"the declaration of {prefix[:64]} is not allowed")
                uris[prefix] = uri
        return _Scope(uris)

    def _shape(self, name: str, names: tuple[str, ...], scope: _Scope) -> _Shape:
        """Resolve the names of an element and its attributes, and put them in canonical order."""
        prefix, local = self._split(name)
        attributes: list[tuple[str, str, str, int]] = []
        for position, key in enumerate(names):
            if key == "xmlns" or key.startswith("xmlns:"):
                continue
            prefix_, local_ = self._split(key)
            uri = self._resolve(prefix_, scope) if prefix_ else ""
            attributes.append((uri, local_, f' {key}="', position))
        attributes.sort()
        for one, other in pairwise(attributes):
            if one[:2] == other[:2]:
                self._refuse(f"an attribute of {name[:64]} stands twice")
        return _Shape(
            self._resolve(prefix, scope) if prefix else scope.uris[""], local, tuple(attributes)
        )

    def _start(self, name: str, flat: list[str]) -> None:
        scopes = self._scopes
        self._elements += 1
        if (
            len(scopes) > MAX_DEPTH
            or self._elements > MAX_ELEMENTS
            or len(flat) > 2 * MAX_ATTRIBUTES
        ):
            self._too_large("more depth, elements or attributes than a manifest has")
        parent = scopes[-1]
        names, values = tuple(flat[::2]), flat[1::2]
        shape = parent.shapes.get((name, names))
        scope = parent
        if shape is None:
            # An element that declares nothing is of the same shape as its likes beside it.
            if any(key.startswith("xmlns") for key in names):
                scope = self._declared(names, values, parent)
            shape = self._shape(name, names, scope)
            if scope is parent:
                parent.shapes[name, names] = shape
        scopes.append(scope)
        self._write_start(name, values, shape, parent)

    def _write_start(self, name: str, values: list[str], shape: _Shape, parent: _Scope) -> None:
        depth = len(self._scopes) - 1
        signature = shape.namespace == DSIG and shape.local == "Signature"
        self._signatures += signature
        sink = self._body
        effective = parent
        if self._nodes or (signature and depth == 2 and self._signature is None):
            node = _Node(
                shape.namespace,
                shape.local,
                tuple((uri, local, values[at]) for uri, local, _, at in shape.attributes),
            )
            if self._nodes:
                self._nodes[-1].children.append(node)
            else:
                self._signature = node
            self._nodes.append(node)
            if not self._info_depth and node.namespace == DSIG and node.local == "SignedInfo":
                self._info_depth = depth
                effective = _NOTHING_DECLARED
            if not self._info_depth:
                return
            sink = self._info
        elif depth == 2 and self._signature is not None:
            self._root_children_after += 1
        scope = self._scopes[-1]
        sink.append(f"<{name}")
        if scope is not effective:
            known = effective.uris
            sink.extend(
                f' xmlns{":" if prefix else ""}{prefix}="{uri.translate(_ATTRIBUTE_ESCAPES)}"'
                for prefix, uri in sorted(scope.uris.items())
                if known.get(prefix) != uri
            )
        if not _PLAIN("".join(values)):
            values = [one.translate(_ATTRIBUTE_ESCAPES) for one in values]
        sink.extend([f'{lead}{values[at]}"' for _, _, lead, at in shape.attributes])
        sink.append(">")

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
