"""Readers for formats that Pillow decodes wrongly or not at all (TIFF, PNM), and refused formats.

Each reader is a subclass of Pillow's `ImageFile`. Samples of more than 8 bits keep their high
bytes; 16-bit grey is unchanged, and `model.images.preprocess.upright` selects its bits.
"""
