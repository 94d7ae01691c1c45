"""Builds the images `cpu` and `edge`, runs them like a container engine, and inspects samples.

    make image-check
    make image-check-cluster

The second builds the image `cluster`, and runs it as a head of Ray, a node that computes, and a
service beside another node.

Needs no container engine: `buildah` builds the images, Linux namespaces run them (`sandbox`).
"""
