"""One inspection, the same for every door: decode the image, have it computed, tell the observers.

    result = await inspect_part(PartRequest("bolt", [Upload("top.png", content)]))

Nothing here knows HTTP, JSON or a URL. `inspect_part` finds the version that serves the category,
and with it the thresholds of this moment, before any image is decoded. `pipeline` is the way of one
image. The memory for the answer is reserved before the observers are told, so that no part is
recorded as OK while its client gets 503.
"""
