"""The nouns of PKCS #11 and their lifetimes: provider, slot, token, session, object, operation."""
