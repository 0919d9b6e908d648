"""Count attempts before they are made, for events that may have crashed their worker.

The first owner of an entry writes nothing before it runs a receiver: that saves a round trip for
nearly every event. An entry that comes from an earlier owner may be the reason that its process
died. Without a count that is written before the call, such an event would kill process after
process.
"""

from collections.abc import Sequence

from edgy_bus.runtime.acknowledger import Acknowledger
from edgy_bus.runtime.jobs import Job
from edgy_bus.runtime.outcome import Note
from edgy_bus.runtime.term import Term


class Attempts:
    """Count the attempts at inherited entries."""

    def __init__(self, term: Term, acknowledger: Acknowledger) -> None:
        self._term = term
        self._acknowledger = acknowledger

    async def count(self, jobs: Sequence[Job]) -> bool:
        """Count an attempt at each inherited job, before these jobs are called together.

        Returns:
            False if the call must not be made after all: the tenure stops, or its lease may have
            run out during the report to the broker.
        """
        inherited = [job for job in jobs if job.inherited]
        # An event that is not called alone does not reach its last attempt: another event of the
        # batch may be the reason that the process ends.
        spared = 1 if len(jobs) > 1 else 0
        for job in inherited:
            most = job.subscription.receiver.options.retry.attempts - spared
            begun = Note(min(job.note.attempts + 1, most), reason=job.note.reason)
            job.handling.begun = {**(job.handling.begun or {}), job.subscription.name: begun}
        await self._acknowledger.assure([job.handling for job in inherited])
        if self._term.may_begin():
            return True
        # The count that was just written stays too high by one attempt until this is reported, so
        # it is reported at once. If the report is lost, the event is given up after fewer calls,
        # and never after more.
        self._acknowledger.hurry()
        for job in inherited:
            if job.handling.begun and job.handling.begun.pop(job.subscription.name, None):
                self._acknowledger.owe(job.handling)
        return False
