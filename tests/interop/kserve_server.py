"""A KServe model server that serves a bundle's tail under the bundle's id: python kserve_server.py BUNDLE PORT."""

import sys

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid

from device.bundle.reader import load_bundle

TYPES = {"label": "INT64", "confidence": "FP32", "exit": "INT64"}


class Tail(Model):
    def __init__(self, folder: str) -> None:
        bundle = load_bundle(folder)
        super().__init__(bundle.id)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(bundle.read("tail"), options)
        self.ready = True

    async def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        feed = {each.name: each.as_numpy() for each in payload.inputs}
        outputs = []
        for name, array in zip(TYPES, self.session.run(list(TYPES), feed), strict=True):
            outputs.append(InferOutput(name, list(array.shape), TYPES[name]))
            outputs[-1].set_data_from_numpy(array, binary_data=True)
        return InferResponse(payload.id or generate_uuid(), self.name, outputs)


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, workers=1).start([Tail(sys.argv[1])])
