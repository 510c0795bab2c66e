"""Links in proxied answers, made to lead through the proxy again. Pure.

A page behind `/api/v1/namespaces/x/services/y/proxy/` names its own paths from the root. Redirects
and the links of HTML pages that stay on that server get the proxy's prefix.
"""

import re
import zlib
from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

# Attributes whose values are addresses (HTML 4.01, section "Index of Attributes").
_ATTRIBUTES = (
    "action|archive|background|cite|classid|codebase|data|href|icon|longdesc|manifest|poster|"
    "profile|src|usemap"
)
_LINK = re.compile(
    rb"(<[^>]*?\b(?:" + _ATTRIBUTES.encode() + rb")\s*=\s*)(\"[^\"]*\"|'[^']*')",
    re.IGNORECASE | re.DOTALL,
)

# What one tag may be long; the rest of a longer one passes as it is.
MAX_TAG_BYTES: Final = 64 << 10


def rewrite_url(target: str, prefix: str, hosts: tuple[str, ...]) -> str:
    """`target` behind `prefix`, if it is an absolute path or an address on one of `hosts`."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return target
    elsewhere = parts.netloc and parts.netloc not in hosts
    if elsewhere or not parts.path.startswith("/"):
        return target
    if not parts.netloc and (parts.path + "/").startswith(prefix.rstrip("/") + "/"):
        return target
    path = prefix.rstrip("/") + parts.path
    return urlunsplit(("", "", path, parts.query, parts.fragment))


def rewrite_html(page: bytes, prefix: str, hosts: tuple[str, ...]) -> bytes:
    """A page with its links rewritten."""

    def replace(match: re.Match[bytes]) -> bytes:
        head, quoted = match.groups()
        quote, value = quoted[:1], quoted[1:-1].decode("utf-8", "surrogateescape")
        changed = rewrite_url(value, prefix, hosts).encode("utf-8", "surrogateescape")
        return bytes(head + quote + changed + quote)

    # A tag may hold several links: each pass rewrites one of them per tag, and what is rewritten
    # stays as it is.
    while (result := _LINK.sub(replace, page)) != page:
        page = result
    return page


class Coding(Protocol):
    """A body that is passed on piece by piece, changed on the way."""

    def feed(self, data: bytes) -> bytes:
        """What may be passed on after these bytes."""

    def finish(self) -> bytes:
        """The rest."""


class PageRewriter:
    """Rewrites the links of a page that comes in pieces: what may be the beginning of a tag waits for
    the rest of it."""

    def __init__(self, prefix: str, hosts: tuple[str, ...]) -> None:
        self._prefix = prefix
        self._hosts = hosts
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        page = self._held + data
        open_at = page.rfind(b"<")
        cut = len(page)
        if open_at > page.rfind(b">") and cut - open_at <= MAX_TAG_BYTES:
            cut = open_at
        self._held = page[cut:]
        return rewrite_html(page[:cut], self._prefix, self._hosts)

    def finish(self) -> bytes:
        rest, self._held = self._held, b""
        return rewrite_html(rest, self._prefix, self._hosts)


class Inflated:
    """Another coding applied to a compressed body: opened before it, closed again behind it. What is
    not compressed as it says raises zlib.error."""

    def __init__(self, inner: Coding, window: int) -> None:
        self._inner = inner
        self._open = zlib.decompressobj(window)
        self._close = zlib.compressobj(wbits=window)

    def feed(self, data: bytes) -> bytes:
        changed = self._inner.feed(self._open.decompress(data))
        return self._close.compress(changed) + self._close.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        rest = self._inner.feed(self._open.flush()) + self._inner.finish()
        return self._close.compress(rest) + self._close.flush()


_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": -zlib.MAX_WBITS}


def page_coding(encoding: str, prefix: str, hosts: tuple[str, ...]) -> Callable[[], Coding] | None:
    """What makes the coding of a page with this Content-Encoding; None for one that cannot be read."""
    if not encoding or encoding == "identity":
        return lambda: PageRewriter(prefix, hosts)
    window = _WINDOWS.get(encoding)
    if window is None:
        return None
    return lambda: Inflated(PageRewriter(prefix, hosts), window)
