"""Lets a user's module run on a GPU although the user's code creates tensors on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

INTO_NUMPY = (Tensor.numpy, Tensor.__array__)

SETS = "__set__"
"""The name of the function that assigns an attribute, such as `data` or `grad`."""

INTO_FIRST = {
    *("__setitem__", SETS, "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__"),
    *("__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"),
}
"""Functions that write into their first tensor, besides those whose names end in a single `_`."""


class Together(TorchFunctionMode):
    """A mode in which functions of tensors on both a device and the CPU are computed on the device.

    Functions that write into a tensor are computed on that tensor's device instead. numpy gets a copy on the CPU.

    Args:
        device: not the CPU.
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
        if len({value.device.type for value in _tensors((args, kwargs))}) > 1:
            written = _written(func, args, kwargs)
            device = self._device if written is None else written.device
            # Unmoved, an assigned `data` would take a tensor off the device. A CPU tensor may move, as in `Module.to`
            if _name(func) != SETS or device.type != self._device.type:
                try:  # some arguments, such as lengths of packed sequences, must stay on the CPU
                    return func(*args, **kwargs)
                except RuntimeError as error:
                    if "device" not in str(error):
                        raise
            args = _moved(args, device)
            kwargs = {name: value if name == "out" else _moved(value, device) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def together(device: torch.device) -> AbstractContextManager[object]:
    """The context in which to run a user's code when its module is on a device; on the CPU it does nothing."""
    return nullcontext() if device.type == "cpu" else Together(device)


def _name(func: Callable[..., Any]) -> str:
    return getattr(func, "__name__", "")


def _written(func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Tensor | None:
    """The tensor that a function of torch writes into, the first if there are several; None: it returns a new one."""
    if kwargs.get("out") is not None:
        return next(_tensors(kwargs["out"]), None)
    name = _name(func)
    is_written = name in INTO_FIRST or (name.endswith("_") and not name.endswith("__"))
    return next(_tensors((args, kwargs)), None) if is_written else None


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: _moved(item, device) for name, item in value.items()}
    if type(value) in (list, tuple):
        moved: Sequence[Any] = type(value)(_moved(item, device) for item in value)
        return moved
    return value
