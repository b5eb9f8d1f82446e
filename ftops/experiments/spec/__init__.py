"""What YAML says of an experiment."""
