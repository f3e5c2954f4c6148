"""LVMT: PMT whose queries have a memory, trained over long clips with truncated propagation."""

from __future__ import annotations

from torch import Tensor, nn

from video_mask2former.models.pmt import PMT


class LVMT(PMT):
    """PMT with a GRU cell for each query in the place of its linear map.

    The state of a query is the hidden state of the cell. It is also what the query enters a frame as: it begins with
    the learned query, and the query that the decoder leaves, not normalised, updates it. Predictions are made from what
    the decoder leaves, as in PMT.
    """

    def _make_updater(self, dim: int) -> nn.Module:
        return nn.GRUCell(dim, dim)

    def _advance(self, left: Tensor, entered: Tensor) -> Tensor:
        if self.query_updater is None:
            return entered
        hidden: Tensor = self.query_updater(left.flatten(0, 1), entered.flatten(0, 1))
        return hidden.unflatten(0, entered.shape[:2])
