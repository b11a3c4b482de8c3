"""deploy/kubernetes, checked by the schemas of Kubernetes; a pod's container, run with its arguments and variables."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import kubernetes_validate  # type: ignore[import-untyped]  # It ships no types.
import pytest
import yaml
from moto.server import ThreadedMotoServer

from message_batches.settings import encryption_keys
from message_batches.temporal.dev_server import DevServer
from tests.external.deploy.compose import env_file
from tests.external.deploy.containers import LISTENS, start
from tests.external.deploy.dockerfile import BuildStage
from tests.harness import local_s3
from tests.harness.encryption import key, written
from tests.harness.processes import lasting_port
from tests.harness.project import ROOT
from tests.harness.waiting import eventually
from worker import GRACEFUL_SHUTDOWN

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
VERSIONS = ("1.34", "1.37")


def objects() -> list[dict[str, Any]]:
    """Return the objects that are applied, the generated ConfigMap included."""
    files = [yaml.safe_load((FOLDER / name).read_text()) for name in KUSTOMIZATION["resources"]]
    [settings] = KUSTOMIZATION["configMapGenerator"]
    data = env_file(FOLDER / settings["envs"][0])
    return [*files, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": settings["name"]}, "data": data}]


def by_kind(kind: str) -> dict[str, Any]:
    [found] = [each for each in objects() if each["kind"] == kind]
    return found


@pytest.fixture
def pod() -> dict[str, Any]:
    spec: dict[str, Any] = by_kind("Deployment")["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    [found] = pod["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_matches_its_schema(version: str) -> None:
    for each in objects():
        kubernetes_validate.validate(each, version, strict=True)


def test_the_schema_notices_a_misspelled_field() -> None:
    deployment = by_kind("Deployment")
    deployment["spec"]["template"]["spec"]["terminationGraceSeconds"] = 30

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


def test_kustomize_builds_the_same() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("NOT BUILT: no kubectl here; its files were checked one by one")
    built = subprocess.run([kubectl, "kustomize", str(FOLDER)], capture_output=True, text=True, check=True).stdout
    found = {each["kind"]: each for each in yaml.safe_load_all(built)}

    assert set(found) == {each["kind"] for each in objects()}
    for each in found.values():
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": found["ConfigMap"]["metadata"]["name"]}}]
    assert container["image"] == "registry.example.com/message-batches:0.2.0"


def test_every_reference_names_an_existing_object(pod: dict[str, Any], container: dict[str, Any]) -> None:
    labels = by_kind("Deployment")["spec"]["template"]["metadata"]["labels"]

    assert by_kind("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert by_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert pod["serviceAccountName"] == by_kind("ServiceAccount")["metadata"]["name"]
    assert container["envFrom"][0]["configMapRef"]["name"] == by_kind("ConfigMap")["metadata"]["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["image"] == KUSTOMIZATION["images"][0]["name"]


def test_no_key_is_in_the_files() -> None:
    assert "Secret" not in {each["kind"] for each in objects()}
    for file in FOLDER.iterdir():
        assert "sk-ant-" not in file.read_text(), file
    assert not any("KEY" in name for name in by_kind("ConfigMap")["data"])


def test_a_pod_has_no_root_and_no_rights_and_writes_only_to_its_mounts(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_only_the_monitoring_may_connect_and_only_to_the_metrics(container: dict[str, Any]) -> None:
    policy = by_kind("NetworkPolicy")["spec"]

    assert policy["podSelector"]["matchLabels"] == by_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["policyTypes"] == ["Ingress"]
    [rule] = policy["ingress"]
    assert [set(source) for source in rule["from"]] == [{"namespaceSelector"}]
    assert [port["port"] for port in rule["ports"]] == ["metrics"]
    assert "metrics" in {port["name"] for port in container["ports"]}


def test_encryption_keys_are_mounted_as_a_file(tmp_path: Path) -> None:
    [addition] = re.findall(r"```yaml\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    added = yaml.safe_load(addition)["spec"]["template"]["spec"]
    deployment = by_kind("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    pod["volumes"] += added["volumes"]
    for name in ("env", "volumeMounts"):
        pod["containers"][0][name] += added["containers"][0][name]
    [variable], [mount] = added["containers"][0]["env"], added["containers"][0]["volumeMounts"]
    as_kubernetes_mounts_a_secret(tmp_path, {"keys": written([key("2026-11")])})
    file = tmp_path / Path(variable["value"]).relative_to(mount["mountPath"])

    kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)
    assert mount["name"] == added["volumes"][0]["name"]
    assert encryption_keys({variable["name"]: str(file)}) == (key("2026-11"),)


def test_a_worker_has_longer_to_stop_than_it_takes(pod: dict[str, Any]) -> None:
    assert pod["terminationGracePeriodSeconds"] > GRACEFUL_SHUTDOWN.total_seconds()


@pytest.fixture
def s3() -> Iterator[tuple[ThreadedMotoServer, str]]:
    with local_s3.serving() as served:
        yield served


async def test_a_pod_that_loses_its_store_is_unready_and_is_not_restarted_for_it(
    temporal: DevServer,
    image: BuildStage,
    s3: tuple[ThreadedMotoServer, str],
    pod: dict[str, Any],
    container: dict[str, Any],
    tmp_path: Path,
) -> None:
    server, endpoint = s3
    mounts = {mount["mountPath"]: tmp_path / mount["name"] for mount in container["volumeMounts"]}
    for folder in mounts.values():
        folder.mkdir()
    as_kubernetes_mounts_a_secret(tmp_path / "keys", {"default": "emulated-key", "team-a": "another-emulated-key"})
    image = replace(image, mounts=mounts)
    environment = {
        **image.variables(),
        **by_kind("ConfigMap")["data"],
        **{each["name"]: image.here(each["value"]) for each in container["env"]},
        **bucket(endpoint),
        "MESSAGE_BATCHES_TASK_QUEUE": f"deployed-{uuid4()}",
        "TEMPORAL_ADDRESS": temporal.address,
    }
    addresses = {"0.0.0.0:8079": "127.0.0.1:0", "0.0.0.0:9464": f"127.0.0.1:{lasting_port()}"}
    arguments = [image.here(word) for word in container["args"]]
    for there, here in addresses.items():
        arguments = [word.replace(there, here) for word in arguments]
    worker = await start(["python", *arguments], environment, image.place("."), tmp_path / "log")

    async def probe(name: str) -> int:
        said = LISTENS["worker"].search(worker.output)
        assert said, worker.output
        url = f"http://{said[1]}{container[name]['httpGet']['path']}"
        return (await http.get(url, timeout=container[name]["timeoutSeconds"])).status_code

    async def ready() -> bool:
        assert worker.exit_code is None, worker.output
        return "health http" in worker.output and await probe("readinessProbe") == 200

    async def unready() -> bool:
        return await probe("readinessProbe") == 503

    async with httpx.AsyncClient() as http:
        try:
            await eventually(ready, "a pod that is ready")
            assert await probe("livenessProbe") == 200
            assert await probe("startupProbe") == 200
            assert "keys: default, team-a" in worker.output

            server.stop()

            await eventually(unready, "a pod that is not ready")
            assert await probe("livenessProbe") == 200
            ended = await worker.stop()
            assert ended.code == 0, ended.output
            assert ended.after < pod["terminationGracePeriodSeconds"]
        finally:
            await worker.kill()


def as_kubernetes_mounts_a_secret(folder: Path, secret: dict[str, str]) -> None:
    """Create links to files in a folder that is replaced as a whole."""
    (folder / "..2026_11_22").mkdir()
    (folder / "..data").symlink_to("..2026_11_22")
    for name, value in secret.items():
        (folder / "..2026_11_22" / name).write_text(value)
        (folder / name).symlink_to(f"..data/{name}")


def bucket(endpoint: str) -> dict[str, str]:
    """Create a bucket, and return the environment for it."""
    account = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    with local_s3.client(endpoint) as client:
        client.create_bucket(Bucket="deployed")
    return {**account, "AWS_ENDPOINT_URL": endpoint, "MESSAGE_BATCHES_STORE": "s3://deployed/prefix"}
