"""Diffusion: pictures from words, by the pipelines of diffusers."""
