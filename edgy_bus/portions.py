"""Choose how much to ask for at a time: less after a failure, more again after a success."""

_CUT = 4
"""A portion that failed is asked for again in this fraction."""


class Portion:
    """Hold a size that adapts to what the other side can bring in time.

    Pure arithmetic: the caller measures, and says how a portion went.

    Args:
        most: the largest size, with which the portion begins.

    Attributes:
        size: how much to ask for next; at least 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = most

    def went_well(self) -> None:
        """Ask for twice as much next time."""
        self.size = min(self._most, self.size * 2)

    def went_badly(self) -> None:
        """Ask for a part next time: the portion took too long, or failed."""
        # Down to 1, where a caller that takes at least one piece takes a single piece: what fails
        # then does not fail because of its size.
        self.size = max(1, self.size // _CUT)
