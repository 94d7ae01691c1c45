"""Cameras: each takes one image after a trigger, and no image that existed before it.

    camera = open_camera("top", settings.cameras["top"])
    take = await camera.arm(Shot(17, "cell-17"))  # before TriggerAck
    frame = await take()  # raises CameraSilent
    reason = checker.check(frame.content)

To add a kind of camera, write a class that keeps `camera.Camera`, give it settings, and name it in
`opening`.
"""
