"""Commands that make or change checkpoints: `mambaad calibrate`, `golden`, `export`, `import`."""
