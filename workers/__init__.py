"""Provide example programs for `compose.yaml` and `deploy/`.

`accounts` owns users, and `relay` publishes its events. `web` writes users for requests over HTTP.
`billing`, with tables of SQLAlchemy, writes an invoice for each user; `notifications` and `search`
receive what the others publish.
"""
