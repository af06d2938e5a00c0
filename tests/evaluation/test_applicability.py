"""Warnings name the cases that differ from the data of a training, and no others."""

import torch

from pinca_lib.automaton.rule import CA
from pinca_lib.channels import TOPO
from pinca_lib.datasets.dataset import load_dataset
from pinca_lib.evaluation.applicability import doubts


def test_cells_of_another_size_are_named_with_the_image_size_that_helps(city_folder):
    dataset, rule = load_dataset(city_folder, 24), CA()
    dataset.extents[:] = 48.0
    assert doubts(dataset, [rule]) == ""  # the rule does not know what it was trained on
    rule.cells = 2.1, 2.1
    assert doubts(dataset, [CA(), rule]) == ""
    rule.cells = 1.0, 1.0
    said = doubts(dataset, [CA(), rule])
    assert said.startswith(f"{len(dataset)} of {len(dataset)} cases, such as {dataset.names[0]}")
    assert "cells of 2 m × 2 m, where the rules were trained on 1 m: do not trust" in said
    assert said.endswith("there; image_size=48 gives cells of the right size")
    dataset.extents[1:] = 24.0
    assert doubts(dataset, [rule]).startswith(f"1 of {len(dataset)} cases")
    dataset.extents[1] = 96.0  # no single size fits both
    assert doubts(dataset, [rule]).endswith("do not trust the wind there")


def test_buildings_taller_than_in_the_training_are_named(city_folder):
    dataset, rule = load_dataset(city_folder, 24), CA()
    tallest = dataset.states[:, TOPO].amax((1, 2))
    rule.tallest = float(tallest.max())
    assert doubts(dataset, [CA(), rule]) == ""
    dataset.states[2, TOPO] *= 2 * tallest.max() / tallest[2]
    said = doubts(dataset, [CA(), rule])
    assert said.startswith(f"1 of {len(dataset)} cases, such as {dataset.names[2]}, have build")
    assert f"up to {2 * rule.tallest:.3g} m, where" in said
    assert f"on up to {rule.tallest:.3g} m:" in said


def test_an_unknown_row_order_is_named_if_a_rule_uses_the_wind_frame(city_folder):
    dataset = load_dataset(city_folder, 24)
    dataset.rows_stated[:] = torch.tensor([True, False, *[True] * (len(dataset) - 2)])
    assert doubts(dataset, [CA()]) == ""
    said = doubts(dataset, [CA(), CA(follows_wind=True)])
    assert said.startswith(f"1 of {len(dataset)} cases, such as {dataset.names[1]}, have no 'row_o")
    stated = load_dataset(city_folder, 24, row_order="south_first")
    assert stated.rows_stated.all()
    assert doubts(stated, [CA(follows_wind=True)]) == ""


def test_cells_of_the_size_of_the_training_give_no_warning(city_folder):
    dataset, rule = load_dataset(city_folder, 24), CA()
    dataset.extents[:] = torch.tensor([48.0, 96.0])
    dataset.extents[0] = 24.0
    rule.cells = 1.0, 4.0
    assert doubts(dataset, [rule]) == ""
    rule.cells = 2.0, 4.0
    assert "trained on 2 to 4 m:" in doubts(dataset, [rule])
