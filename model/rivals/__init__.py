"""Other methods on the same frozen features: what a checkpoint has to beat to be worth training.

scores.py     ways to make one number of an anomaly map
"""
