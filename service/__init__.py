"""The inspection service: everything about serving `model` over HTTP, and nothing about networks.

`service.app.create_app` is where it begins. Nothing is imported here, since a worker's process
imports this package too and needs none of the web framework.
"""
