"""Attack and DefQ, switched while frames run."""

import re

import pytest

from device.engines.onnx_runtime import OnnxRuntimeEngine
from device.errors import UsageError
from device.preview.switches import Switches
from tests.device.loop.fakes import make_pipeline
from tests.device.preview.fakes import FakeMonitor, Inverted


@pytest.fixture
def pipeline(bundle):
    return make_pipeline(bundle, OnnxRuntimeEngine(bundle, 1), monitor=FakeMonitor())


def test_switches_take_effect_between_frames(pipeline):
    attacker = Inverted()
    switches = Switches(pipeline, attacker)
    assert (switches.attack, switches.defq) == (False, "off")
    switches.ask({"attack": True, "defq": "on"})
    assert (pipeline.attack, pipeline.controller.mode) == (None, "off")
    switches.apply()
    assert (pipeline.attack, pipeline.controller.mode) == (attacker, "on")
    switches.ask({"defq": "auto"})
    switches.apply()
    assert (pipeline.controller.mode, switches.to_dict()["defq"]["mode"]) == ("auto", "auto")
    switches.ask({"attack": False})
    switches.ask({"defq": "off"})
    switches.apply()
    assert (pipeline.attack, pipeline.controller.mode) == (None, "off")


def test_switches_begin_where_the_pipeline_is(bundle, pipeline):
    pipeline.controller.set_mode("auto")
    assert Switches(pipeline, None, "none").defq == "auto"
    assert Switches(make_pipeline(bundle, None, "on"), None, "none").defq == "on"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({}, "found nothing to switch"),
        ({"attack": True, "more": 1}, "found more to switch"),
        ({"attack": 1}, "found 1 for the attack"),
        ({"defq": "maybe"}, "found 'maybe' for DefQ"),
        ({"defq": ["on"]}, "for DefQ"),
    ],
)
def test_switches_refuse_what_they_do_not_know(pipeline, wanted, told):
    switches = Switches(pipeline, Inverted())
    with pytest.raises(UsageError, match=re.escape(told)):
        switches.ask(wanted)
    assert (switches.attack, switches.defq) == (False, "off")


def test_switches_refuse_what_this_run_cannot_do(bundle):
    switches = Switches(make_pipeline(bundle, None), None, "the source has no twins")
    with pytest.raises(UsageError, match="no attack to switch on \\(the source has no twins\\)"):
        switches.ask({"attack": True})
    with pytest.raises(UsageError, match="no monitor"):
        switches.ask({"defq": "auto"})
    state = switches.to_dict()
    assert state["attack"] == {"on": False, "available": False, "kind": "none", "text": "the source has no twins"}
    assert sorted(state["defq"]["unavailable"]) == ["auto", "gated", "twin"]
    assert "no monitor" in state["defq"]["unavailable"]["auto"]
