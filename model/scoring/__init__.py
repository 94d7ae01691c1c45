"""From features to an anomaly map, and from the map to a raw score, regions and pictures.

Two ways to measure how far a part's features are from the rebuilt ones:

- `cosine_map`, the paper's: one minus the cosine at each place, averaged over three scales. With
  `Scoring.standardise`, each pixel is then measured from the mean that good parts show there, in
  their deviations (`map_baseline`).
- `residuals` and `residual_baseline`, with `Scoring.distance` "mahalanobis": a Gaussian of the
  differences at each place of each scale's own grid; the map is the mean of the distances from it.

Both baselines suit parts that lie the same way in every image. A baseline is fitted on the images
trained on, never on the held-out ones: those have to meet it as new parts will, or the conformal
promise would not hold. A finest scale that `Scoring.scale_weights` sets to 0 is not rebuilt at all.
"""
