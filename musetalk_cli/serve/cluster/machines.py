"""The machines of a cluster as the server that places sessions uses them: started, watched, replaced and ended."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

from musetalk_cli.app.cluster.ray_cluster import Node, WorkerLostError
from musetalk_cli.app.cluster.sizing import worker_environment
from musetalk_cli.errors import ClusterError
from musetalk_cli.serve.cluster.calls import ActorCalls, SessionCluster
from musetalk_cli.serve.cluster.machine import Machine, find_problem
from musetalk_cli.serve.cluster.origins import ToldOrigins
from musetalk_cli.serve.cluster.placement import Awaited, Load, choose
from musetalk_cli.serve.cluster.session_machine import MachineReady, MachineSettings, MachineState, SessionMachine
from musetalk_cli.serve.wire import WorkersReady
from musetalk_cli.serve.workers import PoolUsage

COUNT_S = 2.0  # how often machines are counted: a new one gets a server
ASK_S = 0.5  # how often they are asked for their sessions
AGAIN_S = 30.0  # until a machine whose server did not start is tried again
PATIENCE_S = 15.0  # until somebody waits for machines and is told so
ANSWER_S = 5.0  # until somebody who waits for a machine is answered without it
END_S = 3.0  # for servers that were told to end
LEAVE_S = 5.0  # for Ray to end them and let go
NUM_CALLS = 8  # that a machine answers at once
NOT_INSTALLED = "musetalk with the extras serve and ray must be installed on every machine, with the same Python"


class MachinePool:
    """A server on each machine. As ``WorkerPool``, and all of it belongs to one event loop, too."""

    def __init__(
        self,
        cluster: SessionCluster,
        settings: Callable[[Node], MachineSettings],
        tell: Callable[[str], None],
        max_per_client: int = 4,
    ) -> None:
        """``settings``: of a machine's server; ``tell`` takes lines for the log; ``max_per_client`` sessions of one
        client are awaited at a time."""
        self.num_restarts = 0
        self.has_left = True  # False where Ray did not let go when it was closed: a thread still waits
        self._cluster, self._settings, self._tell = cluster, settings, tell
        self._calls = ActorCalls(cluster)
        self._awaited = Awaited(max_per_client)
        self._machines: dict[str, Machine] = {}
        self._failed_at: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._offered: asyncio.Future[WorkersReady] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_ending = False
        self._counted_at = self._asked_at = float("-inf")

    async def start(self) -> WorkersReady:
        """Start servers, and wait for the first. Raises ClusterError, also where none of them can start."""
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
        raise ClusterError("sessions are on other machines", hint="ask with POST /v1/place")

    async def usage(self) -> PoolUsage:
        """What the processes of all sessions use."""
        asked = [self._call(each, "usage") for each in self._machines.values() if each.has_answered]
        if asked:
            await asyncio.wait(asked, timeout=ANSWER_S)
        known = [each.result() for each in asked if each.done() and not each.exception()]
        return PoolUsage(
            sum(each.num_processes for each in known),
            sum(each.rss_bytes for each in known),
            sum(each.pss_bytes for each in known),
        )

    def has_room(self) -> bool:
        """Whether a session can be placed now."""
        return choose(self._loads(), time.monotonic()) is not None

    async def place(self, origin: str, client: str | None = None) -> str | None:
        """The address, ``http://host:port/``, of the machine that has room for one more session, None where none has.

        ``origin``: of the page that will open it there; ``client``: who asks, None where nobody bounds it.
        """
        while chosen := choose(self._loads(), time.monotonic()):
            machine = next(each for each in self._machines.values() if each.load is chosen)
            self._awaited.send(client, machine.load, time.monotonic())
            if await self._let_in(machine, origin):
                return machine.address
        return None

    async def _let_in(self, machine: Machine, origin: str) -> bool:
        """Have a machine take sessions of this origin's pages; False where it does not answer: another one is asked."""
        if machine.origins.is_fixed(origin):
            return True
        answer = machine.origins.answer(origin)
        if answer is None:
            answer = self._call(machine, "allow_origin", origin)
            machine.origins.add(origin, answer)
        await asyncio.wait((answer,), timeout=ANSWER_S)
        if answer.done() and not answer.exception():
            return True
        machine.origins.discard(origin)
        machine.pass_over()
        return False

    def drain(self) -> None:
        """Have all servers end: sessions go on for as long as the settings say, the second time not."""
        is_first, self._is_ending = not self._is_ending, True
        self._asked_at = float("-inf")
        for machine in self._machines.values():
            if is_first and machine.has_answered:
                machine.load.expect(time.monotonic())  # one may have come since it was asked
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
        self.has_left = await self._calls.close(self._leave, LEAVE_S)

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
        return machine.is_ready and not self._is_ending and machine.has_answered

    # Watching

    async def _watch(self) -> None:
        """Go on until it is cancelled. Where the cluster does not answer, machines are silent, and get no sessions."""
        is_told = False
        while True:
            try:
                await self._watch_once()
                is_told = False
            except Exception as error:
                reason = ClusterError(f"the cluster does not answer: {error}")
                if not self._fail_start(reason) and not is_told:
                    self._tell(str(reason))
                is_told = True
                await asyncio.sleep(COUNT_S)

    async def _watch_once(self) -> None:
        now = time.monotonic()
        if now > self._counted_at + COUNT_S and not self._is_ending:
            self._counted_at = now
            await self._count()
        if now > self._asked_at + ASK_S:
            self._asked_at = now
            self._ask()
        for machine, reason in (await self._calls.take()).items():
            assert isinstance(machine, Machine)  # noqa: S101 - all owners are
            await self._lose(machine, reason)

    async def _count(self) -> None:
        """Start a server on machines that have none."""
        now = time.monotonic()
        for node in await self._calls.on_thread(self._cluster.nodes):
            was_tried = now < self._failed_at.get(node.node_id, float("-inf")) + AGAIN_S
            if node.node_id in self._machines or was_tried or node.num_cpus < 1:
                continue
            settings = self._settings(node)
            start = functools.partial(self._cluster.start_on, node, SessionMachine, NUM_CALLS, worker_environment())
            worker = await self._calls.on_thread(start)
            machine = Machine(node, worker, node.address, origins=ToldOrigins(settings.origins))
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
        except Exception as error:  # it cannot read what it is sent, or we what it answers
            reason = (str(error).splitlines() or [type(error).__name__])[-1]
            ready = MachineReady(machine=machine.name, error=reason, hint=NOT_INSTALLED)
        if not ready.error and not ready.address:
            return  # it was told to end first
        if problem := find_problem(ready):
            await self._dismiss(machine, ClusterError(f"{ready.machine}: {problem}", hint=ready.hint))
            return
        machine.begin(ready)
        self._tell(f"{machine.name} takes {ready.max_sessions} sessions")
        offered = WorkersReady.from_json(ready.offered)
        for note in offered.notes:
            self._tell(f"{machine.name}: {note}")
        if self._offered and not self._offered.done():
            self._offered.set_result(offered)

    async def _dismiss(self, machine: Machine, error: ClusterError) -> None:
        """A server did not start: that is an error of the command where no other has, or still may."""
        self._failed_at[machine.node.node_id] = time.monotonic()
        if self._machines.get(machine.node.node_id) is machine:
            del self._machines[machine.node.node_id]
        await self._calls.on_thread(self._cluster.kill, machine.worker)
        if self._machines or not self._fail_start(error):
            self._tell(str(error))

    def _fail_start(self, error: ClusterError) -> bool:
        if self._offered and not self._offered.done() and not self._is_ending:
            self._offered.set_exception(error)
            return True
        return False

    def _ask(self) -> None:
        for machine in self._machines.values():
            if machine.address and not machine.is_asked:
                machine.is_asked = True
                self._in_background(self._note(machine))

    async def _note(self, machine: Machine) -> None:
        is_last = self._is_ending
        try:
            state: MachineState = await self._call(machine, "state")
        except WorkerLostError:
            return  # told already
        finally:
            machine.is_asked = False
        if is_last:
            machine.load.pending.clear()  # who has not come is refused there
        machine.note(state)
        for line in state.notices:
            self._tell(f"{machine.name}: {line}")

    async def _lose(self, machine: Machine, reason: str) -> None:
        """A machine has ended, and its sessions with it; one that comes back is a new one."""
        if self._machines.get(machine.node.node_id) is not machine:
            return
        del self._machines[machine.node.node_id]
        self._calls.forget(machine, reason)
        await self._calls.on_thread(self._cluster.kill, machine.worker)
        if self._is_ending:
            return
        self.num_restarts += 1
        if machine.address:
            self._tell(f"{machine.name} is lost, with {machine.load.num_sessions} sessions: {reason}")
        else:
            await self._dismiss(
                machine, ClusterError(f"the server on {machine.name} did not start: {reason}", hint=NOT_INSTALLED)
            )

    def _call(self, machine: Machine, method: str, *args: object) -> asyncio.Future[Any]:
        return self._calls.call(machine, machine.worker, method, *args)
