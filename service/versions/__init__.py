"""Which version of which checkpoint serves a category, and how operators change that.

    await rollout.route("bolt", Assignment(stable=CheckpointKey("bolts", "4")), author)

1. `rollout` checks that the version is calibrated for the category.
2. `lifecycle` has every worker load it: verify each hash, warm up and time each batch size, and
   compare the golden images with their stored scores. Workers compute batches meanwhile.
3. `state` writes the change and its audit record to disk. One service locks the folder.
4. `registry` swaps its table in one step. A request keeps the route that it has.
5. `lifecycle` drains versions that no longer serve, and unloads them.

Loading a version that already serves applies its new calibration, once that is in the audit.
"""
