"""Containers' environments."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.views.core import ConfigMap, Pod, Secret, Service
from skiff.node.environment import ConfigError, build_env, expand, expand_command, parse_env_file


class World:
    """Sources with what the tests need."""

    def __init__(self, services=()):
        self.service_list = [msgspec.convert(s, Service) for s in services]

    def config_map(self, namespace, name):
        data = {"special-config": {"special.how": "very", "with.dot": "d"}}.get(name)
        return None if data is None else ConfigMap(data=data)

    def secret(self, namespace, name):
        if name != "creds":
            return None
        return Secret(data={"user": base64.b64encode(b"ann").decode()})

    def services(self):
        return self.service_list

    def allocatable(self):
        return {"cpu": "2", "memory": "4Gi"}

    def env_file(self, pod, volume, path):
        return "# c\nA='1'\nB='x\ny'\n" if (volume, path) == ("v", "f.env") else None


def pod_of(container: dict, **spec) -> Pod:
    return msgspec.convert(
        {
            "metadata": {
                "name": "p", "namespace": "ns", "uid": "u1",
                "labels": {"app": "web", "z": 'q"\n'}, "annotations": {"note": "n"},
            },
            "spec": {
                "nodeName": "node-1", "serviceAccountName": "sa",
                "containers": [{"name": "c", **container}], **spec,
            },
            "status": {
                "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd::1"}],
                "hostIP": "1.2.3.4", "hostIPs": [{"ip": "1.2.3.4"}],
            },
        },
        Pod,
    )  # fmt: skip


def env_of(container: dict, world=None, **spec) -> dict[str, str]:
    pod = pod_of(container, **spec)
    return dict(build_env(pod, pod.spec.containers[0], world or World()).variables)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"), ("x$(A)y$(B)", "x1y2"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$(C)", "$(C)"),
        ("$A", "$A"), ("$(A", "$(A"), ("$", "$"), ("$$", "$"), ("$($(A))", "$($(A))"), ("", ""),
    ],
)  # fmt: skip
def test_expansion(text, result):
    assert expand(text, {"A": "1", "B": "2"}) == result


@given(st.text())
def test_expansion_of_doubled_dollars_gives_the_text_back(text):
    assert expand(text.replace("$", "$$"), {"A": "1"}) == text


@pytest.mark.conformance(
    "[sig-node] Variable Expansion should allow composing env vars into new env vars "
    "[NodeConformance] [Conformance]"
)
def test_later_variables_refer_to_earlier_ones():
    env = [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "$(A)-$(C)"},
        {"name": "C", "value": "c"},
        {"name": "D", "value": "$(B);;$$(A)"},
    ]
    assert env_of({"env": env}) == {"A": "a", "B": "a-$(C)", "C": "c", "D": "a-$(C);;$(A)"}


@pytest.mark.conformance(
    "[sig-node] Variable Expansion should allow substituting values in a container's command "
    "[NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Variable Expansion should allow substituting values in a container's args "
    "[NodeConformance] [Conformance]"
)
def test_command_and_arguments():
    container = pod_of({"command": ["sh", "$(X)"], "args": ["$(Y)", "$$(X)"]}).spec.containers[0]
    assert expand_command(container, [("X", "1")]) == (("sh", "1"), ("$(Y)", "$(X)"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"), ("metadata.namespace", "ns"), ("metadata.uid", "u1"),
        ("metadata.labels['app']", "web"), ("metadata.labels['none']", ""),
        ("metadata.annotations['note']", "n"), ("metadata.labels", 'app="web"\nz="q\\"\\n"'),
        ("spec.nodeName", "node-1"), ("spec.serviceAccountName", "sa"),
        ("status.podIP", "10.0.0.1"), ("status.podIPs", "10.0.0.1,fd::1"),
        ("status.hostIP", "1.2.3.4"), ("status.hostIPs", "1.2.3.4"),
    ],
)  # fmt: skip
def test_fields(path, value):
    env = [{"name": "F", "valueFrom": {"fieldRef": {"fieldPath": path}}}]
    assert env_of({"env": env}) == {"F": value}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "", "1"), ("limits.cpu", "1m", "500"), ("requests.cpu", "1m", "250"),
        ("limits.memory", "1Mi", "64"), ("limits.memory", "", str(64 << 20)),
        ("requests.memory", "1Mi", "0"), ("requests.ephemeral-storage", "", "0"),
    ],
)  # fmt: skip
def test_resources(resource, divisor, value):
    env = [
        {
            "name": "R",
            "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}},
        }
    ]
    resources = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}
    assert env_of({"env": env, "resources": resources}) == {"R": value}


def test_limits_default_to_the_pods_own_and_then_to_the_nodes():
    env = [
        {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}}
        for name, resource in (("CPU", "limits.cpu"), ("MEMORY", "limits.memory"))
    ]
    found = env_of({"env": env}, resources={"limits": {"cpu": "500m"}})
    assert (found["CPU"], found["MEMORY"]) == ("1", str(4 << 30))
    limited = {"env": env, "resources": {"limits": {"cpu": "4"}}}
    assert env_of(limited, resources={"limits": {"cpu": "5"}})["CPU"] == "4"


def test_limits_default_to_what_the_node_can_give():
    env = [
        {"name": n, "valueFrom": {"resourceFieldRef": {"resource": r}}}
        for n, r in (("C", "limits.cpu"), ("M", "limits.memory"))
    ]
    assert env_of({"env": env}) == {"C": "2", "M": str(4 << 30)}


def test_env_from_with_prefix_and_override():
    container = {
        "envFrom": [
            {"prefix": "P_", "configMapRef": {"name": "special-config"}},
            {"secretRef": {"name": "creds"}},
            {"configMapRef": {"name": "none", "optional": True}},
        ],
        "env": [{"name": "user", "value": "own"}],
    }
    assert env_of(container) == {"P_special.how": "very", "P_with.dot": "d", "user": "own"}


def test_names_that_no_variable_can_have_are_skipped_and_told():
    container = {"envFrom": [{"prefix": "ü", "configMapRef": {"name": "special-config"}}]}
    pod = pod_of(container)
    result = build_env(pod, pod.spec.containers[0], World())
    assert result.variables == ()
    (warning,) = result.warnings
    assert warning == (
        "Keys [üspecial.how, üwith.dot] from the EnvFrom configMap ns/special-config were skipped "
        "since they are considered invalid environment variable names."
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "x", "key": "k"}}, 'configmap "x" not found'),
        ({"secretKeyRef": {"name": "x", "key": "k"}}, 'secret "x" not found'),
        (
            {"configMapKeyRef": {"name": "special-config", "key": "k"}},
            "couldn't find key k in ConfigMap ns/special-config",
        ),
        ({"secretKeyRef": {"name": "creds", "key": "k"}}, "couldn't find key k in Secret ns/creds"),
    ],
)
def test_what_is_missing_is_an_error_unless_it_is_optional(source, message):
    with pytest.raises(ConfigError) as e:
        env_of({"env": [{"name": "A", "valueFrom": source}]})
    assert str(e.value) == message
    ((kind, reference),) = source.items()
    optional = {kind: {**reference, "optional": True}}
    assert env_of({"env": [{"name": "A", "valueFrom": optional}]}) == {}


def test_keys_and_files():
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "special-config", "key": "special.how"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "user"}}},
        {"name": "C", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "f.env", "key": "B"}}},
    ]  # fmt: skip
    assert env_of({"env": env}) == {"A": "very", "B": "ann", "C": "x\ny"}


def service(name, namespace, address, *ports) -> dict:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": address, "ports": [{"port": p, "name": n} for p, n in ports]},
    }


SERVICES = (
    service("kubernetes", "default", "10.96.0.1", (443, "https")),
    service("my-db", "ns", "10.96.0.7", (5432, ""), (80, "web-ui")),
    service("headless", "ns", "None", (1, "")),
    service("other", "elsewhere", "10.96.0.9", (1, "")),
)


@pytest.mark.conformance(
    "[sig-node] Pods should contain environment variables for services [NodeConformance] [Conformance]"
)
def test_services_as_variables():
    env = env_of({}, World(SERVICES))
    assert env["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert env["KUBERNETES_SERVICE_PORT"] == "443"
    assert env["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert {k: v for k, v in env.items() if k.startswith("MY_DB")} == {
        "MY_DB_SERVICE_HOST": "10.96.0.7",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_WEB_UI": "80",
        "MY_DB_PORT": "tcp://10.96.0.7:5432",
        "MY_DB_PORT_5432_TCP": "tcp://10.96.0.7:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.96.0.7",
        "MY_DB_PORT_80_TCP": "tcp://10.96.0.7:80",
        "MY_DB_PORT_80_TCP_PROTO": "tcp",
        "MY_DB_PORT_80_TCP_PORT": "80",
        "MY_DB_PORT_80_TCP_ADDR": "10.96.0.7",
    }
    assert not [k for k in env if k.startswith(("HEADLESS", "OTHER"))]


def test_without_links_only_the_api_is_there_and_own_variables_win():
    env = env_of(
        {"env": [{"name": "KUBERNETES_SERVICE_PORT", "value": "1"}]},
        World(SERVICES),
        enableServiceLinks=False,
    )
    assert env["KUBERNETES_SERVICE_PORT"] == "1"
    assert "MY_DB_SERVICE_HOST" not in env


def test_variables_of_services_can_be_referred_to():
    env = env_of({"env": [{"name": "U", "value": "db=$(MY_DB_SERVICE_HOST)"}]}, World(SERVICES))
    assert env["U"] == "db=10.96.0.7"


@pytest.mark.parametrize("text", ["A", "A='x", "A='x' y", "=1"])
def test_malformed_environment_files(text):
    with pytest.raises(ConfigError):
        parse_env_file(text)
