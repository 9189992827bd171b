"""The host of the contender that sends whole pictures: python -m bench.against.jpeg_host GRAPH ADDRESS PORT.

It takes a JPEG as the body of a POST, decodes it with OpenCV, runs the whole network on one thread and answers the label.
"""

import sys

import cv2
import numpy as np
import onnxruntime
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def make_app(graph: str) -> Starlette:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    async def classify(request: Request) -> Response:
        pixels = cv2.imdecode(np.frombuffer(await request.body(), np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            return Response("no picture", 400)
        image = pixels[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
        label = session.run(["label"], {"image": image})[0]
        return Response(str(int(label[0])))

    async def ready(_request: Request) -> Response:
        return Response("ready")

    return Starlette(routes=[Route("/", classify, methods=["POST"]), Route("/v2/health/ready", ready)])


def main() -> None:
    cv2.setNumThreads(1)
    graph, address, port = sys.argv[1:]
    uvicorn.run(make_app(graph), host=address, port=int(port), log_level="warning", timeout_keep_alive=600)


if __name__ == "__main__":
    main()
