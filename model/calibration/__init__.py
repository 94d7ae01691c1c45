"""Thresholds from scores of good and defective parts."""
