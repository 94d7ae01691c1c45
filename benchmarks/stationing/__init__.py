"""What `benchmarks.station` is made of: a service, stations as processes, PLCs, and the count.

service, station = Service(...), StationProcess(...)
with ended([service, station]):
    service.start()
"""
