"""Name the environment variables that programs of this library read."""

FOLLOW_STDIN = "EDGY_BUS_FOLLOW_STDIN"
"""The program stops when its standard input ends.

The input ends when the parent process has died, no matter how, SIGKILL included.
"""

METRICS_FILE = "EDGY_BUS_METRICS_FILE"
"""The file through which a process of `--processes` hands its metrics to its supervisor."""

BROKER = "EDGY_BUS_BROKER"
"""The URL of the broker for commands of operators, which a list of processes does not show."""

OPERATOR = "EDGY_BUS_OPERATOR"
"""The name of the operator for the log of actions; by default USER@HOST."""

DASHBOARD_USERS = "EDGY_BUS_DASHBOARD_USERS"
"""Who may sign in to the dashboard: `NAME:ROLE:SECRET` on lines of their own."""
