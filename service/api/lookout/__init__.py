"""The door that answers as Lookout for Vision does."""
