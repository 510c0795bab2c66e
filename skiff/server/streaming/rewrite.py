"""Links in proxied answers, made to lead through the proxy again. Pure.

A page behind `/api/v1/namespaces/x/services/y/proxy/` names its own paths from the root. Redirects
and the links of HTML pages that stay on that server get the proxy's prefix.
"""

import re
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
