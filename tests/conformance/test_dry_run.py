"""What kubectl asks the server to only try."""

import pytest

from skiff.api.resources import PODS
from tests.conformance.world import Kube, pod, run


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update"
    " Pods [Conformance]"
)
def test_a_dry_run_changes_nothing() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(PODS)
        made = await api.create(pod("p", {"run": "e2e"}))
        change = {"spec": {"containers": [{"name": "c", "image": "web:9"}]}}
        shown = await api.patch("p", change, "strategic", dryRun="All")
        assert shown["spec"]["containers"][0]["image"] == "web:9"
        assert await api.get("p") == made
        await api.create(pod("q"), dryRun="All")
        assert await api.absent("q")

    run(scenario)
