"""The station beside the machine: PLC and camera on one side, the inspection service on the other.

    station = load_station(Path("station.yaml"))
    asyncio.run(run_station(station))

`machine` decides, without I/O and without a clock. `plc` shows it to the PLC, `cameras` take the
images, `spool` keeps every part until the service has archived it, and `run` joins them. The
station knows the service through `service.client` alone, and may run on another host. It is no
safety function.
"""
