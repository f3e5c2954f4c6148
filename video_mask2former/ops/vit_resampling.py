"""Learned tables of a vision transformer on another grid: patch kernels and position embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resample_positions(embedding: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Position embeddings of patches on another grid, by bicubic interpolation with antialiasing.

    Args:
        embedding: ``(1, h * w, C)``, row by row.
        old_grid: Its height and width in patches.
        new_grid: Those wanted; the same grid gives the embedding back unchanged.

    Returns:
        ``(1, new h * new w, C)`` in the type of ``embedding``, computed in float32 at least.

    Raises:
        ValueError: If ``embedding`` does not have the positions of ``old_grid``.
    """
    if embedding.shape[1] != old_grid[0] * old_grid[1]:
        raise ValueError(f"embedding must have {old_grid[0]} x {old_grid[1]} positions, got {embedding.shape[1]}.")
    if old_grid == new_grid:
        return embedding
    plane = embedding.transpose(1, 2).unflatten(2, old_grid)
    plane = plane.to(torch.promote_types(embedding.dtype, torch.float32))
    plane = F.interpolate(plane, size=new_grid, mode="bicubic", align_corners=False, antialias=True)
    return plane.flatten(2).transpose(1, 2).to(embedding.dtype)


def resample_patch_kernel(kernel: Tensor, size: int) -> Tensor:
    """The kernel of a patch embedding for patches of another size (FlexiViT, arXiv:2212.08013).

    Chosen so that an enlarged patch gives the embedding that the patch itself gave: with B the linear map that resizes
    patches (bicubic, antialiased), it is ``pinv(B.T)`` times the flattened kernel.

    Args:
        kernel: ``(C_out, C_in, side, side)``.
        size: The side wanted.

    Returns:
        ``(C_out, C_in, size, size)``, computed in float32 at least.
    """
    old_size = kernel.shape[-1]
    if size == old_size:
        return kernel
    dtype = torch.promote_types(kernel.dtype, torch.float32)
    patches = torch.eye(old_size**2, dtype=dtype, device=kernel.device).unflatten(1, (1, old_size, old_size))
    resized = F.interpolate(patches, size=(size, size), mode="bicubic", align_corners=False, antialias=True)
    inverse = torch.linalg.pinv(resized.flatten(1))  # (size ** 2, old_size ** 2)
    flat = kernel.to(dtype).flatten(2) @ inverse.T
    return flat.unflatten(2, (size, size)).to(kernel.dtype)
