"""Plays the PLC's side: for commissioning without a PLC, and for tests.

    plc = SimulatedPlc(("127.0.0.1", 5020), SimulatorSettings(parts=20), expose=camera.expose)
    report = await plc.run()
    report.problems, report.verdicts

`random_plc` triggers parts by chance, `playing` performs the steps of a script or of a prompt; both
talk over a link of `links`.
"""

from service.station.simulating.camera import Expose, SimulatedCamera, no_camera, pictures_in
from service.station.simulating.random_plc import Report, SimulatedPlc, SimulatorSettings

__all__ = [
    "Expose",
    "Report",
    "SimulatedCamera",
    "SimulatedPlc",
    "SimulatorSettings",
    "no_camera",
    "pictures_in",
]
