"""The door of the Open Inference Protocol, `/v2`."""
