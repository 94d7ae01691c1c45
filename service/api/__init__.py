"""The HTTP doors: one folder for each, and beside the folders the modules that several doors share.

A door reads its own request, calls `service.inspection.inspect_part`, and writes its own answer.
"""
