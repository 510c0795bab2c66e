"""CertificateSigningRequests.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, human_duration, since
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.x509 import check_certificates, check_request

_USAGES: Final = frozenset(
    (
        "signing", "digital signature", "content commitment", "key encipherment",
        "key agreement", "data encipherment", "cert sign", "crl sign", "encipher only",
        "decipher only", "any", "server auth", "client auth", "code signing",
        "email protection", "s/mime", "ipsec end system", "ipsec tunnel", "ipsec user",
        "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc",
    )
)  # fmt: skip
_EXPIRY_LEAST_S: Final = 600
_LEGACY_SIGNER: Final = "kubernetes.io/legacy-unknown"
_DECISIONS: Final = ("Approved", "Denied")
_ONLY_TRUE: Final = (*_DECISIONS, "Failed")
_STATUSES: Final = ("False", "True", "Unknown")
_SIGNER_DOMAIN_MAX: Final = 253
_SIGNER_MAX: Final = 571
"""A domain, a slash, and a path that has room for a namespace, a dot and a name."""


def _condition_text(status: Object) -> str:
    approved = denied = failed = False
    for condition in status.get("conditions", ()):
        kind = condition.get("type")
        approved |= kind == "Approved"
        denied |= kind == "Denied"
        failed |= kind == "Failed"
    text = "Denied" if denied else "Approved" if approved else "Pending"
    if failed:
        text += ",Failed"
    return text + ",Issued" if status.get("certificate") else text


def _cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    seconds = spec.get("expirationSeconds")
    return [
        meta.get("name", ""),
        since(meta.get("creationTimestamp"), now),
        spec.get("signerName") or "<none>",
        spec.get("username", ""),
        human_duration(seconds) if seconds is not None else "<none>",
        _condition_text(obj.get("status", {})),
    ]


class CertificateSigningRequestStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, AGE, "SignerName", "Requestor", "RequestedDuration", "Condition"), _cells
    )
    selectable_fields: ClassVar[tuple[str, ...]] = ("spec.signerName",)
    name_rule = staticmethod(names.path_segment)

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        if subresource == "approval":
            # Approving changes conditions, and nothing else.
            self.keep_but_status(new, old)
            kept = dict(old.get("status", {}))
            kept["conditions"] = new.get("status", {}).get("conditions", [])
            new["status"] = kept
            return
        super().prepare_update(new, old, subresource)
        if subresource == "status":
            for decision in _DECISIONS:
                _keep_conditions(new, old, decision)
        elif not subresource:
            new["spec"] = old["spec"]

    def validate_new(self, obj: Object) -> FieldErrors:
        signer = obj.get("spec", {}).get("signerName")
        if signer != _LEGACY_SIGNER:
            return []
        message = "the legacy signerName is not allowed via this API version"
        return [fe.invalid("spec.signerName", signer, message)]

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        try:
            check_request(_decoded(spec.get("request", "")))
        except ValueError as e:
            errors.append(fe.invalid("spec.request", spec.get("request", ""), str(e)))
        usages = spec.get("usages") or ()
        if not usages:
            errors.append(fe.required("spec.usages"))
        for i, usage in enumerate(usages):
            if usage not in _USAGES:
                errors.append(fe.not_supported(f"spec.usages[{i}]", usage, sorted(_USAGES)))
        for i, usage in enumerate(usages):
            if usage in usages[:i]:
                errors.append(fe.duplicate(f"spec.usages[{i}]", usage))
        errors += validate_signer_name(spec.get("signerName", ""), "spec.signerName")
        seconds = spec.get("expirationSeconds")
        if seconds is not None and seconds < _EXPIRY_LEAST_S:
            message = f"may not specify a duration less than {_EXPIRY_LEAST_S} seconds (10 minutes)"
            errors.append(fe.invalid("spec.expirationSeconds", seconds, message))
        return errors + _validate_conditions(obj)

    def validate_update(self, new: Object, old: Object, subresource: str = "") -> FieldErrors:
        errors = super().validate_update(new, old, subresource)
        for kind in (*_DECISIONS, "Failed"):
            before, after = _of_type(old, kind), _of_type(new, kind)
            at = "status.conditions"
            if len(after) < len(before):
                message = f"updates may not remove a condition of type {fe.quote(kind)}"
                errors.append(fe.forbidden(at, message))
            elif len(after) > len(before) and kind in _DECISIONS and subresource != "approval":
                message = f"updates may not add a condition of type {fe.quote(kind)}"
                errors.append(fe.forbidden(at, message))
        had = old.get("status", {}).get("certificate")
        has = new.get("status", {}).get("certificate")
        if has != had:
            errors += _validate_certificate(has, had)
        return errors

    def selectable(self, obj: Object) -> dict[str, str]:
        return {"spec.signerName": obj.get("spec", {}).get("signerName", "")}


def validate_signer_name(name: str, path: str) -> FieldErrors:
    """A domain and a path: `example.com/signer`."""
    if not name:
        return [fe.required(path)]
    domain, slash, rest = name.partition("/")
    if not slash or "/" in rest:
        message = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [fe.invalid(path, name, message)]
    errors: FieldErrors = []
    if len(domain) > _SIGNER_DOMAIN_MAX:
        errors.append(fe.too_long(path, _SIGNER_DOMAIN_MAX))
    labels = domain.split(".")
    errors += _label_faults(path, domain, labels, names.dns1123_label)
    if len(labels) < 2:
        message = "should be a domain with at least two segments separated by dots"
        errors.append(fe.invalid(path, domain, message))
    errors += _label_faults(path, rest, rest.split("."), names.dns1123_subdomain)
    if len(name) > _SIGNER_MAX:
        errors.append(fe.too_long(path, _SIGNER_MAX))
    return errors


def _label_faults(
    path: str, text: str, labels: list[str], rule: Callable[[str], Sequence[str]]
) -> FieldErrors:
    """The faults of the first bad label."""
    for label in labels:
        faults = rule(label)
        if faults:
            return [
                fe.invalid(path, text, f"validating label {fe.quote(label)}: {fault}")
                for fault in faults
            ]
    return []


def _conditions(obj: Object) -> list[Object]:
    found: list[Object] = obj.get("status", {}).get("conditions") or []
    return found


def _of_type(obj: Object, kind: str) -> list[Object]:
    return [c for c in _conditions(obj) if c.get("type") == kind]


def _keep_conditions(new: Object, old: Object, kind: str) -> None:
    """Conditions of that type stay as they were, unless some came or went: that is refused."""
    before, after = _of_type(old, kind), _of_type(new, kind)
    if before and len(before) == len(after):
        kept = iter(before)
        new["status"]["conditions"] = [
            next(kept) if c.get("type") == kind else c for c in _conditions(new)
        ]


def _validate_conditions(obj: Object) -> FieldErrors:
    errors: FieldErrors = []
    seen: set[str] = set()
    for i, condition in enumerate(_conditions(obj)):
        at = f"status.conditions[{i}]"
        kind, status = condition.get("type", ""), condition.get("status", "")
        if not kind:
            errors.append(fe.required(f"{at}.type"))
        allowed = ("True",) if kind in _ONLY_TRUE else _STATUSES
        if not status:
            errors.append(fe.required(f"{at}.status"))
        elif status not in allowed:
            errors.append(fe.not_supported(f"{at}.status", status, allowed))
        if kind in _DECISIONS and seen & {*_DECISIONS} - {kind}:
            message = "Approved and Denied conditions are mutually exclusive"
            errors.append(fe.invalid(f"{at}.type", kind, message))
        if kind in seen:
            errors.append(fe.duplicate(f"{at}.type", kind))
        seen.add(kind)
    return errors


def _validate_certificate(new: str | None, old: str | None) -> FieldErrors:
    at = "status.certificate"
    errors: FieldErrors = []
    if new:
        try:
            check_certificates(_decoded(new))
        except ValueError as e:
            errors.append(fe.invalid(at, "<certificate data>", str(e)))
    if old:
        errors.append(fe.forbidden(at, "updates may not modify existing certificate content"))
    return errors


def _decoded(text: str) -> bytes:
    """Base64 that the schema has let pass."""
    return b64decode(text)
