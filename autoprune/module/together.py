"""A user's module on a GPU, among tensors that the user's code makes on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

INTO_NUMPY = (Tensor.numpy, Tensor.__array__)


class Together(TorchFunctionMode):
    """While it is entered, what is computed from tensors on a device and on the CPU is computed on the device.

    What is written into stays where it is, and numpy gets a copy from the device.

    Args:
        device: another one than the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in INTO_NUMPY:
            return func(args[0].cpu(), *args[1:], **kwargs)
        if len({held.device.type for held in _tensors((args, kwargs))}) > 1:
            try:  # lengths of packed sequences, say, are to stay on the CPU
                return func(*args, **kwargs)
            except RuntimeError as error:
                if "device" not in str(error):
                    raise
            device = args[0].device if _is_written(func) else self._device
            args, kwargs = _moved(args, device), _moved(kwargs, device)
        return func(*args, **kwargs)


def together(device: torch.device) -> AbstractContextManager[object]:
    """What a user's code runs in when its module is on a device; on the CPU nothing is to be done."""
    return nullcontext() if device.type == "cpu" else Together(device)


def _is_written(func: Callable[..., Any]) -> bool:
    """Whether a function of torch writes into its first argument."""
    name = getattr(func, "__name__", "")
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def _tensors(held: Any) -> Iterator[Tensor]:
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, Mapping):
        yield from _tensors(list(held.values()))
    elif isinstance(held, list | tuple):
        for one in held:
            yield from _tensors(one)


def _moved(held: Any, device: torch.device) -> Any:
    if isinstance(held, Tensor):
        return held.to(device)
    if isinstance(held, Mapping):
        return {name: _moved(one, device) for name, one in held.items()}
    if type(held) in (list, tuple):
        moved: Sequence[Any] = type(held)(_moved(one, device) for one in held)
        return moved
    return held
