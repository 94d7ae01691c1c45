"""An image on its way to the network: upright (EXIF), framed, its areas that count, its pixels."""
