"""OPC UA: the station as a server that is shaped after OPC 40100-1 (Machine Vision).

    door = OpcUaDoor(settings, heard, station, client)
    await door.open()

`door` joins the parts. `server` and `connections` have what listens, `security` has who may do
what. `vision` builds the address space from the official NodeSet; `jobs`, `recipes`, `results` and
`configurations` answer its methods, `states` and `events` report changes, and `registers` shows
every bit and register as a plain variable. Uses asyncua, and parts of it that may move:
pyproject.toml has an upper bound.
"""

from service.station.plc.opcua.door import OpcUaDoor

__all__ = ["OpcUaDoor"]
