"""From features to an anomaly map, and from the map to a raw score, regions and pictures.

    scoring = Scoring(statistic="top_mean", top_fraction=0.01)
    scoring.raw_scores(maps)  # one score a map

A part's features are compared with the reconstructed ones in one of two ways:

- `cosine_map`, the paper's: one minus the cosine at each place, averaged over three scales. With
  `Scoring.standardise`, `map_baseline` then subtracts the mean of good parts from each pixel and
  divides by their deviation there.
- `residuals` and `residual_baseline`, with `Scoring.distance` "mahalanobis": a Gaussian of the
  differences at each place of each scale's grid; the map is the mean of the distances from it.

Both baselines suit parts that lie the same way in every image. With `Scoring.memory`, the distances
from remembered patches of good parts (`memory`) are added to either map (`fused_baseline`), also of
parts that lie anywhere. A baseline is fitted on the training images, never on the held-out ones:
those must be as new to it as future parts, or the conformal guarantee fails. The finest scales are
not reconstructed if `Scoring.scale_weights` sets them to 0.
"""
