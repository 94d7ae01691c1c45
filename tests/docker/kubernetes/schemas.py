"""What the cluster would accept: kubernetes-validate, and the schemas of others' resources.

tests/reference/kubernetes has these schemas, cut down by

    python -m tests.docker.kubernetes.schemas CRD.yaml v1

That of a RayCluster is our own: the fields that the overlay uses, and some beside them. The pods in
it are checked as pods.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).parents[3]
VENDORED = ROOT / "tests/reference/kubernetes"
VERSIONS = ("1.32", "1.37")
"""The oldest and the newest Kubernetes that are looked at; claims are retained since 1.32."""

_LEFT_OUT = {
    "InferenceService": {"canary", "explainer", "transformer"},
    "ServingRuntime": {"affinity", "workerSpec"},
}
"""Parts of the specification that no file here uses, and that a strict check then refuses."""

_PREDICTOR = {
    "annotations", "labels", "maxReplicas", "minReplicas", "model", "nodeSelector", "scaleMetric",
    "scaleTarget", "securityContext", "serviceAccountName", "terminationGracePeriodSeconds",
    "timeout", "tolerations",
}  # fmt: skip


def faults(document: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object; unknown fields are."""
    schema = VENDORED / f"{document['kind'].lower()}.json"
    if "." in document["apiVersion"].partition("/")[0] and schema.is_file():
        validator = jsonschema.Draft7Validator(strict(json.loads(schema.read_text("utf-8"))))
        found = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
        return found + [fault for pod in _pods_of(document) for fault in _faults_of_ours(pod)]
    return _faults_of_ours(document)


def _pods_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pods of a RayCluster, whose schema does not look into them."""
    if document["kind"] != "RayCluster":
        return []
    spec = document["spec"]
    groups = [spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", ())]
    templates = [group["template"] for group in groups if "template" in group]
    return [{"apiVersion": "v1", "kind": "Pod", **template} for template in templates]


def _faults_of_ours(document: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object of Kubernetes itself."""
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {error}")
    return found


def strict(schema: Any) -> Any:
    """Return a CRD's schema as a JSON schema that refuses unknown fields, as `kubectl` does."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {
        key: {name: strict(part) for name, part in value.items()}
        if key == "properties"
        else strict(value)
        for key, value in schema.items()
    }
    if "properties" in made and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def cut(schema: Any) -> Any:
    """Return a schema without descriptions and without rules that JSON schemas do not know."""
    if isinstance(schema, list):
        return [cut(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: cut(value)
        for key, value in schema.items()
        if not (key == "description" and isinstance(value, str))
        and not key.startswith(("x-kubernetes-list", "x-kubernetes-map", "x-kubernetes-val"))
    }


def main() -> None:
    """Write a schema anew from a project's CRD."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("crd", type=Path)
    parser.add_argument("version")
    options = parser.parse_args()
    spec = yaml.safe_load(options.crd.read_text("utf-8"))["spec"]
    kind = spec["names"]["kind"]
    (version,) = (v for v in spec["versions"] if v["name"] == options.version)
    schema = cut(version["schema"]["openAPIV3Schema"])
    schema["properties"].pop("status", None)
    properties = schema["properties"]["spec"]["properties"]
    for name in _LEFT_OUT.get(kind, ()):
        properties.pop(name, None)
    if "predictor" in properties:
        predictor = properties["predictor"]["properties"]
        properties["predictor"]["properties"] = {k: predictor[k] for k in sorted(_PREDICTOR)}
    text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
    (VENDORED / f"{kind.lower()}.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
