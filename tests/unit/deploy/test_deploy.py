"""Check the deployment files with linters and our rules; each check must find a planted mistake."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.deploy.checks import (
    COMPOSE,
    DOCKERFILE,
    KEDA,
    KUSTOMIZATION,
    MANIFESTS,
    Rule,
    compose_faults,
    dockerfile_faults,
    keda_faults,
    kustomization_faults,
    lint_compose,
    lint_dockerfile,
    lint_manifest,
    manifest_faults,
)

WORKER = KUSTOMIZATION.with_name("notifications.yaml")
SCALED = KEDA[0]
SERVICE = KUSTOMIZATION.with_name("accounts.yaml")


@pytest.fixture
def plant(tmp_path: Path) -> Callable[[Path, str, str], Path]:
    """Copies a file with one text in it exchanged for another."""

    def plant(path: Path, right: str, wrong: str) -> Path:
        text = path.read_text()
        assert right in text
        copy = tmp_path / path.name
        copy.write_text(text.replace(right, wrong))
        return copy

    return plant


def test_dockerfile_passes_hadolint() -> None:
    assert not lint_dockerfile(DOCKERFILE)


def test_compose_file_passes_the_compose_specification() -> None:
    assert not lint_compose(COMPOSE)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifest_passes_the_schema_of_kubernetes(path: Path) -> None:
    assert not lint_manifest(path)


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("FROM python AS", "FROM debian AS", "DL3006"),
        ("FROM python AS", "FROM debian:latest AS", "DL3007"),
        ("WORKDIR /src", "WORKDIR src", "DL3000"),
        ("USER 10001:10001", "USER root", "DL3002"),
        (" --no-cache-dir", "", "DL3042"),
        ("/wheels/*.whl", "edgy-bus", "DL3013"),
        ('["edgy-bus", "--help"]', "edgy-bus --help", "DL3025"),
    ],
)
def test_hadolint_notices(plant: Callable[..., Path], right: str, wrong: str, rule: str) -> None:
    assert rule in lint_dockerfile(plant(DOCKERFILE, right, wrong))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("stop_grace_period", "stop_grace"),
        ("service_healthy", "healthy"),
        ("depends_on", "depend_on"),
        ("replicas: 2", "replica: 2"),
        ("cap_drop: [ALL]", "cap_drop: ALL"),
        ("restart: unless-stopped", "restart: [unless-stopped]"),
    ],
)
def test_compose_schema_notices(plant: Callable[..., Path], right: str, wrong: str) -> None:
    assert lint_compose(plant(COMPOSE, right, wrong))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("kind: Deployment", "kind: Deploymnt"),
        ("replicas: 2", "replicas: two"),
        ("livenessProbe", "livenesProbe"),
        ("terminationGracePeriodSeconds", "terminationGracePeriod"),
        ("readOnlyRootFilesystem", "readOnlyFilesystem"),
        ("apiVersion: policy/v1", "apiVersion: policy/v1beta1"),
    ],
)
def test_schema_of_kubernetes_notices(plant: Callable[..., Path], right: str, wrong: str) -> None:
    assert lint_manifest(plant(WORKER, right, wrong))


def test_files_keep_the_rules() -> None:
    faults = [
        *dockerfile_faults(DOCKERFILE),
        *compose_faults(COMPOSE),
        *kustomization_faults(KUSTOMIZATION),
        *(fault for path in KEDA for fault in keda_faults(path)),
    ]
    assert faults + [fault for path in MANIFESTS for fault in manifest_faults(path)] == []


@pytest.mark.parametrize(
    ("rule", "path", "right", "wrong", "fault"),
    [
        (dockerfile_faults, DOCKERFILE, "python:3.13-slim", "python:latest", "is not pinned"),
        (dockerfile_faults, DOCKERFILE, "USER 10001:10001\n", "", "runs as root"),
        (dockerfile_faults, DOCKERFILE, "USER 10001:10001", "USER 0:0", "runs as root"),
        (
            dockerfile_faults,
            DOCKERFILE,
            "COPY workers workers",
            "COPY tests tests",
            "keeps tests out",
        ),
        (dockerfile_faults, DOCKERFILE, "# The", "# syntax=docker/dockerfile:1\n# The", "frontend"),
        (compose_faults, COMPOSE, "redis:7-alpine", "redis", "redis is not pinned"),
        (compose_faults, COMPOSE, "redis:7-alpine", "redis:latest", "redis:latest is not pinned"),
        (compose_faults, COMPOSE, 'user: "10001:10001"', "user: root", "another user"),
        (compose_faults, COMPOSE, "read_only: true", "read_only: false", "may write to its image"),
        (compose_faults, COMPOSE, "cap_drop: [ALL]", "privileged: true", "asks for privileged"),
        (
            compose_faults,
            COMPOSE,
            "no-new-privileges:true",
            "no-new-privileges:false",
            "may gain privileges",
        ),
        (
            compose_faults,
            COMPOSE,
            "  healthcheck:\n    test",
            "  x-check:\n    test",
            "search: has no health check",
        ),
        (compose_faults, COMPOSE, "service_healthy", "service_started", "does not wait"),
        (
            compose_faults,
            COMPOSE,
            "volumes: [",
            'ports: ["6379:6379"]\n    volumes: [',
            "publishes port",
        ),
        (compose_faults, COMPOSE, "127.0.0.1:8000:", "0.0.0.0:8000:", "publishes port"),
        (compose_faults, COMPOSE, "127.0.0.1:8000/", "127.0.0.1:8001/", "does not ask at 8000"),
        (
            compose_faults,
            COMPOSE,
            "stop_grace_period: 40s",
            "stop_grace_period: 20s",
            "killed before",
        ),
        (compose_faults, COMPOSE, "tmpfs: [/tmp]", "tmpfs: [/run]", "cannot be written"),
        (
            compose_faults,
            COMPOSE,
            "health, /tmp/health]",
            "health, /tmp/helth]",
            "does not look at",
        ),
        (
            compose_faults,
            COMPOSE,
            "workers.search:bus",
            "workers.serch:bus",
            "no module workers.serch",
        ),
        (compose_faults, COMPOSE, "edgy-bus, worker,", "edgy-bus, wrker,", "none of our programs"),
        (compose_faults, COMPOSE, "deploy: {replicas: 2}", "build: .", "started alone"),
        (compose_faults, COMPOSE, "pull_policy: build", "pull_policy: never", "started alone"),
        (manifest_faults, WORKER, "edgy-bus-workers:0.1.0", "edgy-bus-workers", "is not pinned"),
        (
            manifest_faults,
            WORKER,
            "runAsNonRoot: true",
            "runAsNonRoot: false",
            "runAsNonRoot is False",
        ),
        (manifest_faults, WORKER, "runAsUser: 10001", "runAsUser: 0", "another user"),
        (
            manifest_faults,
            WORKER,
            "allowPrivilegeEscalation: false",
            "privileged: true",
            "is privileged",
        ),
        (manifest_faults, WORKER, "drop: [ALL]", "add: [SYS_ADMIN]", "capabilities is"),
        (manifest_faults, WORKER, "RuntimeDefault", "Unconfined", "seccompProfile is"),
        (manifest_faults, WORKER, "livenessProbe", "startupProbe", "has no livenessProbe"),
        (
            manifest_faults,
            SERVICE,
            "timeoutSeconds: 10",
            "timeoutSeconds: 1",
            "does not wait for Python",
        ),
        (
            manifest_faults,
            SERVICE,
            "health, /tmp/health]",
            "health, /tmp/helth]",
            "does not look at",
        ),
        (manifest_faults, SERVICE, "emptyDir:", "hostPath:", "cannot be written"),
        (manifest_faults, WORKER, "/livez", "/readyz", "livenessProbe asks for /readyz"),
        (manifest_faults, WORKER, "containerPort: 9000", "containerPort: 9001", "asks at http"),
        (manifest_faults, WORKER, "0.0.0.0:9000", "9000", "asks at http, and 9000 is served"),
        (keda_faults, SCALED, "name: notifications}", "name: other}", "no Deployment other"),
        (keda_faults, SCALED, "group=notifications", "group=search", "is not the lag of"),
        (keda_faults, SCALED, "valueLocation: lag", "valueLocation: groups", "is not the lag of"),
        (
            manifest_faults,
            WORKER,
            "GracePeriodSeconds: 45",
            "GracePeriodSeconds: 20",
            "killed before",
        ),
        (manifest_faults, WORKER, "maxUnavailable: 0", "maxUnavailable: 1", "goes away"),
        (manifest_faults, WORKER, "PodDisruptionBudget", "Other", "no disruption budget"),
        (
            manifest_faults,
            WORKER,
            "secretRef: {name: edgy-bus}",
            "secretRef: {name: other}",
            "no Secret other",
        ),
        (
            manifest_faults,
            WORKER,
            "workers.notifications:bus",
            "workers.nowhere:bus",
            "no module workers.nowhere",
        ),
        (
            manifest_faults,
            SERVICE,
            "workers.accounts",
            "workers.nowhere",
            "no module workers.nowhere",
        ),
        (manifest_faults, SERVICE, "EDGY_BUS_HEALTH_FILE", "OTHER", "does not look at None"),
        (kustomization_faults, KUSTOMIZATION, "  - search.yaml\n", "", "search.yaml is not listed"),
        (
            kustomization_faults,
            KUSTOMIZATION,
            "search.yaml",
            "serch.yaml",
            "there is no serch.yaml",
        ),
        (
            kustomization_faults,
            KUSTOMIZATION,
            "config.yaml",
            "secret.example.yaml",
            "is an example",
        ),
        (
            kustomization_faults,
            KUSTOMIZATION,
            "images:",
            "image: []\nimages:",
            "image is not a key",
        ),
        (kustomization_faults, KUSTOMIZATION, '"0.1.0"', "latest", "is not pinned"),
    ],
)
def test_a_rule_notices(
    plant: Callable[..., Path], rule: Rule, path: Path, right: str, wrong: str, fault: str
) -> None:
    faults = rule(plant(path, right, wrong))
    assert any(fault in found for found in faults), faults
