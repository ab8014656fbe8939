"""The lowest layer: sound, captions and manifests in, arrays out. It knows nothing of models."""
