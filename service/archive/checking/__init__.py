"""Compares the archive's rows, files and roll-ups, beside a running service or without one.

reading, media = Readers(folder / "journal.db").reading, Media(folder / "media", 0)
problems = [*check_database(reading), *check_rows(reading, media), *check_rollups(reading)]
"""
