"""A KMIP appliance for trial and tests: PyKMIP's engine, extended, behind a TLS listener on loopback.

Its packages come with the extra `appliance`.
"""
