"""Who may connect, read and command: certificates, users with passwords, and roles.

Trust(Path("trusted")).check(certificate, "urn:example:scada")
await Passwords(Path("users")).verify("scada", "a long password")
"""
