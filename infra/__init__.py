"""The embedded stack, and what runs it elsewhere."""
