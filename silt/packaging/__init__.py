"""From a clone to the artifacts that run in Lambda: the same bytes from the same inputs."""
