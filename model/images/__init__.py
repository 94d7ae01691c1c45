"""From an image to the network's pixels: framing, areas, preprocessing."""
