"""A server with the part of DigitalOcean's v2 API that deploying needs."""
