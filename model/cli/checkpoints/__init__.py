"""Commands that make or change checkpoints: `mambaad advise`, `calibrate`, `golden`, and others."""
