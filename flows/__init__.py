"""The story: one short page a flow. Only this room knows Prefect."""
