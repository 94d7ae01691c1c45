"""The page Review: what waits for a person's verdict, and a sample of the good parts."""
