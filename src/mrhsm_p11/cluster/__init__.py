"""The keys of a Data Fabric cluster: init, configure, enable and adopt as plain functions; no terminal, no sockets."""
