"""The states of a film: the schedule of steps, and a single rollout."""

import torch
from small_rules import city_state, trained

from pinca_lib.rollouts import rollout, rollout_frames, steps_before


def test_steps_per_frame_double_every_thirty_frames_up_to_eight():
    schedule = [steps_before(frame) for frame in (0, 29, 30, 59, 60, 89, 90, 299)]
    assert schedule == [1, 1, 2, 2, 4, 4, 8, 8]


def test_frames_are_states_of_a_single_rollout():
    rule, state = trained(), city_state(1)
    rule.w2.weight *= 0.1
    frames = list(rollout_frames([rule], state, 33))
    assert [steps for steps, _ in frames[-3:]] == [32, 34, 36]
    torch.testing.assert_close(frames[-1][1], rollout([rule], state, 36)[0], atol=1e-4, rtol=1e-3)
