"""The door for clients of the Open Inference Protocol (KServe, Triton): `/v2/models/...`."""
