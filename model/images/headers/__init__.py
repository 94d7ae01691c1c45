"""Read the size, memory and decoding time of an image file from its header.

Each format has a reader, which decodes no pixels and stops after a bounded number of steps.
`model.images.decoding` compares the results with limits.
"""
