"""A user's module on a GPU, among tensors that the user's code makes on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

INTO_NUMPY = (Tensor.numpy, Tensor.__array__)

SETS = "__set__"
"""The name of what assigns an attribute, such as `data` or `grad`."""

INTO_FIRST = {
    *("__setitem__", SETS, "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__"),
    *("__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"),
}
"""Names of what writes into the first tensor that it is given, beside all that end in one `_`."""


class Together(TorchFunctionMode):
    """While it is entered, what is computed from tensors on a device and on the CPU is computed on the device.

    What is written into stays where it is, and what is written comes there; numpy gets a copy from the device.

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
            written = _written(func, args, kwargs)
            device = self._device if written is None else written.device
            # As given, `data` would take a tensor off the device; one on the CPU it may take there, as `Module.to` does
            if _name(func) != SETS or device.type != self._device.type:
                try:  # lengths of packed sequences, say, are to stay on the CPU
                    return func(*args, **kwargs)
                except RuntimeError as error:
                    if "device" not in str(error):
                        raise
            args = _moved(args, device)
            kwargs = {name: held if name == "out" else _moved(held, device) for name, held in kwargs.items()}
        return func(*args, **kwargs)


def together(device: torch.device) -> AbstractContextManager[object]:
    """What a user's code runs in when its module is on a device; on the CPU nothing is to be done."""
    return nullcontext() if device.type == "cpu" else Together(device)


def _name(func: Callable[..., Any]) -> str:
    return getattr(func, "__name__", "")


def _written(func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Tensor | None:
    """The tensor that a function of torch writes into, the first where there are several; None: into a new one."""
    if kwargs.get("out") is not None:
        return next(_tensors(kwargs["out"]), None)
    name = _name(func)
    is_written = name in INTO_FIRST or (name.endswith("_") and not name.endswith("__"))
    return next(_tensors((args, kwargs)), None) if is_written else None


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
