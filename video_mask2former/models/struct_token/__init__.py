"""StructToken: semantic segmentation from one learned map per class (arXiv:2203.12612)."""
