"""Checkpoints on disk: the store, manifests, weights, and import of published checkpoints.

    checkpoint = CheckpointStore(Path("weights")).load("bottle")

A checkpoint is JSON and safetensors, so reading it cannot run code. The manifest has the SHA-256 of
every file, which is verified before the file is parsed. The frozen encoder is stored once in
`encoders/`, named by its content, and shared by all checkpoints that use it. A version is written
to a temporary folder and renamed, so a folder with a version's name is complete.

`store` reads a version without its network and without torch; `checkpoint` adds the network.
"""
