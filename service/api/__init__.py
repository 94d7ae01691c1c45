"""The HTTP doors, a folder for each, and the modules that several doors share.

A door reads its own request, calls `service.inspection.inspect_part`, and writes its own answer.
"""
