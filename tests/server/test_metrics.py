"""The exposition's text, what requests count, the health endpoints' words."""

import time

from skiff.aio.http.message import Request
from skiff.server.health import Health, steps
from skiff.server.metrics import Counter, Histogram, Metrics, Registry
from skiff.server.request import parse
from skiff.server.seams import Call, User


def call(path: str, query: str = "") -> Call:
    return Call(Request("GET", path, query), parse("GET", path, query), User("x"))


def test_exposition_text():
    counter = Counter("jobs_total", "Jobs.", ("kind",))
    counter.add(('a"b\n',))
    counter.add(("c",), 2.5)
    histogram = Histogram("wait_seconds", "Wait.", (0.1, 1))
    for value in (0.05, 0.1, 0.5, 7):
        histogram.observe((), value)
    assert Registry([counter, histogram]).text().decode() == (
        "# HELP jobs_total Jobs.\n# TYPE jobs_total counter\n"
        'jobs_total{kind="a\\"b\\n"} 1\njobs_total{kind="c"} 2.5\n'
        "# HELP wait_seconds Wait.\n# TYPE wait_seconds histogram\n"
        'wait_seconds_bucket{le="0.1"} 2\nwait_seconds_bucket{le="1"} 3\n'
        'wait_seconds_bucket{le="+Inf"} 4\nwait_seconds_sum 7.65\nwait_seconds_count 4\n'
    )


def test_requests_are_counted_by_what_they_ask_for():
    stored = {("", "pods"): 3, ("apps", "deployments"): 1}
    metrics = Metrics(1.0, lambda: stored, lambda: 4, lambda: {("", "pods"): 2})
    for method, path, query in (
        ("GET", "/api/v1/namespaces/d/pods/x", ""),
        ("GET", "/api/v1/namespaces/d/pods/y", ""),
        ("GET", "/api/v1/pods", "limit=5"),
        ("POST", "/apis/apps/v1/namespaces/d/deployments", "dryRun=All"),
    ):
        info = parse(method, path, query)
        metrics.requests.count(info, 200, 0.001)
    nonsense = parse("GET", "/api/v1/nonsense", "")
    metrics.requests.count(nonsense, 404, 0.001, known=False)
    text = metrics.serve(call("/metrics")).body.decode()
    common = 'component="apiserver",dry_run=""'
    assert (
        f'apiserver_request_total{{code="200",{common},group="",resource="pods",scope="resource"'
        ',subresource="",verb="GET",version="v1"} 2'
    ) in text
    assert 'dry_run="All",group="apps",resource="deployments"' in text
    assert 'resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 1' in text
    assert "nonsense" not in text
    assert 'apiserver_storage_objects{resource="deployments.apps"} 1' in text
    assert "process_resident_memory_bytes " in text
    assert 'apiserver_current_inflight_requests{request_kind="mutating"} 4' in text
    watches = '{component="apiserver",group="",resource="pods",verb="WATCH"} 2'
    assert "apiserver_longrunning_requests" + watches in text


def test_counting_a_request_costs_microseconds():
    metrics = Metrics(1.0, dict)
    info = parse("GET", "/api/v1/namespaces/d/pods/x", "")
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(2000):
            metrics.requests.count(info, 200, 0.001)
        best = min(best, (time.perf_counter() - start) / 2000)
    assert best < 20e-6


def started(health: Health) -> None:
    for _, milestone in steps.STEPS:
        health.reached(milestone)


def test_health_says_ok_or_which_check_failed():
    health = Health()
    response = health.serve(call("/readyz"))
    assert response.status == 500
    text = response.body.decode()
    assert text.startswith("[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]etcd-readiness ok\n")
    assert "[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\n" in text
    assert text.endswith("[+]shutdown ok\nreadyz check failed\n")
    excluded = health.serve(call("/livez", "exclude=poststarthook/rbac/bootstrap-roles&verbose"))
    assert "[+]poststarthook/rbac/bootstrap-roles excluded: ok\n" in excluded.body.decode()
    started(health)
    assert health.serve(call("/healthz")).body == b"ok"
    verbose = health.serve(call("/healthz", "verbose&exclude=nothing")).body.decode()
    assert verbose.endswith(
        'warn: some health checks cannot be excluded: no matches for "nothing"\n'
        "healthz check passed\n"
    )
    assert health.serve(call("/healthz/ping")).body == b"ok"
    assert health.serve(call("/livez/poststarthook/crd-informer-synced")).body == b"ok"
    health.stop()
    assert health.serve(call("/livez")).status == 200
    assert health.serve(call("/readyz")).status == 500
    unknown = health.serve(call("/readyz/unknown"))
    assert (unknown.status, unknown.body) == (404, b"404 page not found\n")


def test_the_checks_are_kubernetes_own():
    health = Health()
    started(health)
    common = {
        "ping", "log", "etcd", "autoregister-completion",
        "poststarthook/start-apiserver-admission-initializer",
        "poststarthook/generic-apiserver-start-informers",
        "poststarthook/start-apiextensions-informers",
        "poststarthook/start-apiextensions-controllers",
        "poststarthook/crd-informer-synced",
        "poststarthook/bootstrap-controller",
        "poststarthook/start-system-namespaces-controller",
        "poststarthook/scheduling/bootstrap-system-priority-classes",
        "poststarthook/start-cluster-authentication-info-controller",
        "poststarthook/start-kube-aggregator-informers",
        "poststarthook/apiservice-registration-controller",
        "poststarthook/apiservice-status-local-available-controller",
        "poststarthook/kube-apiserver-autoregistration",
        "poststarthook/apiservice-openapi-controller",
    }  # fmt: skip
    for endpoint in ("healthz", "livez", "readyz"):
        lines = health.serve(call(f"/{endpoint}", "verbose=1")).body.decode().splitlines()
        assert {f"[+]{name} ok" for name in common} <= set(lines)
        assert lines[-1] == f"{endpoint} check passed"
        ready = {"[+]informer-sync ok", "[+]etcd-readiness ok", "[+]shutdown ok"}
        assert ready & set(lines) == (ready if endpoint == "readyz" else set())
    assert {"/livez/ping", "/readyz/informer-sync"} <= set(health.paths())
    assert "/livez/informer-sync" not in health.paths()


def test_a_broken_store_is_unhealthy():
    health = Health(lambda: "closed")
    started(health)
    response = health.serve(call("/livez"))
    assert (response.status, b"[-]etcd failed: reason withheld" in response.body) == (500, True)
    assert health.serve(call("/livez/etcd")).body == b"internal server error: closed\n"
    assert health.serve(call("/livez", "exclude=etcd")).status == 200
    text = health.serve_results(call("/metrics/slis")).body.decode()
    assert 'kubernetes_healthcheck{name="etcd",type="livez"} 0\n' in text
    assert 'kubernetes_healthchecks_total{name="etcd",status="error",type="livez"} 1\n' in text
    assert 'kubernetes_healthchecks_total{name="ping",status="success",type="livez"} 2\n' in text
    # nobody has asked for the readiness yet
    assert 'kubernetes_healthchecks_total{name="ping",status="success",type="readyz"} 1\n' in text
