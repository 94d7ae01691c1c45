"""The page Review: what waits for a person's verdict, and a sample of the good parts.

`routes` has the page and its actions, `single` those of a part's own page, `desk` finds what is
shown, `claims` keeps two people from looking at the same part.
"""
