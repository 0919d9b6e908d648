"""Keep the values of statements out of the log of `databases`."""

import logging


class _WithoutValues(logging.Filter):
    """Replace the values that `databases` writes to its log at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, statements without their values."""
        if str(record.msg).startswith("Query: %s Args: %s") and isinstance(record.args, tuple):
            record.args = (record.args[0], "(not logged)")
        return True


_without_values = _WithoutValues()


def silence_values() -> None:
    """Keep values out of the log from now on, wherever the program writes its log."""
    # addFilter adds the same filter once.
    logging.getLogger("databases").addFilter(_without_values)
