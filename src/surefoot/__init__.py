"""surefoot."""
