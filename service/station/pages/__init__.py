"""The station's status page, for people; `/status.json` for programs; `/metrics` for Prometheus.

    pages = StatusPages(settings, board, metrics, ask)
    pages.listen()              # raises CannotListen
    pages.start()               # after the station has opened
    pages.close()

`board` and `metrics` are watchers of the station: they note what happens, in microseconds. All
else runs in a thread with its own event loop, so that no browser delays the machine. The page
changes nothing on the station.
"""
