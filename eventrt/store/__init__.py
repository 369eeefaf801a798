"""The archive: everything eventrt has answered for, on disk."""
