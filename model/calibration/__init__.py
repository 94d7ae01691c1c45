"""Thresholds from scores of good parts (and of defective ones), and scores from 0 to 1 by them.

>>> from model.calibration.calibration import Calibration
>>> scores = [number / 10 for number in range(99)]
>>> calibration = Calibration.fit(scores, scores, alpha=0.05)
>>> calibration.score(calibration.image_threshold)
0.5
>>> str(calibration.decide(9.9))
'NG'
"""
