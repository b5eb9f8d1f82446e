"""What YAML says of a training run."""
