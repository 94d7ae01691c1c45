"""An image before and after the network: decoded within limits, turned upright, framed, drawn.

    prepared = preparer.prepare(route, Upload("top.png", content), keep=False)
    prepared.pixels, prepared.timings_ms

Large or slow images are decoded in a process that can be killed (`child_pool`).
"""
