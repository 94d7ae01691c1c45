"""The steps from one schema to the next; each only adds tables and columns.

A step is a module with `revision`, `down_revision`, `oldest_writer` and `upgrade`. An added column
may be null or has a `server_default`, so that the previous release still writes the table.
`oldest_writer` is the first revision whose release can write the tables after this step.
`service.archive.migrate` runs the steps.
"""
