"""The journal's SQLite: one thread with the only connection that writes, and readers.

    writer = WritingThread(Opening(folder / "journal.db", node="line-1"), WaitingWrites(10_000))
    writer.start()

One connection alone writes and checkpoints. This is more than a habit: SQLite before 3.51.3 can
lose a commit if a second connection writes or checkpoints at the wrong moment (the WAL-reset fault,
also fixed in 3.50.7 and 3.44.6).
"""
