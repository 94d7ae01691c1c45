"""`Detector`: the one path from images to decisions, for trainer, command line and service alike.

    detector = model.open_checkpoint(model.Checkpoint.load(Path("weights/solar/3")))

It computes with any `Engine`. Whatever was calibrated through it is therefore what is served.
"""
