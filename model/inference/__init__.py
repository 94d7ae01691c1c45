"""`Detector`: the one path from images to decisions, for trainer, command line and service alike.

    detector = model.open_checkpoint(model.Checkpoint.load(Path("weights/solar/3")))
    detector.inspect_images([Image.open("part.png")], "solar-mono")[0].decision

It computes with any `Engine`. Calibration and serving use the same code.
"""
