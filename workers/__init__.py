"""Provide example programs for `compose.yaml` and `deploy/`.

A service that owns users, its relay, and two services that receive the changes of users.
"""
