"""Hosted models: `hosted.py` does for every vendor what is alike, one file for each vendor says what is its own."""
