"""The room `datasets`."""
