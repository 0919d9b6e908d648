"""Remember what the open transactions of a connection have done, until they end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgy_bus.integrations.sqlalchemy.calling import Call

Later = Callable[[], Call]
"""Makes the call of a receiver that waits for the commit."""


@dataclass(slots=True, eq=False)
class Page:
    """What a transaction, or a savepoint in a transaction, has done.

    Attributes:
        transaction: the transaction.
        has_written: whether it has written events.
        later: the calls that wait for the commit.
    """

    transaction: object
    has_written: bool = False
    later: list[Later] = field(default_factory=list)


class Journal:
    """The open transaction of a connection, with its savepoints."""

    def __init__(self) -> None:
        self._pages: list[Page] = []

    @property
    def is_open(self) -> bool:
        """Return whether a transaction is open."""
        return bool(self._pages)

    def begin(self, transaction: object) -> None:
        """Note the begin of a transaction, or of a savepoint in the open transaction."""
        self._pages.append(Page(transaction))

    def note_events(self) -> None:
        """Note that the innermost transaction has written events."""
        self._pages[-1].has_written = True

    def defer(self, calls: Sequence[Later]) -> None:
        """Note calls that wait for the commit of the innermost transaction."""
        self._pages[-1].later += calls

    def commit(self, transaction: object) -> Page | None:
        """Note a commit; return what is due if nothing can undo the transaction any more."""
        page = self._take(transaction)
        if page is None or not self._pages:
            return page
        # The release of a savepoint commits nothing: the outer transaction may still roll back.
        outer = self._pages[-1]
        outer.has_written = outer.has_written or page.has_written
        outer.later += page.later
        return None

    def roll_back(self, transaction: object) -> None:
        """Forget what a transaction has done."""
        self._take(transaction)

    def _take(self, transaction: object) -> Page | None:
        for page in reversed(self._pages):
            if page.transaction is transaction:
                self._pages.remove(page)
                return page
        # databasez wraps a transaction that was open before; nothing was noted there.
        return None
