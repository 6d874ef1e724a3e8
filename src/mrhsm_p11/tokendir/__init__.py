"""State below conf/tokens: files, sealing, entries of mrhsm.conf, tokens."""
