"""kube-apiserver's flags that Skiff has no use for: accepted where they say how Skiff is anyway,
otherwise refused by name, with what to do instead.

Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/
"""

import argparse

from skiff.api.resources import TABLE
from skiff.server.discovery.version import GIT_VERSION

STORE = "the store is Skiff's own; say where with --data-dir"
LATER = "Skiff does not have that yet"
FIXED = "Skiff decides that by itself"
REFUSED = {
    "etcd-servers": STORE,
    "etcd-cafile": STORE,
    "etcd-certfile": STORE,
    "etcd-keyfile": STORE,
    "etcd-prefix": STORE,
    "storage-backend": STORE,
    "encryption-provider-config": LATER,
    "audit-log-path": LATER,
    "audit-policy-file": LATER,
    "audit-webhook-config-file": LATER,
    "authentication-config": LATER,
    "authentication-token-webhook-config-file": LATER,
    "authorization-config": LATER,
    "authorization-webhook-config-file": LATER,
    "authorization-policy-file": LATER,
    "admission-control-config-file": LATER,
    "oidc-issuer-url": LATER,
    "oidc-client-id": LATER,
    "enable-aggregator-routing": LATER,
    "proxy-client-cert-file": LATER,
    "proxy-client-key-file": LATER,
    "egress-selector-config-file": LATER,
    "insecure-port": "requests come over TLS only; see --secure-port",
    "kubelet-client-certificate": FIXED,
    "kubelet-client-key": FIXED,
    "kubelet-certificate-authority": FIXED,
    "requestheader-client-ca-file": FIXED,
    "kubelet-preferred-address-types": FIXED,
    "max-requests-inflight": FIXED,
    "max-mutating-requests-inflight": FIXED,
    "profiling": FIXED,
    "endpoint-reconciler-type": FIXED,
}
"""Flags that are refused by name, and what to do instead."""

_TRUE = ("true", "t", "1")
AS_IT_IS: dict[str, tuple[tuple[str, ...], str]] = {
    "feature-gates": (("",), "Skiff has the stable features, and they are on"),
    "allow-privileged": (
        _TRUE,
        "privileged pods are allowed; restrict them with Pod Security labels",
    ),
    "service-account-lookup": (
        _TRUE,
        "tokens of service accounts that are gone are not believed",
    ),
    "storage-media-type": (("", "application/json"), "the store keeps JSON"),
}
"""Flags that are accepted with these values, which say what is so anyway; and what to say of others."""

STABLE = "Skiff serves every stable API, and no other"
_LEVELS = {"api/ga": True, "api/beta": False, "api/alpha": False}


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags, hidden from the help."""
    for flag in REFUSED:
        parser.add_argument(f"--{flag}", action=_Refuse, nargs="?", help=argparse.SUPPRESS)
    for flag in AS_IT_IS:
        parser.add_argument(
            f"--{flag}", action=_Agree, nargs="?", const="true", help=argparse.SUPPRESS
        )
    parser.add_argument("--runtime-config", action=_Served, help=argparse.SUPPRESS)


class _Refuse(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        flag = str(rest[-1])
        parser.error(f"{flag} is kube-apiserver's: {REFUSED[flag.removeprefix('--')]}")


class _Agree(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, value: object, flag: object = ""
    ) -> None:
        accepted, why = AS_IT_IS[str(flag).removeprefix("--")]
        if str(value).lower() not in accepted:
            parser.error(f"{flag}={value} is not possible: {why}")


class _Served(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, value: object, flag: object = ""
    ) -> None:
        served = {r.api_version if r.group else f"api/{r.version}" for r in TABLE}
        for part in str(value).split(","):
            name, _, wanted = part.strip().partition("=")
            is_so = _LEVELS.get(name, name in served)
            if name and (wanted.lower() in ("", *_TRUE)) != is_so:
                parser.error(f"{flag}={value} is not possible: {STABLE}")


def version(text: str) -> str:
    """`--version=v1.36.0-mine`: what `/version` says is this release and a suffix. Raises
    argparse.ArgumentTypeError."""
    if not text.startswith(GIT_VERSION):
        raise argparse.ArgumentTypeError(
            f"{text!r} does not start with the default version {GIT_VERSION!r}"
        )
    return text


class PrintVersion(argparse.Action):
    """`--version` alone, or with `true`: say which release this is, and end."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, value: object, flag: object = ""
    ) -> None:
        if value is None or str(value).lower() in _TRUE:
            print(f"Kubernetes {GIT_VERSION}")
            parser.exit()
        try:
            setattr(namespace, self.dest, version(str(value)))
        except argparse.ArgumentTypeError as e:
            parser.error(f"argument {flag}: {e}")
