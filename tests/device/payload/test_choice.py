"""The choice of a payload form, driven with made-up links, devices and hosts."""

import pytest

from device.payload.choice import DRIFT_REVIEW_S, REVIEW_FRAMES, REVIEW_S, SETTLING, TRIES, FormChoice, FrameCost

COEFFICIENTS, UINT8, FP32 = "coefficients", "uint8", "fp32"

SIZES = {COEFFICIENTS: 1000.0, UINT8: 17000.0, FP32: 131000.0}
NOMINAL = {COEFFICIENTS: 2200.0, UINT8: 33500.0, FP32: 131800.0}
ENCODE_S = {COEFFICIENTS: 0.0002, UINT8: 0.0008, FP32: 0.0001}
ALL = (COEFFICIENTS, UINT8, FP32)
ROUND = 3 * (TRIES + SETTLING)


class World:
    """Frames one after the other over a link of ``bits`` a second; the host takes ``again_s`` longer for coefficients."""

    def __init__(self, bits, round_trip_s=0.001, again_s=0.001, timeout_s=2.0):
        self.bits, self.round_trip_s, self.again_s = bits, round_trip_s, again_s
        self.now_s = 100.0
        self.choice = FormChoice(NOMINAL, timeout_s, 4)
        self.longest_s = 0.0

    def cost(self, form):
        transfer_s = 8 * SIZES[form] / self.bits
        host_s = 0.003 + (self.again_s if form == COEFFICIENTS else 0)
        return FrameCost(ENCODE_S[form], self.round_trip_s + transfer_s + host_s, SIZES[form])

    def send(self, frames, possible=ALL, every_s=0.0):
        """The forms of so many frames."""
        forms = []
        for _ in range(frames):
            form = self.choice.pick(possible, self.now_s)
            cost = self.cost(form)
            self.longest_s = max(self.longest_s, cost.total_s)
            self.now_s += max(every_s, cost.total_s)
            self.choice.add(form, cost)
            forms.append(form)
        return forms


@pytest.mark.parametrize(("bits", "expected"), [(10e9, FP32), (1e9, UINT8), (100e6, COEFFICIENTS), (1e6, COEFFICIENTS)])
def test_the_fastest_form_of_a_link_is_found_and_told_once(bits, expected):
    world = World(bits)
    forms = world.send(ROUND + 20)
    assert set(forms[-20:]) == {expected}
    (sentence,) = world.choice.take_news()
    assert sentence.startswith("payload: {} ".format(expected))
    assert all(form in sentence for form in ALL)


def test_the_sentence_has_the_figures():
    world = World(10e6)
    world.send(ROUND)
    told = "payload: coefficients 6.00 ms a frame of 1.0 kB (0.20 to encode, 5.80 to the answer), "
    (sentence,) = world.choice.take_news()
    assert sentence.startswith(told + "uint8 ")
    assert sentence.endswith("fp32 not tried (it may take up to 102 ms); some 10.8 Mbit/s")


@pytest.mark.parametrize("bits", [20e3, 100e3, 1e6, 3e6])
@pytest.mark.parametrize("round_trip_s", [0.001, 0.05, 0.5])
def test_nothing_is_tried_that_may_come_too_late(bits, round_trip_s):
    world = World(bits, round_trip_s)
    smallest_s = world.cost(COEFFICIENTS).total_s
    world.send(200)
    assert world.longest_s <= max(2.0 / 4, smallest_s)


def test_equally_fast_forms_leave_the_link_to_others():
    world = World(10e9, again_s=0)  # 0.1 ms of 4 between them
    assert world.send(ROUND + 1)[-1] == COEFFICIENTS


def test_frames_without_defq_have_a_choice_of_their_own():
    world = World(100e6)
    world.send(ROUND)
    assert world.send(ROUND, (UINT8, FP32))[-1] == UINT8
    assert world.send(1) == [COEFFICIENTS]
    assert world.send(1, (FP32,)) == [FP32]
    assert len(world.choice.take_news()) == 2


def test_reviews_are_seldom_and_change_only_for_a_gain():
    world = World(10e9)
    assert world.send(ROUND + 1)[-1] == FP32
    between = world.send(REVIEW_FRAMES - 5)
    assert set(between) == {FP32}
    world.now_s += REVIEW_S
    tried = world.send(ROUND + 20)
    assert set(tried) == {COEFFICIENTS, UINT8, FP32}
    assert tried[-1] == FP32
    assert len(world.choice.take_news()) == 1
    world.again_s = -0.0001  # coefficients are now faster, by less than a tenth
    world.now_s += REVIEW_S
    world.send(REVIEW_FRAMES + ROUND)
    assert world.send(1) == [FP32]
    world.again_s = -0.002
    world.now_s += REVIEW_S
    world.send(REVIEW_FRAMES + ROUND)
    assert world.send(1) == [COEFFICIENTS]
    assert len(world.choice.take_news()) == 1


def test_a_link_that_slows_down_is_noticed_before_the_next_review():
    world = World(10e9)
    assert world.send(ROUND + 1)[-1] == FP32
    world.now_s += DRIFT_REVIEW_S
    world.bits = 5e6
    assert world.send(ROUND + 3 * TRIES)[-1] == COEFFICIENTS
    assert world.now_s < 100 + REVIEW_S


def test_a_lost_host_begins_anew_with_the_smallest_form():
    world = World(10e9)
    assert world.send(ROUND + 1)[-1] == FP32
    world.choice.host_lost()
    world.bits = 0.5e6
    assert set(world.send(200)) == {COEFFICIENTS}


def test_first_frames_of_connections_do_not_count():
    choice = FormChoice(NOMINAL, 2.0, 4)
    for _ in range(100):
        choice.add(choice.pick(ALL, 0.0), FrameCost(0, 1.0, 1000), counts=False)
    assert choice.pick(ALL, 0.0) == COEFFICIENTS
    assert not choice.take_news()


def test_slow_frames_of_the_host_do_not_hide_what_a_form_takes():
    world = World(10e9)
    real = world.cost
    number = [0]

    def cost(form):
        number[0] += 1
        late_s = 0.010 if number[0] % 2 else 0.0  # every other frame goes to the last exit
        found = real(form)
        return found._replace(answer_s=found.answer_s + late_s)

    world.cost = cost
    assert world.send(ROUND + 1)[-1] == FP32
