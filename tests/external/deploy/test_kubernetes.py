"""deploy/kubernetes, checked by the schemas of Kubernetes; its pod, played by a container engine."""

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate  # type: ignore[import-untyped]  # It ships no types.
import pytest
import yaml
from moto.server import ThreadedMotoServer

from message_batches.settings import encryption_keys
from tests.external.deploy.compose import env_file
from tests.external.deploy.conftest import KEY
from tests.external.deploy.deployment import Deployment
from tests.external.deploy.engine import Engine
from tests.harness import local_s3
from tests.harness.encryption import key, written
from tests.harness.project import ROOT
from tests.harness.waiting import eventually
from worker import GRACEFUL_SHUTDOWN

pytestmark = pytest.mark.timeout(900)  # The first one makes the images and brings everything up.

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
    file = tmp_path / Path(variable["value"]).relative_to(mount["mountPath"])
    file.write_text(written([key("2026-11")]))

    kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)
    assert mount["name"] == added["volumes"][0]["name"]
    assert encryption_keys({variable["name"]: str(file)}) == (key("2026-11"),)


def test_a_worker_has_longer_to_stop_than_it_takes(pod: dict[str, Any]) -> None:
    assert pod["terminationGracePeriodSeconds"] > GRACEFUL_SHUTDOWN.total_seconds()


@pytest.fixture
def s3(gateway: str) -> Iterator[tuple[ThreadedMotoServer, str]]:
    with local_s3.serving(gateway) as served:
        yield served


@pytest.fixture
async def gateway(deployment: Deployment) -> str:
    """Return the address at which containers reach this machine."""
    network = await deployment.engine.inspect("network", f"{deployment.name}_default")
    return str(network["subnets"][0]["gateway"])


async def rendered(deployment: Deployment, folder: Path) -> list[dict[str, Any]]:
    """Return the objects as `kubectl kustomize` writes them."""
    mounted = f"--volume={folder}:/kubernetes:ro"
    rendering = ("run", "--rm", "--network=none", mounted, "stand-in", "kubectl", "kustomize", "/kubernetes")
    text = await deployment.engine(*rendering)
    return [each for each in yaml.safe_load_all(text) if each]


async def test_kustomize_builds_the_same(deployment: Deployment) -> None:
    found = {each["kind"]: each for each in await rendered(deployment, FOLDER)}

    assert set(found) == {each["kind"] for each in objects()}
    for each in found.values():
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": found["ConfigMap"]["metadata"]["name"]}}]
    assert container["image"] == "registry.example.com/message-batches:0.2.0"


async def test_a_pod_is_confined_probed_and_stopped_as_the_files_say(
    deployment: Deployment, s3: tuple[ThreadedMotoServer, str], pod: dict[str, Any], container: dict[str, Any]
) -> None:
    server, endpoint = s3
    engine = deployment.engine
    filled = deployment.folder / "deploy" / "kubernetes"
    settings = env_file(filled / "settings.env") | bucket(endpoint)
    settings |= {"TEMPORAL_ADDRESS": "temporal:7233", "ANTHROPIC_BASE_URL": "http://emulator:8080"}
    settings["MESSAGE_BATCHES_TASK_QUEUE"] = "pod"
    (filled / "settings.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    keys = {name: b64encode(KEY.encode()).decode() for name in ("default", "team-a")}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "message-batches-keys"}, "data": keys}
    played = [each for each in await rendered(deployment, filled) if each["kind"] in ("ConfigMap", "Deployment")]
    spec = played[-1]["spec"]["template"]["spec"]
    for volume in spec["volumes"]:
        if "secret" in volume:
            volume["secret"]["optional"] = False  # As it is where nothing is said, but podman 4.3 panics then.
    # Podman would publish the ports on this machine, and play each replica.
    del spec["containers"][0]["ports"]
    played[-1]["spec"]["replicas"] = 1
    file = deployment.folder / "pod.yaml"
    file.write_text(yaml.safe_dump_all([secret, *played]))
    await engine("tag", "message-batches:0.2.0", spec["containers"][0]["image"])
    name = "message-batches-worker-pod-0-worker"

    try:
        await engine("play", "kube", f"--network={deployment.name}_default", str(file))
        state = await engine.inspect("container", name)
        [address] = [
            found
            for each in (await engine("ps", "--quiet", "--no-trunc")).split()
            if (found := await address_of(engine, each)) and (await engine.inspect("container", each))["IsInfra"]
        ]

        async def probe(kind: str) -> int:
            port = {each["name"]: each["containerPort"] for each in container["ports"]}[
                container[kind]["httpGet"]["port"]
            ]
            async with httpx.AsyncClient(timeout=container[kind]["timeoutSeconds"]) as http:
                return (await http.get(f"http://{address}:{port}{container[kind]['httpGet']['path']}")).status_code

        async def answers(kind: str, status: int) -> bool:
            with suppress(httpx.TransportError):
                return await probe(kind) == status
            return False

        await eventually(lambda: answers("startupProbe", 200), "a pod that has started")
        await eventually(lambda: answers("readinessProbe", 200), "a pod that is ready")
        assert await probe("livenessProbe") == 200
        assert "keys: default, team-a" in await engine.logs(name)
        status = dict(re.findall(r"^(\w+):\s+(.*)$", await engine("exec", name, "cat", "/proc/1/status"), re.MULTILINE))
        assert status["Uid"].split() == ["1000"] * 4
        assert int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert (await engine.attempt("exec", name, "touch", "/app/x")).code != 0
        await engine("exec", name, "touch", "/tmp/x", "/scratch/x")
        assert state["HostConfig"]["Memory"] == 1 << 30

        server.stop()

        await eventually(lambda: answers("readinessProbe", 503), "a pod that is not ready")
        assert await probe("livenessProbe") == 200
        await engine("stop", f"--time={pod['terminationGracePeriodSeconds']}", name)
        assert (await engine.inspect("container", name))["State"]["ExitCode"] == 0
    finally:
        await engine("play", "kube", "--down", str(file))
        await engine("secret", "rm", "--all")
        await engine("volume", "rm", "--force", "message-batches-keys")  # Podman 4.3 leaves the secret's.


async def address_of(engine: Engine, container: str) -> str:
    networks = (await engine.inspect("container", container))["NetworkSettings"]["Networks"] or {}
    return next((found["IPAddress"] for found in networks.values()), "")


def bucket(endpoint: str) -> dict[str, str]:
    """Create a bucket, and return the environment for it."""
    account = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    with local_s3.client(endpoint) as client:
        client.create_bucket(Bucket="deployed")
    return {**account, "AWS_ENDPOINT_URL": endpoint, "MESSAGE_BATCHES_STORE": "s3://deployed/prefix"}
