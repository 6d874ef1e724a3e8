"""What is wrong with this node: checks as rows of tables, each of which survives the failure of the others."""
