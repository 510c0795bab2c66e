"""admissionregistration.k8s.io: webhook configurations and admission policies with their bindings.

CEL expressions are compiled where they run (the server's admission); here is what the objects alone show.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/ and
https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.metadata import validate_label_selector
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.webhook_clients import default_service, validate_client

_OPERATIONS: Final = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_FAILURE: Final = ("Fail", "Ignore")
_MATCH: Final = ("Equivalent", "Exact")
_SIDE_EFFECTS: Final = ("None", "NoneOnDryRun")
_VERSIONS: Final = ("v1", "v1beta1")
_ACTIONS: Final = ("Audit", "Deny", "Warn")


def _webhooks_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    count = len(obj.get("webhooks", ()))
    return [meta.get("name", ""), count, since(meta.get("creationTimestamp"), now)]


class WebhookConfigurationStrategy(Strategy):
    """MutatingWebhookConfiguration and ValidatingWebhookConfiguration."""

    columns: ClassVar[Columns] = Columns(columns(NAME, "Webhooks:integer", AGE), _webhooks_cells)
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        mutating = self.resource.kind.startswith("Mutating")
        for webhook in obj.get("webhooks", ()):
            webhook.setdefault("failurePolicy", "Fail")
            webhook.setdefault("matchPolicy", "Equivalent")
            webhook.setdefault("namespaceSelector", {})
            webhook.setdefault("objectSelector", {})
            webhook.setdefault("timeoutSeconds", 10)
            if mutating:
                webhook.setdefault("reinvocationPolicy", "Never")
            for rule in webhook.get("rules", ()):
                rule.setdefault("scope", "*")
            default_service(webhook.get("clientConfig", {}))

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        seen: set[str] = set()
        for i, webhook in enumerate(obj.get("webhooks", ())):
            at = f"webhooks[{i}]"
            name = webhook.get("name", "")
            errors += _validate_webhook(webhook, at)
            if name in seen:
                errors.append(fe.duplicate(f"{at}.name", name))
            seen.add(name)
        return errors


def _validate_webhook(webhook: Object, path: str) -> FieldErrors:
    errors = _validate_qualified_dns(webhook.get("name", ""), f"{path}.name")
    for field, supported in (
        ("failurePolicy", _FAILURE), ("matchPolicy", _MATCH),
        ("reinvocationPolicy", ("IfNeeded", "Never")),
    ):  # fmt: skip
        value = webhook.get(field)
        if value is not None and value not in supported:
            errors.append(fe.not_supported(f"{path}.{field}", value, supported))
    effects = webhook.get("sideEffects")
    if effects is None:
        message = f"must specify one of {', '.join(_SIDE_EFFECTS)}"
        errors.append(fe.required(f"{path}.sideEffects", message))
    elif effects not in _SIDE_EFFECTS:
        errors.append(fe.not_supported(f"{path}.sideEffects", effects, _SIDE_EFFECTS))
    seconds = webhook.get("timeoutSeconds", 10)
    if not 1 <= seconds <= 30:
        message = "the timeout value must be between 1 and 30 seconds"
        errors.append(fe.invalid(f"{path}.timeoutSeconds", seconds, message))
    versions = webhook.get("admissionReviewVersions")
    if not versions:
        message = f"must specify one of {', '.join(_VERSIONS)}"
        errors.append(fe.required(f"{path}.admissionReviewVersions", message))
    elif not set(versions) & set(_VERSIONS):
        message = f"must include at least one of {', '.join(_VERSIONS)}"
        errors.append(fe.invalid(f"{path}.admissionReviewVersions", versions, message))
    for field in ("namespaceSelector", "objectSelector"):
        errors += validate_label_selector(webhook.get(field), f"{path}.{field}")
    for i, rule in enumerate(webhook.get("rules", ())):
        errors += validate_rule(rule, f"{path}.rules[{i}]")
    errors += _validate_conditions(webhook.get("matchConditions", []), f"{path}.matchConditions")
    return errors + validate_client(webhook.get("clientConfig", {}), f"{path}.clientConfig")


def _validate_qualified_dns(name: str, path: str) -> FieldErrors:
    """A name that is fully qualified: at least three labels."""
    if not name:
        return [fe.required(path)]
    errors = [fe.invalid(path, name, m) for m in names.dns1123_subdomain(name)]
    if not errors and len(name.split(".")) < 3:
        message = "should be a domain with at least three segments separated by dots"
        errors.append(fe.invalid(path, name, message))
    return errors


def validate_rule(rule: Object, path: str) -> FieldErrors:
    """A rule with operations: which requests a webhook or policy sees."""
    errors: FieldErrors = []
    operations = rule.get("operations", ())
    if not operations:
        errors.append(fe.required(f"{path}.operations"))
    elif "*" in operations and len(operations) > 1:
        message = "if '*' is present, must not specify other operations"
        errors.append(fe.invalid(f"{path}.operations", operations, message))
    errors += [
        fe.not_supported(f"{path}.operations[{i}]", o, _OPERATIONS)
        for i, o in enumerate(operations)
        if o not in _OPERATIONS
    ]
    for field, word in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(field, ())
        if not values:
            errors.append(fe.required(f"{path}.{field}"))
        elif "*" in values and len(values) > 1:
            message = f"if '*' is present, must not specify other {word}"
            errors.append(fe.invalid(f"{path}.{field}", values, message))
        if field == "apiVersions":
            errors += [fe.required(f"{path}.{field}[{i}]") for i, v in enumerate(values) if not v]
    errors += _validate_resources(rule.get("resources", []), f"{path}.resources")
    scope = rule.get("scope")
    if scope is not None and scope not in ("*", "Cluster", "Namespaced"):
        errors.append(fe.not_supported(f"{path}.scope", scope, ("*", "Cluster", "Namespaced")))
    return errors


def _validate_resources(resources: list[str], path: str) -> FieldErrors:
    if not resources:
        return [fe.required(path)]
    errors = [fe.required(f"{path}[{i}]") for i, r in enumerate(resources) if not r]
    if "*/*" in resources and len(resources) > 1:
        message = "if '*/*' is present, must not specify other resources"
        errors.append(fe.invalid(path, resources, message))
    if "*" in resources:
        extra = [r for r in resources if "/" not in r and r != "*"]
        if extra:
            message = "if '*' is present, must not specify other resources without subresources"
            errors.append(fe.invalid(path, resources, message))
    for i, resource in enumerate(resources):
        name, slash, sub = resource.partition("/")
        if slash and sub != "*" and f"{name}/*" in resources:
            message = f"if '{name}/*' is present, must not specify {resource}"
            errors.append(fe.invalid(f"{path}[{i}]", resource, message))
    return errors


def _validate_conditions(conditions: list[Object], path: str) -> FieldErrors:
    errors: FieldErrors = []
    if len(conditions) > 64:
        errors.append(fe.too_many(path, len(conditions), 64))
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        at, name = f"{path}[{i}]", condition.get("name", "")
        if not condition.get("expression", "").strip():
            errors.append(fe.required(f"{at}.expression"))
        if not name:
            errors.append(fe.required(f"{at}.name"))
        else:
            errors += [fe.invalid(f"{at}.name", name, m) for m in names.qualified_name(name)]
            if name in seen:
                errors.append(fe.duplicate(f"{at}.name", name))
            seen.add(name)
    return errors


def _policy_cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    kind = spec.get("paramKind")
    text = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else "<unset>"
    checks = spec.get("validations" if "validations" in spec else "mutations") or ()
    return [meta.get("name", ""), len(checks), text, since(meta.get("creationTimestamp"), now)]


def _default_match(match: Object | None) -> None:
    if match is None:
        return
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for field in ("resourceRules", "excludeResourceRules"):
        for rule in match.get(field, ()):
            rule.setdefault("scope", "*")


class AdmissionPolicyStrategy(Strategy):
    """ValidatingAdmissionPolicy and MutatingAdmissionPolicy."""

    columns: ClassVar[Columns] = Columns(
        columns(NAME, "Validations:integer", "ParamKind", AGE), _policy_cells
    )
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("failurePolicy", "Fail")
        _default_match(spec.get("matchConstraints"))

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        policy = spec.get("failurePolicy")
        if policy not in _FAILURE:
            errors.append(fe.not_supported("spec.failurePolicy", policy, _FAILURE))
        kind = spec.get("paramKind")
        if kind is not None:
            errors += [
                fe.required(f"spec.paramKind.{f}")
                for f in ("apiVersion", "kind")
                if not kind.get(f)
            ]
        match = spec.get("matchConstraints")
        if match is None:
            errors.append(fe.required("spec.matchConstraints"))
        else:
            if not match.get("resourceRules"):
                errors.append(fe.required("spec.matchConstraints.resourceRules"))
            errors += validate_match(match, "spec.matchConstraints")
        errors += _validate_conditions(spec.get("matchConditions", []), "spec.matchConditions")
        errors += _validate_variables(spec.get("variables", []), "spec.variables")
        if self.resource.kind.startswith("Mutating"):
            return errors + _validate_mutations(spec)
        return errors + _validate_validations(spec)


def validate_match(match: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    for field in ("namespaceSelector", "objectSelector"):
        errors += validate_label_selector(match.get(field), f"{path}.{field}")
    policy = match.get("matchPolicy")
    if policy is not None and policy not in _MATCH:
        errors.append(fe.not_supported(f"{path}.matchPolicy", policy, _MATCH))
    for field in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(field, ())):
            errors += validate_rule(rule, f"{path}.{field}[{i}]")
    return errors


def _validate_variables(variables: list[Object], path: str) -> FieldErrors:
    errors: FieldErrors = []
    seen: set[str] = set()
    for i, variable in enumerate(variables):
        at, name = f"{path}[{i}]", variable.get("name", "")
        if not name:
            errors.append(fe.required(f"{at}.name", "name is not specified"))
        elif not name.isidentifier() or not name.isascii():
            errors.append(fe.invalid(f"{at}.name", name, "name is not a valid CEL identifier"))
        elif name in seen:
            errors.append(fe.duplicate(f"{at}.name", name))
        seen.add(name)
        if not variable.get("expression", "").strip():
            errors.append(fe.required(f"{at}.expression", "expression is not specified"))
    return errors


def _validate_validations(spec: Object) -> FieldErrors:
    errors: FieldErrors = []
    validations, audits = spec.get("validations", ()), spec.get("auditAnnotations", ())
    if not validations and not audits:
        message = "validations or auditAnnotations must be specified"
        errors.append(fe.required("spec.validations", message))
        errors.append(fe.required("spec.auditAnnotations", message))
    reasons = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
    for i, validation in enumerate(validations):
        at = f"spec.validations[{i}]"
        expression, message = validation.get("expression", ""), validation.get("message", "")
        if not expression.strip():
            errors.append(fe.required(f"{at}.expression", "expression is not specified"))
        if message and not message.strip():
            text = "message must be non-empty if specified"
            errors.append(fe.invalid(f"{at}.message", message, text))
        elif "\n" in message:
            text = "message must not contain line breaks"
            errors.append(fe.invalid(f"{at}.message", message, text))
        elif not message and "\n" in expression.strip():
            text = "message must be specified if expression contains line breaks"
            errors.append(fe.required(f"{at}.message", text))
        reason = validation.get("reason")
        if reason is not None and reason not in reasons:
            errors.append(fe.not_supported(f"{at}.reason", reason, reasons))
    for i, audit in enumerate(audits):
        at = f"spec.auditAnnotations[{i}]"
        if not audit.get("key"):
            errors.append(fe.required(f"{at}.key"))
        if not audit.get("valueExpression", "").strip():
            message = "valueExpression is not specified"
            errors.append(fe.required(f"{at}.valueExpression", message))
    return errors


def _validate_mutations(spec: Object) -> FieldErrors:
    errors: FieldErrors = []
    if not spec.get("mutations"):
        errors.append(fe.required("spec.mutations"))
    if not spec.get("reinvocationPolicy"):
        errors.append(fe.required("spec.reinvocationPolicy"))
    for i, mutation in enumerate(spec.get("mutations", ())):
        at, kind = f"spec.mutations[{i}]", mutation.get("patchType", "")
        if kind not in ("ApplyConfiguration", "JSONPatch"):
            supported = ("ApplyConfiguration", "JSONPatch")
            errors.append(fe.not_supported(f"{at}.patchType", kind, supported))
            continue
        field = "applyConfiguration" if kind == "ApplyConfiguration" else "jsonPatch"
        if not (mutation.get(field) or {}).get("expression", "").strip():
            message = f"must be specified when patchType is {kind}"
            errors.append(fe.required(f"{at}.{field}", message))
    return errors


def _binding_cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    reference = spec.get("paramRef")
    text = "<unset>"
    if reference:
        text = reference.get("name") or "*"
        if reference.get("namespace"):
            text = f"{reference['namespace']}/{text}"
    age = since(meta.get("creationTimestamp"), now)
    return [meta.get("name", ""), spec.get("policyName", ""), text, age]


class AdmissionBindingStrategy(Strategy):
    """ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding."""

    columns: ClassVar[Columns] = Columns(
        columns(NAME, "PolicyName", "ParamRef", AGE), _binding_cells
    )
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        _default_match(obj.setdefault("spec", {}).get("matchResources"))

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        name = spec.get("policyName", "")
        if not name:
            errors.append(fe.required("spec.policyName"))
        else:
            errors += [
                fe.invalid("spec.policyName", name, m) for m in names.dns1123_subdomain(name)
            ]
        reference = spec.get("paramRef")
        if reference is not None:
            errors += _validate_param_ref(reference)
        if "matchResources" in spec:
            errors += validate_match(spec["matchResources"], "spec.matchResources")
        if self.resource.kind.startswith("Mutating"):
            return errors
        actions = spec.get("validationActions", ())
        if not actions:
            errors.append(fe.required("spec.validationActions"))
        for i, action in enumerate(actions):
            at = f"spec.validationActions[{i}]"
            if action not in _ACTIONS:
                errors.append(fe.not_supported(at, action, _ACTIONS))
            elif action in actions[:i]:
                errors.append(fe.duplicate(at, action))
        if "Deny" in actions and "Warn" in actions:
            message = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"
            errors.append(fe.invalid("spec.validationActions", actions, message))
        return errors


def _validate_param_ref(reference: Object) -> FieldErrors:
    errors: FieldErrors = []
    name, selector = reference.get("name", ""), reference.get("selector")
    if name:
        errors += [fe.invalid("spec.paramRef.name", name, m) for m in names.path_segment(name)]
        if selector is not None:
            message = "name and selector are mutually exclusive"
            errors.append(fe.forbidden("spec.paramRef.name", message))
    elif selector is None:
        message = "one of name or selector must be specified"
        errors.append(fe.required("spec.paramRef", message))
    action = reference.get("parameterNotFoundAction")
    if action is None:
        at = "spec.paramRef.parameterNotFoundAction"
        errors.append(fe.required(at))
    elif action not in ("Allow", "Deny"):
        at = "spec.paramRef.parameterNotFoundAction"
        errors.append(fe.not_supported(at, action, ("Deny", "Allow")))
    return errors
