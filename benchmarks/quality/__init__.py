"""Whether the network finds defects as well as PaDiM and PatchCore do, on many small data sets.

    python -m benchmarks.quality run --subset quick

sets.py       the sets: which choose recipes, which are reported last
surfaces.py   photographs: areas for training and for tests, and windows in them
making.py     a set's images and masks as files, from surfaces and solar cells
measuring.py  images to scores and maps, by the methods
results.py    one result of a set, seed and method as a file
differences.py  paired differences with intervals
table.py      all of it as one table
"""
