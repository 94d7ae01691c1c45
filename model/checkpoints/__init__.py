"""Checkpoints on disk: the store, a version's manifest, its weights, and published checkpoints.

On disk a checkpoint is JSON and safetensors, and nothing that could run code when it is read. The
manifest names the SHA-256 of every file, which is verified before a byte of the file is parsed. The
frozen encoder, the larger half, lies once in `encoders/`, under a name made from its content, and
every checkpoint that uses it shares it. A version is written beside the others and appears by one
rename: a folder that has a version's name is complete.

`store` reads all of a version but the network, and needs no torch; `checkpoint` adds the network.
"""
