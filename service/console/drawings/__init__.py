"""The picture of an archived part, for every page: its image, and what lies over it."""
