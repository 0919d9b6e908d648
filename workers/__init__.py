"""Programs that `compose.yaml` and `deploy/` run: a service, its relay, and two other services that hear of it."""
