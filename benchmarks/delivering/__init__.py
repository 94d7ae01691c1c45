"""What `benchmarks.delivery` is made of: a line, its service, receivers that fail, and the count.

line = Line(url, images, parts_per_s=20)
with line.posting():
    ...
"""
