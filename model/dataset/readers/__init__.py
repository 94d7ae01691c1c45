"""One reader for each data set layout; `model.dataset.layouts` picks the one for a folder."""
