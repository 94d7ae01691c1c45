"""Deletes inspections, and images and raw maps, that are older than the settings allow or too many.

    with Retention(journal, media, settings.archive, sinks=["mes"], metrics=metrics).running():
        ...

Nothing is deleted that is held, or that a sink has not taken yet. Rows go first, then files.
"""

from service.archive.retention.purging import Preview, Purged, Purger
from service.archive.retention.rounds import Retention

__all__ = ["Preview", "Purged", "Purger", "Retention"]
