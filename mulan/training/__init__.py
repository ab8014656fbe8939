"""Training: the stages, the loop they share, and what makes them exact, visible and resumable."""
