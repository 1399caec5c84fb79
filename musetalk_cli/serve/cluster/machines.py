"""The machines of a cluster as the server that places sessions uses them: started, watched, replaced and ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from musetalk_cli import __version__
from musetalk_cli.app.cluster.ray_cluster import Node, WorkerLostError
from musetalk_cli.app.cluster.sizing import worker_environment
from musetalk_cli.errors import ClusterError
from musetalk_cli.serve.cluster.placement import Load, choose
from musetalk_cli.serve.cluster.session_machine import MachineReady, MachineSettings, MachineState, SessionMachine
from musetalk_cli.serve.wire import WorkersReady
from musetalk_cli.serve.workers import PoolUsage

WAKE_S = 0.02  # how soon an answer is taken
COUNT_S = 2.0  # how often machines are counted: a new one gets a server
ASK_S = 0.5  # how often they are asked for their sessions
SILENT_S = 10.0  # a machine that has not answered for so long gets no sessions
AGAIN_S = 30.0  # until a machine whose server did not start is tried again
PATIENCE_S = 15.0  # until somebody waits for machines and is told so
END_S = 3.0  # for servers that were told to end
NUM_CALLS = 8  # that a machine answers at once
NOT_INSTALLED = "musetalk with the extras serve and ray must be installed on every machine, with the same Python"


class SessionCluster(Protocol):
    """What is needed of ``RayCluster``. All methods but ``close`` are called on one thread."""

    def nodes(self) -> list[Node]: ...
    def start_on(self, node: Node, kind: type, num_calls: int, *args: object) -> Any: ...
    def call(self, worker: Any, method: str, *args: object) -> Any: ...
    def wait(self, calls: Sequence[Any], timeout_s: float) -> list[Any]: ...
    def result(self, call: Any) -> Any: ...
    def kill(self, worker: Any) -> None: ...
    def close(self) -> None: ...


@dataclass(eq=False)
class Machine:
    """A machine with a server. ``address``, ``http://host:port/``, is empty until it takes sessions."""

    node: Node
    worker: Any
    name: str = ""
    address: str = ""
    load: Load = field(default_factory=lambda: Load(1))
    is_ready: bool = False
    is_asked: bool = False
    heard_at: float = 0.0
    origins: set[str] = field(default_factory=set)


class MachinePool:
    """A server on each machine. As ``WorkerPool``, and all of it belongs to one event loop, too."""

    def __init__(
        self, cluster: SessionCluster, settings: Callable[[Node], MachineSettings], tell: Callable[[str], None]
    ) -> None:
        """``settings``: of a machine's server; ``tell`` takes lines for the log."""
        self.num_restarts = 0
        self._cluster, self._settings, self._tell = cluster, settings, tell
        self._ray_thread = ThreadPoolExecutor(1, "musetalk-ray")
        self._machines: dict[str, Machine] = {}
        self._failed_at: dict[str, float] = {}
        self._calls: dict[Any, tuple[Machine, asyncio.Future[Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._offered: asyncio.Future[WorkersReady] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_ending = False

    async def start(self) -> WorkersReady:
        """Start servers, and wait for the first. Raises ClusterError, also where the first one cannot start."""
        self._offered = asyncio.get_running_loop().create_future()
        self._watching = asyncio.create_task(self._watch(), name="musetalk-machines")
        done, _ = await asyncio.wait((self._offered,), timeout=PATIENCE_S)
        if not done:
            self._tell("waiting for the machines of the cluster")
        return await self._offered

    @property
    def is_ready(self) -> bool:
        """Whether any machine takes sessions."""
        return any(self._takes_sessions(each) for each in self._machines.values())

    @property
    def num_sessions(self) -> int:
        """Sessions on all machines, and those on their way there."""
        now = time.monotonic()
        return sum(each.load.num_taken(now) for each in self._machines.values())

    @property
    def max_sessions(self) -> int:
        """Sessions that all machines hold."""
        return sum(each.load.max_sessions for each in self._machines.values() if each.address)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """No session is here."""
        raise ClusterError("sessions are on other machines", hint="GET /v1/place")

    async def usage(self) -> PoolUsage:
        """What the processes of all sessions use."""
        asked = [self._call(each, "usage") for each in self._machines.values() if each.is_ready]
        found = await asyncio.gather(*asked, return_exceptions=True)
        known = [each for each in found if isinstance(each, PoolUsage)]
        return PoolUsage(
            sum(each.num_processes for each in known),
            sum(each.rss_bytes for each in known),
            sum(each.pss_bytes for each in known),
        )

    def has_room(self) -> bool:
        """Whether a session can be placed now."""
        return choose(self._loads(), time.monotonic()) is not None

    async def place(self, origin: str) -> str | None:
        """The address, ``http://host:port/``, of the machine that has room for one more session, None where none has.

        ``origin``: of the page that will open it there.
        """
        chosen = choose(self._loads(), time.monotonic())
        machine = next((each for each in self._machines.values() if each.load is chosen), None)
        if machine is None:
            return None
        machine.load.expect(time.monotonic())
        if origin not in machine.origins:
            machine.origins.add(origin)
            with contextlib.suppress(WorkerLostError):  # the client finds it gone, and asks again
                await self._call(machine, "allow_origin", origin)
        return machine.address

    def drain(self) -> None:
        """Have all servers end: sessions go on for as long as the settings say, the second time not."""
        self._is_ending = True
        for machine in self._machines.values():
            machine.load.pending.clear()  # who has not come is refused there
            self._call(machine, "drain")

    async def close(self, grace_s: float = 0.0) -> None:
        """End all servers and leave the cluster."""
        self._is_ending = True
        await self._end_servers(grace_s or END_S)
        watching, self._watching = self._watching, None
        if watching:
            watching.cancel()
            await asyncio.wait([watching])
        for task in list(self._tasks):
            task.cancel()
        await self._on_ray(self._leave)
        self._ray_thread.shutdown()

    async def _end_servers(self, seconds: float) -> None:
        opened = [each for each in self._machines.values() if each.address]
        for machine in opened:
            self._call(machine, "drain")
            self._call(machine, "drain")
        waits = [self._call(each, "wait", seconds) for each in opened]
        if waits:
            await asyncio.wait(waits, timeout=seconds)

    def _leave(self) -> None:
        for machine in self._machines.values():
            self._cluster.kill(machine.worker)
        self._cluster.close()

    def _loads(self) -> list[Load]:
        return [each.load for each in self._machines.values() if self._takes_sessions(each)]

    def _takes_sessions(self, machine: Machine) -> bool:
        return machine.is_ready and not self._is_ending and time.monotonic() < machine.heard_at + SILENT_S

    # Watching

    async def _watch(self) -> None:
        counted_at = asked_at = float("-inf")
        try:
            while True:
                now = time.monotonic()
                if now > counted_at + COUNT_S and not self._is_ending:
                    counted_at = now
                    await self._count()
                if now > asked_at + ASK_S:
                    asked_at = now
                    self._ask()
                await self._take()
        except Exception as error:  # the cluster itself has gone
            reason = ClusterError(f"the cluster is lost: {error}")
            self._tell(str(reason))
            self._fail_start(reason)
            self._is_ending = True

    async def _count(self) -> None:
        """Start a server on machines that have none."""
        now = time.monotonic()
        for node in await self._on_ray(self._cluster.nodes):
            was_tried = now < self._failed_at.get(node.node_id, float("-inf")) + AGAIN_S
            if node.node_id in self._machines or was_tried or node.num_cpus < 1:
                continue
            settings = self._settings(node)
            worker = await self._on_ray(self._cluster.start_on, node, SessionMachine, NUM_CALLS, worker_environment())
            machine = Machine(node, worker, node.address, origins=set(settings.origins))
            self._machines[node.node_id] = machine
            self._in_background(self._welcome(machine, settings))

    def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _welcome(self, machine: Machine, settings: MachineSettings) -> None:
        try:
            ready: MachineReady = await self._call(machine, "open", settings)
        except WorkerLostError:
            return  # told already
        reason = ready.error
        if not reason and ready.version != __version__:
            reason = f"it has musetalk {ready.version}, and this is {__version__}"
        if reason:
            await self._dismiss(machine, ClusterError(f"{ready.machine}: {reason}", hint=ready.hint))
            return
        where = ready.address.removeprefix("http://").rstrip("/")
        machine.address, machine.name = ready.address, f"{ready.machine} ({where})"
        machine.load = Load(ready.max_sessions)
        machine.is_ready, machine.heard_at = True, time.monotonic()
        self._tell(f"{machine.name} takes {ready.max_sessions} sessions")
        if self._offered and not self._offered.done():
            self._offered.set_result(WorkersReady.from_json(ready.offered))

    async def _dismiss(self, machine: Machine, error: ClusterError) -> None:
        """A server did not start: that is an error of the command where no other has."""
        self._failed_at[machine.node.node_id] = time.monotonic()
        del self._machines[machine.node.node_id]
        await self._on_ray(self._cluster.kill, machine.worker)
        if not self._fail_start(error):
            self._tell(str(error))

    def _fail_start(self, error: ClusterError) -> bool:
        if self._offered and not self._offered.done():
            self._offered.set_exception(error)
            return True
        return False

    def _ask(self) -> None:
        for machine in self._machines.values():
            if machine.address and not machine.is_asked:
                machine.is_asked = True
                self._in_background(self._note(machine))

    async def _note(self, machine: Machine) -> None:
        try:
            state: MachineState = await self._call(machine, "state")
        except WorkerLostError:
            return  # told already
        finally:
            machine.is_asked = False
        machine.load.note(state.num_sessions, state.num_opened)
        machine.is_ready, machine.heard_at = state.is_ready, time.monotonic()
        for line in state.notices:
            self._tell(f"{machine.name}: {line}")

    # Calls

    def _call(self, machine: Machine, method: str, *args: object) -> asyncio.Future[Any]:
        """Call a method of a machine's server. The future raises WorkerLostError where the machine is lost."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda each: each.cancelled() or each.exception())  # nobody may ask
        self._in_background(self._send(machine, method, args, future))
        return future

    async def _send(self, machine: Machine, method: str, args: tuple[object, ...], future: asyncio.Future[Any]) -> None:
        call = await self._on_ray(self._cluster.call, machine.worker, method, *args)
        self._calls[call] = (machine, future)

    async def _take(self) -> None:
        """Wait for answers, and hand them to who asked."""
        lost: dict[Machine, str] = {}
        for call in await self._on_ray(self._cluster.wait, list(self._calls), WAKE_S):
            machine, future = self._calls.pop(call)
            try:
                answer = await self._on_ray(self._cluster.result, call)
            except WorkerLostError as error:
                lost[machine] = str(error)
                _fail(future, error)
                continue
            except Exception as error:  # of the method
                _fail(future, error)
                continue
            if not future.done():
                future.set_result(answer)
        for machine, reason in lost.items():
            await self._lose(machine, reason)

    async def _lose(self, machine: Machine, reason: str) -> None:
        """A machine has ended, and its sessions with it; one that comes back is a new one."""
        if self._machines.get(machine.node.node_id) is not machine:
            return
        del self._machines[machine.node.node_id]
        for call in [call for call, (whose, _) in self._calls.items() if whose is machine]:
            _fail(self._calls.pop(call)[1], WorkerLostError(reason))
        await self._on_ray(self._cluster.kill, machine.worker)
        if self._is_ending:
            return
        self.num_restarts += 1
        if machine.address:
            self._tell(f"{machine.name} is lost, with {machine.load.num_sessions} sessions: {reason}")
        else:
            self._failed_at[machine.node.node_id] = time.monotonic()
            error = ClusterError(f"the server on {machine.name} did not start: {reason}", hint=NOT_INSTALLED)
            if not self._fail_start(error):
                self._tell(str(error))

    async def _on_ray(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._ray_thread, function, *args)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
