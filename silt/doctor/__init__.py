"""What is in the way of a deployment, each finding with its fix."""
