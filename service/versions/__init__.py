"""Which version of which checkpoint serves a category, and how operators change that.

A version's way into service: `rollout` checks that the version claims the category, and `lifecycle`
has every worker load it: each hash verified, each batch size warmed up and timed, golden images
compared with their stored scores. Workers go on computing batches meanwhile. Then `state` writes
the change and its audit record to disk, and `registry` swaps its table in one step. A request that
has its route keeps it, so one version answers the whole request. A version that serves nothing any
more drains, and is then unloaded. Loading a version that serves already applies its new
calibration, once that is on record. The folder of the state is locked: one service writes it.
"""
