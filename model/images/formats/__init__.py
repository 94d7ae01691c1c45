"""What Pillow does not read, or not rightly: TIFF by its layout, PNM; and formats that are refused.

Each reader is Pillow's `ImageFile`, opened by its class as those of Pillow are. Samples of more
than 8 bits keep their high bytes; 16-bit grey stays as it is, for `model.images.preprocess.upright`
to choose from.
"""
