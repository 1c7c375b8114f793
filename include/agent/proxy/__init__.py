"""What the agent does on a proxy: it reads and moves the traffic of one HAProxy."""
