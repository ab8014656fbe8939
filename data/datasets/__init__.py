"""Published sets of annotated music, read as they are distributed; nothing here downloads or looks for audio."""
