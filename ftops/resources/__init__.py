"""What a resource is, whatever its kind: its document, its project, its record, the workspace it lies in."""
