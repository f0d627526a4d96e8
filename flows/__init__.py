"""The story: one short page a flow. Only this room knows Prefect."""

from components.contracts import plain_logs

plain_logs()  # Prefect's processes load a flow, and nothing else of ours that could call it first
