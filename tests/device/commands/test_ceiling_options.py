"""The options --ceiling and --ceiling-bytes: what they take, and which ceiling a run gets."""

import pytest

from device.commands.ceiling_options import ceiling_maker
from device.commands.cli import COMMANDS, parser_of
from device.defence.ceiling import CeilingSettings
from device.defence.controller import MODES
from device.errors import UsageError

OF_BUNDLE = CeilingSettings({"off": 0.5, "on": 0.6}, 0.03)


def parsed(*words):
    return parser_of("defq", "run", COMMANDS).parse_args(["--bundle", "b", "--source", "s", *words])


def made(bundle, *words, live=True):
    return ceiling_maker(parsed(*words), bundle._replace(ceiling={5: OF_BUNDLE}), 5, live)()


@pytest.mark.parametrize(("text", "share", "gain"), [("0.45", 0.45, 0.03), ("1", 1.0, 0.03), ("0.3,0.1", 0.3, 0.1)])
def test_one_share_serves_all_modes(bundle, text, share, gain):
    assert made(bundle, "--ceiling", text).settings == CeilingSettings(dict.fromkeys(MODES, share), gain)


def test_cameras_get_the_ceiling_of_the_bundle_and_files_get_none(bundle):
    assert made(bundle).settings == OF_BUNDLE
    assert made(bundle, live=False) is None
    assert made(bundle, "--ceiling", "bundle", live=False).settings == OF_BUNDLE
    assert made(bundle, "--ceiling", "off") is None


def test_a_bundle_of_an_earlier_release_has_none(bundle):
    assert bundle.ceiling == {}
    assert ceiling_maker(parsed(), bundle, 5, True)() is None


def test_nothing_is_sent_where_all_exits_are_on_the_device(whole_bundle):
    assert ceiling_maker(parsed("--ceiling", "0.5"), whole_bundle, 5, True)() is None


@pytest.mark.parametrize(
    ("text", "per_s", "burst"),
    [("500", 500, 5000), ("500/s", 500, 5000), ("20k/s,100k", 20000, 100000), ("1.5M,2M", 1500000, 2000000)],
)
def test_bytes(bundle, text, per_s, burst):
    ceiling = made(bundle, "--ceiling-bytes", text, live=False)
    assert (ceiling.settings, ceiling.budget.per_s, ceiling.budget.burst) == (None, per_s, burst)
    assert ceiling.budget.largest > 4 * 8  # the activation of the bundle


@pytest.mark.parametrize(
    "words",
    [
        *(["--ceiling", text] for text in ("on", "0", "1.1", "0.5,", "0.5,0", "0.5,2", "0.5,0.1,3", ",0.1", "50%")),
        *(["--ceiling-bytes", text] for text in ("0", "-5", "10/h", "20k,", "1..2", "9e9", "1,0", "9999999M", "")),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(words):
    with pytest.raises(UsageError, match="found {} .*expected".format(words[0])):
        parsed(words[0] + "=" + words[1])
