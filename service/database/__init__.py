"""How a database gets this release's tables, for every room that keeps some.

steps = Steps(folder, tables=metadata, compatibility=compatibility, version_table="...", ...)
steps.migrate("postgresql://mambaad@db.plant/mambaad")
"""
