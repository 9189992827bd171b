"""Triton's Python back end running a tail's model.onnx; the test copies this file into the model repository."""

import os
import sys

sys.path.insert(0, os.environ["SITE_PACKAGES"])  # the back end's interpreter heeds no PYTHONPATH

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

INPUTS, OUTPUTS = ("activation", "threshold"), ("label", "confidence", "exit")


class TritonPythonModel:
    def initialize(self, args):
        file = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options)

    def execute(self, requests):
        each = [[triton.get_input_tensor_by_name(request, name).as_numpy() for name in INPUTS] for request in requests]
        feed = {name: np.concatenate([arrays[place] for arrays in each]) for place, name in enumerate(INPUTS)}
        outputs = self.session.run(list(OUTPUTS), feed)
        ends = np.cumsum([len(activation) for activation, _ in each])
        parts = zip(*(np.split(array, ends[:-1]) for array in outputs), strict=True)
        return [
            triton.InferenceResponse([triton.Tensor(*pair) for pair in zip(OUTPUTS, part, strict=True)])
            for part in parts
        ]
