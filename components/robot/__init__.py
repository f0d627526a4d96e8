"""The room `robot`."""
