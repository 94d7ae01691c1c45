"""Finds inspections again and judges them, in the journal or in the PostgreSQL of all nodes.

    page = await archive.read(lambda connection: search(connection, Filter(part_id="4711"), 50))

`archive` is what the door uses; the other modules work on one connection of either database.
"""
