"""Where the source comes from: refs, the repository, a mirror of it, and which revisions may be deployed."""
