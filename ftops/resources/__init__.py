"""What all kinds share: the document, its fields, the project, the record, and the workspace they lie in."""
