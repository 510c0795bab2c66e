"""CertificateSigningRequests.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, human_duration, since
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.strategy import Object, Strategy

_USAGES: Final = frozenset(
    (
        "signing", "digital signature", "content commitment", "key encipherment",
        "key agreement", "data encipherment", "cert sign", "crl sign", "encipher only",
        "decipher only", "any", "server auth", "client auth", "code signing",
        "email protection", "s/mime", "ipsec end system", "ipsec tunnel", "ipsec user",
        "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc",
    )
)  # fmt: skip
_MARKER: Final = b"-----BEGIN CERTIFICATE REQUEST-----"
_EXPIRY_LEAST_S: Final = 600


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
        spec = obj.setdefault("spec", {})
        if not spec.get("usages"):
            spec["usages"] = ["digital signature", "key encipherment"]

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        if subresource == "approval":
            # Only the Approved and Denied conditions are the approver's.
            self.keep_but_status(new, old)
            kept = dict(old.get("status", {}))
            kept["conditions"] = new.get("status", {}).get("conditions", [])
            new["status"] = kept
            return
        super().prepare_update(new, old, subresource)
        if subresource == "status":
            decisions = ("Approved", "Denied")
            had = [c for c in old.get("status", {}).get("conditions", ()) if c["type"] in decisions]
            found = new.setdefault("status", {}).get("conditions", ())
            rest = [c for c in found if c.get("type") not in decisions]
            if had or rest:
                new["status"]["conditions"] = had + rest
        elif not subresource:
            new["spec"] = old["spec"]

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        try:
            request = b64decode(spec.get("request", ""), validate=True)
        except (Base64Error, ValueError):
            request = b""
        if _MARKER not in request:
            message = "PEM block type must be CERTIFICATE REQUEST"
            shown = spec.get("request", "")
            errors.append(fe.invalid("spec.request", shown, message))
        usages = spec.get("usages", ())
        if not usages:
            errors.append(fe.required("spec.usages", "usages must contain at least one value"))
        for i, usage in enumerate(usages):
            at = f"spec.usages[{i}]"
            if usage not in _USAGES:
                errors.append(fe.not_supported(at, usage, sorted(_USAGES)))
            elif usage in usages[:i]:
                errors.append(fe.duplicate(at, usage))
        signer = spec.get("signerName", "")
        if not signer:
            errors.append(fe.required("spec.signerName"))
        elif signer.count("/") != 1 or "." not in signer.partition("/")[0]:
            message = (
                "must be a fully qualified domain and path of the form 'example.com/signer-name'"
            )
            errors.append(fe.invalid("spec.signerName", signer, message))
        seconds = spec.get("expirationSeconds")
        if seconds is not None and seconds < _EXPIRY_LEAST_S:
            message = f"may not specify a duration less than {_EXPIRY_LEAST_S} seconds (10 minutes)"
            errors.append(fe.invalid("spec.expirationSeconds", seconds, message))
        return errors

    def validate_update(self, new: Object, old: Object, subresource: str = "") -> FieldErrors:
        errors = super().validate_update(new, old, subresource)
        after = new.get("status", {}).get("conditions", ())
        kinds = {c.get("type") for c in after}
        if {"Approved", "Denied"} <= kinds:
            message = "Approved and Denied conditions are mutually exclusive"
            errors.append(fe.invalid("status.conditions", after, message))
        for condition in old.get("status", {}).get("conditions", ()):
            if condition.get("type") not in kinds:
                message = (
                    f"updates may not remove a condition of type {fe.quote(condition['type'])}"
                )
                errors.append(fe.forbidden("status.conditions", message))
        had = old.get("status", {}).get("certificate")
        if had:
            has = new.get("status", {}).get("certificate")
            errors += immutable("status.certificate", has, had)
        return errors

    def selectable(self, obj: Object) -> dict[str, str]:
        return {"spec.signerName": obj.get("spec", {}).get("signerName", "")}
