"""What a PKCS #11 attribute, mechanism or result is, as tables: no input, no output, no state."""
