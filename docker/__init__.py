"""The container files, and the programs that build and try the images."""
