"""What is done on a droplet that runs an app."""
