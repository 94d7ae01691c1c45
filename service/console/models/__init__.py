"""The page Models: versions, what serves where, canary and shadow.

overview.py    what serves each category, and the store's versions by name
details.py     one version: memory, golden images, metrics, training
self_checks.py the drawn defects that a version's training found, and its recommendation
manifest_values.py  values of a manifest, each only if it has the right type
targets.py     the route that a person wants, and the one to roll back to
comparing.py   a canary's decisions beside those of the stable version
"""
