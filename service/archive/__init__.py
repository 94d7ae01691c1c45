"""Every inspection is kept here: rows in a journal, images and raw maps as files.

    <state_dir>/archive/journal.db                 SQLite; `journal` alone writes it
    <state_dir>/archive/media/2026-11-29/ab/ab...  files named by their SHA-256, by day
    <state_dir>/archive/.lock                      locked by the running service

`inspection` awaits the archive before it returns a result; `delivery` carries the journal's events
to the sinks. The same tables, without the journal's own, are in the PostgreSQL that all nodes
deliver to.
"""
