"""The room `promotion`."""
