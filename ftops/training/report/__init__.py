"""What people read of a training: its text, its curves, its page."""
