"""Changes of sets: any rows with any references between them agree with a plain Python model."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgy_bus as edgy
from edgy_bus.errors import IntegrityError
from edgy_bus.outbox.table import outbox
from edgy_bus.sources import LocalWriter, writes
from tests.integration.service import Service

ACTIONS = ("RESTRICT", "CASCADE", "SET NULL")


class Node(NamedTuple):
    """A row of the plain model."""

    parent: int | None
    color: int
    n: int


Rows = dict[int, Node]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Rows whose parents may have larger or smaller keys, so that no order of keys suits all."""
    count = draw(st.integers(0, 9))
    keys = draw(st.permutations(range(1, count + 1)))
    nodes: Rows = {}
    for key in keys:
        # A parent exists before its child, or is the row itself.
        parent = draw(st.sampled_from([None, *nodes, key]))
        nodes[key] = Node(parent, draw(st.integers(0, 1)), draw(st.integers(0, 3)))
    return nodes


class Operation(NamedTuple):
    """The change of a set: the rows of some colors, of some numbers, or of both."""

    colors: list[int]
    least: int
    page: int
    mode: str

    def matches(self, node: Node) -> bool:
        return node.color in self.colors and node.n >= self.least

    def query(self, model: Any) -> Any:
        return model.query.filter(color__in=self.colors, n__gte=self.least)


OPERATIONS = st.builds(
    Operation,
    colors=st.sampled_from([[0], [1], [0, 1]]),
    least=st.integers(0, 2),
    page=st.integers(1, 4),
    mode=st.sampled_from(["recorded", "one event", "muted", "local"]),
)


class Forest(Service):
    """A service with a model whose rows refer to each other."""

    def __init__(self, database: edgy.Database, action: str) -> None:
        super().__init__(database)
        own = self.registry

        class Tree(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            parent: int | None = edgy.ForeignKey(
                "self", null=True, on_delete=action, index=action == "CASCADE"
            )
            color: int = edgy.IntegerField()
            n: int = edgy.IntegerField()

            class Meta:
                registry = own

        self.Tree: Any = Tree

    async def plant(self, nodes: Rows) -> None:
        table = self.Tree.meta.table
        await self.database.run(table.update().values(parent=None))
        await self.database.run(table.delete())
        for key, node in nodes.items():
            await self.database.run(table.insert().values(id=key, **node._asdict()))
        await self.database.run(outbox.delete())

    async def nodes(self) -> Rows:
        found = await self.Tree.query.order_by("id").values_list("id", "parent", "color", "n")
        return {key: Node(*values) for key, *values in found}

    async def events(self) -> list[tuple[str, Any]]:
        events = [(row["subject"], row["data"]) for row in await self.outbox()]
        for _, data in events:
            # The names of the assigned fields, if the event has them.
            data.pop("assigned", None)
        return events

    @contextmanager
    def mode(self, mode: str) -> Iterator[list[list[int]]]:
        """Where the events of an operation go; the value fills with keys that a receiver gets."""
        signals = [self.Tree.meta.signals[name] for name in ("post_update", "post_delete")]
        keys: list[list[int]] = []

        async def note(sender: Any, instance: Any, **kwargs: Any) -> None:
            keys.append(sorted(kwargs["keys"]))

        with ExitStack() as stack:
            for signal in signals:
                if mode == "muted":
                    stack.enter_context(signal.muted())
                if mode == "local":
                    signal.connect(note, edgy.Options(local=True))
                    stack.callback(signal.disconnect, note)
            if mode == "local":
                patch = stack.enter_context(pytest.MonkeyPatch.context())
                patch.setattr(self.registry, "writer", LocalWriter(self.database))
            yield keys


@asynccontextmanager
async def forest(url: str, action: str) -> AsyncIterator[Forest]:
    one = Forest(edgy.Database(url), action)
    async with one.bus:
        await one.registry.create_all()
        yield one
        await one.registry.drop_all()


def instance_of(key: int, node: Node) -> dict[str, Any]:
    return {"id": key, **node._asdict()}


def after_deletion(nodes: Rows, deleted: set[int], action: str) -> Rows | None:
    """Return the remaining rows, or None if the database refuses the deletion."""
    gone = set(deleted)
    while action == "CASCADE":
        reached = {key for key, node in nodes.items() if node.parent in gone} | gone
        if reached == gone:
            break
        gone = reached
    left = {key: node for key, node in nodes.items() if key not in gone}
    orphans = [key for key, node in left.items() if node.parent in gone]
    if orphans and action == "RESTRICT":
        return None
    return left | {key: left[key]._replace(parent=None) for key in orphans}


async def check_deletion(one: Forest, nodes: Rows, operation: Operation, action: str) -> None:
    await one.plant(nodes)
    chosen = {key: node for key, node in nodes.items() if operation.matches(node)}
    left = after_deletion(nodes, set(chosen), action)
    expand = operation.mode != "one event"
    with one.mode(operation.mode) as keys:
        if left is None:
            with pytest.raises(IntegrityError):
                await operation.query(one.Tree).delete(expand=expand)
            assert (await one.nodes(), await one.events()) == (nodes, [])
            return
        assert await operation.query(one.Tree).delete(expand=expand) == len(chosen)
    assert await one.nodes() == left
    events = await one.events()
    if operation.mode == "recorded":
        assert sorted(events, key=lambda event: int(event[0])) == [
            (str(key), {"instance": instance_of(key, node), "is_update": False})
            for key, node in sorted(chosen.items())
        ]
    elif operation.mode == "one event":
        expected = [(None, {"values": {}, "row_count": len(chosen), "is_update": False})]
        assert events == (expected if chosen else [])
    else:
        assert events == []
    if operation.mode == "local":
        assert keys == [sorted(chosen)]


async def check_update(one: Forest, nodes: Rows, operation: Operation) -> None:
    await one.plant(nodes)
    chosen = {key: node for key, node in nodes.items() if operation.matches(node)}
    # The rows stop matching while they are updated.
    changed = {key: node._replace(n=node.n - 3, color=2) for key, node in chosen.items()}
    expand = operation.mode != "one event"
    with one.mode(operation.mode) as keys:
        answer = await operation.query(one.Tree).update(n=edgy.F("n") - 3, color=2, expand=expand)
    assert answer == len(chosen)
    assert await one.nodes() == {**nodes, **changed}
    events = await one.events()
    if operation.mode == "recorded":
        assert sorted(events, key=lambda event: int(event[0])) == [
            (
                str(key),
                {
                    "instance": instance_of(key, changed[key]),
                    "is_update": True,
                    "changes": {
                        "n": {"old": node.n, "new": node.n - 3},
                        "color": {"old": node.color, "new": 2},
                    },
                },
            )
            for key, node in sorted(chosen.items())
        ]
    elif operation.mode == "one event":
        # The database computes a value for each row: no value stands for all of them.
        data = {"values": {"color": 2}, "row_count": len(chosen), "is_update": True}
        assert events == ([(None, data)] if chosen else [])
    else:
        assert events == []
    if operation.mode == "local":
        assert keys == [sorted(chosen)]


@pytest.mark.parametrize("action", ACTIONS)
def test_sets_of_rows_that_refer_to_each_other(
    database_url: str, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asyncio.Runner() as runner:
        context = forest(database_url, action)
        one = runner.run(context.__aenter__())

        @settings(
            max_examples=60,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        )
        @given(rows(), OPERATIONS)
        def deletions(nodes: Rows, operation: Operation) -> None:
            monkeypatch.setattr(writes, "PAGE", operation.page)
            runner.run(check_deletion(one, nodes, operation, action))

        @settings(
            max_examples=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        )
        @given(rows(), OPERATIONS)
        def updates(nodes: Rows, operation: Operation) -> None:
            monkeypatch.setattr(writes, "PAGE", operation.page)
            runner.run(check_update(one, nodes, operation))

        try:
            deletions()
            updates()
        finally:
            runner.run(context.__aexit__(None, None, None))
