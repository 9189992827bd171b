"""All behind the page of one pipeline, put together."""

from typing import Any, Dict, Optional

from device.loop.pipeline import Pipeline
from device.preview.attackers import Attacker
from device.preview.pictures import Painter, Picture
from device.preview.recorder import Recorder
from device.preview.server import Content, PreviewServer
from device.preview.stats import PowerReader, Stats
from device.preview.switches import Switches

LENS_FPS = 4.0


class Preview:
    """The page's content and its server.

    Args:
        pipeline: with ``recorder`` as its sink.
        facts: see Stats.
        attacker, why_not: see Switches.
        power_w: gives watts, or None.
        fps: camera pictures a second.

    Example:
        >>> recorder = Recorder(len(bundle.relative_costs))
        >>> pipeline = Pipeline(bundle, engine, Controller(bundle, mode="off"), uplink, recorder)
        >>> server = Preview(pipeline, recorder, {"bundle": bundle.id}).serve("127.0.0.1", 8080)
        >>> pipeline.run(camera)
    """

    def __init__(
        self,
        pipeline: Pipeline,
        recorder: Recorder,
        facts: Dict[str, Any],
        attacker: Optional[Attacker] = None,
        why_not: str = "",
        power_w: Optional[PowerReader] = None,
        fps: float = 10,
    ) -> None:
        self.switches = Switches(pipeline, attacker, why_not)
        self._recorder = recorder
        pipeline.before_frame = self._switch
        self.stats = Stats(pipeline, recorder, self.switches, facts, power_w)
        painter = Painter(pipeline.bundle)
        self.content = Content(
            Picture(recorder, painter.camera, fps), Picture(recorder, painter.lens, LENS_FPS), self.stats, self.switches
        )

    def _switch(self) -> None:
        """In the loop's thread, between two frames."""
        self._recorder.attack = self.switches.apply()

    def serve(self, address: str = "127.0.0.1", port: int = 8080, token: Optional[str] = None) -> PreviewServer:
        """Start the server, which runs in threads of its own.

        Raises:
            UsageError: an address, port or token that cannot be used.
        """
        return PreviewServer(self.content, address, port, token).start()
