"""What of deploy/ can be looked at without a cluster: shapes, versions, and the Slurm script between shims."""

import json
import os
import re
import signal
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def load(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def test_each_says_what_of_it_was_not_run() -> None:
    for path in DEPLOY.iterdir():
        header = path.read_text().partition("\n\n")[0]
        assert re.search(r"Not run|Not built|Run so far", path.read_text()), path
        assert header.startswith("#"), path


def test_versions_are_those_of_the_project() -> None:
    for path in DEPLOY.iterdir():
        text = path.read_text()
        assert set(re.findall(r"nbsp-ray:([\d.]+)", text)) <= {PROJECT["version"]}, path
        assert set(re.findall(r"rayVersion: \"([\d.]+)\"|rayproject/ray:([\d.]+)-", text)) <= {
            (ray.__version__, ""),
            ("", ray.__version__),
        }, path


def test_all_use_a_token() -> None:
    for path in DEPLOY.iterdir():
        if path.name != "Containerfile":
            assert re.search(r"RAY_AUTH_MODE=token|authOptions: \{mode: token", path.read_text()), path


def test_the_autoscalers_file_is_as_ray_wants_it() -> None:
    (config,) = load("aws.yaml")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config | {"max_worker": 1}, schema)
    nodes = config["available_node_types"]
    assert nodes["head"]["resources"] == {"CPU": 0}
    assert nodes["spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert [nodes[name]["labels"]["market"] for name in ("on-demand", "spot")] == ["on-demand", "spot"]


def closed(required: str, **fields: Any) -> dict[str, Any]:
    """A JSON schema of an object that has these fields and no others."""
    return {"type": "object", "properties": fields, "required": required.split(), "additionalProperties": False}


ANY, TEXT, YES = {"type": "object"}, {"type": "string"}, {"type": "boolean"}
NUMBER, SHARE, LIST = {"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0}, {"type": "array"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
MANAGER = {"enum": ["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]}
GROUP = {
    "template": closed("spec", spec=ANY, metadata=ANY),
    **dict.fromkeys(("rayStartParams", "labels", "resources"), TEXTS),
}
RAYJOB = closed(
    "entrypoint rayClusterSpec",
    **dict.fromkeys(("activeDeadlineSeconds", "preRunningDeadlineSeconds"), NUMBER | {"minimum": 1}),
    **dict.fromkeys(("backoffLimit", "ttlSecondsAfterFinished"), NUMBER),
    **dict.fromkeys(("entrypoint", "runtimeEnvYAML", "jobId", "entrypointResources"), TEXT),
    **dict.fromkeys(("entrypointNumCpus", "entrypointNumGpus"), SHARE),
    **dict.fromkeys(("shutdownAfterJobFinishes", "suspend"), YES),
    **dict.fromkeys(("submitterPodTemplate", "deletionStrategy"), ANY),
    **dict.fromkeys(("metadata", "clusterSelector"), TEXTS),
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterConfig=closed("", backoffLimit=NUMBER),
    managedBy=MANAGER,
    rayClusterSpec=closed(
        "headGroupSpec",
        **dict.fromkeys(("enableInTreeAutoscaling", "suspend"), YES),
        **dict.fromkeys(("gcsFaultToleranceOptions", "historyServerOptions", "networkPolicy"), ANY),
        rayVersion=TEXT,
        headServiceAnnotations=TEXTS,
        managedBy=MANAGER,
        autoscalerOptions=closed(
            "",
            **dict.fromkeys(("resources", "securityContext"), ANY),
            **dict.fromkeys(("env", "envFrom", "volumeMounts", "command", "args"), LIST),
            **dict.fromkeys(("image", "imagePullPolicy"), TEXT),
            idleTimeoutSeconds=NUMBER,
            upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
            version={"enum": ["v1", "v2"]},
        ),
        authOptions=closed("", mode={"enum": ["disabled", "token"]}, secretName=TEXT, enableK8sTokenAuth=YES),
        tlsOptions=closed("", enabled=YES),
        upgradeStrategy=closed("", type={"enum": ["Recreate", "None"]}),
        headGroupSpec=closed(
            "template", **GROUP, headService=ANY, enableIngress=YES, ingressOptions=ANY, serviceType=TEXT
        ),
        workerGroupSpecs={
            "type": "array",
            "items": closed(
                "groupName minReplicas maxReplicas template",
                **GROUP,
                **dict.fromkeys(("replicas", "minReplicas", "maxReplicas", "numOfHosts", "idleTimeoutSeconds"), NUMBER),
                groupName=TEXT,
                priority={"type": "integer"},
                scaleStrategy=ANY,
                suspend=YES,
            ),
        },
    ),
)
"""The fields of a RayJob's `spec`, written by hand after the reference of KubeRay 1.7.0's resources.

Pods are looked at by Kubernetes; of what no file here uses, only the names are known.
"""


@pytest.mark.parametrize("name", ["rayjob.yaml", "rayjob-s3.yaml"])
def test_the_rayjob_has_no_field_that_kuberay_does_not_know(name: str) -> None:
    job = load(name)[-1]
    jsonschema.validate(job["spec"], RAYJOB)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplica"] = 0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job["spec"], RAYJOB)


def test_in_an_object_store_pods_need_credentials_and_room_for_copies() -> None:
    (job,) = load("rayjob-s3.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    assert "--root s3://BUCKET/runs" in job["spec"]["entrypoint"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "nbsp-s3"}}]
        assert container["volumeMounts"] == [{"name": "scratch", "mountPath": "/home/ray/.cache"}]
        assert "emptyDir" in pod["volumes"][0]
    assert "[cluster,s3]" in (DEPLOY / "Containerfile").read_text()
    assert "--root s3://BUCKET/runs" in load("sky.yaml")[0]["run"]


def test_the_rayjob_is_in_shape() -> None:
    claim, job = load("rayjob.yaml")
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    stop = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]
    assert stop == {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
    cluster = spec["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/results"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    for group in groups[1:]:
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] == 60
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


SHIMS = {
    "srun": 'while [ "${1#-}" != "$1" ]; do [ "$1" = -w ] && shift; shift; done; exec "$@"',
    "scontrol": 'if [ "$1" = show ]; then echo one; echo two; else echo "$@" >> "$LOG"; fi',
    "hostname": "echo 127.0.0.1",
    "ray": 'echo ray "$@" >> "$LOG"; case "$*" in *--head*) '
    'for w in "$@"; do case $w in --port=*) exec python3 -m http.server --bind 127.0.0.1 "${w#--port=}";; esac; done;; '
    "*) exec sleep 60;; esac",
    "nbsp-ray": 'echo nbsp-ray "$@" >> "$LOG"; trap "echo saved >> $LOG; exit 3" TERM; for i in $(seq 300); do '
    '[ -e "$LOG.end" ] && exit "$(cat "$LOG.end")"; sleep 0.1; done',
}


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job on two nodes, whose commands are shims."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "activate").write_text(f'PATH="{tmp_path}/shims:$PATH"\n')
    (tmp_path / "shims").mkdir()
    for name, script in SHIMS.items():
        path = tmp_path / "shims" / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
    return os.environ | {
        "LOG": str(tmp_path / "log"),
        "VENV": str(tmp_path / "venv"),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_CPUS_ON_NODE": "2",
    }


@pytest.mark.parametrize(("signalled", "code"), [(True, 3), (False, 1), (False, 0)])
def test_the_slurm_job_saves_at_its_limit_and_goes_back_into_the_queue(
    signalled: bool, code: int, slurm: dict[str, str]
) -> None:
    log = Path(slurm["LOG"])
    job = subprocess.Popen(
        ["bash", str(DEPLOY / "nbsp.sbatch")], env=slurm, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 60
    while time.monotonic() < end:  # Until all are there: they start side by side.
        said = log.read_text() if log.exists() else ""
        if "nbsp-ray" in said and said.count("ray start") == 2:
            break
        time.sleep(0.05)
    if signalled:
        job.send_signal(signal.SIGUSR1)
    else:
        Path(f"{log}.end").write_text(str(code))
    assert job.wait(60) == code
    said = log.read_text()
    assert re.search(r"nbsp-ray run toy --root \S+/results --address 127\.0\.0\.1:\d+ --min-machines 2\n", said)
    assert len(re.findall("^ray start", said, re.MULTILINE)) == 2
    assert ("saved" in said, f"requeue {slurm['SLURM_JOB_ID']}" in said) == (signalled, signalled)
    assert not list(Path(slurm["SLURM_SUBMIT_DIR"]).glob("results/.ray-token*"))
