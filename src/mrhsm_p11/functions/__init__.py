"""C_<Xyz> as xyz(): the standard's rules, natural arguments and results. What has no function is not supported."""
