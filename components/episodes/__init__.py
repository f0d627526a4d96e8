"""The room `episodes`."""
