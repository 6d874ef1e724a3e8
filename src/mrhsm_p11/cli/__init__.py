"""The command `mrhsm`: options, prompts and output; the only package that prints."""
