"""The door to the archive: record, search, verdicts, holds, media, summaries."""
