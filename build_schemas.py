"""Compiles Kubernetes' API schemas into `skiff/api/schema.bin`: the wheel's build hook, and a command.

The source is the PyPI package kubernetes-validate, whose `_definitions.json` for v1.36 keeps every
`x-kubernetes-*` extension. It differs from Kubernetes' own OpenAPI definitions in four ways, undone
here: optional types are `[T, "null"]`, `apiVersion` and `kind` carry an injected `enum`, Quantity and
IntOrString are a `oneOf`, references point to `_definitions.json#/$defs/`.

The file: 8 bytes of magic, 4 bytes big-endian length of the index, the index (msgpack), then blobs.
Each definition has two blobs: the lean one (JSON without descriptions), read when a kind is first
used; the whole one (zlib over JSON, with descriptions), read only for OpenAPI documents.

Run: `python build_schemas.py` (writes beside the package), or through the build backend.
"""

import importlib.util
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import msgspec

MAGIC = b"SKIFFSC1"
SOURCE = "kubernetes-json-schema/v1.36.0-local/_definitions.json"
TARGET = Path("skiff") / "api" / "schema.bin"

# The two that the package keeps no text for. The grammar itself is in `api/quantity.py`.
QUANTITY: dict[str, Any] = {
    "description": (
        "Quantity is a fixed-point number with an SI suffix (m, k, M, G, T, P, E), a binary suffix "
        "(Ki, Mi, Gi, Ti, Pi, Ei) or a decimal exponent, written as a string; a plain number is "
        "accepted as well. It keeps the form of its suffix when written again."
    ),
    "type": "string",
}
INT_OR_STRING: dict[str, Any] = {
    "description": (
        "IntOrString holds an int32 or a string: for instance a port by number or by name, or a "
        "count or a percentage."
    ),
    "format": "int-or-string",
    "type": "string",
}
REWRITTEN = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": QUANTITY,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": INT_OR_STRING,
}


def restore(node: Any) -> Any:
    """One schema as Kubernetes publishes it: un-nulled, references local, no injected enums."""
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in sorted(node.items()):
        if key == "enum":
            continue
        if key == "type" and isinstance(value, list):
            out[key] = next(t for t in value if t != "null")
        elif key == "properties":
            out[key] = {name: restore(value[name]) for name in sorted(value)}
        elif key in ("items", "additionalProperties"):
            out[key] = restore(value)
        elif key == "$ref":
            out[key] = "#/definitions/" + value.rsplit("/", 1)[-1]
        else:
            out[key] = value
    return out


def without_descriptions(node: Any) -> Any:
    """The schema's lean form. (A property may itself be called "description": it stays.)"""
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key == "description":
            continue
        if key == "properties":
            out[key] = {name: without_descriptions(v) for name, v in value.items()}
        elif key in ("items", "additionalProperties"):
            out[key] = without_descriptions(value)
        else:
            out[key] = value
    return out


def source_path() -> Path:
    """Where the installed package keeps the definitions; found without importing the package."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "build_schemas: the package kubernetes-validate is needed to compile the API schemas: "
            "pip install kubernetes-validate==1.37.0"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / SOURCE
    if not path.is_file():
        raise SystemExit(f"build_schemas: {path} is missing: kubernetes-validate 1.37.0 has it")
    return path


def compile_definitions(definitions: dict[str, Any]) -> bytes:
    """The whole of schema.bin for these definitions (name → schema)."""
    index: dict[str, tuple[int, int, int, int]] = {}
    kinds: dict[str, str] = {}
    blobs = bytearray()
    for name in sorted(definitions):
        full = REWRITTEN.get(name) or restore(definitions[name])
        lean = json.dumps(without_descriptions(full), separators=(",", ":")).encode()
        whole = zlib.compress(json.dumps(full, separators=(",", ":")).encode(), 9)
        start = len(blobs)
        blobs += lean
        index[name] = (start, len(lean), len(blobs), len(whole))
        blobs += whole
        for gvk in full.get("x-kubernetes-group-version-kind", ()):
            kinds.setdefault(f"{gvk['group']}/{gvk['version']}/{gvk['kind']}", name)
    head = msgspec.msgpack.encode({"index": index, "kinds": kinds})
    return MAGIC + len(head).to_bytes(4, "big") + head + bytes(blobs)


def build(target: Path) -> None:
    """Reads the package's definitions and writes `target`, unless it already has that content."""
    definitions = json.loads(source_path().read_bytes())["$defs"]
    data = compile_definitions(definitions)
    if target.is_file() and target.read_bytes() == data:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_bytes(data)
    part.replace(target)


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a command, where the build backend is not installed
    pass
else:

    class SchemaBuildHook(BuildHookInterface):  # type: ignore[type-arg, misc, unused-ignore] # untyped where hatchling is absent
        """Hatchling's custom hook: compiles the schemas before the wheel is packed."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            del version
            build(Path(self.root) / TARGET)
            build_data["artifacts"].append(TARGET.as_posix())


def main() -> int:
    target = Path(__file__).resolve().parent / TARGET
    build(target)
    print(f"{target}: {target.stat().st_size // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
