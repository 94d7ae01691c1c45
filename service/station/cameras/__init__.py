"""Cameras: each takes one image after a trigger, and no image that existed before it.

    camera = open_camera("top", settings.cameras["top"])
    await camera.open()
    take = await camera.arm(Shot(17, "cell-17"))  # before TriggerAck
    frame = await take()  # raises CameraSilent
    reason = checker.check(frame.content)

`streaming` has the cameras that send images all the time: a thread reads each of them from one
of the `sources`. To add a kind of camera, write a source, or a class that keeps `camera.Camera`,
give it settings, and name it in `opening`.
"""
