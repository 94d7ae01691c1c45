"""One module for each kind of sink; every sink keeps the Protocol in `sink`.

    sink = opened("mes", settings, place)        # `opening` chooses the class
    outcomes = sink.deliver(parcels)             # blocks; one outcome for each parcel it got to
    sink.close()

A new kind: settings in `service.settings.sinks`, a module here, and a line in `opening`.
"""
