"""Run the service `accounts`: the owner of the users, which knows none of its subscribers."""

import edgy_bus as edgy
from edgy_bus.demo.config import DemoConfig
from edgy_bus.signals import pre_save

config = DemoConfig.from_environment()
database = edgy.Database(config.accounts)
# The relay runs in a process of its own; a second relay here would only compete for the lease.
bus = edgy.Bus(
    config.broker, service="accounts", prefix=config.prefix, relay=False, relaying=config.relaying
)
registry = edgy.Registry(database=database, bus=bus)


class User(edgy.Model):
    """A user. Every operation raises `version` by one, so that the account can name each effect."""

    id: int = edgy.BigIntegerField(primary_key=True)
    name: str = edgy.CharField(max_length=100)
    email: str = edgy.EmailField()
    password: str = edgy.CharField(max_length=100, secret=True, default="")
    version: int = edgy.IntegerField(default=1)

    class Meta:
        registry = registry


class Vetoed(Exception):
    """Refuses a user."""


@pre_save(User)
async def check(sender: type[User], instance: User, **kwargs: object) -> None:
    """Normalise the address, and refuse spam, in this process and before the INSERT."""
    instance.email = instance.email.strip().lower()
    if instance.email.endswith("@spam.example"):
        raise Vetoed(instance.email)
