"""What people touch: the command line and the page. The only layer that prints."""
