"""Sessions: the browsers that have signed in, and the tokens of their forms."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edgy_bus.dashboard.access import Role

LIFETIME = 8 * 3600.0
"""Seconds after which a person has to sign in again."""

MOST = 1_000
"""Sessions at once; the oldest end first."""


@dataclass(slots=True)
class Session:
    """A browser that may use the dashboard.

    Attributes:
        operator: the name for the log of actions; None for USER@HOST of the dashboard.
        role: the role of the user.
        ends: the end, in seconds of the sessions' clock.
        token: carried by every form of the session.
        notices: results of actions, shown on the next page.
    """

    operator: str | None
    role: Role
    ends: float
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    notices: list[tuple[str, str]] = field(default_factory=list)

    def say(self, text: str, kind: str = "good") -> None:
        """Show a sentence on the next page."""
        self.notices.append((kind, text))

    def said(self) -> list[tuple[str, str]]:
        """Return the sentences for the next page, once."""
        notices, self.notices = self.notices, []
        return notices


class Sessions:
    """The sessions of one process. They end with the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_id: dict[str, Session] = {}
        self._of_users: dict[str, str] = {}
        """User to the session of requests that carry the user's secret each time."""

    def open(self, operator: str | None, role: Role) -> tuple[str, Session]:
        """Begin a session; return its id, which only the browser gets."""
        # Ended sessions are removed here alone: a look at one must stay cheap.
        self._tidy()
        session = Session(operator, role, self._clock() + LIFETIME)
        # A new id at each sign-in: an id that another person has set beforehand opens nothing.
        session_id = secrets.token_urlsafe(32)
        self._by_id[session_id] = session
        return session_id, session

    def shared(self, operator: str, role: Role) -> tuple[str, Session]:
        """Return the session of a user whose requests carry the secret each time."""
        # Programs keep no cookies: a session for each request would end those of people.
        session_id = self._of_users.get(operator, "")
        session = self.get(session_id)
        if session is None:
            session_id, session = self.open(operator, role)
            self._of_users[operator] = session_id
        return session_id, session

    def get(self, session_id: str | None) -> Session | None:
        """Return a session that has not ended."""
        session = self._by_id.get(session_id or "")
        if session is None or session.ends <= self._clock():
            return None
        return session

    def close(self, session_id: str | None) -> None:
        """End a session."""
        self._by_id.pop(session_id or "", None)

    def _tidy(self) -> None:
        now = self._clock()
        for session_id in [key for key, each in self._by_id.items() if each.ends <= now]:
            del self._by_id[session_id]
        # Without users, each request without a cookie begins a session.
        while len(self._by_id) >= MOST:
            del self._by_id[next(iter(self._by_id))]
