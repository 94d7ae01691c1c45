"""Builds the images `cpu` and `edge`, runs them like a container engine, and inspects samples.

    make image-check

Needs no container engine: `buildah` builds the images, Linux namespaces run them (`sandbox`).
"""
