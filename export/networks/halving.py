"""Convolutions with stride 2 that pad as TensorFlow does (SAME)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class HalvingConv2d(nn.Conv2d):
    """A convolution with stride 2 whose padding at the right and at the bottom is one pixel wider than at the left and at the
    top. It halves maps of an even number of pixels. Networks whose weights come from TensorFlow need it.

    In ONNX it is one Conv with uneven padding. PyTorch's exporter makes a Pad and ten nodes that compute its arguments.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=2, groups=groups, bias=False)
        before = (kernel - 2) // 2
        self.before, self.after = before, kernel - 2 - before

    def forward(self, features: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            given = (self.weight,) if self.bias is None else (self.weight, self.bias)
            exported: Tensor = _Exported.apply(self, features, *given)  # type: ignore[no-untyped-call]
            return exported
        padded = functional.pad(features, (self.before, self.after, self.before, self.after))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)


class _Exported(torch.autograd.Function):
    """HalvingConv2d as the exporter sees it."""

    @staticmethod
    def forward(_context: Any, convolution: HalvingConv2d, features: Tensor, *_given: Tensor) -> Tensor:
        padded = functional.pad(features, (convolution.before, convolution.after) * 2)
        return functional.conv2d(
            padded, convolution.weight, convolution.bias, convolution.stride, groups=convolution.groups
        )

    @staticmethod
    def symbolic(graph: Any, convolution: HalvingConv2d, features: Any, *given: Any) -> Any:
        return graph.op(
            "Conv",
            features,
            *given,
            dilations_i=[1, 1],
            group_i=convolution.groups,
            kernel_shape_i=list(convolution.kernel_size),
            pads_i=[convolution.before] * 2 + [convolution.after] * 2,
            strides_i=[2, 2],
        )
