"""Builds the images `cpu` and `edge`, runs them as an engine would, and inspects samples with them.

    make image-check

Needs no container engine: `buildah` builds, and Linux namespaces run what was built (`sandbox`).
"""
