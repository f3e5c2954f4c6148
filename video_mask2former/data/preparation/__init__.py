"""Preparing datasets: writing, checking, splitting, filtering, and converting from other formats."""
