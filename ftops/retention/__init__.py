"""What of the store nobody needs any more, and its removal."""
