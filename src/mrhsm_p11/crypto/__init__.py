"""The local engine: mechanisms computed on `cryptography`, one module a family. Enter through engine and material."""
