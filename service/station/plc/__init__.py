"""Doors to the PLC: each carries the same two images, `PlcImage` and `StationImage`.

    door = ModbusDoor(settings.plc.modbus, heard=lambda image: ...)
    await door.open()
    door.show(StationImage(ready=True))

`layout` gives every bit and register its place; a door knows no rule of the handshake.
"""
