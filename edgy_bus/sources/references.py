"""Which tables refer to each other, and what the database does when a row is deleted."""

from collections import defaultdict

from sqlalchemy import Table

_CASCADE = "CASCADE"


def refers_to_itself(table: Table) -> bool:
    """Return whether deleting a row can delete, change or need other rows of the same table.

    Looks at foreign keys of the table to itself, and at those through other tables whose rows the
    database deletes with a row of this table.
    """
    children: defaultdict[str, list[tuple[str, bool]]] = defaultdict(list)
    for child in table.metadata.tables.values():
        for key in child.foreign_keys:
            parent = key.target_fullname.rpartition(".")[0]
            children[parent].append((child.fullname, key.ondelete == _CASCADE))
    reached, waiting = {table.fullname}, [table.fullname]
    while waiting:
        for child_name, cascades in children[waiting.pop()]:
            if child_name == table.fullname:
                return True
            if cascades and child_name not in reached:
                reached.add(child_name)
                waiting.append(child_name)
    return False
