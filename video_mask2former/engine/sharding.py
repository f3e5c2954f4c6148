"""Training on several ranks: whole copies of the model, or one model that is split over them (FSDP2, arXiv:2304.11277).

Split, each rank holds its share of weights, gradients and optimizer state, and gets the weights of a block from the
others when it runs. Losses and gradients are those of whole copies. Files stay whole: a run can go on either way.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from video_mask2former import distributed

TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
BLOCKS = "blocks"
"""What the lists of a backbone's blocks are called: each block is a unit, all else is another."""


def wrap(model: nn.Module, device: torch.device, use_compile: bool) -> nn.Module:
    """The model as it is called in training; its parameters are the model's own."""
    if isinstance(model, FSDPModule):
        return cast(nn.Module, model)
    network = cast(nn.Module, torch.compile(model)) if use_compile else model
    if not distributed.is_distributed():
        return network
    # Depthwise convolutions in channels-last have gradients in another layout, which costs a copy and no more.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    device_ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=device_ids, gradient_as_bucket_view=True)


@contextlib.contextmanager
def without_reduction(network: nn.Module) -> Iterator[None]:
    """Gradients stay on their rank: more are to be added before they are averaged."""
    if isinstance(network, DistributedDataParallel):
        with network.no_sync():
            yield
    elif isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            network.set_requires_gradient_sync(True)
    else:
        yield


def shard(model: nn.Module) -> nn.Module:
    """Split a model over the ranks, in place, and return what it was without its weights.

    Call it before the optimizer is made, on every rank, with the same weights on all.

    Returns:
        The model on the meta device, for ``whole_model``.

    Raises:
        ValueError: If there is one rank only, or torch is too old.
    """
    if TORCH_VERSION < (2, 13):
        raise ValueError(
            f"training.sharding needs torch 2.13, this is {torch.__version__}: it misses outputs in dataclasses."
        )
    if not distributed.is_distributed():
        raise ValueError("training.sharding splits a model over several processes, and this is one. Use torchrun.")
    tensors = [*model.parameters(), *model.buffers()]
    # deepcopy takes what the memo has for a copy: no weight is copied
    memo: dict[int, Any] = {id(tensor): _on_meta(tensor) for tensor in tensors}
    outline = copy.deepcopy(model, memo)
    device = next(model.parameters()).device
    # Outputs are views; nothing is written into them.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device.type, (distributed.world_size(),))
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and name.rpartition(".")[2] == BLOCKS:
            for block in module:
                fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return outline


def whole_model(outline: nn.Module, model: nn.Module) -> nn.Module:
    """A model with all weights on this rank, from :func:`shard`'s outline of it; call it on every rank."""
    whole = copy.deepcopy(outline)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        parent, _, last = name.rpartition(".")
        owner = whole.get_submodule(parent)
        full = _whole(tensor.detach())
        if last in owner._parameters:
            setattr(owner, last, nn.Parameter(full, requires_grad=False))
        else:
            owner._buffers[last] = full
    return whole.train(model.training)


def whole_state(state: Any) -> Any:
    """Tensors that are split over the ranks as whole ones, on the CPU of the main process; call it on every rank.

    Everything else is as it is.
    """
    if isinstance(state, DTensor):
        full = _whole(state)
        return full.cpu() if distributed.is_main_process() else full.new_empty(0)
    if isinstance(state, Mapping):
        return {key: whole_state(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(whole_state(value) for value in state)
    return state


def load_model_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """``model.load_state_dict`` of whole tensors, whether the model is split or not."""
    own = model.state_dict()
    model.load_state_dict({name: split_like(tensor, own.get(name)) for name, tensor in state.items()})


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """``optimizer.load_state_dict`` of whole tensors, whether its parameters are split or not."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    of_parameters = {
        index: {
            name: split_like(value, parameters[index]) if _is_shaped(value, parameters, index) else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": of_parameters})


def _is_shaped(value: Any, parameters: list[Tensor], index: int) -> bool:
    return isinstance(value, Tensor) and index < len(parameters) and value.shape == parameters[index].shape


def split_like(tensor: Tensor, own: Tensor | None) -> Tensor:
    """A whole tensor, split over the ranks as one of its shape is, if that is."""
    if not isinstance(own, DTensor) or isinstance(tensor, DTensor):
        return tensor
    if tensor.shape != own.shape:
        return tensor  # the model says so, with the name
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _on_meta(tensor: Tensor) -> Tensor:
    meta = tensor.detach().to("meta")
    return nn.Parameter(meta, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else meta
