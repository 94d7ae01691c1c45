"""One state for several nodes, in a PostgreSQL: routes, thresholds, keys, and their audit.

    shared = open_shared(settings.state, folder, node="line-1", metrics=metrics)
    shared.follower.start()

The state has one version number. A change is a compare-and-set on it: `deployment`. A thread of
each node follows it: `follower`. What a node knows is in `copy`, in its state folder, and it goes
on from there while the PostgreSQL is away. Requests read memory alone: none waits for `link`.
"""
