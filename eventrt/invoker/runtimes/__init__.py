"""How a handler process starts: one module per kind of runtime."""
