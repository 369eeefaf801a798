"""What an operator sees: the command line."""
