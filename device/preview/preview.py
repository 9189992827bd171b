"""All behind the page of one pipeline, put together."""

from typing import Any, Dict, Optional

from device.loop.pipeline import Pipeline
from device.preview.attackers import Attacker
from device.preview.pictures import Painter, Picture
from device.preview.preview_sink import PreviewSink
from device.preview.server import PreviewServer
from device.preview.service import Content
from device.preview.stats import PowerReader, Stats
from device.preview.switches import Switches

LENS_FPS = 4.0


class Preview:
    """The page's content and its server.

    Args:
        pipeline: with ``sink`` as its sink.
        facts: see Stats.
        attacker, why_not: see Switches.
        power_w: gives watts, or None.
        fps: camera pictures a second.

    Example:
        >>> sink = PreviewSink(bundle.relative_costs, bundle.split)
        >>> pipeline = Pipeline(bundle, engine, Controller(bundle, mode="off"), host, sink)
        >>> server = Preview(pipeline, sink, {"bundle": bundle.id}).serve("127.0.0.1", 8080)
        >>> pipeline.run(camera)
    """

    def __init__(
        self,
        pipeline: Pipeline,
        sink: PreviewSink,
        facts: Dict[str, Any],
        attacker: Optional[Attacker] = None,
        why_not: str = "",
        power_w: Optional[PowerReader] = None,
        fps: float = 10,
    ) -> None:
        attack = None if attacker is None else sink.watched(attacker)
        self.switches = Switches(pipeline, attacker, why_not, attack)
        pipeline.before_frame = self.switches.apply
        self.stats = Stats(pipeline, sink, self.switches, facts, power_w)
        painter = Painter(pipeline.bundle)
        self.content = Content(
            Picture(sink, painter.camera, fps), Picture(sink, painter.lens, LENS_FPS), self.stats, self.switches
        )

    def serve(self, address: str = "127.0.0.1", port: int = 8080, token: Optional[str] = None) -> PreviewServer:
        """Start the server, which runs in threads of its own.

        Raises:
            UsageError: an address, port or token that cannot be used.
        """
        return PreviewServer(self.content, address, port, token).start()
