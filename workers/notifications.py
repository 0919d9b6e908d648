"""Run the service `notifications`: queue mails for new users and invoices, without their classes.

Run it with `edgy-bus worker workers.notifications:bus`, or as a program.
"""

import os
import sys
from typing import Any

import edgy_bus as edgy
from edgy_bus.cli import main

database = edgy.Database(os.environ["EDGY_BUS_DATABASE_URL"])
registry = edgy.Registry(database=database)
bus = edgy.Bus(os.environ["EDGY_BUS_REDIS_URL"], service="notifications")
bus.on_start(registry.create_all)


class Mail(edgy.Model):
    """A queued mail, about a row of another service."""

    id: int = edgy.BigIntegerField(primary_key=True)
    user_id: int = edgy.BigIntegerField()
    kind: str = edgy.CharField(max_length=20)

    class Meta:
        registry = registry


@bus.receiver("accounts.User", "post_save", inbox=database)
async def welcome(sender: str, instance: Any, **kwargs: object) -> None:
    """Queue a mail. The inbox's transaction makes a repeated delivery harmless."""
    await Mail.query.create(user_id=instance.id, kind="welcome")


@bus.receiver("billing.Invoice", "post_save", inbox=database)
async def send_invoice(sender: str, instance: Any, **kwargs: object) -> None:
    """Queue a mail about an invoice, which the service `billing` wrote with SQLAlchemy."""
    await Mail.query.create(user_id=instance.user_id, kind="invoice")


if __name__ == "__main__":
    main(["worker", "workers.notifications:bus", *sys.argv[1:]])
