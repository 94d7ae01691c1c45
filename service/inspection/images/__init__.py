"""An image before and after the network: decoded within limits, turned upright, framed, drawn."""
