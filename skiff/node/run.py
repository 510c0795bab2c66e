"""The kubelet: makes this machine match its pods.

Two pictures meet here: what the API wants of this node (an informer of its pods) and what the runtime
has (the observer). Each pod has one worker (`worker.py`), which is woken by changes of either. A new
pod is admitted or rejected first, the oldest first; a pod that the runtime has but the API does not
is an orphan and is removed. After a restart everything is found again from labels of the runtime's
containers, so nothing is restarted.

The composition root gives it a client, a runtime and a clock; with the simulated runtime, prober,
disk and machine are simulated too.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence

import msgspec

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.aio.run import Component, Started
from skiff.api.errors import ApiError, NotFound
from skiff.api.views.container import ObjectReference
from skiff.api.views.core import Secret, Service
from skiff.api.views.node import Node
from skiff.api.views.pod import Pod
from skiff.api.views.runtime import RuntimeClass
from skiff.client.client import Client
from skiff.client.events import EventRecorder
from skiff.client.informer import Informer
from skiff.node.cgroups import Cgroups
from skiff.node.config import KubeletConfig
from skiff.node.eviction.gauges import MachineGauges, SimulatedGauges
from skiff.node.eviction.model import thresholds
from skiff.node.eviction.plan import refuse
from skiff.node.eviction.run import Evictions
from skiff.node.inputs import InputsNotReady, PodInputs, VolumeInputs
from skiff.node.lifecycle.admission import admit
from skiff.node.lifecycle.model import Observed
from skiff.node.lifecycle.phase import TERMINAL
from skiff.node.lifecycle.status import Verdict
from skiff.node.log_rotation import LogRotation
from skiff.node.machine import Machine, read_machine, simulated_machine
from skiff.node.node_status import allocatable
from skiff.node.observer import Observer
from skiff.node.orphans import Orphans
from skiff.node.probers import NetworkProber, Prober, SimulatedProber
from skiff.node.probes import Probes
from skiff.node.pulling import Puller, SecretData
from skiff.node.registration import Registration
from skiff.node.resolver import PodDns, pod_dns, read_host_dns
from skiff.node.runtime import Runtime
from skiff.node.server import KubeletServer
from skiff.node.simulated import SimulatedRuntime
from skiff.node.static.manifest import is_mirror
from skiff.node.static.run import StaticPods
from skiff.node.tools import NORMAL, WARNING, NodeFacts, PodEvents, PodTools
from skiff.node.volumes.disk import RealDisk
from skiff.node.volumes.manager import VolumeManager
from skiff.node.volumes.memory import MemoryDisk
from skiff.node.volumes.model import Disk
from skiff.node.worker import PodWorker

WORKER_RESTART_S = 10.0

log = logging.getLogger(__name__)


class Kubelet:
    """See the module's text. A component; `server` is its HTTPS API (`handle` serves it in process)."""

    def __init__(
        self,
        config: KubeletConfig,
        client: Client,
        runtime: Runtime,
        clock: Clock,
        entropy: Entropy,
        *,
        inputs: PodInputs | None = None,
        prober: Prober | None = None,
        machine: Machine | None = None,
    ) -> None:
        self._config = config
        self._client = client
        self._runtime = runtime
        self._clock = clock
        simulated = isinstance(runtime, SimulatedRuntime)
        self._machine = machine or (
            simulated_machine() if simulated else read_machine(config.root_dir)
        )
        self._host_dns = read_host_dns("" if simulated else config.resolv_conf)
        self._workers: dict[str, PodWorker] = {}
        self._group: asyncio.TaskGroup | None = None
        self._pods = Informer(client, Pod, field_selector=f"spec.nodeName={config.node_name}")
        self._nodes = Informer(client, Node, field_selector=f"metadata.name={config.node_name}")
        self._services: Informer[Service] | None = None
        self._volumes: VolumeManager | None = None
        if inputs is None:
            self._services = Informer(client, Service)
            disk: Disk = MemoryDisk() if simulated else RealDisk(clock)
            self._volumes = VolumeManager(
                config,
                client,
                disk,
                clock,
                entropy,
                services=self._services.list,
                allocatable=lambda: self.allocatable,
                changed=self._on_inputs,
            )
            inputs = VolumeInputs(self._volumes)
        self._inputs = inputs
        self._recorder = EventRecorder(client, "kubelet", config.node_name)
        self._observer = Observer(runtime, clock, self._on_observed)
        self._static: StaticPods | None = None
        if config.static_pod_path:
            self._static = StaticPods(
                config,
                client,
                clock,
                lambda: self._nodes.get(config.node_name) or self._registration.node,
                changed=self._follow_static,
                mirrored=self._on_mirror,
                ending=self._is_ending,
            )
        self._registration = Registration(
            config,
            client,
            runtime,
            self._machine,
            clock,
            recovered=self._hurry_all,
            pressures=lambda: self._evictions.conditions,
            tell=self._tell_of_node,
        )
        events = PodEvents(self._recorder)
        if prober is None:
            prober = (
                SimulatedProber(runtime)
                if isinstance(runtime, SimulatedRuntime)
                else NetworkProber(runtime)
            )
        self._tools = PodTools(
            config=config,
            client=client,
            runtime=runtime,
            clock=clock,
            observer=self._observer,
            inputs=inputs,
            probes=Probes(prober, clock, entropy, events.container, self._wake),
            puller=Puller(runtime, clock, events.container, self._pull_secrets),
            events=events,
            facts=self._facts,
            dns=self._dns,
            runtime_handler=self._runtime_handler,
            network_problem=lambda: self._registration.health.network_problem,
            woken=self._wake,
            neighbours=self._neighbours,
            allocatable=lambda: self.allocatable,
            cgroups=None if simulated or not config.manage_cgroups else Cgroups(config.cgroup_root),
            on_disk=not simulated,
        )
        self._evictions = Evictions(
            thresholds(config.eviction_hard),
            SimulatedGauges(runtime)
            if isinstance(runtime, SimulatedRuntime)
            else MachineGauges(config, runtime, self._tools.cgroups),
            runtime,
            clock,
            self._recorder,
            config.node_name,
            active=lambda: [w.view() for w in self._workers.values() if w.evictable],
            static=lambda: [uid for uid, w in self._workers.items() if w.static],
            evict=self._evict,
            ended=lambda uid: uid not in self._workers or not self._workers[uid].active,
            changed=self._registration.hurry,
        )
        self._orphans = Orphans(self._tools)
        self.server = KubeletServer(config, client, runtime, self, clock)

    # ---- facts that others ask for

    @property
    def allocatable(self) -> Mapping[str, str]:
        """What of the node's resources pods may ask for."""
        return allocatable(self._config, self._machine)

    def pods(self) -> Sequence[Pod]:
        """The node's pods with their latest status."""
        return [w.view() for w in self._workers.values()]

    def pod(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name (the living one, where an old one of that name is still ending)."""
        found = [
            w for w in self._workers.values()
            if (w.view().metadata.namespace, w.view().metadata.name) == (namespace, name)
        ]  # fmt: skip
        found.sort(key=lambda w: w.active)
        return found[-1].view() if found else None

    def _tell_of_node(self, reason: str, message: str) -> None:
        name = self._config.node_name
        about = ObjectReference(api_version="v1", kind="Node", name=name, uid=name)
        self._recorder.record(about, NORMAL, reason, message)

    def _facts(self) -> NodeFacts:
        version = self._registration.version
        return NodeFacts(
            ips=(self._config.node_ip,),
            runtime_name=version.name if version else "containerd",
            memory_bytes=self._machine.memory_bytes,
        )

    def _dns(self, pod: Pod) -> PodDns:
        return pod_dns(pod, self._host_dns, self._config.cluster_dns, self._config.cluster_domain)

    async def _runtime_handler(self, pod: Pod) -> str:
        name = pod.spec.runtime_class_name
        if not name:
            return ""
        try:
            return (await self._client.read(RuntimeClass, name)).handler
        except NotFound as e:
            raise ValueError(f'RuntimeClass "{name}" not found') from e
        except ApiError as e:
            raise ValueError(f'RuntimeClass "{name}": {e}') from e

    def _neighbours(self, uid: str) -> list[Pod]:
        """The pods, other than this one, that take up the node's resources."""
        return [
            w.allocated()
            for u, w in self._workers.items()
            if u != uid and w.active and not self._is_over(w)
        ]

    def _is_over(self, worker: PodWorker) -> bool:
        """Whether a pod's end is told: whoever saw it may have given its place away already, before its
        sandbox and volumes are gone."""
        told = worker.view().status.phase in TERMINAL
        return told and not self._observer.pod(worker.uid).running()

    async def _pull_secrets(self, pod: Pod) -> Sequence[SecretData]:
        found = []
        for reference in pod.spec.image_pull_secrets:
            try:
                secret = await self._client.read(Secret, reference.name, pod.metadata.namespace)
            except ApiError:
                self._tools.events.pod(
                    pod,
                    WARNING,
                    "FailedToRetrieveImagePullSecret",
                    f"Unable to retrieve some image pull secrets ({reference.name}); "
                    "attempting to pull the image may not succeed.",
                )
                continue
            found.append((secret.type, secret.data))
        return found

    # ---- the component

    async def run(self, started: Started) -> None:
        """Run until cancelled; `started` once the node is registered and its pods are known."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._tools.probes.attach(group)
            self._nodes.subscribe(lambda _, node: self._on_node(node))
            components: list[tuple[str, Component]] = [
                ("events", self._recorder),
                ("own node", self._nodes),
            ]
            if self._services is not None:
                components.append(("services", self._services))
            if self._volumes is not None:
                components.append(("volumes", self._volumes))
            if self._tools.on_disk:
                components.append(
                    ("log rotation", LogRotation(self._config, self._runtime, self._clock))
                )
            if self._config.tls_cert_file:
                components.append(("kubelet API", self.server))
            for name, component in components:
                group.create_task(component.run(lambda: None), name=name)
            group.create_task(self._observer.run(), name="runtime observer")
            group.create_task(self._registration.run(), name="registration")
            await self._registration.registered.wait()
            group.create_task(self._pods.run(lambda: None), name="pods")
            await self._pods.synced.wait()
            if self._services is not None:
                await self._services.synced.wait()
            await self._observer.synced.wait()
            if self._static is not None:
                self._static.load()
            self._adopt()
            if self._static is not None:
                group.create_task(self._static.run(lambda: None), name="static pods")
            started()
            group.create_task(self._orphans.run(self._alive), name="orphans")
            group.create_task(self._evictions.run(lambda: None), name="evictions")
            await self._clear_old_inputs()

    def _alive(self) -> frozenset[str]:
        return frozenset(self._workers)

    async def _clear_old_inputs(self) -> None:
        """What is on the disk of pods that ended for good while no kubelet ran."""
        if self._tools.cgroups is not None:
            with contextlib.suppress(OSError):
                for directory in (self._config.root_dir / "pods").iterdir():
                    if directory.name not in self._workers:
                        self._tools.cgroups.remove_pod(directory.name)
        try:
            await self._inputs.tear_down_orphans(self._alive())
        except InputsNotReady as e:
            log.warning("volumes of old pods: %s", e)

    def _adopt(self) -> None:
        """Take up the pods as they are: those that ran before first, then by age."""
        have = self._observer.uids()
        pods = []
        for pod in self._pods.list():
            if is_mirror(pod):
                self._see_mirror(None, pod)
            else:
                pods.append(pod)
        pods += self._static_pods()
        pods.sort(
            key=lambda p: (
                p.metadata.uid not in have,
                p.metadata.creation_timestamp,
                p.metadata.namespace,
                p.metadata.name,
            )
        )
        for pod in pods:
            lives = pod.metadata.uid in have and pod.status.phase not in TERMINAL
            if self._volumes is not None and lives:
                self._volumes.adopt(pod)
            self._add(pod)
        self._pods.subscribe(self._on_pod)

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and is_mirror(old):
            kept = new is not None and is_mirror(new)
            self._see_mirror(old, new if kept else None)
            if kept:
                return
            old = None
        elif new is not None and is_mirror(new):
            self._see_mirror(None, new)
            new = None
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            worker = self._workers.get(old.metadata.uid)
            if worker is not None:
                worker.gone()
        if new is not None:
            if self._volumes is not None:
                self._volumes.follow(new)
            worker = self._workers.get(new.metadata.uid)
            if worker is None:
                self._add(new)
            else:
                worker.update(new)

    # ---- static pods

    def _see_mirror(self, old: Pod | None, new: Pod | None) -> None:
        if self._static is not None:
            self._static.see(old, new)

    def _static_pods(self) -> list[Pod]:
        """The pods of the directory, with the status that they had before the kubelet's restart."""
        if self._static is None:
            return []
        mirrors = ((p, self._static.mirror(p)) for p in self._static.wanted())
        return [msgspec.structs.replace(p, status=m.status) if m else p for p, m in mirrors]

    def _follow_static(self) -> None:
        """Start and end what the directory asks for; another pod of the same name ends first."""
        wanted = {p.metadata.uid: p for p in self._static_pods()}
        for uid, worker in list(self._workers.items()):
            if worker.static and uid not in wanted:
                worker.gone()
        for pod in wanted.values():
            if not self._is_ending((pod.metadata.namespace, pod.metadata.name)):
                self._add(pod)

    def _is_ending(self, key: tuple[str, str]) -> bool:
        """Whether a static pod of that name runs here that the directory no longer asks for."""
        wanted = {p.metadata.uid for p in self._static.wanted()} if self._static else set()
        return any(
            w.static
            and uid not in wanted
            and (w.view().metadata.namespace, w.view().metadata.name) == key
            for uid, w in self._workers.items()
        )

    def _on_mirror(self, uid: str, mirror: Pod | None) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.mirrored(mirror)

    def _add(self, pod: Pod) -> None:
        assert self._group is not None
        if pod.metadata.uid in self._workers:
            return
        verdict = self._admit(pod)
        if verdict is not None:
            self._tools.events.pod(pod, WARNING, verdict.reason, verdict.message)
        static = self._static is not None and self._static.has(pod)
        worker = PodWorker(self._tools, pod, verdict, static=static)
        if static and self._static is not None:
            worker.mirrored(self._static.mirror(pod))
        self._workers[pod.metadata.uid] = worker
        self._group.create_task(self._work(worker, pod), name=f"pod {pod.metadata.name}")

    def _admit(self, pod: Pod) -> Verdict | None:
        """Why the pod is refused; what runs here already, or has ended, is taken as it is."""
        known = bool(pod.status.start_time or self._observer.pod(pod.metadata.uid).containers)
        if known or pod.status.phase in TERMINAL or pod.metadata.deletion_timestamp:
            return None
        static = self._static is not None and self._static.has(pod)
        pressed = refuse(pod, self._evictions.conditions, static=static)
        if pressed is not None:
            return pressed
        others = self._neighbours(pod.metadata.uid)
        node = self._nodes.get(self._config.node_name) or self._registration.node
        return admit(
            pod,
            others,
            node,
            self.allocatable,
            self._config.allowed_unsafe_sysctls,
            static=static,
        )

    async def _work(self, worker: PodWorker, pod: Pod) -> None:
        try:
            await worker.run()
        except Exception:  # a defect that one pod shows must not end all pods' kubelet
            log.exception("worker of pod %s/%s", pod.metadata.namespace, pod.metadata.name)
            await self._clock.sleep(WORKER_RESTART_S)
        finally:
            self._workers.pop(worker.uid, None)
            for other in self._workers.values():
                if other.waits_for_room:
                    other.wake()
        if self._static is not None and worker.static:
            self._follow_static()
            self._static.hurry()
            return
        latest = self._pods.get(pod.metadata.name, pod.metadata.namespace)
        if latest is not None and latest.metadata.uid == worker.uid:
            self._add(latest)

    # ---- what wakes workers

    def _wake(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake()

    def _evict(self, uid: str, message: str, disrupts: bool) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.evict(message, disrupts=disrupts)

    def _on_observed(self, uid: str, observed: Observed) -> None:
        del observed
        self._wake(uid)

    def _hurry_all(self) -> None:
        """The runtime or its network came back: what waited for it may go on."""
        for worker in self._workers.values():
            worker.wake(hurry=True)

    def _on_inputs(self, uid: str) -> None:
        """Something that the pod refers to changed: what waited for it may go on."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake(hurry=True)

    def _on_node(self, node: Node | None) -> None:
        if node is not None and self._group is not None:
            self._group.create_task(self._registration.see(node), name="own node changed")
