"""Bytes to pages: what people upload, checked before anything costly is done with it."""
