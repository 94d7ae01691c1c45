"""Which library a version needs; it is imported only then."""
