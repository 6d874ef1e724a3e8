"""A KMIP client: codec, protocol, transport, pool, and the operations on top of them."""
