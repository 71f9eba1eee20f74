"""The Helm chart and the sidecar: rendered by Helm's own library, checked by Kubernetes' schemas.

Helm is `helm-python-sdk`, the schemas are those of `kubernetes-validate`; both are whole without a
cluster or a network. Of the Gateway API's and the Prometheus operator's kinds there are no schemas
here: what matters in them is looked at one by one.
"""

from collections.abc import Mapping
from typing import Any, Final

import pytest
import yaml

from broker.settings import Settings
from tests.deploy.panels import DASHBOARD
from tests.deploy.programs import DEPLOY
from tests.deploy.test_alerts import alerts

helm = pytest.importorskip("helm_python")
kubernetes = pytest.importorskip("kubernetes_validate")

CHART: Final = DEPLOY / "helm" / "runcast"
VERSIONS: Final = ("1.30", "1.34", "1.37")
OF_OTHERS: Final = {"HTTPRoute", "ServiceMonitor", "PrometheusRule"}
EVERYTHING: Final[dict[str, Any]] = {
    "autoscaling": {"enabled": True, "cpuPercent": 80},
    "httpRoute": {
        "enabled": True,
        "parentRefs": [{"name": "public", "namespace": "gateways"}],
        "hostnames": ["runs.example.com"],
        "paths": ["/v1", "/api/streaming"],
    },
    "serviceMonitor": {"enabled": True, "bearerTokenSecret": {"name": "metrics"}},
    "prometheusRule": {"enabled": True},
    "grafanaDashboard": {"enabled": True},
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"name": "gateways"}}}],
        "redis": {"to": [{"podSelector": {"matchLabels": {"app": "redis"}}}]},
        "extraEgress": [{"ports": [{"port": 443, "protocol": "TCP"}]}],
    },
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "agents"},
    "nodeSelector": {"kind": "network"},
    "tolerations": [{"key": "edges", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "high",
    "imagePullSecrets": [{"name": "registry"}],
    "extraEnv": [{"name": "RUNCAST_JWT_ISSUER", "value": "https://id.example.com"}],
    "extraEnvFrom": [{"secretRef": {"name": "more"}}],
    "extraVolumes": [{"name": "profiles", "configMap": {"name": "profiles"}}],
    "extraVolumeMounts": [{"name": "profiles", "mountPath": "/etc/runcast/profiles"}],
    "service": {"annotations": {"a": "b"}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "settings": {"workers": 2, "windows_bytes": 1 << 30, "retry_seconds": 2.5, "publish": True},
}


def rendered(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What would be sent to a cluster, by kind."""
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(dict(values))
        texts = chart.render(dict(values), name="demo", namespace="runs")
    documents = [
        document
        for name, text in texts.items()
        if not name.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document
    ]
    names = [
        document["kind"]
        if document["kind"] != "ConfigMap"
        else f"ConfigMap {document['metadata']['name']}"
        for document in documents
    ]
    assert len(set(names)) == len(names)
    return dict(zip(names, documents, strict=True))


def container(values: Mapping[str, Any]) -> dict[str, Any]:
    [edge] = rendered(values)["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(edge, dict)
    return edge


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_helm_finds_nothing_wrong(values: dict[str, Any]) -> None:
    report = helm.lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert [one for one in report["messages"] if one["severity"] > 1] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_kubernetes_takes_all_of_it(values: dict[str, Any], version: str) -> None:
    for document in rendered(values).values():
        if document["kind"] not in OF_OTHERS:
            kubernetes.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_sidecar(version: str) -> None:
    text = (DEPLOY / "kubernetes" / "sidecar.yaml").read_text()
    for document in yaml.safe_load_all(text):
        kubernetes.validate(document, version, strict=True)


def test_kubernetes_would_not_take_anything() -> None:
    """The two tests above can fail."""
    deployment = rendered({})["Deployment"]
    deployment["spec"]["template"]["spec"]["terminationGraceSeconds"] = 5
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(deployment, VERSIONS[0], strict=True)


@pytest.mark.parametrize(
    "values",
    [
        {"nonsense": 1},
        {"settings": {"redis_url": "redis://a-password-in-values@redis"}},
        {"settings": {"Not A Setting": 1}},
        {"httpRoute": {"enabled": True}},
        {"drain": {"seconds": 0}},
        {"replicas": 0},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmValuesError):
        rendered(values)


@pytest.mark.parametrize(
    ("drain", "grace"),
    [({}, 50), ({"seconds": 0.5, "endpointsSeconds": 0}, 6), ({"seconds": 60}, 130)],
    ids=str,
)
def test_there_is_time_to_leave(drain: dict[str, Any], grace: int) -> None:
    pod = rendered({"drain": drain})["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == grace


def test_settings_are_settings_and_reach_the_edge_as_they_are() -> None:
    data = rendered(EVERYTHING)["ConfigMap demo-runcast"]["data"]
    assert data["RUNCAST_WINDOWS_BYTES"] == "1073741824"
    assert data["RUNCAST_RETRY_SECONDS"] == "2.5"
    assert data["RUNCAST_PUBLISH"] == "true"
    given = {one["name"]: one.get("value") for one in container(EVERYTHING)["env"]} | data
    names = {name.removeprefix("RUNCAST_").lower() for name in given}
    assert names <= set(Settings.model_fields)


def test_a_changed_setting_is_a_rollout() -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = rendered(values)["Deployment"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/settings"])

    assert checksum({"settings": {"log_level": "debug"}}) != checksum({})


def test_the_pod_may_do_nothing_but_serve() -> None:
    pod = rendered({})["Deployment"]["spec"]["template"]["spec"]
    edge = container({})
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert edge["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert rendered({})["ServiceAccount"]["automountServiceAccountToken"] is False


def test_without_api_keys_nothing_is_mounted() -> None:
    edge = container({"secret": {"name": "other", "apiKeys": False}})
    assert [mount["name"] for mount in edge["volumeMounts"]] == ["tmp"]
    assert "RUNCAST_API_KEYS_FILE" not in {one["name"] for one in edge["env"]}


def test_it_grows_with_its_viewers() -> None:
    assert "replicas" not in rendered(EVERYTHING)["Deployment"]["spec"]
    viewers, cpu = rendered(EVERYTHING)["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert viewers["pods"]["metric"]["name"] == "runcast_subscribers"
    assert viewers["pods"]["target"] == {"type": "AverageValue", "averageValue": "5000"}
    assert cpu["resource"]["target"]["averageUtilization"] == 80
    only = rendered({"autoscaling": {"enabled": True}})["HorizontalPodAutoscaler"]
    assert len(only["spec"]["metrics"]) == 1


def test_the_route_has_no_limit_of_time_and_shows_what_it_should() -> None:
    [rule] = rendered(EVERYTHING)["HTTPRoute"]["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert [match["path"]["value"] for match in rule["matches"]] == ["/v1", "/api/streaming"]
    assert rule["backendRefs"] == [{"name": "demo-runcast", "port": 80}]


def test_prometheus_knows_the_edges_as_the_rules_do() -> None:
    [endpoint] = rendered(EVERYTHING)["ServiceMonitor"]["spec"]["endpoints"]
    assert {"targetLabel": "job", "replacement": "runcast", "action": "replace"} in endpoint[
        "relabelings"
    ]
    assert endpoint["authorization"]["credentials"] == {"name": "metrics", "key": "token"}
    groups = rendered(EVERYTHING)["PrometheusRule"]["spec"]["groups"]
    assert [rule for group in groups for rule in group["rules"]] == alerts()


def test_grafana_gets_the_dashboard_as_it_is() -> None:
    data = rendered(EVERYTHING)["ConfigMap demo-runcast-dashboard"]["data"]
    assert data["runcast.json"].strip() == DASHBOARD.read_text().strip()
