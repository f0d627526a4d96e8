"""The room `policies`."""
