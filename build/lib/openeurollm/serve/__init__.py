"""Serving a release on this machine: an OpenAI-compatible API and a chat page."""
