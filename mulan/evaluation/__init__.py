"""Judging models: zero-shot tagging, retrieval, probes, and how sure one may be of the figures."""
