"""The sandbox in containers, for the profile `sandbox` of docker-compose.yaml."""
