"""Class queries for the masks of promptable models."""
