"""The container files, and programs that build and test the images."""
