"""One reader for each layout of a dataset."""
