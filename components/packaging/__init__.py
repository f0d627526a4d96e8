"""The room `packaging`."""
