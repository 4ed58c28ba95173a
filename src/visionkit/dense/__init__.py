"""Answers with a place: detection."""
