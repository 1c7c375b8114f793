"""Facts: what a deploy finds on a machine. Everything here only reads, within limits of bytes and time."""
