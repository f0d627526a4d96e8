"""The promoted policy over HTTP."""
