"""Renew the leases and memberships of a process."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgy_bus.brokers.base import Broker
from edgy_bus.errors import BrokerError
from edgy_bus.runtime.assignment import Post
from edgy_bus.runtime.keeping import Limits, Renewing
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.services import failure_of
from edgy_bus.telemetry import Notice, catalogue

_NEVER = float("-inf")


@dataclass(eq=False, slots=True)
class Membership:
    """Share a consumer's place in its group with the keeper, which may run in another thread.

    Attributes:
        group: the group.
        worker: the name of the worker in the group.
        tenures: the tenures of the consumer, kept up to date by the consumer.
        report: what other workers read about this worker, kept up to date by the consumer.
        joined: when the worker was registered last; written by the consumer's rounds, too.
        has_left: whether the worker has left the group, and must not be registered again.
    """

    group: str
    worker: str
    tenures: Mapping[Post, Tenure]
    report: bytes = b""
    joined: float = _NEVER
    has_left: bool = False


class LeaseRenewal:
    """Renew all leases of a process in one conversation with the broker.

    A renewal that gets no answer does not keep the next from trying, on another connection: at most
    two renewals wait at the same time, each for a limited time.

    Args:
        wake: calls a function in the event loop of the tenures.
        report: emits a notice.
    """

    def __init__(
        self,
        broker: Broker,
        limits: Limits,
        wake: Callable[[Callable[[], None]], None],
        report: Callable[[Notice], None],
    ) -> None:
        self._broker = broker
        self._limits = limits
        self._wake = wake
        self._report = report
        self._memberships: tuple[Membership, ...] = ()
        self._asked = self._confirmed = _NEVER
        self._waiting: dict[asyncio.Task[None], float] = {}
        """The renewals without an answer, and when each began."""
        self._is_reported = False
        """Whether trouble was reported since the last answer."""

    def keep(self, membership: Membership) -> None:
        """Renew the leases and the membership of a consumer from now on."""
        # Never changed in place: the keeper may iterate over the old tuple at this moment.
        self._memberships = (*self._memberships, membership)

    def drop(self, membership: Membership) -> None:
        """Renew nothing of a consumer any more. Called in the thread of `keep`."""
        self._memberships = tuple(each for each in self._memberships if each is not membership)

    @property
    def state(self) -> Renewing:
        """Return how far the renewals are."""
        return Renewing(self._asked, self._confirmed, len(self._waiting))

    def begin(self, now: float) -> None:
        """Begin a renewal; do not wait for its answer."""
        if self._waiting:
            self._report_once(catalogue.LeasesUnanswered(seconds=round(now - self._asked, 3)))
        self._asked = now
        task = asyncio.create_task(self._renew(now))
        self._waiting[task] = now
        task.add_done_callback(self._waiting.pop)

    async def close(self) -> None:
        """Wait for the end of the renewals, which have a time limit."""
        if self._waiting:
            await asyncio.wait(self._waiting)

    async def _renew(self, asked: float) -> None:
        try:
            async with asyncio.timeout(self._limits.answer):
                await self._renew_all(asked)
        except (BrokerError, TimeoutError):
            # The consumer's rounds meet the same trouble and report it. A tenure whose lease runs
            # out ends by itself.
            return
        except Exception as error:  # noqa: BLE001 - nobody else would report it for hours
            self._report_once(failure_of("LeaseRenewal", error, self._limits.tick))
            return
        self._confirmed = max(self._confirmed, asked)
        self._is_reported = False
        # Their connections are slower than this renewal's, or dead.
        for task, began in self._waiting.items():
            if began < asked:
                task.cancel()

    async def _renew_all(self, asked: float) -> None:
        """Renew every lease and membership. Raises the first error about a lease."""
        memberships = self._memberships
        joining = (self._join(membership, asked) for membership in memberships)
        await asyncio.gather(self._renew_leases(memberships, asked), *joining)

    async def _renew_leases(self, memberships: Sequence[Membership], asked: float) -> None:
        # `list` copies in one step of the interpreter: another thread changes these mappings.
        held = [tenure for each in memberships for tenure in list(each.tenures.values())]
        tenures = [tenure for tenure in held if tenure.running]
        if not tenures:
            return
        leases = [tenure.lease for tenure in tenures]
        answers = await self._broker.renew_all(leases, self._limits.lease)
        errors = []
        for tenure, answer in zip(tenures, answers, strict=True):
            if isinstance(answer, BaseException):
                errors.append(answer)
            elif answer:
                # From before the request: the broker counts from its arrival, so this process never
                # believes in a lease for longer than the broker does.
                tenure.term.extend(asked, self._limits.lease)
            else:
                # No call begins from here on. The loop ends the calls that run.
                tenure.term.refuse()
                self._wake(tenure.lose)
        if errors:
            raise errors[0]

    async def _join(self, membership: Membership, asked: float) -> None:
        """Keep a worker among the live workers while its rounds stand still."""
        if asked - membership.joined < self._limits.pause or membership.has_left:
            return
        group, worker = membership.group, membership.worker
        try:
            # With the report: a live worker without a report passes for a worker of an older
            # release, next to whom no receiver is set aside.
            await self._broker.join(group, worker, self._limits.lease, membership.report)
            membership.joined = max(membership.joined, asked)
            if membership.has_left:
                # The worker has left meanwhile, and this request may have come later.
                await self._broker.leave(group, worker)
        except BrokerError:
            return  # tried again with the next renewal

    def _report_once(self, notice: Notice) -> None:
        if not self._is_reported:
            self._is_reported = True
            self._report(notice)
