"""One inspection, the same for every door: decode, compute, notify the observers, return.

    result = await inspect_part(PartRequest("bolt", [Upload("top.png", content)]))

Nothing here knows HTTP, JSON or a URL. `inspect_part` finds the version that serves the category,
with the thresholds in force, before any image is decoded. `pipeline` takes one image through all
stages. It reserves the answer's memory before it calls the observers, so that no part is recorded
as OK while its client gets 503.
"""
