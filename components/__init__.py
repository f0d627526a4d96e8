"""Drover's work, room by room: plain typed Python that knows no orchestrator. Importing this loads no room."""
