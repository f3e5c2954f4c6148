"""Datasets of annotated videos and images, and what turns them into training clips."""
