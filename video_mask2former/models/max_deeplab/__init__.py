"""MaX-DeepLab: end-to-end panoptic segmentation with mask transformers (arXiv:2012.00759)."""
