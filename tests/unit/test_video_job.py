"""The container and the job of the GPU workers say what the code says. Neither was built or run: this reads them."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from infra.settings import Settings
from infra.wiring import video
from models.names import VIDEO_QUEUE
from models.style.runtimes import providers_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "video_job"
JOB: dict[str, Any] = yaml.safe_load((FOLDER / "job.yaml").read_text())["properties"]
# Of Microsoft.App/jobs, API version 2025-07-01; `metadata`: of KEDA's scaler azure-queue.
FIELDS = {
    "properties": "configuration environmentId template workloadProfileName",
    "configuration": "eventTriggerConfig registries replicaRetryLimit replicaTimeout secrets triggerType",
    "eventTriggerConfig": "parallelism replicaCompletionCount scale",
    "scale": "maxExecutions minExecutions pollingInterval rules",
    "rules": "auth identity metadata name type",
    "metadata": "accountName activationQueueLength cloud connectionFromEnv queueLength queueLengthStrategy queueName",
    "auth": "secretRef triggerParameter",
    "secrets": "identity keyVaultUrl name value",
    "registries": "identity passwordSecretRef server username",
    "template": "containers initContainers volumes",
    "containers": "args command env image name probes resources volumeMounts",
    "resources": "cpu memory",
    "env": "name secretRef value",
}


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments of each step of the container file."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Containerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_the_job_scales_from_none_on_the_queue_that_the_workers_read() -> None:
    scale = JOB["configuration"]["eventTriggerConfig"]["scale"]
    (rule,) = scale["rules"]
    assert (rule["type"], rule["metadata"]["queueName"]) == ("azure-queue", VIDEO_QUEUE)
    assert int(rule["metadata"]["queueLength"]) >= 1
    assert scale["minExecutions"] == 0 < scale["maxExecutions"]
    assert JOB["configuration"]["triggerType"] == "Event"


def test_every_field_of_the_job_is_one_that_azure_knows() -> None:
    met: set[str] = set()

    def check(name: str, value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                check(name, each)
        elif isinstance(value, dict):
            met.add(name)
            assert value.keys() <= set(FIELDS[name].split()), name
            for key, inner in value.items():
                check(key, inner)

    check("properties", JOB)
    assert met == FIELDS.keys()
    (rule,) = JOB["configuration"]["eventTriggerConfig"]["scale"]["rules"]
    assert all(isinstance(value, str) for value in rule["metadata"].values())


def test_the_identity_that_fetches_secrets_and_images_is_the_job_s_own() -> None:
    (own,) = yaml.safe_load((FOLDER / "job.yaml").read_text())["identity"]["userAssignedIdentities"]
    asked = [*JOB["configuration"]["secrets"], *JOB["configuration"]["registries"]]
    assert {each["identity"] for each in asked} == {own}


def test_the_runtimes_of_the_job_are_ones_that_there_are() -> None:
    env = {each["name"]: each.get("value") for each in JOB["template"]["containers"][0]["env"]}
    assert providers_of(env["PENSTOCK_VIDEO_PROVIDERS"]) == ["tensorrt", "cuda"]


def test_the_container_has_the_cuda_that_the_runtime_was_built_for() -> None:
    (base,) = [arguments for name, arguments in instructions() if name == "FROM"]
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (runtime,) = map(Requirement, offered["gpu"])
    # Its wheels are for CUDA 13 from 1.27 on, for CUDA 12 before.
    assert "/cuda:13." in base
    assert "-cudnn-" in base
    assert not runtime.specifier.contains("1.26.9")
    assert runtime.specifier.contains("1.27.0")


def test_one_stopped_at_its_time_limit_had_time_for_the_longest_step() -> None:
    stall_s = Settings.model_fields["video_stall_s"].default
    assert JOB["configuration"]["replicaTimeout"] > 5 * stall_s


def test_every_variable_of_the_job_is_a_setting_and_every_secret_is_there() -> None:
    (container,) = JOB["template"]["containers"]
    known = {"DataStorage", "AZURE_CLIENT_ID", *(f"PENSTOCK_{name.upper()}" for name in Settings.model_fields)}
    assert {each["name"] for each in container["env"]} <= known
    secrets = {secret["name"] for secret in JOB["configuration"]["secrets"]}
    auth = JOB["configuration"]["eventTriggerConfig"]["scale"]["rules"][0]["auth"]
    asked = {each["secretRef"] for each in container["env"] if "secretRef" in each}
    assert asked | {each["secretRef"] for each in auth} == secrets
    assert not re.search(r"AccountKey=|SharedAccess", (FOLDER / "job.yaml").read_text())


def test_the_container_runs_the_worker_as_nobody_in_particular_with_the_gpu_runtime_alone() -> None:
    steps = instructions()
    assert steps[0][0] == "FROM"
    (user,) = [arguments for name, arguments in steps if name == "USER"]
    assert user.split(":")[0].isdecimal()
    assert user.split(":")[0] != "0"
    assert f'"-m", "{video.__name__}"' in dict(steps)["ENTRYPOINT"]
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", dict(steps)["RUN"] + str(steps))
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(offered)
    assert "gpu" in extras.split(",")
    assert "cpu" not in extras.split(",")
    for name, arguments in steps:
        if name == "COPY":
            for source in shlex.split(arguments)[:-1]:
                assert (ROOT / source).exists(), source
    assert "GPL" in (FOLDER / "Containerfile").read_text()


@pytest.mark.parametrize(
    ("system", "machine", "there"),
    [("linux", "x86_64", True), ("linux", "aarch64", False), ("darwin", "arm64", False)],
)
def test_make_run_brings_the_fastest_runtime_where_it_was_measured(system: str, machine: str, there: bool) -> None:
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = [Requirement(each) for each in offered["run"]]
    where = {"sys_platform": system, "platform_machine": machine}
    brought = {extra for each in asked if each.marker is None or each.marker.evaluate(where) for extra in each.extras}
    assert ("openvino" in brought) == there
    assert {"cpu", "video"} <= brought


def test_the_extra_of_the_container_holds_what_the_worker_imports() -> None:
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {re.split(r"[\[<>=]", each)[0] for each in offered["video"]}
    assert {"av", "onnx", "azure-cosmos", "azure-identity", "azure-storage-blob", "azure-storage-queue"} <= names
    assert "pydantic-settings" in names
