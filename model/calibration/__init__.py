"""Thresholds from scores of good parts (and of defective ones), and scores from 0 to 1 by them."""
