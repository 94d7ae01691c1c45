"""What an image file declares in its header: size, memory, and how much work its decoding is.

One reader for each format, on bytes alone: none decodes a pixel, and each stops after a bounded
number of steps. `model.images.decoding` holds what they say against limits.
"""
